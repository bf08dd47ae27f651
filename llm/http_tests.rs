//! Tests of `http` against a server of a few lines on the loopback. They never reach further.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use abide_engine::Parked;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::secret::{SecretRef, Vars};

const OK_BODY: &str = r#"{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;

struct Fixed(BTreeMap<&'static str, &'static str>);

impl Vars for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn file_value(&self, _file: &str, key: &str) -> Option<String> {
        self.var(key)
    }
}

fn vars() -> Fixed {
    Fixed(BTreeMap::from([("KEY", "sk-0123456789"), ("EMPTY", " "), ("BROKEN", "sk-01234567\n89")]))
}

/// Answers one request with `answer`, closes the connection, and gives what was asked.
async fn serve(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !is_whole(&asked) {
            assert_ne!(socket.read_buf(&mut asked).await.unwrap(), 0, "the request breaks off");
        }
        // The client may have gone once it has read enough.
        let _ = socket.write_all(answer.as_bytes()).await;
        String::from_utf8(asked).unwrap()
    });
    (format!("http://{address}"), asked)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.trim().parse().unwrap()
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

fn model(base_url: &str) -> ModelConfig {
    let mut model = ModelConfig::new(Provider::Openai, "m");
    model.base_url = Some(base_url.to_owned());
    model.api_key = Some(SecretRef::variable("KEY"));
    model
}

async fn call(model: &ModelConfig) -> Result<Value, Error> {
    let (vars, redactor) = (vars(), Redactor::default());
    Client::default()
        .call(model, &to_raw_value(&json!({"model": "m"})).unwrap(), CallOptions::new("step-1", &vars, &redactor))
        .await
}

