//! A client for the protocol's own conformance suite: `conformance_client URL` lists the server's tools, calls each, and
//! accepts every question with what the form itself offers. The suite names the scenario in its environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use abide_llm::{BoxFuture, EnvVars, Redactor, ToolCall, ToolSpec, Tools as _};
use abide_mcp::{
    Consent, Driver, Elicit, Host, Limits, PlainLauncher, Project, Question, Reply, Rules, Sample, SampleRequest,
    ServerConfig, Servers, parse_servers,
};
use serde_json::{Map, Value, json};

struct Yes;

impl Consent for Yes {
    fn granted(&self, _server: &ServerConfig) -> bool {
        true
    }
}

impl Elicit for Yes {
    fn elicit(&self, _question: Question) -> BoxFuture<Reply> {
        // Defaults are filled in by the client itself.
        Box::pin(std::future::ready(Reply::Accept(json!({"confirmed": true}))))
    }
}

impl Sample for Yes {
    fn sample(&self, _request: SampleRequest) -> BoxFuture<Result<Value, String>> {
        let answer = json!({"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "none"});
        Box::pin(std::future::ready(Ok(answer)))
    }
}

#[tokio::main]
async fn main() {
    let url = std::env::args().next_back().expect("the server's address");
    let declared = json!({"mcpServers": {"suite": {"type": "http", "url": url}}}).to_string();
    let project = Project {
        root: std::env::current_dir().unwrap(),
        servers: parse_servers(&declared, "suite").unwrap(),
        rules: Rules::default(),
        trusted: BTreeSet::new(),
        sampling: std::collections::BTreeMap::new(),
        vars: Arc::new(EnvVars),
    };
    let host = Host {
        launcher: Arc::new(PlainLauncher),
        consent: Arc::new(Yes),
        redactor: Redactor::default(),
        limits: Limits::default(),
    };
    let driver = Driver { elicit: Arc::new(Yes), sample: Arc::new(Yes), ..Driver::default() };
    let servers = Servers::new(host, project).on_behalf_of(driver);
    let specs = servers.discover(vec!["suite".to_owned()]).await.expect("a list of tools");
    for call in calls(&specs) {
        let name = call.tool.clone();
        match servers.call(call, BTreeMap::new()).await {
            Ok(result) => eprintln!("{name}: {result}"),
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    servers.shutdown().await;
}

/// The calls that the suite wants made, else one of each tool with arguments that its schema allows.
fn calls(specs: &[ToolSpec]) -> Vec<ToolCall> {
    let call = |tool: &str, arguments| ToolCall { server: "suite".to_owned(), tool: tool.to_owned(), arguments };
    let context: Value = std::env::var("MCP_CONFORMANCE_CONTEXT")
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    if let Some(wanted) = context.get("toolCalls").and_then(Value::as_array) {
        return wanted.iter().map(|one| call(one["name"].as_str().unwrap(), one["arguments"].clone())).collect();
    }
    let schema_of_another = specs.iter().find(|spec| spec.tool != ECHO).map(|spec| spec.input_schema.clone());
    let arguments_of = |spec: &ToolSpec| match (spec.tool.as_str(), &schema_of_another) {
        (ECHO, Some(schema)) => json!({ "schema": schema }),
        _ => arguments(&spec.input_schema),
    };
    specs.iter().map(|spec| call(&spec.tool, arguments_of(spec))).collect()
}

/// The suite's tool that wants to be shown another one's schema as the client has it.
const ECHO: &str = "json_schema_echo";

fn arguments(schema: &Value) -> Value {
    let mut arguments = Map::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let value = match property.get("type").and_then(Value::as_str) {
            Some("number" | "integer") => json!(3),
            Some("boolean") => json!(true),
            Some("string") | None => json!("text"),
            _ => continue,
        };
        arguments.insert(name.clone(), value);
    }
    Value::Object(arguments)
}
