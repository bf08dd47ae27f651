//! `[queues.NAME]`: how many runs of a queue may be under way, and who names which. It only reads: places are given in the database.

use super::abide_toml::small;
use super::agent_file::AgentDef;
use super::error::{ConfigError, nearest};
use super::keys;
use super::node::{Node, Reader, Table, Value};
use super::project::Project;
use super::workflows::WorkflowDef;
use crate::Queue;

pub(super) fn read(name: &str, path: &str, node: &Node, table: &Table) -> Result<Queue, ConfigError> {
    let keys = Reader::new(path, table, keys::QUEUE)?;
    if name.len() > 200 || name.contains(char::is_control) {
        let problem = format!("`{name}` cannot be a queue's name");
        return Err(ConfigError::invalid(&node.at, problem, "a name has at most 200 bytes and no control characters"));
    }
    let Some(concurrency) = small(&keys, "concurrency")? else {
        let problem = format!("[{path}] does not say how many of its runs may be under way");
        return Err(ConfigError::invalid(&node.at, problem, "add a line: concurrency = 4"));
    };
    let priority = keys.get("priority", "a whole number", |value| match value {
        Value::Int(n) => i32::try_from(*n).ok(),
        _ => None,
    })?;
    Ok(Queue::new(name, concurrency.value).priority(priority.map_or(0, |n| n.value)))
}

impl Project {
    /// The queue of this name.
    pub fn queue(&self, name: &str) -> Result<Queue, ConfigError> {
        if let Some(queue) = self.queues().get(name) {
            return Ok(queue.clone());
        }
        let names: Vec<&str> = self.queues().keys().map(String::as_str).collect();
        let near =
            nearest(name, names.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let there = if names.is_empty() { String::new() } else { format!("there are: {}; ", names.join(", ")) };
        Err(ConfigError::Unresolved {
            problem: format!("there is no queue `{name}`"),
            help: format!("{near}{there}to add it to abide.toml: [queues.{name}] with a line concurrency = 4"),
        })
    }

    /// The queue that an agent's file names, with the agent's own priority in it.
    pub fn queue_of(&self, agent: &AgentDef) -> Result<Option<Queue>, ConfigError> {
        let Some(name) = &agent.queue else { return Ok(None) };
        let queue = self.queue(name).map_err(|error| error.asked_at(&agent.place("queue")))?;
        let priority = if agent.priority == 0 { queue.priority } else { agent.priority };
        Ok(Some(queue.priority(priority)))
    }

    /// The queue that a `[workflows]` table names.
    pub fn queue_of_workflow(&self, workflow: &WorkflowDef) -> Result<Option<Queue>, ConfigError> {
        let named = workflow.queue.as_ref().map(|name| self.queue(&name.value).map_err(|e| e.asked_at(&name.at)));
        named.transpose()
    }
}
