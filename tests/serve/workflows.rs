//! Workflows of a program as tools, served in the test's own process.

use std::sync::Arc;
use std::time::Duration;

use abide::agents::Agents;
use abide::config::Env;
use abide::engine::Wait;
use abide::prelude::*;
use abide::serve::{Described, Options, Served, seal_beside};
use abide_mcp::serve::{Server, serve_lines};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf, split};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

/// Asks as an MCP server within a run does: with a form, or for an address to be opened.
async fn asks(ctx: Ctx, wants: Value) -> Result<Value> {
    let question = json!({"server": "shop", "tool": "order", "message": "Which colour?", "wants": wants});
    ctx.signal("shop.answer").ask(Wait::Answer, &question).await
}

async fn order(ctx: Ctx, order: Order) -> Result<Value> {
    let paid: bool = ctx.signal("paid").await?;
    Ok(json!({"item": order.item, "paid": paid}))
}

struct Client {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
}

impl Client {
    async fn call(&mut self, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        self.ask("tools/call", params).await
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await;
        self.hear().await["result"].clone()
    }

    async fn say(&mut self, message: Value) {
        self.writer.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// A served database, and a client of it.
struct Rig {
    _dir: tempfile::TempDir,
    served: Served,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    client: Client,
}

impl Rig {
    async fn start(workflows: Vec<Described>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("runs.db");
        let env = Env { cwd: dir.path().to_owned(), ..Env::default() };
        let abide = Abide::open(&db).workflow("order", order).workflow("asks", asks).start().await.unwrap();
        let seal = seal_beside(&db).unwrap();
        let command = Arc::new(|words: &[&str]| format!("abide {}", words.join(" ")));
        let options = Options { within: Duration::from_secs(60), command };
        let served = Served::new(abide, Agents::new(env.clone(), false), env, workflows, seal.clone(), options);
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (reader, writer) = split(theirs);
        let server = Server::new(Arc::new(served.clone()), seal);
        let serving = tokio::spawn(serve_lines(server, BufReader::new(reader), writer, 1 << 20));
        let (reader, writer) = split(ours);
        Self { _dir: dir, served, serving, client: Client { reader: BufReader::new(reader), writer } }
    }

    async fn stop(self) {
        drop(self.client);
        self.serving.await.unwrap().unwrap();
        self.served.into_parts().await.expect("nobody else has it").0.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_a_tool_and_hears_signals() {
    let schema = json!({"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]});
    let described = Described {
        name: "order".to_owned(),
        description: Some("Orders something".to_owned()),
        input: Some(schema.clone()),
    };
    let mut rig = Rig::start(vec![described]).await;
    let client = &mut rig.client;

    let tools = client.ask("tools/list", json!({})).await["tools"].clone();
    assert_eq!(tools[0]["inputSchema"]["properties"]["input"], schema);
    assert_eq!(tools[0]["_meta"]["io.abide/definition"].as_str().unwrap().len(), 64);
    let wrong = client.call("order", json!({"input": {"thing": "tea"}})).await;
    assert_eq!(wrong["isError"], true, "{wrong}");
    // It waits for a signal, which is nothing that a client is asked: it is handed over at once.
    let handed = client.call("order", json!({"input": {"item": "tea"}, "id": "o1"})).await;
    let status = &handed["structuredContent"];
    assert_eq!(status["status"], "input_required", "{handed}");
    assert!(status["message"].as_str().unwrap().contains("runs_signal"), "{handed}");
    let run = status["run"].clone();
    let sent = client.call("runs_signal", json!({"run": run, "name": "paid", "value": true, "id": "once"})).await;
    assert_eq!(sent["isError"], false, "{sent}");
    let result = client.call("runs_result", json!({ "run": run })).await;
    assert_eq!(result["structuredContent"], json!({"item": "tea", "paid": true}), "{result}");
    assert_eq!(client.call("runs_cancel", json!({ "run": run })).await["isError"], true, "it is over");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_within_a_run_is_passed_on_as_it_is() {
    let mut rig = Rig::start(vec![Described { name: "asks".to_owned(), ..Described::default() }]).await;
    let client = &mut rig.client;
    let capabilities = json!({"elicitation": {"form": {}}});
    client.ask("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": capabilities})).await;
    let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]});
    let params = json!({"name": "asks", "arguments": {"input": {"form": schema}, "id": "form"}});
    client.say(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})).await;
    let asked = client.hear().await;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert_eq!(asked["params"]["message"], "The server `shop` asks: Which colour?");
    assert_eq!(asked["params"]["requestedSchema"], schema);
    let answer = json!({"action": "accept", "content": {"colour": "red"}});
    client.say(json!({"jsonrpc": "2.0", "id": asked["id"], "result": answer})).await;
    assert_eq!(client.hear().await["result"]["structuredContent"], answer);
    // Who cannot open addresses is not asked to.
    let handed = client.call("asks", json!({"input": {"visit": "https://example.com/pay"}, "id": "visit"})).await;
    assert_eq!(handed["structuredContent"]["status"], "input_required", "{handed}");
    assert!(handed["structuredContent"]["message"].as_str().unwrap().contains("abide answer visit"), "{handed}");
    rig.stop().await;
}
