//! An MCP server on stdio that asks before it answers, in either era, played by this very test binary: started with the variable
//! [`LOG`] it serves, otherwise its test does nothing. It writes down each request that does something before it answers, and
//! keeps its tasks in a file, so that they outlive it.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::mcp::GIVEN;

/// Where the requests are written down.
const LOG: &str = "ABIDE_TEST_ASKING_LOG";

/// `modern` for 2026-07-28, anything else for 2025-11-25.
const ERA: &str = "ABIDE_TEST_ASKING_ERA";

/// Where a call carries its step's idempotency key.
const KEY: &str = "io.abide/idempotency-key";

/// The file beside the log that lets tasks end.
pub fn gate(log: &Path) -> PathBuf {
    log.with_extension("gate")
}

/// The file beside the log without which the server knows no task.
pub fn tasks(log: &Path) -> PathBuf {
    log.with_extension("tasks")
}

/// The declaration of the server as `ask`.
pub fn declaration(era: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "support::asking::serve", "--nocapture"];
    let env = json!({LOG: format!("${{{GIVEN}}}"), ERA: era});
    json!({"mcpServers": {"ask": {"command": program, "args": args, "env": env}}}).to_string()
}

/// The requests so far: method, tool, arguments, key, answers and state.
pub fn requests(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of the requests are of this method.
pub fn count(log: &Path, method: &str) -> usize {
    requests(log).iter().filter(|request| request["method"] == method).count()
}

struct Server {
    log: PathBuf,
    modern: bool,
    /// The calls that wait for the client's answer to a request of ours, by its id.
    waiting: BTreeMap<u64, Value>,
}

#[test]
fn serve() {
    let Some(log) = std::env::var_os(LOG).map(PathBuf::from) else { return };
    let modern = std::env::var(ERA).is_ok_and(|era| era == "modern");
    let mut server = Server { log, modern, waiting: BTreeMap::new() };
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        if message.get("method").is_none() {
            server.hears(&message);
        } else if message.get("id").is_some() {
            server.answers(&message);
        }
    }
    std::process::exit(0);
}

fn say(message: &Value) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{message}").unwrap();
    stdout.flush().unwrap();
}

fn text(text: &str) -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": false})
}

impl Server {
    fn note(&self, message: &Value) {
        let params = &message["params"];
        let line = json!({"method": message["method"], "name": params["name"], "arguments": params["arguments"],
            "key": params["_meta"][KEY], "given": params["inputResponses"], "state": params["requestState"],
            "task": params["taskId"]});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
        file.sync_all().unwrap();
    }

