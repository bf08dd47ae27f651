//! Tests of servers behind an address: both eras, what is sent, and what is known of a call that does not come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use abide_engine::{Error, ErrorKind, Parked};
use abide_llm::{Redactor, ToolCall, Tools as _};
use serde_json::{Value, json};

use crate::fixture::{FakeLauncher, Say, project};
use crate::fixture_http::{Does, Heard, Web, json, status, usual};
use crate::{Host, Limits, Protocol, Servers};

/// The server `far` at this address, with a key in its headers.
fn far(url: &str, protocol: Option<Protocol>) -> Servers {
    let declared = format!(
        r#"{{"mcpServers": {{"far": {{"type": "http", "url": "{url}", "headers": {{"Authorization": "Bearer ${{KEY}}"}}}}}}}}"#
    );
    let mut project = project(&declared, &[]);
    project.servers[0].protocol = protocol;
    let limits = Limits { frame_bytes: 4_000, ..Limits::default() };
    let launcher = FakeLauncher::new(&[]);
    let (vault, consent) = (Arc::new(crate::MemoryVault::default()), Arc::new(Say(true)));
    Servers::new(Host { launcher, consent, redactor: Redactor::default(), vault, limits }, project)
}

async fn call(servers: &Servers) -> Result<Value, Error> {
    let call = ToolCall { server: "far".into(), tool: "t".into(), arguments: json!({}) };
    servers.call(call, BTreeMap::new()).await
}

fn done(heard: &Heard) -> Does {
    let result = json!({"content": [{"type": "text", "text": "done"}], "resultType": "complete"});
    json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": result}))
}

#[tokio::test]
async fn both_eras_are_spoken_with_the_headers_and_one_can_be_chosen() {
    for (modern, protocol) in
        [(true, None), (false, None), (true, Some(Protocol::V2026_07_28)), (false, Some(Protocol::V2025_11_25))]
    {
        let web = Web::new(move |heard| usual(heard, modern).unwrap_or_else(|| done(heard))).await;
        let servers = far(&web.url, protocol);
        assert_eq!(servers.discover(vec!["far".into()]).await.unwrap()[0].name, "far_t");
        assert_eq!(call(&servers).await.unwrap()["content"][0]["text"], "done");
        servers.shutdown().await;
        let heard = web.heard();
        assert!(heard.iter().all(|one| one.headers["authorization"] == "Bearer sk-0123456789"), "{heard:?}");
        let methods: Vec<_> = heard.iter().filter_map(|one| one.body["method"].as_str()).collect();
        assert_eq!(methods.contains(&"initialize"), !modern, "{methods:?}");
        assert_eq!(methods.contains(&"server/discover"), protocol != Some(Protocol::V2025_11_25), "{methods:?}");
        let call = heard.iter().find(|one| one.body["method"] == "tools/call").unwrap();
        let session = call.headers.get("mcp-session-id").map(String::as_str);
        assert_eq!(session, (!modern).then_some("session-1"));
        assert_eq!(heard.iter().any(|one| one.method == "DELETE"), !modern, "the session is given back");
        let said = if modern { "2026-07-28" } else { "2025-11-25" };
        assert_eq!(call.headers["mcp-protocol-version"], said);
    }
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_in_doubt() {
    type Cut = fn(&Heard) -> Does;
    let cuts: [(&str, Cut); 3] = [
        ("no answer", |_| Does::HangsUp),
        ("half a stream", |_| {
            Does::Breaks(vec![
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#.into(),
            ])
        }),
        ("bad gateway", |_| status(502)),
    ];
    for modern in [true, false] {
        for (name, cut) in cuts {
            let web = Web::new(move |heard| usual(heard, modern).unwrap_or_else(|| cut(heard))).await;
            let error = call(&far(&web.url, None)).await.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::InDoubt, "{name}, {modern}: {error}");
            let calls = web.heard().iter().filter(|one| one.body["method"] == "tools/call").count();
            assert_eq!(calls, 1, "{name}: it is not repeated");
        }
    }
}

