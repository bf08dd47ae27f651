//! The server that the protocol's own conformance suite is run against: the tools, prompts and resources that it wants, on abide's
//! own server layer. What it answers stands in `fixture.json`, or is computed here; nothing of it is kept.
//!
//! Called with an address (`127.0.0.1:3000`), or without one over stdin and stdout.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lasting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use abide_llm::BoxFuture;
use abide_mcp::serve::{About, Asks, Call, Caller, Gate, Lasts, Offer, Refusal, Reply, Seal, Server, Task, Tool};
use lasting::Lasting;
use serde_json::{Map, Value, json};

const FIXTURE: &str = include_str!("fixture.json");

/// Between two words of a tool that says something on its way.
const BEAT: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Fixture {
    words: Arc<Value>,
    lasting: Arc<Lasting>,
    /// Says that the tools have changed, though they have not.
    news: Arc<tokio::sync::watch::Sender<()>>,
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

impl Fixture {
    fn requests(&self, name: &str) -> BTreeMap<String, Value> {
        serde_json::from_value(self.words["asks"][name].clone()).unwrap_or_default()
    }

    fn asks(&self, name: &str, state: Option<Value>) -> Reply {
        Reply::Asks(Asks { requests: self.requests(name), state })
    }

    async fn tool_call(&self, call: Call, caller: Caller) -> Result<Reply, Refusal> {
        let name = call.text("name").to_owned();
        if let Some(result) = self.words["results"].get(&name) {
            return Ok(Reply::Done(result.clone()));
        }
        let done = |said: &str| Ok(Reply::Done(text(said)));
        match name.as_str() {
            "greet" => done(&format!("Hello, {}!", call.argument("name").and_then(Value::as_str).unwrap_or("World"))),
            "test_tool_with_logging" | "test_logging_tool" => {
                for said in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    caller.log("info", &said.into());
                    tokio::time::sleep(BEAT).await;
                }
                done("Logged.")
            }
            "test_tool_with_progress" => {
                for percent in [0.0, 50.0, 100.0] {
                    caller.progress(percent, Some(100.0), None);
                    tokio::time::sleep(BEAT).await;
                }
                done("Done.")
            }
            "test_trigger_tool_change" => {
                self.news.send_replace(());
                done("They say that they have changed.")
            }
            "slow_compute" | "failing_job" | "protocol_error_job" | "confirm_delete" | "multi_input" => {
                self.lasting_call(&name, &call, &caller).await
            }
            _ => self.asking_call(&name, &call, &caller),
        }
    }

    /// Tools that go on after they have been answered.
    async fn lasting_call(&self, name: &str, call: &Call, caller: &Caller) -> Result<Reply, Refusal> {
        let seconds = call.argument("seconds").and_then(Value::as_f64).unwrap_or(0.5);
        let outcome = match name {
            "failing_job" => Ok(json!({"content": [{"type": "text", "text": "It failed."}], "isError": true})),
            "protocol_error_job" => Err(Refusal::internal("It broke.")),
            _ => Ok(text("It is done.")),
        };
        if caller.knows_tasks() && (name != "slow_compute" || seconds > 0.0) {
            let asks = self.requests(name);
            return Ok(Reply::Task(self.lasting.begin(Duration::from_secs_f64(seconds), asks, outcome)));
        }
        if !self.requests(name).is_empty() && call.responses.is_empty() {
            return Ok(self.asks(name, None));
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        outcome.map(Reply::Done)
    }

    /// Tools that ask their client something.
    fn asking_call(&self, name: &str, call: &Call, caller: &Caller) -> Result<Reply, Refusal> {
        let requests = self.requests(name);
        if requests.is_empty() {
            return Err(Refusal::invalid(format!("no tool `{name}`")));
        }
        let said = |key: &str| call.responses.get(key).filter(|response| response.is_object());
        let of_name = || said("user_name").and_then(|response| response["content"]["name"].as_str());
        match name {
            "test_input_required_result_capabilities" => {
                let able =
                    |(key, _): &(String, Value)| caller.can(if key == "greeting" { "sampling" } else { "elicitation" });
                let requests: BTreeMap<_, _> = requests.into_iter().filter(able).collect();
                if call.responses.is_empty() && !requests.is_empty() {
                    return Ok(Reply::Asks(Asks { requests, state: None }));
                }
            }
            "test_input_required_result_multi_round" if call.state == Some(json!("one")) && said("step1").is_some() => {
                let color = json!({"method": "elicitation/create", "params": {"mode": "form",
                    "message": "Step 2: What is your favorite color?", "requestedSchema": {"type": "object",
                        "properties": {"color": {"type": "string"}}, "required": ["color"]}}});
                let requests = BTreeMap::from([("step2".to_owned(), color)]);
                return Ok(Reply::Asks(Asks { requests, state: Some(json!("two")) }));
            }
            "test_input_required_result_multi_round" if call.state == Some(json!("two")) && said("step2").is_some() => {
            }
            "test_input_required_result_elicitation" | "test_tool_with_task" if of_name().is_none() => {
                return Ok(self.asks(name, None));
            }
            "test_tool_with_task" => {
                let outcome = Ok(text(&format!("Done for {}.", of_name().unwrap_or_default())));
                return Ok(Reply::Task(self.lasting.begin(BEAT, BTreeMap::new(), outcome)));
            }
            _ if requests.keys().any(|key| said(key).is_none()) => {
                let mut reply = self.asks(name, Some(json!("one")));
                if let (Reply::Asks(asks), Some(words)) =
                    (&mut reply, call.argument("message").or(call.argument("prompt")))
                {
                    for request in asks.requests.values_mut() {
                        match request["params"].get_mut("messages") {
                            Some(messages) => messages[0]["content"]["text"] = words.clone(),
                            None => request["params"]["message"] = words.clone(),
                        }
                    }
                }
                return Ok(reply);
            }
            _ => {}
        }
        Ok(Reply::Done(text(&told(name, call))))
    }

    fn prompt(&self, call: &Call) -> Result<Reply, Refusal> {
        let name = call.text("name");
        let Some(messages) = self.words["messages"].get(name) else {
            return Err(Refusal::invalid(format!("no prompt `{name}`")));
        };
        let context = call.responses.get("user_context").map(|response| response["content"]["context"].clone());
        if !self.requests(name).is_empty() && context.is_none() {
            return Ok(self.asks(name, None));
        }
        let mut filled = messages.to_string();
        let arguments = call.params.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
        for (key, value) in arguments.into_iter().chain(context.map(|context| ("context".to_owned(), context))) {
            filled = filled.replace(&format!("{{{key}}}"), value.as_str().unwrap_or_default());
        }
        Ok(Reply::Done(json!({"messages": serde_json::from_str::<Value>(&filled).unwrap_or_default()})))
    }

    fn resource(&self, uri: &str) -> Result<Reply, Refusal> {
        let templated = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let mut content = match (self.words["contents"].get(uri), templated) {
            (Some(content), _) => content.clone(),
            (None, Some(id)) => {
                let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"mimeType": "application/json", "text": data.to_string()})
            }
            (None, None) => return Err(Refusal::invalid("Resource not found").data(json!({ "uri": uri }))),
        };
        content["uri"] = uri.into();
        Ok(Reply::Done(json!({ "contents": [content] })))
    }
}

