//! Tests of tokens without a person, and of authorization servers that are not what they should be. The login of a person is tried
//! through the binary, in tests/cli/login.rs, and by the protocol's own suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use abide_engine::{Error, ErrorKind, Parked};
use abide_llm::{SecretRef, ToolCall, Tools as _};
use rmcp::transport::auth::{OAuthTokenResponse, StoredCredentials};
use serde_json::{Value, json};

use super::record::{Client, Record};
use super::{Grant, OAuth, Settings, checks, keeper};
use crate::fixture::{FakeLauncher, host, project};
use crate::fixture_http::{Does, Heard, Web, json, status, usual};
use crate::{MemoryVault, Servers};

/// What stands in for the two servers in the answers of a script; both are the fixture.
const HERE: &str = "HERE";

/// Both servers in one: `script` answers first, and whoever shows a token of `T` and a number, or no token where `open`, is let in.
async fn both(open: bool, script: impl Fn(&Heard) -> Option<Does> + Send + Sync + 'static) -> Web {
    Web::new(move |heard| {
        let here = format!("http://{}", heard.headers["host"]);
        let does = script(heard).or_else(|| documents(heard)).unwrap_or_else(|| {
            let shown = heard.headers.get("authorization").map(String::as_str).unwrap_or_default();
            if open || shown.starts_with("Bearer T") {
                usual(heard, true).unwrap_or_else(|| done(heard))
            } else {
                turned_away(401, "Bearer")
            }
        });
        match does {
            Does::Answer(status, headers, body) => {
                let headers = headers.into_iter().map(|(name, value)| (name, value.replace(HERE, &here))).collect();
                Does::Answer(status, headers, body.replace(HERE, &here))
            }
            other => other,
        }
    })
    .await
}

fn documents(heard: &Heard) -> Option<Does> {
    match heard.path.as_str() {
        "/.well-known/oauth-protected-resource/mcp" => {
            Some(json(&json!({"resource": format!("{HERE}/mcp"), "authorization_servers": [HERE]})))
        }
        "/.well-known/oauth-authorization-server" => Some(json(&metadata())),
        path if path.starts_with("/.well-known/") => Some(status(404)),
        _ => None,
    }
}

fn metadata() -> Value {
    json!({"issuer": HERE, "authorization_endpoint": format!("{HERE}/authorize"), "token_endpoint": format!("{HERE}/token"),
        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["client_secret_post"]})
}

fn turned_away(status: u16, challenge: &str) -> Does {
    Does::Answer(status, vec![("www-authenticate", challenge.to_owned())], String::new())
}

fn done(heard: &Heard) -> Does {
    let result = json!({"content": [{"type": "text", "text": "done"}], "resultType": "complete"});
    json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": result}))
}

fn token(name: &str) -> Does {
    json(&json!({"access_token": name, "token_type": "Bearer", "expires_in": 3600}))
}

