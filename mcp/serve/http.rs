//! The way in over HTTP: one address, `/mcp`, for both versions of the protocol. Which one a request is in is said by the request
//! itself; a client that goes away ends its request and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::caller::WAITING;
use super::gate::{Gate, Turned};
use super::message::{self, Answer, Incoming, read};
use super::modern::{self, Spoken};
use super::session::Session;
use super::stream::{Accepts, Body, answered, nothing, whole};
use super::{LEGACY, Refusal, Server, headers, legacy, news};

/// The one path.
const PATH: &str = "/mcp";

/// The header with a session's id.
const SESSION: &str = "mcp-session-id";

/// Serves until it is dropped, and every connection with it.
pub async fn listen(server: Server, listener: TcpListener, gate: Gate) {
    let room = Arc::new(Semaphore::new(gate.connections));
    let patience = gate.patience;
    let door = Arc::new(Door { server, gate });
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, mostly: others have to end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let door = Arc::clone(&door);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let door = Arc::clone(&door);
                async move { Ok::<_, Infallible>(door.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(patience);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(patience));
            if let Err(error) = http.serve_connection(TokioIo::new(Box::pin(stream)), service).await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
}

struct Door {
    server: Server,
    gate: Gate,
}

impl Door {
    async fn answer(self: Arc<Self>, request: Request<IncomingBody>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let outcome = match self.gate.check(&parts, Instant::now()) {
            Err(turned) => Err(turned_away(&turned)),
            Ok(()) if parts.uri.path() != PATH => {
                Err(refused(StatusCode::NOT_FOUND, &format!("MCP is spoken at {PATH} alone")))
            }
            Ok(()) if parts.method == Method::DELETE => Ok(self.end(&parts.headers)),
            Ok(()) if parts.method == Method::GET && self.has_news(&parts.headers) => self.hear(&parts.headers).await,
            Ok(()) if parts.method != Method::POST => {
                let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "only POST and DELETE are known here");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
                Err(response)
            }
            Ok(()) => self.post(&parts, body).await,
        };
        outcome.unwrap_or_else(|response| response)
    }

    /// Is this a session that wants to hear what is told in it beside its requests?
    fn has_news(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(SESSION) && accepts(headers).events && self.server.offer.about().tools_change
    }

    /// Tells it.
    async fn hear(&self, headers: &HeaderMap) -> Result<Response<Body>, Response<Body>> {
        let session = self.session(headers).map_err(|response| *response)?;
        let ((out, messages), server) = (mpsc::channel(WAITING), self.server.clone());
        let changed = server.offer.changed();
        let work = Box::pin(async move {
            news::tell(&server, changed, &json!({}), &out).await;
            drop(session);
            None
        });
        Ok(answered(work, messages, Accepts { json: false, events: true }).await)
    }

    /// Ends a session.
    fn end(&self, headers: &HeaderMap) -> Response<Body> {
        let id = headers.get(SESSION).and_then(|id| id.to_str().ok());
        if id.is_some_and(|id| self.server.sessions.close(id)) {
            return nothing(StatusCode::NO_CONTENT);
        }
        refused(StatusCode::NOT_FOUND, "there is no such session")
    }

    async fn post(&self, parts: &Parts, body: IncomingBody) -> Result<Response<Body>, Response<Body>> {
        let headers = &parts.headers;
        let accepts = accepts(headers);
        if !is_json(headers) {
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
        }
        if !accepts.json && !accepts.events {
            let why = "the client must accept application/json or text/event-stream";
            return Err(refused(StatusCode::NOT_ACCEPTABLE, why));
        }
        let message = match read(self.document(body).await?) {
            Ok(message) => message,
            Err(answer) => return Err(whole(StatusCode::BAD_REQUEST, &answer.message)),
        };
        let version = headers.get(headers::VERSION).map(|value| value.to_str().unwrap_or_default().trim());
        let params = match &message {
            Incoming::Request(request) => Some(&request.params),
            Incoming::Notification { params, .. } => Some(params),
            Incoming::Response { .. } => None,
        };
        let is_legacy = match version {
            Some(version) => LEGACY.contains(&version),
            None => params.is_none_or(|params| modern::version_in(params).is_none()),
        };
        match message {
            Incoming::Request(request) if !is_legacy => Ok(self.modern(headers, request, accepts).await),
            // Nothing that a client could notify of without a session changes anything.
            _ if !is_legacy => Ok(nothing(StatusCode::ACCEPTED)),
            Incoming::Request(request) if request.method == "initialize" => Ok(self.begin(&request).await),
            message => self.within(headers, message, accepts).await,
        }
    }

    async fn document(&self, body: IncomingBody) -> Result<Value, Response<Body>> {
        let limit = self.gate.body_bytes;
        let bytes = match tokio::time::timeout(self.gate.patience, Limited::new(body, limit).collect()).await {
            Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let why = format!("the body is larger than the limit of {limit} bytes");
                return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &why));
            }
            Ok(Err(_)) => return Err(refused(StatusCode::BAD_REQUEST, "the body was cut off")),
            Ok(Ok(body)) => body.to_bytes(),
        };
        serde_json::from_slice(&bytes).map_err(|_| {
            let answer = Answer::error(&Value::Null, &Refusal::new(-32_700, "the body is not JSON"));
            whole(StatusCode::BAD_REQUEST, &answer.message)
        })
    }

    async fn modern(&self, headers: &HeaderMap, request: message::Request, accepts: Accepts) -> Response<Body> {
        let spoken = match self.spoken(headers, &request).await {
            Ok(spoken) => spoken,
            Err(refusal) => {
                let answer = Answer::error(&request.id, &refusal);
                return whole(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST), &answer.message);
            }
        };
        let (out, messages) = mpsc::channel(WAITING);
        let server = self.server.clone();
        let work = Box::pin(async move { Some(modern::answer(&server, &request, spoken, out).await) });
        answered(work, messages, accepts).await
    }

    async fn spoken(&self, headers: &HeaderMap, request: &message::Request) -> Result<Spoken, Refusal> {
        let spoken = Spoken::read(request)?;
        let called = request.params.get("name").and_then(Value::as_str).filter(|_| request.method == "tools/call");
        let tool = match called {
            Some(name) => self.server.offer.tool(name).await,
            None => None,
        };
        let schema = tool.as_ref().and_then(|tool| tool.definition.get("inputSchema"));
        headers::check(headers, request, &spoken.version, schema)?;
        Ok(spoken)
    }

    /// Begins a session.
    async fn begin(&self, request: &message::Request) -> Response<Body> {
        let session = self.server.sessions.open();
        let (out, _) = mpsc::channel(WAITING);
        let answer = legacy::answer(&self.server, &session, request, out).await;
        let mut response = whole(StatusCode::OK, &answer.message);
        if let Ok(id) = HeaderValue::from_str(&session.id) {
            response.headers_mut().insert(HeaderName::from_static(SESSION), id);
        }
        response
    }

    /// A message within a session.
    async fn within(
        &self,
        headers: &HeaderMap,
        message: Incoming,
        accepts: Accepts,
    ) -> Result<Response<Body>, Response<Body>> {
        let session = self.session(headers).map_err(|response| *response)?;
        match message {
            Incoming::Request(request) => {
                let (out, messages) = mpsc::channel(WAITING);
                let server = self.server.clone();
                let work = Box::pin(async move {
                    session.attend(&request.id, legacy::answer(&server, &session, &request, out)).await
                });
                return Ok(answered(work, messages, accepts).await);
            }
            Incoming::Response { id, outcome } => session.heard(&id, outcome),
            Incoming::Notification { method, params } if method == "notifications/cancelled" => {
                session.cancelled(&params);
            }
            Incoming::Notification { .. } => {}
        }
        Ok(nothing(StatusCode::ACCEPTED))
    }

    fn session(&self, headers: &HeaderMap) -> Result<Arc<Session>, Box<Response<Body>>> {
        let Some(id) = headers.get(SESSION) else {
            let why =
                "the header Mcp-Session-Id is missing: begin with `initialize`, or say the version of each request";
            return Err(Box::new(refused(StatusCode::BAD_REQUEST, why)));
        };
        id.to_str().ok().and_then(|id| self.server.sessions.get(id)).ok_or_else(|| {
            let why = "there is no such session (any more): begin a new one with `initialize`";
            Box::new(refused(StatusCode::NOT_FOUND, why))
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn accepts(headers: &HeaderMap) -> Accepts {
    let said: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let said = said.join(",").to_ascii_lowercase();
    let any = said.trim().is_empty() || said.contains("*/*");
    Accepts {
        json: any || said.contains("application/json") || said.contains("application/*"),
        events: any || said.contains("text/event-stream") || said.contains("text/*"),
    }
}

fn refused(status: StatusCode, why: &str) -> Response<Body> {
    whole(status, &Answer::error(&Value::Null, &Refusal::new(-32_000, why)).message)
}

fn turned_away(turned: &Turned) -> Response<Body> {
    let mut response = refused(turned.status, turned.why);
    if let Some((name, value)) = turned.header {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Whoever may not come in keeps no place from others.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
