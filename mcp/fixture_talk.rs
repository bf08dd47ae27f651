//! A server in memory that says what a test tells it to: for conversations in which the server asks, waits or changes its
//! mind. For tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::sync::{Arc, Mutex};

use abide_llm::Redactor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{broadcast, mpsc};

use crate::fixture::{Say, project};
use crate::{Host, KillGroup, LaunchSpec, Launched, Launcher, Limits, Rules, Servers, ToolRule};

/// What a server says to a message, beside the opening and its list of tools.
type Script = dyn Fn(&Value) -> Vec<Value> + Send + Sync;

/// A server that talks.
pub(crate) struct Talker {
    modern: bool,
    tools: Mutex<Value>,
    script: Box<Script>,
    /// What the test lets it say by itself.
    own: Mutex<Option<mpsc::UnboundedSender<Value>>>,
    heard: broadcast::Sender<Value>,
}

impl Talker {
    /// Speaks 2026-07-28 or 2025-11-25, has these tools, and answers by the script.
    pub(crate) fn new(
        modern: bool,
        tools: Value,
        script: impl Fn(&Value) -> Vec<Value> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (heard, _) = broadcast::channel(1_000);
        let (tools, script) = (Mutex::new(tools), Box::new(script));
        Arc::new(Self { modern, tools, script, own: Mutex::default(), heard })
    }

    /// Every message that it hears from now on.
    pub(crate) fn heard(&self) -> broadcast::Receiver<Value> {
        self.heard.subscribe()
    }

    /// Says something unasked.
    pub(crate) fn say(&self, message: Value) {
        self.own.lock().unwrap().as_ref().unwrap().send(message).unwrap();
    }

    /// Has other tools from now on.
    pub(crate) fn offer(&self, tools: Value) {
        *self.tools.lock().unwrap() = tools;
    }

    fn answer(&self, message: &Value) -> Vec<Value> {
        let capabilities = json!({"tools": {"listChanged": !self.modern}, "resources": {}});
        let info = json!({"name": "talker", "version": "1"});
        match message["method"].as_str() {
            Some("server/discover") if self.modern => vec![result(
                message,
                &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities,
                    "serverInfo": info, "ttlMs": 0, "cacheScope": "private"}),
            )],
            Some("server/discover") => vec![error(message, -32_601, "unknown")],
            Some("initialize") => vec![result(
                message,
                &json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}),
            )],
            Some("tools/list") => vec![result(message, &json!({"tools": *self.tools.lock().unwrap()}))],
            _ => (self.script)(message),
        }
    }
}

/// The result of a request.
pub(crate) fn result(request: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
}

/// The refusal of a request.
pub(crate) fn error(request: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})
}

/// A result of a tool.
pub(crate) fn text(request: &Value, text: &str) -> Value {
    result(request, &json!({"content": [{"type": "text", "text": text}]}))
}

/// A tool of this name.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}})
}

pub(crate) struct Memory(Arc<Talker>);

struct Nothing;

impl KillGroup for Nothing {
    fn kill_group(&mut self) {}
}

impl Launcher for Memory {
    fn launch(&self, _spec: LaunchSpec) -> io::Result<Launched> {
        let ((stdin, input), (mut output, stdout)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        let (sender, mut own) = mpsc::unbounded_channel();
        *self.0.own.lock().unwrap() = Some(sender);
        let talker = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut lines = BufReader::new(input).lines();
            loop {
                let said = tokio::select! {
                    line = lines.next_line() => {
                        let Ok(Some(line)) = line else { return };
                        let message: Value = serde_json::from_str(&line).unwrap();
                        let said = talker.answer(&message);
                        let _ = talker.heard.send(message);
                        said
                    }
                    Some(message) = own.recv() => vec![message],
                };
                for message in said {
                    if output.write_all(format!("{message}\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
        let stderr = Box::new(tokio::io::empty());
        Ok(Launched { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr, kill: Box::new(Nothing) })
    }
}

/// Starts the talker.
pub(crate) fn launcher(talker: &Arc<Talker>) -> Memory {
    Memory(Arc::clone(talker))
}

/// The talker as the server `fix`, with a rule for all of its tools.
pub(crate) fn servers(talker: &Arc<Talker>, rule: Option<ToolRule>) -> Servers {
    let host = Host {
        launcher: Arc::new(launcher(talker)),
        consent: Arc::new(Say(true)),
        redactor: Redactor::default(),
        vault: Arc::new(crate::MemoryVault::default()),
        limits: Limits::default(),
    };
    let rules = Rules::new(rule).unwrap();
    let mut project = project(crate::fixture::DECLARED, &[]);
    // It asks for roots, and is one of those that may know them.
    project.servers.iter_mut().for_each(|server| server.roots = true);
    Servers::new(host, crate::Project { rules, ..project })
}

/// The next message of this method.
pub(crate) async fn next(heard: &mut broadcast::Receiver<Value>, method: &str) -> Value {
    loop {
        let message = heard.recv().await.unwrap();
        if message["method"] == method {
            return message;
        }
    }
}
