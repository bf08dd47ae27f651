//! What a server offers: the seam between the protocol and whoever answers. It holds words and no behaviour.

use std::collections::BTreeMap;

use abide_llm::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Caller, Refusal};

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// A name for programs.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What a model should know before it uses the tools.
    pub instructions: Option<String>,
    /// Capabilities beside `tools`, as the protocol has them: `prompts`, `resources`, `completions`, `logging`.
    pub capabilities: Map<String, Value>,
    /// Are there calls that go on after they have been answered?
    pub tasks: bool,
    /// Can the tools become others while it serves? Then [`Offer::changed`] says so.
    pub tools_change: bool,
}

impl About {
    /// What it says of its tools.
    pub(super) fn of_tools(&self) -> Value {
        if self.tools_change { json!({"listChanged": true}) } else { json!({}) }
    }
}

/// Does a call of a tool go on after it has been answered, with a handle for its result?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Never.
    No,
    /// For clients that know how to come back for the result.
    May,
    /// Always: other clients are refused.
    Must,
}

/// A tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// As `tools/list` has it: `name`, `description`, `inputSchema`, `annotations`, `_meta`.
    pub definition: Value,
    /// Whether it goes on.
    pub lasts: Lasts,
}

impl Tool {
    /// Its name.
    pub fn name(&self) -> &str {
        self.definition.get("name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// A request of a client.
#[derive(Debug, Clone)]
pub struct Call {
    /// `tools/call`, `prompts/get`, ...
    pub method: String,
    /// Its parameters, without what the fields below hold.
    pub params: Map<String, Value>,
    /// What the client says beside them.
    pub meta: Map<String, Value>,
    /// Its answers to what was asked in the round before.
    pub responses: Map<String, Value>,
    /// What was to be remembered since the round before.
    pub state: Option<Value>,
}

impl Call {
    /// A parameter that is text; empty without it.
    pub fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// An argument of a tool or a prompt.
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.params.get("arguments")?.get(name)
    }
}

/// What a call comes to.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A result.
    Done(Value),
    /// The client has to answer something first: the same call comes again with its answers.
    Asks(Asks),
    /// It goes on. Only for a caller that [`Caller::knows_tasks`]; it must be durable by now.
    Task(Task),
}

/// Questions for a client.
#[derive(Debug, Clone, Default)]
pub struct Asks {
    /// By names of the server's choice: `{"method": "elicitation/create", "params": {..}}` and the like.
    pub requests: BTreeMap<String, Value>,
    /// What is to come back with the answers. The client can read it, and cannot change it.
    pub state: Option<Value>,
}

/// Something that goes on, as it stands now.
#[derive(Debug, Clone)]
pub struct Task {
    /// Whoever has it may ask for the result, answer and cancel.
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// The same for a person.
    pub message: Option<String>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub updated_ms: i64,
    /// How often to ask, in milliseconds.
    pub poll_ms: u64,
}

/// How it stands.
#[derive(Debug, Clone)]
pub enum Status {
    /// It goes on by itself.
    Working,
    /// It waits for answers to these; none if the message says what it waits for.
    Asks(BTreeMap<String, Value>),
    /// The result of the call, errors of the tool included.
    Completed(Value),
    /// It came to an error of the protocol.
    Failed(Refusal),
    /// It was cancelled.
    Cancelled,
}

/// Whoever answers. Futures may be dropped at any time: what has to go on then must not depend on them.
pub trait Offer: Send + Sync + 'static {
    /// What the server says of itself.
    fn about(&self) -> About;

    /// All tools, always in the same order.
    fn tools(&self) -> BoxFuture<Vec<Tool>>;

    /// Ends once the tools may be others than they were when this was called.
    fn changed(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    /// The tool of this name.
    fn tool(&self, name: &str) -> BoxFuture<Option<Tool>>;

    /// A tool is called. Its arguments fit its schema.
    fn call(&self, call: Call, caller: Caller) -> BoxFuture<Result<Reply, Refusal>>;

    /// How this stands.
    fn task(&self, id: &str, caller: Caller) -> BoxFuture<Result<Task, Refusal>> {
        let _ = caller;
        let unknown = Refusal::unknown_task(id);
        Box::pin(async move { Err(unknown) })
    }

    /// The same as soon as it does not go on by itself any more.
    fn wait(&self, id: &str, caller: Caller) -> BoxFuture<Result<Task, Refusal>> {
        self.task(id, caller)
    }

    /// Answers to what it asked. Those that it does not ask for are nothing.
    fn answer(&self, id: &str, responses: Map<String, Value>) -> BoxFuture<Result<(), Refusal>> {
        let _ = responses;
        let unknown = Refusal::unknown_task(id);
        Box::pin(async move { Err(unknown) })
    }

    /// It need not go on. Nothing if it does not.
    fn cancel(&self, id: &str) -> BoxFuture<Result<(), Refusal>> {
        let unknown = Refusal::unknown_task(id);
        Box::pin(async move { Err(unknown) })
    }

    /// Any other request: prompts, resources, completion.
    fn other(&self, call: Call, caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        let _ = caller;
        Box::pin(async move { Err(Refusal::no_method(&call.method)) })
    }
}
