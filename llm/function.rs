//! Functions of the program as tools of an agent: each call is a step of the run, with the intent, the effect and the approval of any
//! tool. They are code: a run pins them by name alone, and never writes them down.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use abide_engine::{Effect, Error, Result, Retry, terminal};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::tools::{BoxFuture, Policy, ToolSpec};

/// What stands for the server in the steps of functions.
const SERVER: &str = "function";

type Call = Arc<dyn Fn(Value) -> BoxFuture<Result<Value>> + Send + Sync>;

/// A function of the program that an agent may call. It is idempotent and allowed unless told otherwise. Two of one name are equal.
///
/// ```
/// use abide_llm::{Agent, ToolFunction, schemars};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[schemars(crate = "abide_llm::schemars")]
/// struct Order {
///     /// The number on the invoice.
///     number: u32,
/// }
///
/// let status = ToolFunction::new("order_status", "Says where an order is", |order: Order| async move {
///     Ok::<_, abide_engine::Error>(format!("order {} is on its way", order.number))
/// });
/// let support = Agent::new("support").function(status.pure());
/// ```
#[derive(Clone)]
pub struct ToolFunction {
    pub(crate) spec: ToolSpec,
    pub(crate) retry: Retry,
    pub(crate) timeout: Option<Duration>,
    pub(crate) call: Call,
}

impl ToolFunction {
    /// The model sees it under this name, within `[A-Za-z0-9_-]{1,64}`, with the JSON schema of `A`. What does not fit `A` is told to the
    /// model; so is an error, once the step has failed by its retries (5 attempts, none after [`terminal`]).
    pub fn new<A, O, E, F, Fut>(name: impl Into<String>, description: impl Into<String>, f: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Serialize,
        E: Into<Error>,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let (schema, is_unit) = schema_of::<A>();
        let call = move |arguments: Value| -> BoxFuture<Result<Value>> {
            // A function without arguments is called with an empty object.
            match serde_json::from_value(if is_unit { Value::Null } else { arguments }) {
                Ok(arguments) => {
                    let called = f(arguments);
                    Box::pin(async move { result_of(&called.await.map_err(Into::into)?) })
                }
                Err(error) => {
                    let text = format!("it was not called, for its arguments do not fit: {error}");
                    Box::pin(std::future::ready(Ok(refusal(&text))))
                }
            }
        };
        Self::of(name.into(), description.into(), schema, Arc::new(call))
    }

    /// The same with a JSON schema of one's own, of an object. It is told to the model and checks nothing.
    pub fn with_schema<O, E, F, Fut>(
        name: impl Into<String>,
        description: impl Into<String>,
        schema: Value,
        f: F,
    ) -> Self
    where
        O: Serialize,
        E: Into<Error>,
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let call = move |arguments: Value| -> BoxFuture<Result<Value>> {
            let called = f(arguments);
            Box::pin(async move { result_of(&called.await.map_err(Into::into)?) })
        };
        Self::of(name.into(), description.into(), schema, Arc::new(call))
    }

    fn of(name: String, description: String, input_schema: Value, call: Call) -> Self {
        let spec = ToolSpec {
            server: SERVER.to_owned(),
            tool: name.clone(),
            description,
            input_schema,
            effect: Effect::Idempotent,
            policy: Policy::Allow,
            timeout_s: 0,
            max_timeout_s: None,
            attempts: None,
            hash: String::new(),
            reconcile: None,
            name,
        };
        Self { spec, retry: Retry::default(), timeout: None, call }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// It must not be repeated: a call without a recorded outcome is in doubt.
    #[must_use]
    pub fn once(self) -> Self {
        self.with(|spec| spec.effect = Effect::Once)
    }

    /// It changes nothing: repeat freely.
    #[must_use]
    pub fn pure(self) -> Self {
        self.with(|spec| spec.effect = Effect::Pure)
    }

    /// May it be called without asking a person?
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.with(|spec| spec.policy = policy)
    }

    /// How often and how far apart a call is tried.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The time that an attempt may take; without it as long as it likes.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut ToolSpec)) -> Self {
        change(&mut self.spec);
        self
    }
}

impl Agent {
    /// It may call this function. Its globs (`allow`, `deny`) are about servers' tools alone.
    #[must_use]
    pub fn function(mut self, function: ToolFunction) -> Self {
        self.functions.push(function);
        self
    }

    /// It has to answer in JSON that fits this type, which [`Answer::read`](crate::Answer::read) gives.
    #[must_use]
    pub fn output_as<T: JsonSchema>(self, name: impl Into<String>) -> Self {
        self.output(name, schema_of::<T>().0)
    }
}

impl PartialEq for ToolFunction {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name
    }
}

impl fmt::Debug for ToolFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolFunction").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// The schema of a function's arguments, and whether it has none.
fn schema_of<A: JsonSchema>() -> (Value, bool) {
    let mut settings = SchemaSettings::draft2020_12();
    // Not every provider follows references.
    (settings.inline_subschemas, settings.meta_schema) = (true, None);
    let mut schema = settings.into_generator().into_root_schema_for::<A>();
    schema.remove("title");
    let is_unit = schema.get("type").is_some_and(|kind| kind == "null");
    if is_unit { (json!({"type": "object", "properties": {}}), true) } else { (schema.to_value(), false) }
}

/// What a function has returned, as the `CallToolResult` that every tool answers with.
fn result_of(returned: &impl Serialize) -> Result<Value> {
    let value = serde_json::to_value(returned)
        .map_err(|error| terminal(format!("what it has returned cannot be written as JSON: {error}")))?;
    Ok(match value {
        Value::String(text) => json!({"content": [{"type": "text", "text": text}]}),
        Value::Null => json!({"content": []}),
        value => json!({"content": [], "structuredContent": value}),
    })
}

/// A `CallToolResult` that says why there is none.
pub(crate) fn refusal(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}
