//! The HTTP wire to one server: what a declaration's `url` and `headers` become, and of each request whether it can have
//! reached the server. It repeats no request but one that was turned away at the door, and opens no second session by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
    ServerResult,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;
use tokio::sync::watch;

use crate::envelope;
use crate::oauth::{Admission, Keeper, Settings};
use crate::ticket::{Rejection, Ticket};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the stream of a server's own questions is waited for.
const LISTENING: Duration = Duration::from_secs(1);

/// How often a broken stream of answers is taken up again, where the server allows that at all.
const RECONNECTS: usize = 3;

/// The longest pause before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a server is, with every variable expanded. It has no `Debug`: resolved secrets are in it.
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) headers: HashMap<HeaderName, HeaderValue>,
    /// Set if tokens may be got for it.
    pub(crate) oauth: Option<Settings>,
}

/// Carries requests, and notes what became of them.
#[derive(Clone)]
pub(crate) struct Courier {
    client: reqwest::Client,
    keeper: Option<Arc<Keeper>>,
    ended: Arc<watch::Sender<bool>>,
    rejection: Arc<Mutex<Option<Rejection>>>,
    has_session: Arc<AtomicBool>,
    listens: Arc<watch::Sender<bool>>,
}

type Failed = StreamableHttpError<reqwest::Error>;

/// What rmcp drives; what last sent a request away; and what turns true when nobody is there any more.
pub(crate) type Way = (StreamableHttpClientTransport<Courier>, Courier, watch::Receiver<bool>);

impl Courier {
    /// A way to this address; `longest` is the limit of one message, in bytes.
    pub(crate) fn to(address: Address, keeper: Option<Arc<Keeper>>, longest: usize) -> Result<Way, reqwest::Error> {
        let client = abide_llm::http_client(|builder| {
            builder.connect_timeout(CONNECT).redirect(Policy::custom(same_origin)).user_agent(AGENT)
        })?;
        let (ended, end) = watch::channel(false);
        let (rejection, has_session, listens) = Default::default();
        let courier = Self { client, keeper, ended: Arc::new(ended), rejection, has_session, listens };
        let mut config = StreamableHttpClientTransportConfig::with_uri(address.url)
            .custom_headers(address.headers)
            .max_sse_event_size(longest)
            .max_concurrent_requests(usize::from(u16::MAX))
            // A new session is a new connection: the model is told what that means.
            .reinit_on_expired_session(false);
        let mut pauses = ExponentialBackoff::default();
        (pauses.max_times, pauses.max_delay) = (Some(RECONNECTS), Some(LONGEST_PAUSE));
        config.retry_config = Arc::new(pauses);
        Ok((StreamableHttpClientTransport::with_client(courier.clone(), config), courier, end))
    }

    /// Why the last request that was sent away was.
    pub(crate) fn rejection(&self) -> Option<Rejection> {
        self.rejection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits a moment until the stream by which a server of the older era asks its questions is open: what it says before that,
    /// many servers lose.
    pub(crate) async fn listening(&self) {
        if self.has_session.load(Ordering::SeqCst) {
            let _ = tokio::time::timeout(LISTENING, self.listens.subscribe().wait_for(|listens| *listens)).await;
        }
    }

    fn note_session(&self, response: &StreamableHttpPostResponse) {
        if let StreamableHttpPostResponse::Json(_, Some(_)) | StreamableHttpPostResponse::Sse(_, Some(_)) = response {
            self.has_session.store(true, Ordering::SeqCst);
        }
    }

    /// The token to send along with what nobody waits for.
    async fn token(&self) -> Option<String> {
        match &self.keeper {
            Some(keeper) => keeper.token().await,
            None => None,
        }
    }

    /// Notes what an error says about the request it became of; `turned_away` is what came of asking for another token.
    fn judge(&self, error: &Failed, turned_away: Option<Rejection>, ticket: Option<&Ticket>) {
        let nobody = match error {
            StreamableHttpError::Client(error) => error.is_connect(),
            StreamableHttpError::SessionExpired => true,
            _ => false,
        };
        if nobody {
            ticket.inspect(|ticket| ticket.refused());
            self.ended.send_replace(true);
        } else if let Some(rejection) = turned_away.or_else(|| rejection(error)) {
            ticket.inspect(|ticket| ticket.rejected(rejection.clone()));
            *self.rejection.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejection);
        }
    }
}

const AGENT: &str = concat!("abide/", env!("CARGO_PKG_VERSION"));

/// Follows a redirect within the server only: headers hold keys, and they were given for that one.
fn same_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from_same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if from_same && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
}

