//! A small MCP server in memory, and a launcher that "starts" it: every way in which real servers behave and misbehave,
//! without a process. For tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide_llm::{Redactor, Vars};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config_file::{literal_at, parse_servers};
use crate::{Consent, Host, KillGroup, LaunchSpec, Launched, Launcher, Limits, Project, Rules, ServerConfig, Servers};

/// How one start of the fixture behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Speaks 2026-07-28.
    Modern,
    /// Speaks 2025-11-25 and answers what it does not know with an error.
    Legacy,
    /// Like `Legacy`, but ends at a message that it does not expect.
    LegacyDiesAtDiscover,
    /// Like `Legacy`, but answers what it does not know with `{}`.
    LegacyAnswersAnything,
    /// Like `Legacy`, but takes 15 seconds to come up.
    LegacySlow,
    /// Like `Modern`, but takes 15 seconds to come up, and holds to the first of two openings.
    ModernSlow,
    /// Like `Legacy`, and prints what is not JSON-RPC all the time.
    Noisy,
    /// Writes on stderr and ends.
    DiesAtOnce,
    /// Never answers anything, and does not end when its input is closed.
    Hangs,
    /// Like `Legacy`, but closes its input once it is open, and stays.
    ClosesItsInput,
    /// The program is not there.
    NotFound,
}

#[derive(Default)]
pub(crate) struct FakeLauncher {
    script: Mutex<VecDeque<Behaviour>>,
    /// The environment of each start.
    pub(crate) launches: Mutex<Vec<BTreeMap<OsString, OsString>>>,
    pub(crate) kills: Arc<AtomicUsize>,
    received: Mutex<Option<mpsc::UnboundedSender<Value>>>,
}

impl FakeLauncher {
    /// Plays these, then the last one again and again.
    pub(crate) fn new(script: &[Behaviour]) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.iter().copied().collect()), ..Self::default() })
    }

    pub(crate) fn count(&self) -> usize {
        self.launches.lock().unwrap().len()
    }

    /// Every message that servers started from now on receive.
    pub(crate) fn received(&self) -> mpsc::UnboundedReceiver<Value> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.received.lock().unwrap() = Some(sender);
        receiver
    }
}

impl Launcher for FakeLauncher {
    fn launch(&self, spec: LaunchSpec) -> io::Result<Launched> {
        self.launches.lock().unwrap().push(spec.env);
        let mut script = self.script.lock().unwrap();
        let behaviour = if script.len() > 1 { script.pop_front() } else { script.front().copied() }.unwrap();
        if behaviour == Behaviour::NotFound {
            return Err(io::ErrorKind::NotFound.into());
        }
        let ((stdin, input), (output, stdout), (errors, stderr)) =
            (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        let server = FakeServer { behaviour, output, errors, received: self.received.lock().unwrap().clone() };
        let kill =
            FakeKill { process: Some(tokio::spawn(server.live(input)).abort_handle()), kills: Arc::clone(&self.kills) };
        Ok(Launched {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            kill: Box::new(kill),
        })
    }
}

struct FakeKill {
    process: Option<AbortHandle>,
    kills: Arc<AtomicUsize>,
}

impl KillGroup for FakeKill {
    fn kill_group(&mut self) {
        if let Some(process) = self.process.take().filter(|process| !process.is_finished()) {
            self.kills.fetch_add(1, Ordering::SeqCst);
            process.abort();
        }
    }
}

impl Drop for FakeKill {
    fn drop(&mut self) {
        self.kill_group();
    }
}

struct FakeServer {
    behaviour: Behaviour,
    output: DuplexStream,
    errors: DuplexStream,
    received: Option<mpsc::UnboundedSender<Value>>,
}

impl FakeServer {
    async fn live(mut self, input: DuplexStream) {
        if self.behaviour == Behaviour::DiesAtOnce {
            self.errors.write_all(b"cannot open sk-0123456789\nTraceback: no such folder\n").await.unwrap();
            return;
        }
        if matches!(self.behaviour, Behaviour::LegacySlow | Behaviour::ModernSlow) {
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        let mut lines = BufReader::new(input).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            if let Some(received) = &self.received {
                let _ = received.send(message.clone());
            }
            if self.behaviour == Behaviour::ClosesItsInput && message["method"] == "notifications/initialized" {
                drop(lines);
                return std::future::pending().await;
            }
            if self.behaviour == Behaviour::Noisy {
                let noise = b"Server ready!\n{\"level\":\"info\",\"msg\":\"not json-rpc\"}\n42\n\xFF\xFE\n{\"jsonrpc\":\"2.0\"}\n\n";
                self.output.write_all(noise).await.unwrap();
            }
            let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else { continue };
            let Some(answer) = self.answer(method, &message).await else {
                if self.behaviour == Behaviour::Hangs || message["params"]["name"] == "hang" {
                    continue;
                }
                return;
            };
            let mut reply = json!({"jsonrpc": "2.0", "id": id});
            match answer {
                Ok(result) => reply["result"] = result,
                Err(code) => reply["error"] = json!({"code": code, "message": format!("no {method}")}),
            }
            if self.output.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
                return;
            }
        }
        if self.behaviour == Behaviour::Hangs {
            std::future::pending::<()>().await;
        }
    }

