//! Tests of `errors`: every row of the providers' error tables, and which hint wins. They never ask a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000; // Fri, 15 Jan 2027 08:00:00 GMT

fn refuse(provider: Provider, status: u16, headers: &[(&str, &str)], body: &str) -> Error {
    let headers: Headers = headers.iter().copied().collect();
    Refusal { provider, status, headers: &headers, body, now_ms: NOW_MS, in_stream: false }.error()
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
    let spent = openai("insufficient_quota", "insufficient_quota", "Check your plan");
    assert_eq!(kind(Openai, 429, &[yes, ("retry-after", "2")], &spent), ErrorKind::Park(Parked::Quota));
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
        (with(&[("retry-after", "-1")]), &String::new(), 360_000),
        (vec![("retry-after-ms", "20")], &String::new(), LEAST_MS),
        (vec![("retry-after", "Fri, 15 Jan 2027 07:00:00 GMT")], &String::new(), LEAST_MS),
        // Nobody counts by more than a month.
        (vec![("retry-after", "99999999")], &String::new(), 2_678_400_000),
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
    let several = [
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T08:00:30.5Z"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "2027-01-15T09:01:30+01:00"),
    ];
    assert_eq!(kind(Provider::Anthropic, 429, &several, ""), limited(90_000));
    let short = openai("tokens", "rate_limit_exceeded", "Please try again in 20ms.");
    assert_eq!(kind(Provider::Openai, 429, &[], &short), limited(LEAST_MS));
    // Only a 429 is a limit; whoever else asks to wait uses up an attempt.
    let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]);
    assert_eq!(kind(Provider::Gemini, 503, &[], &gemini(503, "UNAVAILABLE", "busy", &info)), asked_to_wait(7_000));
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

#[test]
fn an_error_in_a_stream_has_the_status_that_it_has_elsewhere() {
    for (kinds, status) in [
        (&["overloaded_error"][..], 529),
        (&["rate_limit_error", "rate_limit_exceeded", "slow_down"], 429),
        (&["api_error", "server_error", "something_else", ""], 500),
        (&["server_is_overloaded"], 503),
        (&["timeout_error"], 504),
        (&["authentication_error", "invalid_api_key"], 401),
        (&["billing_error"], 402),
        (&["permission_error"], 403),
        (&["not_found_error", "model_not_found"], 404),
        (&["request_too_large"], 413),
        (&["invalid_request_error", "invalid_prompt", "invalid_image_url", "context_length_exceeded"], 400),
    ] {
        for kind in kinds {
            assert_eq!(status_of(&anthropic(kind, "m")), status, "{kind}");
            let flat = json!({"type": "error", "code": kind, "message": "m"});
            assert_eq!(status_of(&flat.to_string()), status, "{kind}");
        }
    }
    for (code, word) in
        [(429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE"), (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED")]
    {
        assert_eq!(status_of(&gemini(code, word, "m", &json!([]))), code);
        assert_eq!(status_of(&json!({"error": {"status": word, "message": "m"}}).to_string()), code);
    }
    // What is known of a code counts before what is known of a type.
    assert_eq!(status_of(&openai("invalid_request_error", "rate_limit_exceeded", "m")), 429);
    assert_eq!(status_of(&openai("invalid_request_error", "unheard_of", "m")), 400);
    for (body, status) in [
        (r#"{"error":{"code":"502","message":"m"}}"#, 502),
        (r#"{"error":{"code":200}}"#, 500),
        (r#"{"error":{"code":-1}}"#, 500),
        (r#"{"error":"no memory"}"#, 500),
        ("nonsense", 500),
        ("", 500),
    ] {
        assert_eq!(status_of(body), status, "{body}");
    }
    let headers = Headers::default();
    let body = anthropic("overloaded_error", "Overloaded");
    let error = Refusal {
        provider: Provider::Anthropic,
        status: 529,
        headers: &headers,
        body: &body,
        now_ms: NOW_MS,
        in_stream: true,
    }
    .error();
    assert_eq!(*error.kind(), ErrorKind::Plain);
    let said = "the anthropic endpoint broke off its answer with an error overloaded_error: Overloaded";
    assert_eq!(error.message(), said);
}
