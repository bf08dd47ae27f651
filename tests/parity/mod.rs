//! Behaviours that people who come from another framework of agents rely on, each shown through the binary or the public API. What is
//! shown elsewhere is not shown twice:
//!
//! | behaviour | shown by |
//! | --- | --- |
//! | a question that nobody answers in time is an error for the model, and the run goes on | `cli::abilities` |
//! | a wait that a provider asks for is waited out over kills, and one call follows | `proof::quota::wait` |
//! | after `kill -9` only what was in flight is repeated, a tool only as its effect allows | `cli::recovery`, `proof::doubt` |
//! | changed code diverges, naming the step, what was recorded and what is asked | `proof::upgrades::changed` |
//! | a key is found nowhere | `proof::secrets` |
//!
//! `tools`: names, filters, hooks, servers; `patterns`: routers, planners, evaluators; `providers`: refusals; `runs`: signals and cancels
//! reach one run; `files`: what an agent's file and a model's entry say; `code`: the same from Rust.

mod code;
mod files;
mod patterns;
mod providers;
mod runs;
mod tools;

use abide::prelude::*;
use abide_llm::Provider;
use serde_json::{Value, json};

use crate::support::agent::model;
use crate::support::model::{Asked, Model, Say};

/// An answer in words.
pub fn says(text: &str) -> Say {
    let message = json!({"role": "assistant", "content": text});
    Say::Body(json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2}}))
}

/// An answer in JSON.
pub fn gives(value: &Value) -> Say {
    says(&value.to_string())
}

/// What was said in a request by those of this role, as one text.
pub fn heard(asked: &Asked, role: &str) -> String {
    let text = |content: &Value| match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let messages = asked.body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == role);
    messages.map(|message| text(&message["content"])).collect::<Vec<_>>().join("\n\n")
}

/// The names of the tools that a request offers.
pub fn offered(asked: &Asked) -> Vec<String> {
    let tools = asked.body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Agents of this model by name, whose instructions are their name.
pub fn agents(at: &Model) -> impl Fn(&str) -> Agent + use<> {
    let model = model(Provider::Openai, &at.base_url);
    move |name| Agent::new(name).instructions(format!("You are {name}.")).model(model.clone())
}

/// What comes of a piece of work as a run of its own, each turn of which is replayed before it is committed.
pub fn outcome(work: impl Work, input: &str) -> std::result::Result<Value, String> {
    let name = work.name().to_owned();
    run(Abide::open(folder().path().join("runs.db")).agent(work), &name, input)
}

/// What comes of this workflow.
pub fn run(builder: abide::Builder, workflow: &str, input: &str) -> std::result::Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = builder.check_replay(true).start().await.unwrap();
        let run = abide.run(workflow, input).await.unwrap();
        let result = run.result().await.map_err(|error| error.to_string());
        abide.shutdown().await;
        result
    })
}

/// A folder that lasts as long as the tests do.
fn folder() -> &'static tempfile::TempDir {
    Box::leak(Box::new(tempfile::tempdir().unwrap()))
}
