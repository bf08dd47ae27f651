//! Code of the program around an agent's calls of tools. What it decides is recorded, so a replay goes the same way though the code may not:
//! it is not asked again. It changes nothing outside: after a crash it may be asked twice.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use abide_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Agent;
use crate::agent_text::foreign;
use crate::own_tools::Place;
use crate::redact::Redactor;
use crate::tools::{BoxFuture, ToolCall, ToolSpec};

/// What is decided about a call before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// Make it.
    Call,
    /// Make it with these arguments.
    Change(Value),
    /// Do not make it: the model is told why.
    Refuse(String),
}

type BeforeFn = Arc<dyn Fn(ToolCall) -> BoxFuture<Result<Before>> + Send + Sync>;
type AfterFn = Arc<dyn Fn(ToolCall, Value) -> BoxFuture<Result<Value>> + Send + Sync>;

/// The hooks of an agent. They are code: nothing of them is pinned, and two agents' are equal if there are as many.
#[derive(Clone, Default)]
pub struct Hooks {
    before: Vec<BeforeFn>,
    after: Vec<AfterFn>,
}

/// A call with its result: what an after-hook's step is about.
#[derive(Clone, Serialize, Deserialize)]
struct Came {
    call: ToolCall,
    result: Value,
}

impl Agent {
    /// Asked before each call of a tool, its own tools' and before anybody is asked to approve it: it may refuse the call or change its
    /// arguments. Several are asked in their order, each for what the one before has made of it. One that fails for good refuses.
    #[must_use]
    pub fn before_tool<E, F, Fut>(mut self, f: F) -> Self
    where
        E: Into<Error>,
        F: Fn(ToolCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Before, E>> + Send + 'static,
    {
        self.hooks.before.push(Arc::new(move |call| {
            let asked = f(call);
            Box::pin(async move { asked.await.map_err(Into::into) })
        }));
        self
    }

    /// Asked after each call that has a result, a `CallToolResult` as JSON (`isError` may be true in it): what it returns takes the
    /// result's place. If it fails for good, the model is not told the result.
    #[must_use]
    pub fn after_tool<E, F, Fut>(mut self, f: F) -> Self
    where
        E: Into<Error>,
        F: Fn(ToolCall, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, E>> + Send + 'static,
    {
        self.hooks.after.push(Arc::new(move |call, result| {
            let asked = f(call, result);
            Box::pin(async move { asked.await.map_err(Into::into) })
        }));
        self
    }
}

impl Hooks {
    /// The call as it is to be made; or what the model is told instead. Only the cancellation of the run is an `Err`.
    pub(crate) async fn before(
        &self,
        place: &Place<'_>,
        spec: &ToolSpec,
        mut call: ToolCall,
    ) -> Result<Result<ToolCall, String>> {
        if self.before.is_empty() {
            return Ok(Ok(call));
        }
        let (hooks, redactor) = (self.before.clone(), place.host.redactor.clone());
        let ask = move |call: ToolCall| judge(hooks.clone(), redactor.clone(), call);
        let step = place.ctx.step(format!("{}.before", spec.name), call.clone(), ask).local().key(place.index);
        Ok(match step.await {
            Ok(Before::Call) => Ok(call),
            Ok(Before::Change(arguments)) => {
                call.arguments = arguments;
                Ok(call)
            }
            Ok(Before::Refuse(why)) => {
                Err(format!("this call of `{}` was refused, so it was not made: {why}", spec.name))
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                Err(format!("it was not called, for the check before it failed: {}", foreign(error.message())))
            }
        })
    }

    /// The result that the model is told; or what it is told instead.
    pub(crate) async fn after(
        &self,
        place: &Place<'_>,
        spec: &ToolSpec,
        call: ToolCall,
        result: Value,
    ) -> Result<Result<Value, String>> {
        if self.after.is_empty() {
            return Ok(Ok(result));
        }
        let (hooks, redactor) = (self.after.clone(), place.host.redactor.clone());
        let ask = move |came: Came| look(hooks.clone(), redactor.clone(), came);
        let meta = result.get("_meta").cloned();
        let step = place.ctx.step(format!("{}.after", spec.name), Came { call, result }, ask).local().key(place.index);
        Ok(match step.await {
            Ok(mut changed) => {
                // Which connection it came over stays what it was.
                if let (Some(meta), Some(changed)) = (meta, changed.as_object_mut()) {
                    changed.entry("_meta").or_insert(meta);
                }
                Ok(changed)
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                Err(format!("it was called, and the check of its result failed: {}", foreign(error.message())))
            }
        })
    }
}

/// Asks one after the other. They see what is sent, and what they say is kept in the written form.
async fn judge(hooks: Vec<BeforeFn>, redactor: Redactor, mut call: ToolCall) -> Result<Before> {
    redactor.restore_value(&mut call.arguments);
    let mut is_changed = false;
    for hook in hooks {
        match hook(call.clone()).await.map_err(|error| masked(&redactor, &error))? {
            Before::Call => {}
            Before::Change(arguments) => (call.arguments, is_changed) = (arguments, true),
            Before::Refuse(why) => return Ok(Before::Refuse(redactor.hide(&why).into_owned())),
        }
    }
    redactor.hide_value(&mut call.arguments);
    Ok(if is_changed { Before::Change(call.arguments) } else { Before::Call })
}

async fn look(hooks: Vec<AfterFn>, redactor: Redactor, Came { mut call, mut result }: Came) -> Result<Value> {
    redactor.restore_value(&mut call.arguments);
    redactor.restore_value(&mut result);
    for hook in hooks {
        result = hook(call.clone(), result).await.map_err(|error| masked(&redactor, &error))?;
    }
    redactor.hide_value(&mut result);
    Ok(result)
}

fn masked(redactor: &Redactor, error: &Error) -> Error {
    Error::new(error.kind().clone(), redactor.mask(error.message()))
}

impl PartialEq for Hooks {
    fn eq(&self, other: &Self) -> bool {
        (self.before.len(), self.after.len()) == (other.before.len(), other.after.len())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("before", &self.before.len()).field("after", &self.after.len()).finish()
    }
}