async fn call_answered(answer: String) -> Error {
    let (url, _) = serve(answer).await;
    call(&model(&url)).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_comes_back_and_the_request_was_as_it_should_be() {
    let (url, asked) = serve(http("200 OK", "", OK_BODY)).await;
    let mut model = model(&format!("{url}/v1/"));
    model.headers.insert("X-Team".into(), SecretRef::Template("team ${KEY}".into()));
    assert_eq!(call(&model).await.unwrap()["choices"][0]["message"]["content"], "Hello");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    for line in [
        "authorization: Bearer sk-0123456789\r\n",
        "idempotency-key: step-1\r\n",
        "content-type: application/json\r\n",
        "x-team: team sk-0123456789\r\n",
        "\r\n\r\n{\"model\":\"m\"}",
    ] {
        assert!(asked.contains(line), "{line} in {asked}");
    }
}

#[tokio::test]
async fn anthropic_has_headers_of_its_own() {
    let reply = r#"{"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    let (url, asked) = serve(http("200 OK", "", reply)).await;
    let model = ModelConfig { provider: Provider::Anthropic, ..model(&url) };
    call(&model).await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("x-api-key: sk-0123456789\r\n") && asked.contains("anthropic-version: 2023-06-01\r\n"));
    assert!(!asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn no_key_sends_none() {
    let (url, asked) = serve(http("200 OK", "", OK_BODY)).await;
    call(&ModelConfig { api_key: None, ..model(&url) }).await.unwrap();
    assert!(!asked.await.unwrap().contains("authorization"));
}

#[tokio::test]
async fn secrets_go_out_and_do_not_come_back() {
    let echo = r#"{"choices":[{"message":{"content":"you said sk-0123456789"},"finish_reason":"stop"}]}"#;
    let (url, asked) = serve(http("200 OK", "", echo)).await;
    let body = json!({"messages": [{"content": "my key is ${KEY}, not $${KEY}"}]});
    let redactor = Redactor::default();
    let vars = vars();
    let options = CallOptions::new("s", &vars, &redactor);
    let answer = Client::default().call(&model(&url), &to_raw_value(&body).unwrap(), options).await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "you said ${KEY}");
    assert!(asked.await.unwrap().contains("my key is sk-0123456789, not ${KEY}"));

    let error =
        call_answered(http("401 Unauthorized", "", r#"{"error":{"message":"no such key: sk-0123456789"}}"#)).await;
    assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials));
    assert!(error.message().contains("no such key: ${KEY}"), "{error}");
}

#[tokio::test]
async fn refusals_are_judged_with_their_headers() {
    let error = call_answered(http("429 Too Many Requests", "retry-after: 120\r\n", "")).await;
    assert_eq!(*error.kind(), ErrorKind::RetryAfter { ms: 120_000, rate_limit: true });
    let error = call_answered(http("404 Not Found", "", r#"{"error":{"message":"no model m"}}"#)).await;
    assert_eq!(*error.kind(), ErrorKind::Terminal);
    assert!(error.message().contains("no model m"), "{error}");
    let error = call_answered(http("307 Temporary Redirect", "location: http://evil.example/\r\n", "")).await;
    assert_eq!(*error.kind(), ErrorKind::Terminal);
    assert!(error.message().contains("redirects to http://evil.example/"), "{error}");
    let error = call_answered("HTTP/1.1 503 Busy\r\ncontent-length: 99\r\n\r\nhalf a".to_owned()).await;
    assert_eq!(*error.kind(), ErrorKind::Plain);
    assert!(error.message().contains("503: half a"), "{error}");
}

#[tokio::test]
async fn what_is_no_reply_fails_the_attempt() {
    let html = format!("<html>{}", "é".repeat(5_000));
    let empty = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#;
    for (body, part) in [
        ("", "not JSON"),
        (&html, "<html>éé"),
        ("{}", "choices[0]"),
        (empty, "answered nothing"),
        (&OK_BODY[..40], "JSON"),
    ] {
        let error = call_answered(http("200 OK", "", body)).await;
        assert_eq!(*error.kind(), ErrorKind::InDoubt, "{body}");
        assert!(error.message().contains(part) && error.message().chars().count() < 600, "{error}");
    }
}

#[tokio::test]
async fn lost_connections_name_the_host() {
    let cut_off = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"choices\"".to_owned();
    for answer in [String::new(), cut_off, "nonsense\r\n\r\n".to_owned()] {
        let error = call_answered(answer).await;
        assert_eq!(*error.kind(), ErrorKind::InDoubt);
        assert!(error.message().contains("127.0.0.1:"), "{error}");
    }
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = call(&model(&format!("http://{unused}/v1"))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Plain);
    assert!(error.message().starts_with(&format!("cannot connect to {unused}: ")), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_was_never_asked() {
    let error = call(&model("http://no-such-host.invalid/v1")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Plain);
    assert!(error.message().starts_with("cannot connect to no-such-host.invalid: "), "{error}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_in_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = ModelConfig { timeout_s: Some(1), ..model(&format!("http://{}/v1", listener.local_addr().unwrap())) };
    let error = call(&slow).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::InDoubt);
    assert!(error.message().contains("no whole answer within 1 s (`timeout_s`"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20)).repeat(65);
    let error = call_answered(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")).await;
    assert_eq!(*error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("limit of 67108864 bytes") && error.message().contains("reply_mib"), "{error}");
}

#[tokio::test]
async fn half_a_key_at_the_end_of_a_quotation_is_not_shown_either() {
    for length in 280..300 {
        let text = format!("{}sk-0123456789", "x".repeat(length));
        let error = call_answered(http("200 OK", "", &text)).await;
        assert!(!error.message().contains("sk-"), "{error}");
        let text = format!("{}{}sk-0123456789", "x".repeat(700), "x".repeat(length));
        let error = call_answered(http("500 Internal Server Error", "", &json!({"error": text}).to_string())).await;
        assert!(!error.message().contains("sk-"), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_says_what_to_mend() {
    let base = model("http://127.0.0.1:1/v1");
    let with_key = |key: &str| ModelConfig { api_key: Some(SecretRef::Template(key.into())), ..base.clone() };
    let with_url = |url: &str| ModelConfig { base_url: Some(url.into()), ..base.clone() };
    let with_header = BTreeMap::from([("a b".to_owned(), SecretRef::Template(String::new()))]);
    let credentials = ErrorKind::Park(Parked::Credentials);
    for (model, kind, part) in [
        (with_key("${UNSET_KEY}"), credentials.clone(), "UNSET_KEY is not set"),
        (with_key("${EMPTY}"), credentials.clone(), "is empty"),
        (with_key("${BROKEN}"), credentials.clone(), "line break"),
        (with_url("${UNSET_URL}"), credentials, "UNSET_URL is not set"),
        (with_url("http://"), ErrorKind::Environment, "not an http or https address"),
        (with_url("file:///etc/passwd"), ErrorKind::Environment, "file"),
        (ModelConfig { headers: with_header, ..base.clone() }, ErrorKind::Environment, "`a b`"),
    ] {
        let error = call(&model).await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
        assert!(error.message().contains(part) && !error.message().contains("sk-0"), "{error}");
    }
}

#[tokio::test]
async fn what_the_headers_tell_is_passed_on() {
    let limits =
        "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 2s\r\n";
    let read = RateLimits {
        requests_limit: Some(60),
        requests_remaining: Some(0),
        requests_reset_ms: Some(2_000),
        ..RateLimits::default()
    };
    let none = RateLimits::default();
    for (answer, expected) in [
        (http("200 OK", limits, OK_BODY), (200, read, None, true)),
        (http("429 Slow", limits, ""), (429, read, Some(2_000), false)),
        (http("429 Slow", "", ""), (429, none, Some(5_000), false)),
        (http("503 Busy", "retry-after: 7\r\n", ""), (503, none, Some(7_000), false)),
        (http("401 No", "", ""), (401, none, None, false)),
    ] {
        let (url, _) = serve(answer).await;
        let heard = Mutex::new(Vec::new());
        let seen =
            |seen: &Seen| heard.lock().unwrap().push((seen.status, seen.limits, seen.wait_ms, seen.may_be_billed));
        let (vars, redactor) = (vars(), Redactor::default());
        let options = CallOptions::new("k", &vars, &redactor).seen(&seen);
        let _ = Client::default().call(&model(&url), &to_raw_value(&json!({})).unwrap(), options).await;
        assert_eq!(heard.into_inner().unwrap(), [expected]);
    }
}

#[tokio::test]
async fn embeddings_are_asked_for_at_their_own_address() {
    let answer = r#"{"data":[{"index":0,"embedding":[0.5,-1.0]}],"usage":{"prompt_tokens":2}}"#;
    let (url, asked) = serve(http("200 OK", "", answer)).await;
    let (vars, redactor) = (vars(), Redactor::default());
    let options = CallOptions::new("k", &vars, &redactor);
    let body = json!({"model": "e", "input": ["a ${KEY}"]});
    let answer = Client::default().embed(&model(&format!("{url}/v1")), &body, options).await.unwrap();
    assert_eq!(answer["data"][0]["embedding"], json!([0.5, -1.0]));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /v1/embeddings HTTP/1.1\r\n") && asked.contains("a sk-0123456789"), "{asked}");
}

#[tokio::test]
async fn a_failure_within_an_answer_is_judged_like_a_refusal() {
    for (code, kind) in [
        ("rate_limit_exceeded", ErrorKind::RetryAfter { ms: 5_000, rate_limit: true }),
        ("insufficient_quota", ErrorKind::Park(Parked::Quota)),
        ("invalid_prompt", ErrorKind::Terminal),
        ("server_error", ErrorKind::InDoubt),
    ] {
        let answer = json!({"status": "failed", "output": [], "error": {"code": code, "message": "so it is"}});
        let (url, _) = serve(http("200 OK", "", &answer.to_string())).await;
        let error = call(&ModelConfig { provider: Provider::OpenaiResponses, ..model(&url) }).await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
        assert!(error.message().contains("so it is"), "{error}");
    }
}