fn told(name: &str, call: &Call) -> String {
    let first = call.responses.values().next().cloned().unwrap_or_default();
    match name {
        "test_elicitation" => format!("User response: action={}, content={}", first["action"], first["content"]),
        "test_sampling" => format!("LLM response: {}", first["content"]["text"].as_str().unwrap_or_default()),
        name if name.starts_with("test_elicitation_sep") => {
            let action = first["action"].as_str().unwrap_or_default();
            format!("Elicitation completed: action={action}, content={}", first["content"])
        }
        "test_input_required_result_request_state" => "state-ok".to_owned(),
        "test_input_required_result_elicitation" => {
            format!("Hello, {}!", first["content"]["name"].as_str().unwrap_or_default())
        }
        _ => Value::Object(call.responses.clone()).to_string(),
    }
}

impl Offer for Fixture {
    fn about(&self) -> About {
        let capabilities = json!({"prompts": {}, "resources": {}, "completions": {}, "logging": {}});
        About {
            name: "conformance".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instructions: None,
            capabilities: capabilities.as_object().cloned().unwrap_or_default(),
            tasks: true,
            tools_change: true,
        }
    }

    fn tools(&self) -> BoxFuture<Vec<Tool>> {
        let tool = |tool: &Value| Tool {
            definition: tool["definition"].clone(),
            lasts: match tool["lasts"].as_str() {
                Some("may") => Lasts::May,
                Some(_) => Lasts::Must,
                None => Lasts::No,
            },
        };
        let tools: Vec<Tool> = self.words["tools"].as_array().into_iter().flatten().map(tool).collect();
        Box::pin(async move { tools })
    }

