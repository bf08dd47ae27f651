//! The demo's model on loopback: the scripted replies, served over HTTP as `OpenAI` Chat Completions are. It never reaches
//! further than this machine, and decides nothing by itself but when to answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::ledger::{Ledger, ModelAsked, fingerprint, now_ms};
use super::script;

/// How long it seems to think, so that a person can follow.
const LATENCY: Duration = Duration::from_millis(80);

/// The largest request.
const MOST_BYTES: usize = 4 << 20;

/// A running model; dropping it ends it.
pub(super) struct ScriptedModel {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: AbortHandle,
}

/// What all connections share.
struct Desk {
    ledger: Ledger,
    /// The request with this many tool results waits until the gate is open.
    hold_at: usize,
    holding: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl ScriptedModel {
    /// Listens on a free port. A request whose conversation has `hold_at` tool results is held, and never answered, until
    /// [`ScriptedModel::release`].
    pub(super) async fn start(ledger: Ledger, hold_at: usize) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let desk =
            Arc::new(Desk { ledger, hold_at, holding: watch::Sender::new(false), open: watch::Sender::new(false) });
        let serving = tokio::spawn(listen(listener, Arc::clone(&desk))).abort_handle();
        Ok(Self { address, desk, serving })
    }

    /// Its `base_url`.
    pub(super) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Waits until a request is held.
    pub(super) async fn holds(&self) {
        // The sender lives in `self`.
        let _ = self.desk.holding.subscribe().wait_for(|holding| *holding).await;
    }

    /// Drops what is held without an answer, and answers everything from now on.
    pub(super) fn release(&self) {
        self.desk.open.send_replace(true);
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(LATENCY).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let service = service_fn(|request| desk.serve(request));
            // A client that is killed breaks its connection: that is what the demo is about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Desk {
    /// An `Err` breaks the connection.
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        if (request.method(), request.uri().path()) != (&Method::POST, "/v1/chat/completions") {
            return Ok(refuse(StatusCode::NOT_FOUND, "only POST /v1/chat/completions is here"));
        }
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let Ok(bytes) = Limited::new(request.into_body(), MOST_BYTES).collect().await else {
            return Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or was cut off"));
        };
        let Ok(body) = serde_json::from_slice::<Value>(&bytes.to_bytes()) else {
            return Ok(refuse(StatusCode::BAD_REQUEST, "the body is not JSON"));
        };
        self.ledger.append(&ModelAsked { at_ms: now_ms(), body: fingerprint(&body), key })?;
        if script::results(&body).len() == self.hold_at && !*self.open.borrow() {
            self.holding.send_replace(true);
            let _ = self.open.subscribe().wait_for(|open| *open).await;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        tokio::time::sleep(LATENCY).await;
        Ok(answer(StatusCode::OK, &script::completion(&body)))
    }
}

fn refuse(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    answer(
        status,
        &json!({"error": {"message": format!("the scripted model refuses: {why}"), "type": "invalid_request_error"}}),
    )
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use abide_llm::{CallOptions, Client, ModelConfig, Provider, Redactor, Vars};
    use serde_json::value::to_raw_value;

    use super::*;

    struct NoVars;

    impl Vars for NoVars {
        fn var(&self, _: &str) -> Option<String> {
            None
        }

        fn file_value(&self, _: &str, _: &str) -> Option<String> {
            None
        }
    }

    async fn ask(model: &ScriptedModel, body: &Value) -> Result<Value, abide_engine::Error> {
        let mut config = ModelConfig::new(Provider::Openai, script::NAME);
        config.base_url = Some(model.base_url());
        Client::default()
            .call(&config, &to_raw_value(body).unwrap(), CallOptions::new("key", &NoVars, &Redactor::default()))
            .await
    }

    fn body(results: usize) -> Value {
        let results = (0..results).map(|_| json!({"role": "tool", "tool_call_id": "c", "content": "noted"}));
        json!({"model": script::NAME, "messages": results.collect::<Vec<_>>()})
    }

    #[tokio::test]
    async fn it_speaks_the_wire_counts_requests_and_holds_the_chosen_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("requests.jsonl"));
        let model = ScriptedModel::start(ledger.clone(), 1).await.unwrap();
        let reply = ask(&model, &body(0)).await.unwrap();
        assert_eq!(reply["model"], script::NAME);
        let body = body(1);
        let held = async {
            model.holds().await;
            model.release();
        };
        let (cut_off, ()) = tokio::join!(ask(&model, &body), held);
        assert!(cut_off.is_err());
        assert!(ask(&model, &body).await.is_ok());
        let asked = ledger.read::<ModelAsked>().unwrap();
        let mut count = BTreeMap::new();
        for one in &asked {
            assert_eq!(one.key.as_deref(), Some("key"));
            *count.entry(one.body.clone()).or_insert(0) += 1;
        }
        assert_eq!((asked.len(), count[&fingerprint(&body)]), (3, 2));
    }

    #[tokio::test]
    async fn what_is_not_the_wire_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let model = ScriptedModel::start(Ledger::new(folder.path().join("r.jsonl")), 0).await.unwrap();
        let mut config = ModelConfig::new(Provider::Anthropic, script::NAME);
        config.base_url = Some(model.base_url());
        let redactor = Redactor::default();
        let options = CallOptions::new("key", &NoVars, &redactor);
        let refused = Client::default().call(&config, &to_raw_value(&body(0)).unwrap(), options).await.unwrap_err();
        assert!(refused.message().contains("only POST /v1/chat/completions"), "{refused}");
    }
}
