//! A small MCP client over HTTP, without any library that the server has: one connection a request, and every header in the test's
//! hands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::model::PATIENCE;

/// An answer whose body is read as it comes.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    reader: BufReader<TcpStream>,
    chunked: bool,
    ahead: Vec<u8>,
}

/// Sends one request. A header that is named again takes the place of the usual one; one without a value is left out.
pub fn send(address: &str, method: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = vec![
        ("Host", address.to_owned()),
        ("Accept", "application/json, text/event-stream".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("Connection", "close".to_owned()),
    ];
    for (name, value) in headers {
        all.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            all.push((name, (*value).to_owned()));
        }
    }
    let lines: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} /mcp HTTP/1.1\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    // A server that refuses the head does not read the body.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    Answer::read(stream)
}

impl Answer {
    fn read(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
        Self { status, headers, reader, chunked, ahead: Vec::new() }
    }

    /// More of the body. None at its end, or when the connection breaks.
    fn more(&mut self) -> Option<Vec<u8>> {
        if !self.chunked {
            let mut rest = Vec::new();
            let _ = self.reader.read_to_end(&mut rest);
            return Some(rest).filter(|rest| !rest.is_empty());
        }
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok().filter(|size| *size > 0)?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        Some(chunk)
    }

    /// The next message: the next event of a stream, or the document.
    pub fn next(&mut self) -> Option<Value> {
        let events = self.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        loop {
            let text = String::from_utf8(self.ahead.clone()).unwrap();
            if let Some((event, rest)) = text.split_once("\n\n").filter(|_| events) {
                self.ahead = rest.as_bytes().to_vec();
                match event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    Some(data) => return Some(serde_json::from_str(data).unwrap()),
                    None => continue,
                }
            }
            match self.more() {
                Some(more) => self.ahead.extend(more),
                None if events || self.ahead.is_empty() => return None,
                None => return serde_json::from_slice(&std::mem::take(&mut self.ahead)).ok(),
            }
        }
    }

    /// All messages.
    pub fn all(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A client of 2026-07-28.
#[derive(Clone)]
pub struct Modern {
    pub address: String,
    pub capabilities: Value,
    pub token: String,
}

pub const TASKS: &str = "io.modelcontextprotocol/tasks";

impl Modern {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), capabilities: json!({}), token: String::new() }
    }

    pub fn with(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Comes back for results.
    pub fn with_tasks(self) -> Self {
        self.with(json!({"extensions": {TASKS: {}}}))
    }

    pub fn send(&self, method: &str, params: &Value) -> Answer {
        let mut params = params.clone();
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self.capabilities});
        match params.get_mut("_meta").and_then(Value::as_object_mut) {
            Some(own) => own.extend(meta.as_object().cloned().unwrap()),
            None => params["_meta"] = meta,
        }
        let name = ["name", "uri", "taskId"].iter().find_map(|key| params.get(*key)?.as_str()).unwrap_or_default();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let token = if self.token.is_empty() { String::new() } else { format!("Bearer {}", self.token) };
        let headers = [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", method),
            ("Mcp-Name", name),
            ("Authorization", &token),
        ];
        send(&self.address, "POST", &headers, &body)
    }

    /// The answer: a message with a result or an error.
    pub fn ask(&self, method: &str, params: &Value) -> Value {
        self.send(method, params).all().pop().expect("an answer")
    }

    pub fn result(&self, method: &str, params: &Value) -> Value {
        let answer = self.ask(method, params);
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// Looks at it until it is as wanted.
    pub fn task_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = std::time::Instant::now();
        loop {
            let task = self.result("tasks/get", &json!({ "taskId": id }));
            if wanted(&task) {
                return task;
            }
            assert!(since.elapsed() < PATIENCE, "it never came to that: {task}");
            // The server counts how often it is asked.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A client of 2025-11-25, in a session.
#[derive(Clone)]
pub struct Legacy {
    pub address: String,
    pub session: String,
}

impl Legacy {
    pub fn new(address: &str, capabilities: &Value) -> Self {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        let answer = send(address, "POST", &[], &body);
        let session = answer.headers["mcp-session-id"].clone();
        let said = answer.all().pop().unwrap();
        assert_eq!(said["result"]["protocolVersion"], "2025-11-25", "{said}");
        let client = Self { address: address.to_owned(), session };
        assert_eq!(client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).status, 202);
        client
    }

    pub fn post(&self, message: &Value) -> Answer {
        let headers = [("Mcp-Session-Id", &*self.session), ("MCP-Protocol-Version", "2025-11-25")];
        send(&self.address, "POST", &headers, &message.to_string())
    }

    pub fn send(&self, method: &str, params: &Value) -> Answer {
        self.post(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
    }

    pub fn result(&self, method: &str, params: &Value) -> Value {
        let answer = self.send(method, params).all().pop().expect("an answer");
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }
}
