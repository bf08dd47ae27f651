//! Tests of `errors`: every row of the providers' error tables, and which hint wins. They never ask a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000; // Fri, 15 Jan 2027 08:00:00 GMT

fn refuse(provider: Provider, status: u16, headers: &[(&str, &str)], body: &str) -> Error {
    let headers: Headers = headers.iter().copied().collect();
    Refusal { provider, status, headers: &headers, body, now_ms: NOW_MS }.error()
}

fn kind(provider: Provider, status: u16, headers: &[(&str, &str)], body: &str) -> ErrorKind {
    refuse(provider, status, headers, body).kind().clone()
}

fn limited(ms: u64) -> ErrorKind {
    ErrorKind::RetryAfter { ms, rate_limit: true }
}

fn asked_to_wait(ms: u64) -> ErrorKind {
    ErrorKind::RetryAfter { ms, rate_limit: false }
}

fn openai(kind: &str, code: &str, message: &str) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

fn anthropic(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).to_string()
}

fn gemini(code: u16, status: &str, message: &str, details: &Value) -> String {
    json!({"error": {"code": code, "message": message, "status": status, "details": details}}).to_string()
}

#[test]
fn what_passes_is_tried_again() {
    use Provider::{Anthropic, Gemini, Ollama, Openai, OpenaiResponses};
    for (provider, statuses) in [
        (Anthropic, [500, 504, 529, 409]),
        (Openai, [408, 409, 500, 503]),
        (OpenaiResponses, [408, 409, 502, 599]),
        (Gemini, [500, 503, 504, 500]),
        (Ollama, [500, 502, 503, 503]),
    ] {
        for status in statuses {
            assert_eq!(kind(provider, status, &[], "busy"), ErrorKind::Plain, "{provider:?} {status}");
            let waits = kind(provider, status, &[("retry-after", "30")], "busy");
            assert_eq!(waits, asked_to_wait(30_000), "{provider:?} {status}");
        }
        assert_eq!(kind(provider, 429, &[], "slow down"), limited(UNHINTED_MS), "{provider:?}");
    }
    assert_eq!(kind(Anthropic, 429, &[], &anthropic("rate_limit_error", "slow")), limited(UNHINTED_MS));
    assert_eq!(kind(Anthropic, 529, &[], &anthropic("overloaded_error", "Overloaded")), ErrorKind::Plain);
    for code in ["rate_limit_exceeded", "slow_down"] {
        assert_eq!(kind(Openai, 429, &[], &openai("requests", code, "Rate limit reached")), limited(UNHINTED_MS));
    }
    let exhausted = gemini(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 15", &json!([]));
    assert_eq!(kind(Gemini, 429, &[], &exhausted), limited(UNHINTED_MS));
}

#[test]
fn what_is_spent_parks_for_quota() {
    use Provider::{Anthropic, Gemini, Openai, OpenaiResponses};
    let quota = ErrorKind::Park(Parked::Quota);
    for code in [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ] {
        let body = openai("insufficient_quota", code, "You exceeded your current quota");
        // Even where the answer says when to come back.
        assert_eq!(kind(Openai, 429, &[("retry-after", "1")], &body), quota, "{code}");
        assert_eq!(kind(OpenaiResponses, 429, &[], &openai("requests", code, "no")), quota, "{code}");
    }
    let cap = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "capped",
                     "details": {"error_code": "enforced_spend_limit_reached"}}});
    assert_eq!(kind(Anthropic, 429, &[], &cap.to_string()), quota);
    for message in
        ["You have reached your specified API usage limits.", "Your credit balance is too low to access the API."]
    {
        assert_eq!(kind(Anthropic, 400, &[], &anthropic("invalid_request_error", message)), quota, "{message}");
    }
    for (message, expected) in [
        ("Quota exceeded for metric: x, limit: 0, model: y\nPlease retry in 38.5s.", quota.clone()),
        ("Quota exceeded, limit: 0", quota.clone()),
        ("Quota exceeded, limit: 0.", quota.clone()),
        ("Quota exceeded, limit: 0.5", limited(UNHINTED_MS)),
        ("Quota exceeded, limit: 05", limited(UNHINTED_MS)),
    ] {
        let body = gemini(429, "RESOURCE_EXHAUSTED", message, &json!([]));
        assert_eq!(kind(Gemini, 429, &[], &body), expected, "{message}");
    }
    let error = refuse(Openai, 429, &[], &openai("requests", "insufficient_quota", "Check your plan"));
    assert!(error.message().contains("Check your plan") && error.message().contains("abide resume"), "{error}");
}

#[test]
fn what_the_key_may_not_do_parks_for_credentials() {
    use Provider::{Anthropic, Gemini, Ollama, Openai};
    let credentials = ErrorKind::Park(Parked::Credentials);
    for (provider, statuses) in
        [(Anthropic, [401, 402, 403]), (Openai, [401, 403, 403]), (Gemini, [402, 403, 403]), (Ollama, [401, 402, 402])]
    {
        for status in statuses {
            assert_eq!(kind(provider, status, &[("retry-after", "5")], ""), credentials, "{provider:?} {status}");
        }
    }
    let error = refuse(Openai, 401, &[], &openai("invalid_request_error", "invalid_api_key", "Incorrect API key"));
    assert!(error.message().contains("invalid_api_key: Incorrect API key"), "{error}");
    let invalid = gemini(400, "INVALID_ARGUMENT", "API key not valid", &json!([{"reason": "API_KEY_INVALID"}]));
    assert_eq!(kind(Gemini, 400, &[], &invalid), credentials);
}