/// What a server answered before it looked at the request, if the error is such an answer.
fn rejection(error: &Failed) -> Option<Rejection> {
    match error {
        StreamableHttpError::AuthRequired(_) => Some(Rejection::Credentials("HTTP 401".to_owned())),
        StreamableHttpError::InsufficientScope(_) => Some(Rejection::Credentials("HTTP 403".to_owned())),
        StreamableHttpError::HttpStatus(status) if matches!(status.status, 429 | 503) => {
            let after = status.retry_after.as_deref().map(|after| format!(", Retry-After: {after}"));
            Some(Rejection::Busy(format!("HTTP {}{}", status.status, after.unwrap_or_default())))
        }
        // rmcp keeps the status of other answers in its text alone.
        StreamableHttpError::UnexpectedServerResponse(text) => {
            let status: u16 = text.strip_prefix("HTTP ")?.get(..3)?.parse().ok()?;
            let text: String = text.chars().take(300).collect();
            match status {
                401 | 403 => Some(Rejection::Credentials(text)),
                300..=499 => Some(Rejection::Other(text)),
                _ => None,
            }
        }
        _ => None,
    }
}

impl StreamableHttpClient for Courier {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let limit = usize::MAX;
        self.post_message_with_max_sse_event_size(uri, message, session_id, auth_header, custom_headers, limit).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limit: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let ticket = Ticket::of(&message);
        if ticket.as_ref().is_some_and(|ticket| !ticket.begin()) {
            let given_up = std::io::Error::other("the request was given up before it was sent");
            return Err(StreamableHttpError::Io(given_up));
        }
        let asked = Asked::of(&message);
        let mut admission = Admission::new(self.keeper.as_deref()).await;
        let posted = loop {
            let (uri, message, session) = (uri.clone(), message.clone(), session_id.clone());
            let (token, headers) = (admission.token().or_else(|| auth_header.clone()), custom_headers.clone());
            let posted =
                self.client.post_message_with_max_sse_event_size(uri, message, session, token, headers, limit).await;
            match &posted {
                Err(error) if admission.again(error).await => {}
                _ => break posted,
            }
        };
        posted.as_ref().ok().into_iter().for_each(|response| self.note_session(response));
        match (posted, asked) {
            (Ok(response), Some(asked)) => Ok(asked.readable(response, limit)),
            (Ok(response), None) => Ok(response),
            (Err(error), asked) => {
                self.judge(&error, admission.rejection(), ticket.as_ref());
                asked.and_then(|asked| asked.unreadable(&error)).ok_or(error)
            }
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let token = self.token().await.or(auth_header);
        self.client.delete_session(uri, session_id, token, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let limit = usize::MAX;
        self.get_stream_with_max_sse_event_size(uri, session_id, last_event_id, auth_header, custom_headers, limit)
            .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limit: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let token = self.token().await.or(auth_header);
        let stream = self
            .client
            .get_stream_with_max_sse_event_size(uri, session_id, last_event_id, token, custom_headers, limit)
            .await;
        // Or there is none, and nothing to wait for.
        self.listens.send_replace(true);
        stream
    }
}

/// A request that somebody waits for.
struct Asked {
    id: RequestId,
    is_discover: bool,
}

impl Asked {
    fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        let JsonRpcMessage::Request(request) = message else { return None };
        Some(Self { id: request.id.clone(), is_discover: matches!(request.request, ClientRequest::DiscoverRequest(_)) })
    }

    /// The response, with what rmcp would break off at put right.
    fn readable(self, response: StreamableHttpPostResponse, limit: usize) -> StreamableHttpPostResponse {
        match response {
            // An older server that answers what it does not know with some other result.
            StreamableHttpPostResponse::Json(JsonRpcMessage::Response(response), session)
                if self.is_discover && !matches!(response.result, ServerResult::DiscoverResult(_)) =>
            {
                let legacy = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "server/discover is unknown here", None);
                StreamableHttpPostResponse::Json(JsonRpcMessage::error(legacy, Some(self.id)), session)
            }
            StreamableHttpPostResponse::Sse(events, session) => {
                let events = events.map(move |event| match event {
                    Err(SseError::Body(error)) if error.to_string().contains("maximum size") => {
                        let answer = envelope::too_long(limit, self.id.clone());
                        Ok(Sse::default().data(serde_json::to_string(&answer).unwrap_or_default()))
                    }
                    other => other,
                });
                StreamableHttpPostResponse::Sse(events.boxed(), session)
            }
            other => other,
        }
    }

    /// The answer that takes the place of one that came and cannot be read.
    fn unreadable(self, error: &Failed) -> Option<StreamableHttpPostResponse> {
        let answer: ServerJsonRpcMessage = match error {
            StreamableHttpError::ResponseBodyTooLarge { max_size } => envelope::too_long(*max_size, self.id),
            StreamableHttpError::UnexpectedServerResponse(text) if text.starts_with("could not parse") => {
                envelope::broken(self.id)
            }
            _ => return None,
        };
        Some(StreamableHttpPostResponse::Json(answer, None))
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
