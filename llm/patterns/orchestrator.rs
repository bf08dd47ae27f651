//! An orchestrator: a planner says who does what, workers do it, and the planner is asked again until the objective is reached; then one
//! answer is made of all. It never invents an agent, and never goes on past its limit of iterations.

use abide_engine::{Ctx, Result, terminal};
use serde::{Deserialize, Serialize};

use super::Branch;
use super::branch::fan_out;
use super::builders::{crew, pattern};
use super::crew::{Crew, concluded, corrected, objective, part};
use super::plan::{Plan, PlanStep, find, no_agent};
use super::verdict::verdict;
use super::words::roster;
use super::work::{Tally, Title};
use crate::agent::{Agent, Answer};
use crate::input::Input;

/// Plans of one objective when nothing is said.
const MAX_ITERATIONS: u32 = 10;

const FULL: &str = "You plan how agents reach an objective, and do none of the work yourself. Give all steps that are still to be done, in their \
                    order; what can be done side by side belongs into one step. Later steps are told what earlier ones have found. Use only \
                    the agents below, each for what it is good for. If what is done already reaches the objective, say that it is complete \
                    and give no steps.";
const ITERATIVE: &str = "You plan how agents reach an objective, and do none of the work yourself. Give only the one step that comes next, with \
                         all that can be done side by side now; you will be asked again when it is done. Use only the agents below, each for \
                         what it is good for. If what is done already reaches the objective, say that it is complete and give no steps.";
const SYNTHESIS: &str = "You make one answer to an objective out of what agents have found. Answer as if you had done the work: leave out who did \
                         what, and say what could not be done.";

/// How far a planner looks ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Planning {
    /// All steps at once, and again when they are done.
    #[default]
    Full,
    /// One step at a time.
    Iterative,
}

/// A planner and its workers.
///
/// ```
/// use abide_llm::{Agent, Orchestrator, Planning};
///
/// let research = Orchestrator::new(Agent::new("planner"))
///     .workers([Agent::new("researcher"), Agent::new("writer")])
///     .plan(Planning::Full);
/// ```
#[derive(Clone)]
pub struct Orchestrator {
    title: Title,
    crew: Crew,
    planning: Planning,
    max_iterations: u32,
}

pattern!(Orchestrator);
crew!(Orchestrator);

impl Orchestrator {
    /// Without workers, by the name of `orchestrator`; the planner's model makes the answer, too.
    pub fn new(planner: Agent) -> Self {
        Self {
            title: Title::new("orchestrator"),
            crew: Crew::new(planner),
            planning: Planning::Full,
            max_iterations: MAX_ITERATIONS,
        }
    }

    /// How far the planner looks ahead.
    #[must_use]
    pub fn plan(mut self, planning: Planning) -> Self {
        self.planning = planning;
        self
    }

    /// The most plans; 0 means 1.
    #[must_use]
    pub fn max_iterations(mut self, most: u32) -> Self {
        self.max_iterations = most.max(1);
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let name = &self.title.name;
        self.crew.check(name)?;
        let (mut tally, mut done) = (Tally::default(), Vec::new());
        for _ in 0..self.max_iterations {
            let plan = self.ask_for_plan(&ctx, &input, &done, &mut tally).await?;
            if plan.complete {
                let answer = concluded(&self.crew.synthesizer, &ctx, SYNTHESIS, objective(&input, &done)).await?;
                tally.add(&answer);
                return Ok(tally.on(answer));
            }
            let steps = if self.planning == Planning::Full { plan.steps.len() } else { 1 };
            for step in plan.steps.iter().take(steps) {
                let branches = self.carry_out(&ctx, &input, &done, step, &mut tally).await?;
                let told = step.assignments.iter().zip(&branches).flat_map(|(one, branch)| {
                    branch.section(&format!("{} was asked: {}", branch.name, one.instruction))
                });
                done.extend(told);
                if branches.iter().all(|branch| branch.result.is_err()) {
                    // What follows would stand on nothing: the planner hears of it first.
                    break;
                }
            }
        }
        Err(terminal(format!(
            "`{name}` did not come to an end in {} iterations of planning: raise max_iterations, or give it a smaller objective",
            self.max_iterations
        )))
    }

    /// A plan that can be carried out. One that cannot is sent back once.
    async fn ask_for_plan(&self, ctx: &Ctx, input: &Input, done: &[String], tally: &mut Tally) -> Result<Plan> {
        let duty = if self.planning == Planning::Full { FULL } else { ITERATIVE };
        let duty = format!("{duty}\n\nThe agents:\n{}", roster(&self.crew.workers));
        let mut asked = objective(input, done);
        "What is the plan?".clone_into(&mut asked.text);
        let shape = || Plan::shape(&self.crew.workers);
        let plan: Plan = verdict(&self.crew.planner, ctx, &duty, shape(), asked.clone(), tally).await?;
        let plan = plan.meant(done);
        let Err(why) = plan.check(&self.crew.workers) else { return Ok(plan) };
        corrected(&mut asked, &why, &plan);
        let plan: Plan = verdict(&self.crew.planner, ctx, &duty, shape(), asked, tally).await?;
        let plan = plan.meant(done);
        match plan.check(&self.crew.workers) {
            Ok(()) => Ok(plan),
            Err(why) => {
                let name = &self.title.name;
                Err(terminal(format!("the planner of `{name}` gave a plan twice that cannot be used: {why}")))
            }
        }
    }

    async fn carry_out(
        &self,
        ctx: &Ctx,
        input: &Input,
        done: &[String],
        step: &PlanStep,
        tally: &mut Tally,
    ) -> Result<Vec<Branch>> {
        let works = step.assignments.iter().map(|one| {
            let worker = find(&self.crew.workers, &one.agent)
                .ok_or_else(|| terminal(no_agent(&one.agent, &self.crew.workers)))?;
            Ok((worker.clone(), part(objective(input, done), &one.instruction)))
        });
        fan_out(ctx, "step", works.collect::<Result<_>>()?, self.crew.at_once, tally).await
    }
}
