//! A plan of steps and who does what in them, as an orchestrator's planner gives it, and what makes one useless. Pure functions: they never
//! mend its steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Work;
use super::verdict::{Shape, list, name_of, object, text};
use super::words::names;

/// What a planner says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Is the objective reached by what was done before?
    pub(crate) complete: bool,
    /// In their order.
    pub(crate) steps: Vec<PlanStep>,
}

/// Assignments that are carried out side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanStep {
    pub(crate) assignments: Vec<Assignment>,
}

/// Who does what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) agent: String,
    pub(crate) instruction: String,
}

impl Plan {
    /// The form in which it is asked for.
    pub(crate) fn shape(workers: &[Arc<dyn Work>]) -> Shape {
        let of = |known: bool| {
            let agent = name_of(known.then(|| workers.iter().map(Work::name)));
            let assignment = object([
                ("agent", agent),
                ("instruction", text("All that this agent has to know of what it is to do.")),
            ]);
            let step = object([("assignments", list(&assignment))]);
            let complete =
                json!({"type": "boolean", "description": "Is the objective reached by what is done already?"});
            object([("complete", complete), ("steps", list(&step))])
        };
        Shape { name: "plan", schema: of(true), checked: of(false) }
    }

    /// As it is meant: before anything is done a plan with steps is not complete, as small models say.
    pub(crate) fn meant(mut self, done: &[String]) -> Self {
        self.complete &= self.steps.is_empty() || !done.is_empty();
        self
    }

    /// What is wrong with it, to be told to the planner.
    pub(crate) fn check(&self, workers: &[Arc<dyn Work>]) -> Result<(), String> {
        if self.complete {
            return Ok(());
        }
        if self.steps.is_empty() || self.steps.iter().any(|step| step.assignments.is_empty()) {
            return Err("it is not complete, and there is a step without assignments or no step at all".to_owned());
        }
        let assignments = || self.steps.iter().flat_map(|step| &step.assignments);
        match assignments().find(|assignment| find(workers, &assignment.agent).is_none()) {
            Some(unknown) => Err(no_agent(&unknown.agent, workers)),
            None => Ok(()),
        }
    }
}

/// The worker of this name.
pub(crate) fn find<'w>(workers: &'w [Arc<dyn Work>], name: &str) -> Option<&'w Arc<dyn Work>> {
    workers.iter().find(|worker| worker.name() == name)
}

/// That nobody is called so.
pub(crate) fn no_agent(name: &str, workers: &[Arc<dyn Work>]) -> String {
    format!("there is no agent `{name}`; there are: {}", names(workers.iter().map(Work::name)))
}
