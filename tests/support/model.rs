//! A model on loopback that speaks OpenAI's wire and answers what a script says. It counts every request, so that a test can
//! prove what was not sent again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// How long anything is waited for before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Debug, Clone)]
pub enum Say {
    /// A last answer.
    Text(&'static str),
    /// Calls of tools, side by side.
    Calls(Vec<(&'static str, Value)>),
    /// A refusal.
    Status(u16, Value, Vec<(&'static str, &'static str)>),
    /// A body as it is, in whatever wire.
    Body(Value),
    /// Something that is no reply.
    Garbage(&'static str),
    /// Nothing, until the test opens the gate; then the text.
    Held(&'static str),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub body: Value,
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    open: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running model. It ends with the test's process.
pub struct Model {
    pub base_url: String,
    shared: Arc<Shared>,
}

impl Model {
    /// Answers the n-th request (from 0) with what `script` says for it and its request.
    pub fn new(script: impl Fn(usize, &Asked) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let (script, accepted) = (Arc::new(script), shared.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, shared) = (script.clone(), accepted.clone());
                std::thread::spawn(move || serve(stream, &*script, &shared));
            }
        });
        Self { base_url, shared }
    }

    /// Answers by the number of the conversation's turn: how often the model has answered before in this request.
    pub fn by_turn(turns: Vec<Say>) -> Self {
        Self::new(move |_, asked| {
            let turn = asked.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
            turns.get(turn).unwrap_or_else(|| panic!("no answer for turn {turn}")).clone()
        })
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    pub fn count(&self) -> usize {
        self.asked().len()
    }

    /// Waits until there were that many requests.
    pub fn wait_for(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let few = |state: &mut State| state.asked.len() < count;
        let (state, timeout) = self.shared.changed.wait_timeout_while(state, PATIENCE, few).unwrap();
        assert!(!timeout.timed_out(), "only {} of {count} requests came", state.asked.len());
    }

    /// Lets held answers go.
    pub fn open_gate(&self) {
        self.shared.state.lock().unwrap().open = true;
        self.shared.changed.notify_all();
    }
}

fn serve(stream: TcpStream, script: &dyn Fn(usize, &Asked) -> Say, shared: &Shared) {
    let Some(asked) = read(&stream) else { return };
    let n = {
        let mut state = shared.state.lock().unwrap();
        state.asked.push(asked.clone());
        shared.changed.notify_all();
        state.asked.len() - 1
    };
    let (status, headers, body) = match script(n, &asked) {
        Say::Text(text) => (200, vec![], reply(json!({"role": "assistant", "content": text}), "stop")),
        Say::Calls(calls) => (200, vec![], reply(message(n, &calls), "tool_calls")),
        Say::Status(status, body, headers) => (status, headers, body.to_string()),
        Say::Body(body) => (200, vec![], body.to_string()),
        Say::Garbage(text) => (200, vec![], text.to_owned()),
        Say::Held(text) => {
            let state = shared.state.lock().unwrap();
            drop(shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.open).unwrap());
            (200, vec![], reply(json!({"role": "assistant", "content": text}), "stop"))
        }
    };
    let mut out = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    // Whoever asked may have been killed meanwhile.
    let _ = (&stream).write_all(out.as_bytes());
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { body: serde_json::from_slice(&body).ok()?, headers })
}

fn message(n: usize, calls: &[(&str, Value)]) -> Value {
    let call = |(i, (name, arguments)): (usize, &(&str, Value))| {
        json!({"id": format!("c{n}-{i}"), "type": "function",
            "function": {"name": name, "arguments": arguments.to_string()}})
    };
    json!({"role": "assistant", "content": null, "tool_calls": calls.iter().enumerate().map(call).collect::<Vec<_>>()})
}

fn reply(message: Value, finish: &str) -> String {
    json!({"id": "r", "object": "chat.completion", "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}})
    .to_string()
}
