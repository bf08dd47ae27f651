//! From a call to a run: what it is given, what it pins, and which run it is. It waits for the commit of the run's start and for
//! nothing else.

use abide_mcp::serve::Call;
use serde_json::Value;

use super::catalog::{Entry, Target};
use super::{Shared, told};
use crate::config::Project;
use crate::{Definition, HostError, Run};

/// Where a client that knows abide sends the key of its own step.
const KEY: &str = "io.abide/idempotency-key";

impl Shared {
    /// The run of this call: a new one, or the one that was started with the same key. The error is a text for who called.
    pub(super) async fn begin(&self, entry: &Entry, call: &Call) -> Result<Run, String> {
        let mut input = call.argument("input").cloned().unwrap_or(Value::Null);
        let (workflow, definition, queue) = match &entry.target {
            Target::Workflow(workflow) => (workflow.name.clone(), Definition::default(), None),
            files => {
                if input.as_str().is_none_or(|text| text.trim().is_empty()) {
                    return Err("it needs to be told what to do, in `input`".to_owned());
                }
                let project = Project::load(&self.env).map_err(|error| format!("{error}\n{}", error.help()))?;
                let pinned = files.pinned(&project).map_err(|error| format!("{error}\n{}", error.help()))?;
                let queue = files.queue(&project).map_err(|error| format!("{error}\n{}", error.help()))?;
                let redactor = self.agents.redactor("new", &pinned, project.root()).map_err(|error| told(&error))?;
                redactor.hide_value(&mut input);
                let definition = pinned.definition(project.root(), &redactor);
                let definition = definition.map_err(|error| format!("the agent cannot be recorded: {error}"))?;
                (pinned.work.workflow_name(), definition, queue)
            }
        };
        let mut start = self.abide.run(&workflow, &input).definition(definition);
        if let Some(queue) = queue {
            start = start.queue(queue);
        }
        if let Some(id) = id_of(call) {
            start = start.id(id);
        }
        start.await.map_err(|error| match error {
            HostError::IdTaken { run, differs } => {
                format!("the key `{run}` has been used for a run with {differs}: use another `id` for this one")
            }
            other => told(&other),
        })
    }
}

/// The run's id, if the client has a say in it.
fn id_of(call: &Call) -> Option<String> {
    if let Some(id) = call.argument("id").and_then(Value::as_str) {
        return Some(id.to_owned());
    }
    let key = call.meta.get(KEY).and_then(Value::as_str)?;
    // Of somebody else's choice: it must not meet the ids of people.
    let hash = blake3::hash(format!("{}\0{key}", call.text("name")).as_bytes()).to_hex();
    Some(format!("call-{}", hash.get(..32).unwrap_or_default()))
}