    fn changed(&self) -> BoxFuture<()> {
        let mut news = self.news.subscribe();
        Box::pin(async move { news.changed().await.unwrap_or(()) })
    }

    fn tool(&self, name: &str) -> BoxFuture<Option<Tool>> {
        let (tools, name) = (self.tools(), name.to_owned());
        Box::pin(async move { tools.await.into_iter().find(|tool| tool.name() == name) })
    }

    fn call(&self, call: Call, caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        let fixture = self.clone();
        Box::pin(async move { fixture.tool_call(call, caller).await })
    }

    fn task(&self, id: &str, _caller: Caller) -> BoxFuture<Result<Task, Refusal>> {
        let found = self.lasting.look(id);
        Box::pin(async move { found })
    }

    fn answer(&self, id: &str, responses: Map<String, Value>) -> BoxFuture<Result<(), Refusal>> {
        let answered = self.lasting.answer(id, &responses);
        Box::pin(async move { answered })
    }

    fn cancel(&self, id: &str) -> BoxFuture<Result<(), Refusal>> {
        let cancelled = self.lasting.cancel(id);
        Box::pin(async move { cancelled })
    }

    fn other(&self, call: Call, _caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        let list = |key: &str, words: &str| Ok(Reply::Done(json!({ key: self.words[words] })));
        let reply = match call.method.as_str() {
            "prompts/list" => list("prompts", "prompts"),
            "prompts/get" => self.prompt(&call),
            "resources/list" => list("resources", "resources"),
            "resources/templates/list" => list("resourceTemplates", "templates"),
            "resources/read" => self.resource(call.text("uri")),
            "resources/subscribe" | "resources/unsubscribe" => Ok(Reply::Done(json!({}))),
            "completion/complete" => Ok(Reply::Done(
                json!({"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": false}}),
            )),
            other => Err(Refusal::no_method(other)),
        };
        Box::pin(async move { reply })
    }
}

#[tokio::main]
async fn main() {
    let words = serde_json::from_str(FIXTURE).expect("fixture.json is JSON");
    let fixture = Fixture { words: Arc::new(words), lasting: Arc::default(), news: Arc::default() };
    let server = Server::new(Arc::new(fixture), Arc::new(Seal::new([7; 32])));
    match std::env::args().nth(1) {
        Some(address) => {
            let listener = tokio::net::TcpListener::bind(&address).await.expect("the address is free");
            let address = listener.local_addr().expect("it has an address");
            eprintln!("http://{address}/mcp");
            abide_mcp::serve::listen(server, listener, Gate::new(address.ip())).await;
        }
        None => {
            let (stdin, stdout) = (tokio::io::BufReader::new(tokio::io::stdin()), tokio::io::stdout());
            abide_mcp::serve::serve_lines(server, stdin, stdout, 1 << 20).await.expect("its client can be read");
        }
    }
}
