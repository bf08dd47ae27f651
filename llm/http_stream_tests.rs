//! Tests of `http` with answers that come in pieces, from a server of a few lines on the loopback. They never reach further.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use abide_engine::Parked;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::secret::{SecretRef, Vars};
use crate::stream::Delta;

const KEY: &str = "sk-0123456789";

struct Keys;

impl Vars for Keys {
    fn var(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| KEY.to_owned())
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Whole,
    /// The connection is closed in the middle of it.
    Broken,
    /// Nothing more comes, and the connection stays open.
    Silent,
}

/// Instead of a piece: silence for longer than a model may fall silent here.
const PAUSE: &str = "pause";

/// What a call came to, what it showed, and what was seen.
struct Outcome {
    answer: Result<Value, Error>,
    shown: Vec<Delta>,
    seen: Vec<Seen>,
}

impl Outcome {
    fn error(&self) -> &Error {
        self.answer.as_ref().unwrap_err()
    }

    fn text(&self) -> String {
        self.shown.iter().map(|delta| if let Delta::Text(text) = delta { text.as_str() } else { "" }).collect()
    }
}

fn sse(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn chat_text(texts: &[&str]) -> Vec<String> {
    let delta =
        |text: &&str| json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let mut events = sse(&texts.iter().map(delta).chain([end]).collect::<Vec<_>>());
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn messages_begin() -> Vec<String> {
    sse(&[
        json!({"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
    ])
}

/// A model on `provider`'s wire, behind a server that answers one request with these pieces, each in a chunk of its own.
async fn serve(provider: Provider, content_type: &str, pieces: Vec<String>, end: End) -> ModelConfig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"}") {
            assert_ne!(socket.read_buf(&mut asked).await.unwrap(), 0, "the request breaks off");
        }
        socket.write_all(head.as_bytes()).await.unwrap();
        for piece in pieces {
            if piece == PAUSE {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                continue;
            }
            // The client may have gone once it has read enough.
            let _ = socket.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await;
        }
        match end {
            End::Whole => drop(socket.write_all(b"0\r\n\r\n").await),
            End::Broken => {}
            // Until the client gives up.
            End::Silent => drop(socket.read(&mut [0]).await),
        }
    });
    ModelConfig {
        base_url: Some(format!("http://{address}")),
        api_key: Some(SecretRef::variable("KEY")),
        idle_timeout_s: Some(1),
        timeout_s: Some(30),
        ..ModelConfig::new(provider, "m")
    }
}

async fn call(client: Client, model: &ModelConfig) -> Outcome {
    let (shown, heard) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let on = |delta| shown.lock().unwrap().push(delta);
    let seen = |seen: &Seen| heard.lock().unwrap().push(*seen);
    let redactor = Redactor::default();
    let options = CallOptions::new("k", &Keys, &redactor).on(&on).seen(&seen);
    let answer = client.call(model, &to_raw_value(&json!({"stream": true})).unwrap(), options).await;
    Outcome { answer, shown: shown.into_inner().unwrap(), seen: heard.into_inner().unwrap() }
}

async fn called(provider: Provider, pieces: Vec<String>, end: End) -> Outcome {
    let kind = if provider == Provider::Ollama { "application/x-ndjson" } else { "text/event-stream" };
    call(Client::default(), &serve(provider, kind, pieces, end).await).await
}

#[tokio::test]
async fn a_stream_comes_back_as_the_whole_answer() {
    let outcome = called(Provider::Openai, chat_text(&["Grüß ", "dich"]), End::Whole).await;
    let answer = outcome.answer.as_ref().unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Grüß dich");
    assert_eq!(outcome.shown, [Delta::Text("Grüß ".into()), Delta::Text("dich".into())]);
    assert_eq!(outcome.seen.len(), 1);
    assert!(outcome.seen[0].may_be_billed && outcome.seen[0].status == 200);
}