    /// `None`: no answer to `hang`, and the end of the server to anything else.
    async fn answer(&mut self, method: &str, message: &Value) -> Option<Result<Value, i64>> {
        use Behaviour::{Hangs, LegacyAnswersAnything, LegacyDiesAtDiscover, Modern, ModernSlow};
        let capabilities = json!({"tools": {}});
        let info = json!({"name": "fixture", "version": "1"});
        Some(match (method, self.behaviour) {
            (_, Hangs) => return None,
            ("server/discover", Modern | ModernSlow) => {
                Ok(json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "serverInfo": info, "ttlMs": 0, "cacheScope": "private"}))
            }
            ("initialize", Modern) => Err(-32601),
            ("initialize", ModernSlow) => Err(-32022),
            ("initialize", _) => {
                Ok(json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}))
            }
            ("tools/list", _) => Ok(page(&message["params"]["cursor"])),
            ("tools/call", _) => return self.call(&message["params"]).await,
            (_, LegacyDiesAtDiscover) => return None,
            (_, LegacyAnswersAnything) => Ok(json!({})),
            _ => Err(-32601),
        })
    }

    async fn call(&mut self, params: &Value) -> Option<Result<Value, i64>> {
        let arguments = &params["arguments"];
        Some(match params["name"].as_str().unwrap() {
            "echo" => Ok(json!({"content": [{"type": "text", "text": arguments.to_string()}],
                "structuredContent": {"arguments": arguments, "meta": params["_meta"]}})),
            "big" => Ok(json!({"content": [{"type": "text", "text": "x".repeat(5_000)}]})),
            "die" => {
                self.errors.write_all(b"segmentation fault at sk-0123456789\n").await.unwrap();
                return None;
            }
            "hang" => return None,
            _ => Err(-32602),
        })
    }
}

fn page(cursor: &Value) -> Value {
    let tool = |name: &str, annotations: Value| {
        json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"},
            "annotations": annotations})
    };
    match cursor.as_str() {
        None => {
            json!({"tools": [tool("echo", json!({"readOnlyHint": true})), tool("big", json!({}))], "nextCursor": "2"})
        }
        // The same cursor again: a server whose list never ends.
        Some(_) => json!({"tools": [tool("die", json!({"idempotentHint": true}))], "nextCursor": "2"}),
    }
}

/// The variables and files of a test: `KEY` is a secret.
pub(crate) struct FakeVars(pub(crate) String);

impl Vars for FakeVars {
    fn var(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "sk-0123456789".to_owned())
    }

    fn file_value(&self, _file: &str, key: &str) -> Option<String> {
        literal_at(&self.0, key)
    }
}

pub(crate) struct Say(pub(crate) bool);

impl Consent for Say {
    fn granted(&self, _server: &ServerConfig) -> bool {
        self.0
    }
}

/// Two servers, `fix` and `other`, played by the launcher; `fix` has the secret `KEY` in its environment.
pub(crate) const DECLARED: &str = r#"{"mcpServers": {
    "fix": {"command": "fixture", "args": ["--serve", "a b"], "env": {"TOKEN": "${KEY}"}},
    "other": {"command": "fixture"}}}"#;

pub(crate) fn host(launcher: &Arc<FakeLauncher>) -> Host {
    let limits = Limits { result_bytes: 4_000, ..Limits::default() };
    let launcher: Arc<dyn Launcher> = launcher.clone();
    let vault = Arc::new(crate::MemoryVault::default());
    Host { launcher, consent: Arc::new(Say(true)), redactor: Redactor::default(), vault, limits }
}

pub(crate) fn project(declared: &str, trusted: &[&str]) -> Project {
    Project {
        root: "root".into(),
        servers: parse_servers(declared, ".mcp.json").unwrap(),
        rules: Rules::default(),
        trusted: trusted.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        sampling: BTreeMap::new(),
        vars: Arc::new(FakeVars(declared.to_owned())),
    }
}

/// The servers of a test, and what plays them.
pub(crate) fn servers(script: &[Behaviour]) -> (Servers, Arc<FakeLauncher>) {
    let launcher = FakeLauncher::new(script);
    (Servers::new(host(&launcher), project(DECLARED, &[])), launcher)
}
