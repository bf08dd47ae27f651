//! Who stands behind a call: told of its progress, asked what its server asks, given the handle of what goes on without it.
//! By default nobody does: questions are declined with a reason, and nothing waits for a person.

use std::sync::Arc;

use abide_engine::Error;
use abide_llm::{BoxFuture, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema;

/// How far a call has come, in units of the server's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// What is done; it grows.
    pub done: f64,
    /// What there is to do, if the server knows.
    pub total: Option<f64>,
    /// What it is at.
    pub message: Option<String>,
}

/// Is told of progress while a call is under way. Called on a tokio thread: it must not block.
pub trait Watch: Send + Sync + 'static {
    /// The call has come this far.
    fn progress(&self, call: &ToolCall, progress: &Progress);
}

/// A question of a server to a person (MCP calls it elicitation). Its texts are the server's: they are not to be trusted,
/// and whoever shows them says which server asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The server's name as configured.
    pub server: String,
    /// The tool that is being called.
    pub tool: String,
    /// What the server wants to know, or why it wants an address opened.
    pub message: String,
    /// What an answer is.
    pub wants: Wants,
}

/// What answers a [`Question`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wants {
    /// An object by this JSON schema, whose properties are all plain values.
    Form(Value),
    /// A person who opens this address (http or https) and does there what is asked; the answer holds nothing.
    Visit(String),
}

/// What a person says to a [`Question`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// The form filled in; `null` for an address that was opened.
    Accept(Value),
    /// They will not.
    Decline,
    /// They have not decided.
    Cancel,
}

impl Question {
    /// What goes to the server for `said` (an object for a form, nothing for an address): with the form's own defaults, checked
    /// against it.
    ///
    /// # Errors
    /// Where it does not fit, and why.
    pub fn accepted(&self, said: Value) -> Result<Value, String> {
        let Wants::Form(form) = &self.wants else { return Ok(Value::Null) };
        let Value::Object(mut content) = said else { return Err("at its top: it is not a JSON object".to_owned()) };
        for (name, property) in form.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if let Some(default) = property.get("default").filter(|_| !content.contains_key(name)) {
                content.insert(name.clone(), default.clone());
            }
        }
        let content = Value::Object(content);
        schema::check(form, &content).map(|()| content)
    }
}

/// Asks a person.
pub trait Elicit: Send + Sync + 'static {
    /// Asks, however long that takes; the call's time without news does not run meanwhile.
    fn elicit(&self, question: Question) -> BoxFuture<Reply>;
}

/// A server's wish that a model be asked on its behalf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRequest {
    /// The server's name as configured.
    pub server: String,
    /// The tool that is being called.
    pub tool: String,
    /// The parameters of `sampling/createMessage`, as the protocol has them.
    pub params: Value,
}

/// Asks a model on behalf of a server.
pub trait Sample: Send + Sync + 'static {
    /// The result of `sampling/createMessage`, as the protocol has it, or why there is none.
    fn sample(&self, request: SampleRequest) -> BoxFuture<Result<Value, String>>;
}

/// What a server calls a task: work that goes on at the server, and is looked after by its id. Plain data, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHandle {
    /// The server's id of it: whoever has it may look at it and cancel it.
    pub id: String,
    /// How often the server wants to be asked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
    /// For how long it is kept from its beginning, in milliseconds; without it for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Keeps handles of what goes on at servers.
pub trait Handles: Send + Sync + 'static {
    /// Called before anything waits for it. `true` says that the handle is durable: when the attempt is dropped the work
    /// goes on, and `Servers::take_up` finds its result. After `false` it is cancelled then.
    fn keep(&self, call: &ToolCall, handle: &TaskHandle) -> BoxFuture<Result<bool, Error>>;
}

/// All of them. A clone is the same one.
#[derive(Clone)]
pub struct Driver {
    /// Is told of progress.
    pub watch: Arc<dyn Watch>,
    /// Asks a person.
    pub elicit: Arc<dyn Elicit>,
    /// Asks a model.
    pub sample: Arc<dyn Sample>,
    /// Keeps handles.
    pub handles: Arc<dyn Handles>,
    /// A question that may belong to any of several calls is put to one of them if all of these are equal, else to nobody.
    pub whose: Option<usize>,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            watch: Arc::new(Nobody),
            elicit: Arc::new(Nobody),
            sample: Arc::new(Nobody),
            handles: Arc::new(Nobody),
            whose: None,
        }
    }
}

impl Driver {
    /// Do both stand for the same?
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.whose.is_some() && self.whose == other.whose)
            || (Arc::ptr_eq(&self.elicit, &other.elicit) && Arc::ptr_eq(&self.sample, &other.sample))
    }
}

/// Nobody is there.
struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _call: &ToolCall, _progress: &Progress) {}
}

impl Elicit for Nobody {
    fn elicit(&self, question: Question) -> BoxFuture<Reply> {
        tracing::info!(server = question.server, tool = question.tool, "declined a question: nobody is there to ask");
        Box::pin(std::future::ready(Reply::Decline))
    }
}

impl Sample for Nobody {
    fn sample(&self, _request: SampleRequest) -> BoxFuture<Result<Value, String>> {
        Box::pin(std::future::ready(Err("no model is lent to servers here".to_owned())))
    }
}

impl Handles for Nobody {
    fn keep(&self, _call: &ToolCall, _handle: &TaskHandle) -> BoxFuture<Result<bool, Error>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}