    fn answers(&mut self, message: &Value) {
        let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}});
        let info = json!({"name": "asking", "version": "1"});
        let params = &message["params"];
        let answer = match (message["method"].as_str().unwrap(), self.modern) {
            ("server/discover", true) => Ok(json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "serverInfo": info, "ttlMs": 0, "cacheScope": "private"})),
            ("initialize", false) => {
                Ok(json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}))
            }
            ("tools/list", _) => {
                let tool = |name| json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}});
                Ok(json!({"tools": Vec::from(["ask", "visit", "dream", "long"].map(tool))}))
            }
            ("tools/call", _) => {
                self.note(message);
                match if self.modern { self.calls(params) } else { self.calls_back(message) } {
                    Some(result) => Ok(result),
                    None => return,
                }
            }
            ("tasks/get" | "tasks/update" | "tasks/cancel", true) => self.task(message),
            ("prompts/list", _) => Ok(json!({"prompts": [{"name": "greet", "description": "greets somebody",
                "arguments": [{"name": "name", "required": true}, {"name": "style"}]}]})),
            ("prompts/get", _) if params["name"] == "greet" => {
                self.note(message);
                let words = format!("Greet {}.", params["arguments"]["name"].as_str().unwrap_or("nobody"));
                Ok(json!({"messages": [{"role": "user", "content": {"type": "text", "text": words}}]}))
            }
            ("resources/list", _) => Ok(json!({"resources": [{"uri": "note://one", "name": "one"}]})),
            ("resources/read", _) if params["uri"] == "note://one" => {
                self.note(message);
                Ok(json!({"contents": [{"uri": "note://one", "mimeType": "text/plain", "text": "the note says 42"}]}))
            }
            _ => Err(json!({"code": -32601, "message": "no such thing"})),
        };
        match answer {
            Ok(result) => say(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result})),
            Err(error) => say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error})),
        }
    }

    /// What is asked: of a person, or of a model.
    fn question(tool: &str) -> (&'static str, Value) {
        let form = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "description": "yours"}, "age": {"type": "integer"}, "style": {"type": "string", "default": "kindly"}}});
        match tool {
            "visit" => (
                "elicitation/create",
                json!({"mode": "url", "message": "sign in", "elicitationId": "e1",
                "url": "https://example.com/sign-in"}),
            ),
            "dream" => (
                "sampling/createMessage",
                json!({"messages": [{"role": "user", "content": {"type": "text",
                "text": "dream of rivers"}}], "systemPrompt": "You dream.", "maxTokens": 50}),
            ),
            _ => ("elicitation/create", json!({"mode": "form", "message": "who are you?", "requestedSchema": form})),
        }
    }

    /// 2026-07-28: the call is forgotten until it is made again. As often as the arguments say under `stall`, one with answers is not
    /// answered.
    fn calls(&self, params: &Value) -> Option<Value> {
        let tool = params["name"].as_str().unwrap();
        if tool == "long" {
            std::fs::write(tasks(&self.log), "t-1").unwrap();
            return Some(task("working", "task"));
        }
        let Some(given) = params.get("inputResponses") else {
            let (method, asked) = Self::question(tool);
            return Some(json!({"resultType": "input_required", "requestState": "state-7",
                "inputRequests": {"q": {"method": method, "params": asked}}}));
        };
        if params["arguments"]["again"] == true && params["requestState"] == "state-7" {
            let (method, asked) = Self::question("visit");
            return Some(json!({"resultType": "input_required", "requestState": "state-8",
                "inputRequests": {"q": {"method": method, "params": asked}}}));
        }
        let stall = params["arguments"]["stall"].as_u64().unwrap_or(0);
        let before = requests(&self.log).iter().filter(|request| !request["given"].is_null()).count() as u64;
        (before > stall).then(|| text(&format!("was told {} with {}", given["q"], params["requestState"])))
    }

    /// 2025-11-25: the question is asked in the middle of the call.
    fn calls_back(&mut self, message: &Value) -> Option<Value> {
        let id = 1_000 + self.waiting.len() as u64;
        let (method, mut asked) = Self::question(message["params"]["name"].as_str().unwrap());
        if method == "elicitation/create" && asked["mode"] == "form" {
            asked.as_object_mut().unwrap().remove("mode");
        }
        self.waiting.insert(id, message["id"].clone());
        say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": asked}));
        None
    }

    fn hears(&mut self, message: &Value) {
        let Some(call) = message["id"].as_u64().and_then(|id| self.waiting.remove(&id)) else { return };
        let said = message.get("result").or_else(|| message["error"].get("message")).cloned().unwrap_or_default();
        say(&json!({"jsonrpc": "2.0", "id": call, "result": text(&format!("was told {said}"))}));
    }

    fn task(&self, message: &Value) -> Result<Value, Value> {
        let method = message["method"].as_str().unwrap();
        if method != "tasks/get" {
            self.note(message);
            return Ok(json!({"resultType": "complete"}));
        }
        if !tasks(&self.log).exists() {
            return Err(json!({"code": -32602, "message": "unknown task"}));
        }
        let begun = requests(&self.log);
        let asks = begun.iter().any(|request| request["arguments"]["asks"] == true);
        let answered = begun.iter().find(|request| request["method"] == "tasks/update");
        if asks && answered.is_none() {
            let (method, asked) = Self::question("ask");
            let mut waits = task("input_required", "complete");
            waits["inputRequests"] = json!({"q": {"method": method, "params": asked}});
            return Ok(waits);
        }
        if !gate(&self.log).exists() {
            return Ok(task("working", "complete"));
        }
        let mut done = task("completed", "complete");
        let told = answered.map(|answered| answered["given"]["q"].clone()).unwrap_or_default();
        done["result"] = json!({"content": [{"type": "text", "text": format!("it took long: {told}")}]});
        Ok(done)
    }
}

fn task(status: &str, kind: &str) -> Value {
    json!({"resultType": kind, "taskId": "t-1", "status": status, "createdAt": "2026-11-01T00:00:00Z",
        "lastUpdatedAt": "2026-11-01T00:00:00Z", "ttlMs": null, "pollIntervalMs": 50, "statusMessage": "half way"})
}