#[tokio::test]
async fn what_certainly_was_not_taken_did_not_happen() {
    for code in [429, 503] {
        let web = Web::new(move |heard| usual(heard, true).unwrap_or_else(|| status(code))).await;
        let error = call(&far(&web.url, None)).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::DidNotHappen, "{code}: {error}");
    }
    let web = Web::new(|heard| usual(heard, true).unwrap_or_else(|| done(heard))).await;
    let servers = far(&web.url, None);
    assert!(call(&servers).await.is_ok());
    web.stop();
    // The connection may be noticed to be gone before a request, or in the middle of one.
    let error = call(&servers).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DidNotHappen | ErrorKind::InDoubt | ErrorKind::Environment), "{error}");
    let error = call(&servers).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DidNotHappen | ErrorKind::Environment), "{error}");
}

#[tokio::test]
async fn a_session_that_has_ended_is_begun_anew_and_the_model_can_see_it() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let web = Web::new(move |heard| {
        usual(heard, false).unwrap_or_else(|| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 => status(404),
            _ => done(heard),
        })
    })
    .await;
    let servers = far(&web.url, None);
    let session = |result: &Value| result["_meta"]["io.abide/session"].clone();
    let first = session(&call(&servers).await.unwrap());
    assert_eq!(*call(&servers).await.unwrap_err().kind(), ErrorKind::DidNotHappen);
    assert_ne!(session(&call(&servers).await.unwrap()), first);
    assert_eq!(servers.generation("far"), 2);
}

#[tokio::test]
async fn a_server_that_does_not_let_abide_in_parks_for_credentials() {
    for code in [401, 403] {
        let shut = Web::new(move |_| status(code)).await;
        let later = Web::new(move |heard| usual(heard, true).unwrap_or_else(|| status(code))).await;
        for web in [shut, later] {
            let error = call(&far(&web.url, None)).await.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials), "{error}");
            assert!(error.message().contains("`far`") && error.message().contains("`headers`"), "{error}");
            assert!(!error.message().contains("sk-0123456789"), "{error}");
        }
    }
}

#[tokio::test]
async fn nothing_goes_to_where_a_server_redirects_elsewhere() {
    let other = Web::new(|heard| usual(heard, true).unwrap_or_else(|| done(heard))).await;
    let elsewhere = other.url.clone();
    let web = Web::new(move |_| Does::Answer(307, vec![("location", elsewhere.clone())], String::new())).await;
    let error = call(&far(&web.url, None)).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment, "{error}");
    assert!(other.heard().is_empty(), "{:?}", other.heard());
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_broken_is_told_and_the_next_one_is_read() {
    let long = |heard: &Heard| {
        let result = json!({"content": [{"type": "text", "text": "x".repeat(9_000)}], "resultType": "complete"});
        Does::Breaks(vec![json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": result}).to_string()])
    };
    let broken =
        |_: &Heard| Does::Answer(200, vec![("content-type", "application/json".into())], "{\"jsonrpc\"".into());
    for (makes_long, expected) in [(true, "limit of 4000 bytes"), (false, "not a message in JSON")] {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let web = Web::new(move |heard| {
            usual(heard, true).unwrap_or_else(|| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 if makes_long => long(heard),
                0 => broken(heard),
                _ => done(heard),
            })
        })
        .await;
        let servers = far(&web.url, None);
        let told = call(&servers).await.unwrap();
        assert_eq!(told["isError"], true);
        assert!(told["content"][0]["text"].as_str().unwrap().contains(expected), "{told}");
        assert_eq!(call(&servers).await.unwrap()["content"][0]["text"], "done");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_address() {
    let error = call(&far("http://127.0.0.1:9/mcp", None)).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("http://127.0.0.1:9/mcp") && error.message().contains("`far`"), "{error}");
}
