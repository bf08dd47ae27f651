//! Workflows of a program as tools, served in the test's own process.

use std::sync::Arc;
use std::time::Duration;

use abide::agents::Agents;
use abide::config::Env;
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
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.writer.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["result"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_a_tool_and_hears_signals() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("runs.db");
    let schema = json!({"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]});
    let workflows = vec![Described {
        name: "order".to_owned(),
        description: Some("Orders something".to_owned()),
        input: Some(schema.clone()),
    }];
    let env = Env { cwd: dir.path().to_owned(), ..Env::default() };
    let abide = Abide::open(&db).workflow("order", order).start().await.unwrap();
    let seal = seal_beside(&db).unwrap();
    let command = Arc::new(|words: &[&str]| format!("abide {}", words.join(" ")));
    let options = Options { within: Duration::from_secs(60), command };
    let agents = Agents::new(env.clone(), false);
    let served = Served::new(abide, agents, env, workflows, seal.clone(), options);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (reader, writer) = split(theirs);
    let serving =
        tokio::spawn(serve_lines(Server::new(Arc::new(served.clone()), seal), BufReader::new(reader), writer, 1 << 20));
    let (reader, writer) = split(ours);
    let mut client = Client { reader: BufReader::new(reader), writer };

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
    drop(client);
    serving.await.unwrap().unwrap();
    served.into_parts().await.expect("nobody else has it").0.shutdown().await;
}
