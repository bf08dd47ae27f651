//! Tests of `http`: clients that take their time, over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};

use abide_llm::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::*;
use crate::serve::{About, Call, Caller, Offer, Reply, Seal, Tool};

/// The answers are large.
struct Large;

impl Offer for Large {
    fn about(&self) -> About {
        About { instructions: Some("x".repeat(1 << 20)), ..About::default() }
    }

    fn tools(&self) -> BoxFuture<Vec<Tool>> {
        Box::pin(async { Vec::new() })
    }

    fn tool(&self, _name: &str) -> BoxFuture<Option<Tool>> {
        Box::pin(async { None })
    }

    fn call(&self, _call: Call, _caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        Box::pin(async { Err(Refusal::internal("there is no tool")) })
    }
}

async fn serving(gate: Gate) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Arc::new(Large), Arc::new(Seal::new([5; 32])));
    (address, tokio::spawn(listen(server, listener, gate)).abort_handle())
}

fn gate() -> Gate {
    Gate::new(Ipv4Addr::LOCALHOST.into()).patience(Duration::from_millis(100))
}

fn request(host: &str) -> String {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: server/discover\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the server says until it closes the connection, which it must.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let all = async { while stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("it is kept open");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn whoever_takes_too_long_loses_the_place() {
    let (address, serving) = serving(gate()).await;
    let whole = request("localhost");
    let half = whole.strip_suffix('}').unwrap();
    for (sent, answered) in [("", ""), ("POST /mcp HT", ""), (half, "HTTP/1.1 408"), (&*whole, "HTTP/1.1 200")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = until_closed(&mut stream).await;
        assert!(said.starts_with(answered) && said.is_empty() == answered.is_empty(), "{sent:?}: {said:.200}");
    }
    serving.abort();
}

#[tokio::test]
async fn whoever_does_not_read_loses_the_place() {
    let (address, serving) = serving(gate()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = request("localhost");
    // Answers of more than the system holds for it; once it is closed nothing more can be written.
    let asking = async { while stream.write_all(text.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it is kept open");
    serving.abort();
}

#[tokio::test]
async fn whoever_may_not_come_in_keeps_no_place() {
    let (address, serving) = serving(gate().patience(Duration::from_secs(600))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request("evil.example").as_bytes()).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 403"));
    serving.abort();
}
