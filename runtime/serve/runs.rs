//! The tools for clients that come back by themselves: how a run stands, its result, a signal for it, its end. They reach the runs
//! whose handles were given out here and no others, and they answer no question that a person is asked.

use abide_mcp::serve::{Call, Lasts, Reply, Tool};
use serde_json::{Value, json};

use super::stands::Stands;
use super::{Shared, told};
use crate::{HostError, Run};

/// Their names: no agent and no workflow goes by them.
pub(super) const NAMES: [&str; 4] = ["runs_status", "runs_result", "runs_signal", "runs_cancel"];

/// They are always there.
pub(super) fn tools() -> Vec<Tool> {
    let handle = json!({"type": "string", "description": "The run's handle, as `run` in what its tool answered"});
    let tool = |name: &str, description: &str, more: Value, required: &[&str], reads: bool| {
        let mut properties = json!({ "run": handle });
        if let (Some(all), Value::Object(more)) = (properties.as_object_mut(), more) {
            all.extend(more);
        }
        let schema =
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let hints = json!({"readOnlyHint": reads, "destructiveHint": name == "runs_cancel", "idempotentHint": name != "runs_signal",
            "openWorldHint": false});
        let definition = json!({"name": name, "description": description, "inputSchema": schema, "annotations": hints});
        Tool { definition, lasts: Lasts::No }
    };
    let signal = json!({
        "name": {"type": "string", "description": "The signal's name"},
        "value": {"description": "What is sent with it, as JSON"},
        "id": {"type": "string", "description": "A key of your own: the same key is taken once"},
    });
    vec![
        tool("runs_status", "Tells how a run stands that another tool has started", json!({}), &["run"], true),
        tool("runs_result", "Waits a while for the result of a run, and tells it", json!({}), &["run"], true),
        tool("runs_signal", "Sends a signal to a run that waits for one", signal, &["run", "name"], false),
        tool("runs_cancel", "Cancels a run; it may clean up", json!({}), &["run"], false),
    ]
}

/// A result with this text.
pub(super) fn said(text: &str, is_error: bool) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": is_error})
}

impl Shared {
    /// Carries one of them out, except that `runs_result` waits elsewhere.
    pub(super) async fn about_run(&self, run: &Run, call: &Call) -> Reply {
        let done = match call.text("name") {
            "runs_signal" => self.signal(run, call).await,
            "runs_cancel" => match run.cancel().await {
                Ok(()) => Ok("it is told to stop; runs_status tells when it has"),
                Err(error) => Err(told(&error)),
            },
            _ => Ok(""),
        };
        Reply::Done(match done {
            Ok(what) => self.standing(run, what),
            Err(why) => said(&why, true),
        })
    }

    async fn signal(&self, run: &Run, call: &Call) -> Result<&'static str, String> {
        let name = call.argument("name").and_then(Value::as_str).unwrap_or_default();
        let value = call.argument("value").cloned().unwrap_or(Value::Null);
        let sent = match call.argument("id").and_then(Value::as_str) {
            Some(id) => run.signal_once(name, &value, id).await,
            None => run.signal(name, &value).await.map(|()| true),
        };
        match sent {
            Ok(true) => Ok("the signal is recorded"),
            Ok(false) => Ok("the same signal was recorded before"),
            Err(error @ HostError::Ended { .. }) => Err(error.to_string()),
            Err(error) => Err(told(&error)),
        }
    }

    /// How a run stands, as the result of a tool: in words and as data.
    pub(super) fn standing(&self, run: &Run, first: &str) -> Value {
        let status = match self.status(run) {
            Ok(status) => status,
            Err(why) => return said(&why, true),
        };
        let mut text = vec![format!("The run `{}` is {}.", run.id(), status["status"].as_str().unwrap_or_default())];
        text.extend([first, status["message"].as_str().unwrap_or_default()].map(str::to_owned));
        if !matches!(status["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
            let handle = status["run"].as_str().unwrap_or_default();
            text.push(format!(
                "It is durable and goes on without you. With its handle {handle} ask runs_status how it stands, \
                 runs_result for its result (it waits), send signals with runs_signal, end it with runs_cancel."
            ));
        }
        text.retain(|line| !line.is_empty());
        let mut result = said(&text.join("\n"), false);
        result["structuredContent"] = status;
        result["_meta"] = json!({"io.abide/run": run.id()});
        result
    }

    /// What an ended run has come to; None if it has not.
    pub(super) fn over(stands: &Stands) -> Option<Value> {
        match stands {
            Stands::Over(result) => Some(result.clone()),
            Stands::Cancelled => Some(said("the run was cancelled", true)),
            _ => None,
        }
    }
}
