//! How a request over HTTP is answered: at once as JSON, or as a stream of events if there is something to say before, or if it
//! takes longer. The work is dropped together with the answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::message::Answer;

/// What takes longer than this is answered by a stream.
const PROMPT: Duration = Duration::from_secs(2);

/// A silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) events: bool,
}

type Work = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// A request being answered.
struct Flow {
    work: Work,
    messages: mpsc::Receiver<Value>,
    /// What is known to be said first.
    first: Option<Value>,
}

/// One JSON document.
pub(super) fn whole(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// No document.
pub(super) fn nothing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Answers by what the work comes to. Without an answer (the client has cancelled it) the stream ends.
pub(super) async fn answered(work: Work, messages: mpsc::Receiver<Value>, accepts: Accepts) -> Response<Body> {
    let mut flow = Flow { work, messages, first: None };
    if !accepts.events {
        // Nobody waits for what is said meanwhile, least of all for an answer to it.
        flow.messages.close();
    }
    if accepts.json {
        let late = async { if accepts.events { sleep(PROMPT).await } else { std::future::pending().await } };
        tokio::select! {
            biased;
            Some(first) = flow.messages.recv(), if accepts.events => flow.first = Some(first),
            answer = &mut flow.work => return at_once(answer),
            () = late => {}
        }
    }
    let events = stream::unfold(Some(flow), |flow| async move {
        let (text, flow) = next(flow?).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), flow))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn at_once(answer: Option<Answer>) -> Response<Body> {
    match answer {
        Some(answer) => whole(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK), &answer.message),
        None => nothing(StatusCode::ACCEPTED),
    }
}

/// The next part of the stream, and what is left.
async fn next(mut flow: Flow) -> (String, Option<Flow>) {
    if let Some(first) = flow.first.take() {
        return (event(&first), Some(flow));
    }
    tokio::select! {
        biased;
        Some(message) = flow.messages.recv() => (event(&message), Some(flow)),
        answer = &mut flow.work => {
            let mut text = String::new();
            while let Ok(message) = flow.messages.try_recv() {
                text.push_str(&event(&message));
            }
            if let Some(answer) = answer {
                text.push_str(&event(&answer.message));
            }
            (text, None)
        }
        () = sleep(KEEP_ALIVE) => (":\n\n".to_owned(), Some(flow)),
    }
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}
