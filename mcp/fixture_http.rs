//! A small HTTP server that a test tells what to answer: for every way in which servers behind an address misbehave. For
//! tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request: its method, its path, its headers in lower case, and its body, as JSON where it is some.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    pub(crate) text: String,
}

/// What the server does with a request.
pub(crate) enum Does {
    /// Answers with this status, these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Begins a stream of events with these, then closes it.
    Breaks(Vec<String>),
    /// Closes the connection without an answer.
    HangsUp,
}

type Script = dyn Fn(&Heard) -> Does + Send + Sync;

pub(crate) struct Web {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    serving: AbortHandle,
}

impl Web {
    pub(crate) async fn new(script: impl Fn(&Heard) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (heard, script): (_, Arc<Script>) = (Arc::new(Mutex::new(Vec::new())), Arc::new(script));
        let kept = Arc::clone(&heard);
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&script), Arc::clone(&kept)));
            }
        });
        Self { url, heard, serving: serving.abort_handle() }
    }

    /// The requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Is gone: nobody listens at the address any more, and all connections are closed.
    pub(crate) fn stop(&self) {
        self.serving.abort();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, kept: Arc<Mutex<Vec<Heard>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(heard) = read(&mut stream).await {
        kept.lock().unwrap().push(heard.clone());
        let (status, headers, body) = match script(&heard) {
            Does::HangsUp => return,
            Does::Answer(status, headers, body) => (status, headers, body),
            Does::Breaks(events) => {
                let events: String =
                    events.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(format!("{head}{events}").as_bytes()).await;
                return;
            }
        };
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let text = String::from_utf8_lossy(&body).into_owned();
    Some(Heard { method, path, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

/// An answer in JSON.
pub(crate) fn json(body: &Value) -> Does {
    Does::Answer(200, vec![("content-type", "application/json".into())], body.to_string())
}

/// An answer that is none but a status.
pub(crate) fn status(status: u16) -> Does {
    Does::Answer(status, Vec::new(), String::new())
}

/// The opening and the list of one tool, in this era; `None` for everything else.
pub(crate) fn usual(heard: &Heard, modern: bool) -> Option<Does> {
    let capabilities = json!({"tools": {}});
    let info = json!({"name": "web", "version": "1"});
    let id = &heard.body["id"];
    let done = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    Some(match (heard.method.as_str(), heard.body["method"].as_str()) {
        ("GET" | "DELETE", _) => status(405),
        (_, Some("server/discover")) if modern => json(&done(json!({"resultType": "complete", "ttlMs": 0,
            "supportedVersions": ["2026-07-28"], "capabilities": capabilities, "serverInfo": info, "cacheScope": "private"}))),
        (_, Some("server/discover")) => status(400),
        (_, Some("initialize")) => {
            let body = done(json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}));
            let headers = vec![("content-type", "application/json".into()), ("mcp-session-id", "session-1".into())];
            Does::Answer(200, headers, body.to_string())
        }
        (_, Some(method)) if method.starts_with("notifications/") => status(202),
        (_, Some("tools/list")) => {
            json(&done(json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}], "ttlMs": 0,
                "cacheScope": "private", "resultType": "complete"})))
        }
        _ => return None,
    })
}