#[tokio::test]
async fn what_comes_after_the_terminal_event_is_not_waited_for() {
    let outcome = called(Provider::Openai, chat_text(&["Hi"]), End::Silent).await;
    assert_eq!(outcome.answer.unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_plain_answer_to_a_wish_for_a_stream_is_read_as_a_whole() {
    let body = json!({"choices": [{"message": {"content": format!("my {KEY}"), "tool_calls": [
        {"id": "a", "function": {"name": "fs_read", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]});
    let model = serve(Provider::Openai, "application/json", vec![body.to_string()], End::Whole).await;
    let outcome = call(Client::default(), &model).await;
    assert_eq!(outcome.answer.unwrap()["choices"][0]["message"]["content"], "my ${KEY}");
    assert_eq!(outcome.shown, [Delta::Text("my ${KEY}".into()), Delta::ToolCall { name: "fs_read".into() }]);
}

#[tokio::test]
async fn a_stream_that_does_not_end_well_is_in_doubt() {
    let whole = chat_text(&["Hi"]);
    let cut = |end| (whole[..2].to_vec(), end);
    let mut malformed = whole.clone();
    malformed.insert(1, "data: {\"choices\":[{\n\n".to_owned());
    let (ended, broken, silent) = (cut(End::Whole), cut(End::Broken), cut(End::Silent));
    for ((pieces, end), part) in [
        (ended, "ended without `[DONE]`"),
        (broken, "broke before the answer was complete"),
        (silent, "nothing came for 1 s (`idle_timeout_s`"),
        ((malformed, End::Whole), "not JSON"),
        ((vec![], End::Whole), "ended without `[DONE]`"),
        ((chat_text(&[""]), End::Whole), "answered nothing"),
    ] {
        let outcome = called(Provider::Openai, pieces, end).await;
        let error = outcome.error();
        assert_eq!(*error.kind(), ErrorKind::InDoubt, "{error}");
        assert!(error.message().contains(part), "{error}");
        assert!(outcome.seen.iter().all(|seen| seen.may_be_billed));
    }
}

#[tokio::test]
async fn a_model_may_think_for_longer_than_it_may_fall_silent() {
    let pieces = [vec![": thinking\n\n".to_owned(), PAUSE.to_owned()], chat_text(&["Hi"])].concat();
    let outcome = called(Provider::Openai, pieces, End::Whole).await;
    assert_eq!(outcome.text(), "Hi", "{:?}", outcome.answer);
}

#[tokio::test]
async fn an_error_in_a_stream_is_judged_like_a_refusal() {
    use Provider::{Anthropic, Gemini, Ollama, Openai, OpenaiResponses};
    let anthropic = |kind: &str| sse(&[json!({"type": "error", "error": {"type": kind, "message": "m"}})]).concat();
    let failed = |code: &str| {
        let error = json!({"code": code, "message": "Please try again in 3s."});
        sse(&[json!({"type": "response.failed", "response": {"status": "failed", "error": error}})]).concat()
    };
    let limited = |ms| ErrorKind::RetryAfter { ms, rate_limit: true };
    for (provider, event, status, kind) in [
        (Anthropic, anthropic("overloaded_error"), 529, ErrorKind::Plain),
        (Anthropic, anthropic("rate_limit_error"), 429, limited(5_000)),
        (Anthropic, anthropic("authentication_error"), 401, ErrorKind::Park(Parked::Credentials)),
        (Anthropic, anthropic("invalid_request_error"), 400, ErrorKind::Terminal),
        (OpenaiResponses, failed("rate_limit_exceeded"), 429, limited(3_000)),
        (OpenaiResponses, failed("insufficient_quota"), 500, ErrorKind::Park(Parked::Quota)),
        (Openai, sse(&[json!({"error": {"message": "m", "code": 502}})]).concat(), 502, ErrorKind::Plain),
        (Gemini, sse(&[json!({"error": {"code": 503, "status": "UNAVAILABLE"}})]).concat(), 503, ErrorKind::Plain),
        (Ollama, "{\"error\":\"no memory\"}\n".to_owned(), 500, ErrorKind::Plain),
    ] {
        let outcome = called(provider, vec![event], End::Whole).await;
        let error = outcome.error();
        assert_eq!(*error.kind(), kind, "{error}");
        assert!(error.message().contains("broke off its answer with an error"), "{error}");
        let told: Vec<_> = outcome.seen.iter().map(|seen| (seen.status, seen.may_be_billed)).collect();
        assert_eq!(told, [(200, true), (status, false)], "{error}");
    }
}

#[tokio::test]
async fn an_error_after_the_first_words_may_have_been_billed() {
    let error = sse(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})]);
    let outcome = called(Provider::Anthropic, [messages_begin(), error].concat(), End::Whole).await;
    assert_eq!(*outcome.error().kind(), ErrorKind::InDoubt);
    assert!(outcome.error().message().contains("overloaded_error: Overloaded"), "{}", outcome.error());
    assert_eq!(outcome.text(), "Hi");
    let last = outcome.seen.last().unwrap();
    assert_eq!((last.status, last.may_be_billed, last.wait_ms), (529, true, None));
}

#[tokio::test]
async fn a_stream_is_no_way_around_the_limit() {
    let long = "x".repeat(1_000);
    let client = Client::default().reply_bytes(10_000);
    for (kind, provider) in [("text/event-stream", Provider::Openai), ("application/x-ndjson", Provider::Ollama)] {
        // Many events, one event that never ends, and a line that never does.
        let line = |text: &str| format!("{}\n", json!({"message": {"content": text}, "done": false}));
        let many: Vec<String> =
            if provider == Provider::Ollama { vec![line(&long); 20] } else { chat_text(&[long.as_str(); 20]) };
        let endless = vec![format!("data: {{\"x\": \"{long}"), long.repeat(20)];
        let comment = vec![format!(": {}", long.repeat(20)), "\n\n".to_owned()];
        for pieces in [many, endless, comment] {
            let outcome = call(client.clone(), &serve(provider, kind, pieces, End::Whole).await).await;
            assert_eq!(*outcome.error().kind(), ErrorKind::Environment, "{}", outcome.error());
            assert!(outcome.error().message().contains("limit of 10000 bytes"), "{}", outcome.error());
        }
    }
}

#[tokio::test]
async fn a_key_is_never_shown_whole_or_in_parts() {
    let pieces = chat_text(&["my key is sk-01", "23456", "789, and not sk-01", "2"]);
    let outcome = called(Provider::Openai, pieces, End::Whole).await;
    assert_eq!(outcome.text(), "my key is ${KEY}, and not sk-012");
    assert!(!outcome.shown.iter().any(|delta| matches!(delta, Delta::Text(text) if text.contains("23456"))));
    assert!(!outcome.answer.unwrap().to_string().contains(KEY));

    let quoted = vec![format!("data: {{broken {KEY}\n\n")];
    let outcome = called(Provider::Openai, quoted, End::Whole).await;
    assert!(outcome.error().message().contains("{broken ${KEY}"), "{}", outcome.error());
    let refused = sse(&[json!({"error": {"message": format!("no such key: {KEY}"), "code": 401}})]);
    let outcome = called(Provider::Openai, refused, End::Whole).await;
    assert!(outcome.error().message().contains("no such key: ${KEY}"), "{}", outcome.error());
}