fn far(url: &str, oauth: OAuth, vault: &MemoryVault) -> Servers {
    let declared = format!(r#"{{"mcpServers": {{"far": {{"type": "http", "url": "{url}"}}}}}}"#);
    let mut project = project(&declared, &[]);
    project.servers[0].oauth = Some(oauth);
    let host = crate::Host { vault: Arc::new(vault.clone()), ..host(&FakeLauncher::new(&[])) };
    Servers::new(host, project)
}

fn alone() -> OAuth {
    OAuth {
        grant: Grant::ClientCredentials,
        client_id: Some("me".to_owned()),
        client_secret: Some(SecretRef::Template("a secret of mine".to_owned())),
        ..OAuth::default()
    }
}

async fn call(servers: &Servers) -> Result<Value, Error> {
    let call = ToolCall { server: "far".into(), tool: "t".into(), arguments: json!({}) };
    servers.call(call, BTreeMap::new()).await
}

fn credentials(error: &Error) -> bool {
    *error.kind() == ErrorKind::Park(Parked::Credentials)
}

#[tokio::test]
async fn a_client_gets_its_token_by_itself_and_asks_for_more_when_told() {
    let (given, vault) = (Arc::new(AtomicUsize::new(0)), MemoryVault::default());
    let count = Arc::clone(&given);
    let web = both(false, move |heard| match heard.path.as_str() {
        "/token" => Some(token(&format!("T{}", count.fetch_add(1, Ordering::SeqCst)))),
        _ if heard.body["method"] == "tools/call" && heard.headers["authorization"] == "Bearer T0" => {
            Some(turned_away(403, r#"Bearer error="insufficient_scope", scope="write""#))
        }
        _ => None,
    })
    .await;
    let servers = far(&web.url, alone(), &vault);
    assert_eq!(call(&servers).await.unwrap()["content"][0]["text"], "done");
    let asked: Vec<String> =
        web.heard().into_iter().filter(|heard| heard.path == "/token").map(|heard| heard.text).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let resource = web.url.replace(':', "%3A").replace('/', "%2F");
    for form in &asked {
        for part in ["grant_type=client_credentials", "client_secret=a+secret+of+mine", &format!("resource={resource}")]
        {
            assert!(form.contains(part), "{part} in {form}");
        }
    }
    assert!(!asked[0].contains("scope=") && asked[1].contains("scope=write"), "{asked:?}");
    // The token is kept: another process needs no other.
    call(&far(&web.url, alone(), &vault)).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_always_wants_more_or_always_turns_away_is_not_asked_forever() {
    for (what, challenge) in
        [(403, r#"Bearer error="insufficient_scope", scope="SCOPE""#), (403, "Bearer"), (401, "Bearer")]
    {
        for more in [false, true] {
            let given = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&given);
            let web = both(false, move |heard| match heard.path.as_str() {
                "/token" => Some(token(&format!("T{}", count.fetch_add(1, Ordering::SeqCst)))),
                _ if heard.body["method"] == "tools/call" => {
                    let shown = heard.headers["authorization"].trim_start_matches("Bearer ").to_owned();
                    Some(turned_away(what, &challenge.replace("SCOPE", if more { &shown } else { "write" })))
                }
                _ => None,
            })
            .await;
            let error = call(&far(&web.url, alone(), &MemoryVault::default())).await.unwrap_err();
            assert!(credentials(&error), "{error}");
            assert!(given.load(Ordering::SeqCst) <= 3, "{what} {challenge} {more}: {given:?}");
        }
    }
}

#[tokio::test]
async fn what_was_declared_for_one_authorization_server_is_not_told_another() {
    let vault = MemoryVault::default();
    let moved = Arc::new(Mutex::new(None::<String>));
    let (to, other) = (Arc::clone(&moved), both(true, |_| Some(token("T-evil"))).await);
    let web = both(false, move |heard| match heard.path.as_str() {
        "/token" => Some(token("T0")),
        "/.well-known/oauth-protected-resource/mcp" => to
            .lock()
            .unwrap()
            .clone()
            .map(|to| json(&json!({"resource": format!("{HERE}/mcp"), "authorization_servers": [to]}))),
        _ if heard.headers.contains_key("authorization") && to.lock().unwrap().is_some() => {
            Some(turned_away(401, "Bearer"))
        }
        _ => None,
    })
    .await;
    call(&far(&web.url, alone(), &vault)).await.unwrap();
    let evil = both(true, |heard| (heard.path == "/token").then(|| token("T-evil"))).await;
    drop(other);
    *moved.lock().unwrap() = Some(evil.url.trim_end_matches("/mcp").to_owned());
    let error = call(&far(&web.url, alone(), &vault)).await.unwrap_err();
    assert!(credentials(&error) && error.message().contains("is not told"), "{error}");
    assert!(evil.heard().iter().all(|heard| heard.path != "/token"));
    let pinned = OAuth { issuer: Some("https://login.example".to_owned()), ..alone() };
    let error = call(&far(&web.url, pinned, &MemoryVault::default())).await.unwrap_err();
    assert!(error.message().contains("https://login.example is declared"), "{error}");
}

#[tokio::test]
async fn an_authorization_server_inside_somebodys_network_is_not_called() {
    for evil in [
        "http://169.254.169.254",
        "http://2852039166",
        "http://0xA9FEA9FE/x",
        "http://10.0.0.1",
        "http://metadata.google.internal",
    ] {
        let web = both(false, move |heard| {
            (heard.path == "/.well-known/oauth-protected-resource/mcp")
                .then(|| json(&json!({"resource": format!("{HERE}/mcp"), "authorization_servers": [evil]})))
        })
        .await;
        let servers = far(&web.url, OAuth::default(), &MemoryVault::default());
        let error = servers.login("far").unwrap().begin("http://127.0.0.1:1/callback").await.unwrap_err();
        assert!(error.message().contains("none published usable metadata"), "{evil}: {error}");
    }
    let elsewhere = both(true, |_| None).await;
    let led = format!("{}/.well-known/x", elsewhere.url);
    let web = both(false, move |heard| {
        (heard.path == "/.well-known/oauth-protected-resource/mcp")
            .then(|| Does::Answer(302, vec![("location", led.clone())], String::new()))
    })
    .await;
    let servers = far(&web.url, OAuth::default(), &MemoryVault::default());
    servers.login("far").unwrap().begin("http://127.0.0.1:1/callback").await.unwrap_err();
    assert!(elsewhere.heard().is_empty(), "no redirect leads elsewhere");
}

#[tokio::test]
async fn what_cannot_be_renewed_now_is_kept_and_what_is_refused_is_not() {
    for (answer, body, kept) in [(503, "", true), (400, r#"{"error": "invalid_grant"}"#, false)] {
        let vault = MemoryVault::default();
        let web =
            both(false, move |heard| (heard.path == "/token").then(|| Does::Answer(answer, vec![], body.to_owned())))
                .await;
        let issuer = web.url.trim_end_matches("/mcp").to_owned();
        let keeper = keeper::Keeper::new(
            "far",
            &web.url,
            Settings::default(),
            Arc::new(vault.clone()),
            abide_llm::Redactor::default(),
        );
        let response: OAuthTokenResponse = serde_json::from_value(
            json!({"access_token": "old", "token_type": "Bearer", "refresh_token": "spare", "expires_in": 3600}),
        )
        .unwrap();
        let tokens = StoredCredentials::new("me".into(), Some(response), vec![], Some(checks::now_s()));
        let client = Client {
            issuer,
            id: "me".into(),
            secret: None,
            redirect_uri: "http://127.0.0.1:1/".into(),
            registered: true,
        };
        keeper.save(&Record { client: Some(client), tokens: Some(tokens), ..Record::default() }).unwrap();
        let error = call(&far(&web.url, OAuth::default(), &vault)).await.unwrap_err();
        assert_eq!(credentials(&error), !kept, "{error}");
        assert_eq!(keeper.load().unwrap().refresh_token(), kept.then_some("spare"), "{answer}");
    }
}

#[tokio::test]
async fn there_is_no_login_where_there_is_nothing_to_log_in_to() {
    let vault = MemoryVault::default();
    for (url, why) in [("http://far.example/mcp", "plain http"), ("ftp://far/mcp", "no http")] {
        let error = far(url, OAuth::default(), &vault).login("far").err().unwrap();
        assert!(error.message().contains(why), "{error}");
    }
    let web = both(false, |heard| heard.path.starts_with("/.well-known/").then(|| status(404))).await;
    let login = far(&web.url, OAuth::default(), &vault).login("far").unwrap();
    assert!(
        login.waiting().unwrap().is_none() && !login.is_answer("http://127.0.0.1:1/callback?code=c&state=s").unwrap()
    );
    let error = login.begin("http://127.0.0.1:1/callback").await.unwrap_err();
    assert!(error.message().contains("publishes no authorization server"), "{error}");
    assert!(login.finish("http://127.0.0.1:1/callback?code=c&state=s").await.is_err());
    assert!(!login.forget().await.unwrap());
}
