//! `abide serve --stdio`: one client on stdin and stdout, and what is left when it goes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::{ALLOWED, arguments, project, text};
use crate::support::model::{Model, Say};
use crate::support::project::Project;

struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn start(project: &Project) -> Self {
        let mut command = project.command(&project.root, &["serve", "--stdio", "--trust"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.hear();
            if message["id"] == id {
                return message;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn both_versions_are_spoken_on_one_line() {
    let model = Model::new(|_, _| Say::Text("the answer"));
    let project = project(&model, ALLOWED);
    let mut client = Client::start(&project);
    let begun = client.ask(1, "initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}}));
    assert_eq!(begun["result"]["serverInfo"]["name"], "abide");
    assert_eq!(begun["result"]["capabilities"]["tasks"]["requests"]["tools"]["call"], json!({}));
    let tools = client.ask(2, "tools/list", json!({}));
    assert_eq!(tools["result"]["tools"][0]["execution"]["taskSupport"], "optional");
    let answered = client.ask(3, "tools/call", json!({"name": "helper", "arguments": arguments("help", "a")}));
    assert_eq!(text(&answered["result"]), "the answer");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "helper", "arguments": arguments("help", "a"), "_meta": meta});
    assert_eq!(client.ask(4, "tools/call", params)["result"]["resultType"], "complete");
    client.say(&json!("no message"));
    assert_eq!(client.hear()["error"]["code"], -32600);
    writeln!(client.stdin.as_mut().unwrap(), "garbage").unwrap();
    assert_eq!(client.hear()["error"]["code"], -32700);
    assert_eq!(client.ask(5, "ping", json!({}))["result"], json!({}), "it lives");
    assert_eq!(model.count(), 1);
}

/// A client of 2026-07-28 in its own words.
fn modern(params: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    params
}

#[test]
fn a_client_is_told_when_the_tools_change() {
    let model = Model::new(|_, _| Say::Text("never asked"));
    let project = project(&model, "");
    let mut client = Client::start(&project);
    let begun = client.ask(1, "initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}}));
    assert_eq!(begun["result"]["capabilities"]["tools"]["listChanged"], true);
    let wanted = modern(&json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}}));
    client.say(&json!({"jsonrpc": "2.0", "id": "news", "method": "subscriptions/listen", "params": wanted}));
    let told = client.hear();
    assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(told["params"]["notifications"], json!({"toolsListChanged": true}));
    let helper = project.root.join(".abide/agents/helper.md");
    let text = std::fs::read_to_string(&helper).unwrap();
    std::fs::write(helper.with_file_name("second.md"), text.replace("name: helper", "name: second")).unwrap();
    let mut told = [client.hear(), client.hear()];
    told.sort_by_key(|news| news["params"]["_meta"].is_object());
    assert!(told.iter().all(|news| news["method"] == "notifications/tools/list_changed"), "{told:?}");
    assert_eq!(told[1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "news");
    let listed = client.ask(2, "tools/list", json!({}));
    assert_eq!(listed["result"]["tools"][1]["name"], "second");
    // Who listens is not waited for at the end.
    drop(client.stdin.take());
    assert!(client.child.wait().unwrap().success());
}

#[test]
fn a_run_goes_on_when_its_client_is_gone() {
    let model = Model::new(|_, _| Say::Held("late"));
    let project = project(&model, ALLOWED);
    let mut client = Client::start(&project);
    let call = json!({"name": "helper", "arguments": arguments("help", "left")});
    client.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}));
    model.wait_for(1);
    client.stdin.take();
    assert!(client.child.wait().unwrap().success());
    model.open_gate();
    let shown = project.wait_until("left", |shown| shown["run"]["status"] == "completed");
    assert_eq!(shown["run"]["output"], "late");
}

#[test]
fn a_client_that_stops_waiting_stops_nothing() {
    let model = Model::new(|_, _| Say::Held("late"));
    let project = project(&model, ALLOWED);
    let mut client = Client::start(&project);
    let call = json!({"name": "helper", "arguments": arguments("help", "r")});
    client.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}));
    model.wait_for(1);
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    // Messages are read in their order: whoever answers this has read that.
    assert_eq!(client.ask(2, "ping", json!({}))["result"], json!({}));
    model.open_gate();
    project.wait_until("r", |shown| shown["run"]["status"] == "completed");
    // The next answer is the next request's: the cancelled one has none.
    client.say(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {}}));
    assert_eq!(client.hear()["id"], 3);
}