#[test]
fn what_is_wrong_for_good_is_terminal_with_the_providers_message() {
    use Provider::{Anthropic, Gemini, Ollama, Openai};
    for (provider, statuses) in
        [(Anthropic, [400, 404, 413]), (Openai, [400, 404, 422]), (Gemini, [400, 404, 404]), (Ollama, [400, 404, 413])]
    {
        for status in statuses {
            let error = refuse(provider, status, &[], r#"{"error":"model \"x\" not found"}"#);
            assert_eq!(*error.kind(), ErrorKind::Terminal, "{provider:?} {status}");
            assert!(error.message().contains(r#"model "x" not found"#), "{error}");
        }
    }
    assert_eq!(kind(Openai, 302, &[], ""), ErrorKind::Terminal);
    assert_eq!(kind(Openai, 418, &[], "teapot"), ErrorKind::Terminal);
}

#[test]
fn x_should_retry_comes_first() {
    use Provider::Openai;
    let (yes, no) = (("x-should-retry", "true"), ("x-should-retry", "false"));
    assert_eq!(kind(Openai, 400, &[yes], ""), ErrorKind::Plain);
    assert_eq!(kind(Openai, 400, &[yes, ("retry-after", "2")], ""), asked_to_wait(2_000));
    assert_eq!(kind(Openai, 500, &[no, ("retry-after", "2")], ""), ErrorKind::Terminal);
    assert_eq!(kind(Openai, 429, &[no], ""), ErrorKind::Park(Parked::Quota));
    assert_eq!(kind(Openai, 401, &[yes], ""), ErrorKind::Park(Parked::Credentials));
    assert_eq!(kind(Openai, 500, &[("x-should-retry", "perhaps")], ""), ErrorKind::Plain);
}

#[test]
fn the_hint_that_comes_first_wins() {
    let body = gemini(
        429,
        "RESOURCE_EXHAUSTED",
        "Please try again in 41.7s.",
        &json!([{"@type": "type.googleapis.com/google.rpc.Help"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46s"}]),
    );
    let prose = openai("tokens", "rate_limit_exceeded", "Limit 30000, used 29000. Please try again in 41.7s.");
    let reset = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")];
    let date = ("retry-after", "Fri, 15 Jan 2027 08:02:00 GMT");
    let with = |first: &[(&'static str, &'static str)]| [first, &reset].concat();
    for (headers, body, expected) in [
        (with(&[("retry-after-ms", "1500"), ("retry-after", "9")]), &body, 1_500),
        (with(&[("retry-after", "2.5")]), &body, 2_500),
        (with(&[date]), &body, 120_000),
        (with(&[]), &body, 46_000),
        (with(&[]), &prose, 41_700),
        (with(&[]), &String::new(), 360_000),
        // A hint that cannot be read is none.
        (with(&[("retry-after", "soon")]), &body, 46_000),
        (vec![("retry-after", "14400")], &body, 14_400_000),
        // Azure's `unknown`, and a wait too short to be one.
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "-1")], &String::new(), UNHINTED_MS),
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "0")], &String::new(), LEAST_MS),
        (vec![("retry-after", "0")], &String::new(), LEAST_MS),
        // A limit that is not used up is not what is waited for.
        (
            vec![("x-ratelimit-remaining-tokens", "1"), ("x-ratelimit-reset-tokens", "6m0s")],
            &String::new(),
            UNHINTED_MS,
        ),
    ] {
        assert_eq!(kind(Provider::Openai, 429, &headers, body), limited(expected), "{headers:?} {body}");
    }
    assert_eq!(kind(Provider::Gemini, 429, &[], &format!("[{body}]")), limited(46_000));
    let long = gemini(429, "RESOURCE_EXHAUSTED", &format!("{} Please retry in 38.5s.", "x".repeat(5_000)), &json!([]));
    assert_eq!(kind(Provider::Gemini, 429, &[], &long), limited(38_500));
    let resets =
        [("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "2027-01-15T08:01:00Z")];
    assert_eq!(kind(Provider::Anthropic, 429, &resets, ""), limited(60_000));
}

#[test]
fn any_body_gives_a_message() {
    for (body, expected) in [
        ("", "answered 400: (an empty body)"),
        ("<html>Bad gateway</html>", "answered 400: <html>Bad gateway</html>"),
        (r#"{"error":"plain"}"#, "answered 400: plain"),
        (r#"{"message":"top"}"#, "answered 400: top"),
        (r#"{"detail":"not a body"}"#, "answered 400: not a body"),
        (r#"[{"error":{"message":"in a list","status":"S"}}]"#, "answered 400 S: in a list"),
        (r#"{"error":{"code":400}}"#, r#"answered 400: {"error":{"code":400}}"#),
        ("null", "answered 400: null"),
        ("[]", "answered 400: []"),
    ] {
        let error = refuse(Provider::Openai, 400, &[], body);
        assert!(error.message().ends_with(expected), "{error}");
    }
    let error = refuse(Provider::Openai, 400, &[], &"é".repeat(100_000));
    assert!(error.message().chars().count() < 1_200, "{}", error.message().len());
    let error = refuse(Provider::Openai, 401, &[], &openai("t", &"[".repeat(26_000), "no"));
    assert!(error.message().chars().count() < 400 && error.message().contains("[[[...: no"), "{}", error.message());
    let error = refuse(Provider::Openai, 400, &[], &openai("t", "", "no"));
    assert!(error.message().ends_with("answered 400: no"), "{error}");
}
