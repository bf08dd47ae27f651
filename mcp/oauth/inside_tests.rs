//! Tests of where a server may send abide to look for its authorization server: never into the network that abide stands in. What
//! must not be called really listens here, and hears of it if it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::net::TcpListener;

use super::{Settings, keeper};
use crate::MemoryVault;
use crate::fixture_http::{Does, Web, json, status};

/// Listens on every address of this machine; the port, and how often somebody came.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = match TcpListener::bind("[::]:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
    };
    let (port, came) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&came);
    tokio::spawn(
        async move { while listener.accept().await.is_ok_and(|_| count.fetch_add(1, Ordering::SeqCst) < 99) {} },
    );
    (port, came)
}

fn keeper(url: &str) -> keeper::Keeper {
    let redactor = abide_llm::Redactor::default();
    keeper::Keeper::new("far", url, Settings::default(), Arc::new(MemoryVault::default()), redactor)
}

/// Ways to name this machine, and one the name of which is in nobody's list: this machine's own, where it has one.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "localhost",
        "localhost.",
        "LOCALHOST",
    ]
    .map(str::to_owned)
    .into();
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    names.extend([own.trim().to_owned(), "ip6-localhost".to_owned()].into_iter().filter(|name| {
        !name.is_empty() && (name.as_str(), 1).to_socket_addrs().is_ok_and(|mut all| all.next().is_some())
    }));
    names
}

/// A server whose documents send to `elsewhere`.
async fn sends_to(elsewhere: String) -> Web {
    Web::new(move |heard| match heard.path.as_str() {
        "/.well-known/oauth-protected-resource/mcp" => json(
            &json!({"resource": format!("http://{}/mcp", heard.headers["host"]), "authorization_servers": [elsewhere]}),
        ),
        "/redirect" => Does::Answer(302, vec![("location", elsewhere.clone())], String::new()),
        _ => status(404),
    })
    .await
}

// On Windows nothing can be reached at 0.0.0.0, by which the server of the test is not one of this machine.
#[cfg(unix)]
#[tokio::test]
async fn no_document_and_no_challenge_leads_into_the_network_of_abide() {
    let (port, came) = trap().await;
    for name in names() {
        let inside = format!("http://{name}:{port}");
        let web = sends_to(inside.clone()).await;
        let url = web.url.replace("127.0.0.1", "0.0.0.0");
        let here = url.trim_end_matches("/mcp");
        for challenge in [
            None,
            Some(format!(r#"Bearer resource_metadata="{inside}/.well-known/oauth-protected-resource""#)),
            Some(format!(r#"Bearer resource_metadata="{here}/redirect""#)),
        ] {
            assert!(keeper(&url).discover(challenge.as_deref()).await.is_err(), "{name}");
            assert_eq!(came.load(Ordering::SeqCst), 0, "{name} {challenge:?}");
        }
    }
    // A server of this machine may name another one of it: the trap would have heard of the rest.
    let web = sends_to(format!("http://127.0.0.1:{port}")).await;
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(2), keeper(&web.url).discover(None)).await;
    assert!(waiting.is_err() || waiting.is_ok_and(|found| found.is_err()));
    assert!(came.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn what_holds_the_keys_of_a_cloud_is_not_named_by_any_spelling() {
    use rmcp::transport::auth::WWWAuthenticateParams;
    let base = reqwest::Url::parse("https://mcp.example/mcp").unwrap();
    for inside in [
        "169.254.169.254",
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "metadata.google.internal",
        "metadata.google.internal.",
        "100.100.100.200",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "0.0.0.0",
        "[::]",
    ] {
        for scheme in ["http", "https"] {
            let challenge = format!(r#"Bearer resource_metadata="{scheme}://{inside}/latest/meta-data""#);
            let said = WWWAuthenticateParams::parse(&challenge, &base);
            assert_eq!(said.resource_metadata_url, None, "{scheme}://{inside}");
        }
    }
    let said = WWWAuthenticateParams::parse(r#"Bearer resource_metadata="https://as.example/x""#, &base);
    assert!(said.resource_metadata_url.is_some());
}
