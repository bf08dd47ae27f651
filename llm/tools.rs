//! What an agent needs of its tools, as a trait and plain data. It never starts a server.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use abide_engine::{Effect, Error, terminal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Reconcile;
use crate::rounds::{Answers, Asks, Came, Left, Look, Onward, PromptRef, ResourceRef, Underway};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// May this tool be called without asking?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Call it.
    Allow,
    /// Ask a person first.
    Ask,
    /// Never call it: the model is told so.
    Deny,
}

/// One tool as the run has pinned it. Plain data: it is kept in the run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name the model sees: `server_tool` within `[A-Za-z0-9_-]{1,64}`, unique within the run.
    pub name: String,
    /// The server's name as configured.
    pub server: String,
    /// The tool's own name at its server.
    pub tool: String,
    /// The server's description, or an empty string.
    pub description: String,
    /// The JSON schema of the arguments, as the server gave it.
    pub input_schema: Value,
    /// What repeating a call would do.
    pub effect: Effect,
    /// May it be called without asking?
    pub policy: Policy,
    /// Seconds without a sign of life after which an attempt is given up; whoever runs the tools watches that.
    pub timeout_s: u64,
    /// Seconds after which an attempt is given up in any case; without it `timeout_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout_s: Option<u64>,
    /// How often an attempt is made that may be repeated; five times without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// BLAKE3 (hex) of the raw definition: a changed one on resume stops for approval.
    pub hash: String,
    /// The read-only tool that tells whether a call of this one in doubt has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
}

/// One call of a tool. Also the input of its step, as `show` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The server's name as configured.
    pub server: String,
    /// The tool's own name at its server.
    pub tool: String,
    /// The arguments: a JSON object.
    pub arguments: Value,
}

/// What an agent needs of whoever runs its tools. Implemented by `abide-mcp`.
///
/// Both methods are called inside a step's attempt, on a tokio runtime. Errors follow the engine's kinds:
/// a server that will not start is `Environment`, missing consent is `Park(Trust)`, an unset variable is
/// `Park(Credentials)`, a connection lost in mid-call is `InDoubt`, a call that certainly never left is `DidNotHappen`.
pub trait Tools: Send + Sync + 'static {
    /// Starts `servers` where needed and lists their tools, sorted by name; names that collide are told apart.
    fn discover(&self, servers: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>>;

    /// The tools as the run has pinned them, told before each replay's first call: one that is another by now is not called
    /// without the user's consent. May be told again.
    fn pin(&self, specs: &[ToolSpec]) {
        let _ = specs;
    }

    /// Calls a tool and answers what its server asks, if that can be done without anybody. The answer is a `CallToolResult` as JSON (`isError: true` is an answer, too); `meta` goes into
    /// the request's `_meta` (the idempotency key among it).
    fn call(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>>;

    /// One request of a call and no more. By default the whole call.
    fn round(&self, call: ToolCall, onward: Onward, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Came, Error>> {
        let _ = onward;
        let called = self.call(call, meta);
        Box::pin(async move { called.await.map(Came::Done) })
    }

    /// Is the call that asked this ([`Asks::open`]) still open in this process, and without a result? Called on a tokio runtime.
    fn is_open(&self, asks: &Asks) -> bool {
        let _ = asks;
        false
    }

    /// How a work of a call stands. It changes nothing.
    fn look(&self, call: ToolCall, work: Underway) -> BoxFuture<Result<Look, Error>> {
        let _ = work;
        unknown(&call.server)
    }

    /// Brings answers to a work that waits for them.
    fn update(
        &self,
        call: ToolCall,
        work: Underway,
        asks: Arc<Asks>,
        answers: Answers,
    ) -> BoxFuture<Result<(), Error>> {
        let _ = (work, asks, answers);
        unknown(&call.server)
    }

    /// Tells the server that nobody wants the result of a call any more.
    fn call_off(&self, call: ToolCall, left: Left) -> BoxFuture<Result<(), Error>> {
        let _ = left;
        unknown(&call.server)
    }

    /// A prompt with its arguments: a `GetPromptResult` as JSON. It changes nothing.
    fn prompt(&self, prompt: PromptRef) -> BoxFuture<Result<Value, Error>> {
        unknown(&prompt.server)
    }

    /// The contents of a resource, as the `CallToolResult` of a tool that has read it. It changes nothing.
    fn read(&self, resource: ResourceRef) -> BoxFuture<Result<Value, Error>> {
        unknown(&resource.server)
    }
}

/// What those say that know no more than tools.
fn unknown<T: Send + 'static>(server: &str) -> BoxFuture<Result<T, Error>> {
    let error = terminal(format!("`{server}` offers tools alone here: nothing else is known of it"));
    Box::pin(std::future::ready(Err(error)))
}
