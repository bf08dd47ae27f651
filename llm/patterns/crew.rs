//! A planner and those it gives work to, as both orchestrators have them, and what they are told. It never decides what is done next.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde::Serialize;

use super::Work;
use super::verdict::on_duty;
use crate::agent::{Agent, Answer};
use crate::input::Input;

/// Who works on an objective.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) planner: Agent,
    /// Makes the answer of what was found.
    pub(crate) synthesizer: Agent,
    pub(crate) workers: Vec<Arc<dyn Work>>,
    /// Assignments at a time.
    pub(crate) at_once: usize,
}

impl Crew {
    /// Without workers; the planner's model makes the answer, too.
    pub(crate) fn new(planner: Agent) -> Self {
        let synthesizer = bare(&planner, "synthesizer");
        Self { planner, synthesizer, workers: Vec::new(), at_once: usize::MAX }
    }

    /// An error for a pattern of this name that has nobody to give work to.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        if self.workers.is_empty() {
            return Err(terminal(format!("`{name}` has no workers to give work to: name at least one agent")));
        }
        Ok(())
    }
}

/// The answer to all that it is told of.
pub(crate) async fn concluded(agent: &Agent, ctx: &Ctx, duty: &str, mut asked: Input) -> Result<Answer> {
    "What is the answer?".clone_into(&mut asked.text);
    on_duty(agent, duty).run(ctx, asked).await
}

/// An agent of this name with the model and the budgets of another, and nothing else of it.
pub(crate) fn bare(agent: &Agent, name: &str) -> Agent {
    Agent {
        model: agent.model.clone(),
        budget: agent.budget,
        run_budget: agent.run_budget,
        priority: agent.priority,
        ..Agent::new(name)
    }
}

/// The objective and what is done already, each a text of its own, so that what was said before is not kept again.
pub(crate) fn objective(input: &Input, done: &[String]) -> Input {
    let mut context = vec!["The objective:\n\n".to_owned(), input.whole()];
    if !done.is_empty() {
        context.push("\n\nWhat is done already:".to_owned());
        context.extend_from_slice(done);
    }
    Input { text: String::new(), attachments: input.attachments.clone(), prompt: input.prompt.clone(), context }
}

/// What a worker is asked: only its part, below what it may know of the rest.
pub(crate) fn part(mut asked: Input, instruction: &str) -> Input {
    asked.text = format!("Your part of it, and nothing else:\n\n{instruction}");
    asked
}

/// A plan that cannot be used is sent back to who gave it.
pub(crate) fn corrected(asked: &mut Input, why: &str, plan: &impl Serialize) {
    let written = serde_json::to_string(plan).unwrap_or_default();
    asked.context.push(format!("\n\nThis plan of yours cannot be used: {why}.\n\n{written}"));
    "What is the plan, corrected?".clone_into(&mut asked.text);
}
