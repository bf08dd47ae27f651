//! A deep orchestrator, for work that takes long: plans whose assignments need each other, nothing done twice, what was found kept as facts,
//! and an end before the budget is used up. It never carries out a plan that it has not checked.

use std::time::SystemTime;

use abide_engine::{Ctx, Error, Result, terminal};
use serde::Deserialize;
use serde_json::json;

use super::branch::fan_out;
use super::builders::{crew, pattern};
use super::crew::{Crew, bare, concluded, corrected, objective, part};
use super::deep_plan::{DeepPlan, DeepStep, Need};
use super::deep_state::{Done, Fact, State};
use super::plan::find;
use super::verdict::{Shape, list, object, text, verdict};
use super::words::{names, roster};
use super::work::Title;
use crate::agent::{Agent, Answer};
use crate::agent_text::foreign;
use crate::charge::Limit;
use crate::input::Input;

/// Plans after the first one when nothing is said.
const MAX_REPLANS: u32 = 5;
/// How often a plan that cannot be used is asked for again, with what is wrong with it.
const CORRECTIONS: u32 = 2;

const PLAN: &str = "You plan how agents reach an objective that takes long, and do none of the work yourself. Give every assignment a name of its own, and \
                    under `needs` the names of those whose results it has to see: they may only stand in earlier steps or be done already. What does \
                    not need each other belongs into one step. Never repeat what is done. Use only the agents below. If what is done already \
                    reaches the objective, say that it is complete and give no steps.";
const KEEP: &str = "You keep what agents have found out, for others who will not see their results. Give the facts that matter for the objective, each in \
                    one sentence that can be understood alone, with its topic and how sure it is from 0 to 1. Give none that are known already.";
const SYNTHESIS: &str = "You make one answer to an objective out of what agents have found. Answer as if you had done the work: leave out who did \
                         what, and say what could not be done.";
const EMERGENCY: &str = "Work on an objective had to stop. Give the best answer that what was found allows, and say plainly what is missing.";

/// A planner, its workers, and what they know together.
///
/// ```
/// use abide_llm::{Agent, DeepOrchestrator, Limit};
///
/// let study = DeepOrchestrator::new(Agent::new("planner"))
///     .workers([Agent::new("researcher"), Agent::new("analyst")])
///     .budget(Limit { max_tokens: Some(200_000), ..Limit::default() });
/// ```
#[derive(Clone)]
pub struct DeepOrchestrator {
    title: Title,
    crew: Crew,
    budget: Limit,
    max_replans: u32,
}

pattern!(DeepOrchestrator);
crew!(DeepOrchestrator);

#[derive(Deserialize)]
struct Facts {
    facts: Vec<Fact>,
}

impl DeepOrchestrator {
    /// Without workers, by the name of `deep-orchestrator`; the planner's model keeps the facts and makes the answer, too.
    pub fn new(planner: Agent) -> Self {
        Self {
            title: Title::new("deep-orchestrator"),
            crew: Crew::new(planner),
            budget: Limit::default(),
            max_replans: MAX_REPLANS,
        }
    }

    /// What it may spend. At nine tenths of any of it the answer is made of what there is. (Unlike an agent's budget, which is never exceeded and
    /// parks the run, this one is a plan: the last calls may go beyond.) A cost counts as far as prices are known.
    #[must_use]
    pub fn budget(mut self, budget: Limit) -> Self {
        self.budget = budget;
        self
    }

    /// The most plans after the first one; then the answer is made of what there is.
    #[must_use]
    pub fn max_replans(mut self, most: u32) -> Self {
        self.max_replans = most;
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        self.crew.check(&self.title.name)?;
        let mut work = Deep { this: &self, ctx: &ctx, input: &input, begun: ctx.now(), state: State::default() };
        let ended = match work.go().await {
            Ok(forced) => {
                if let Some(why) = &forced {
                    ctx.status(&json!({ "forced": why }));
                }
                work.conclude(&self.crew.synthesizer, SYNTHESIS, forced).await
            }
            Err(error) => Err(error),
        };
        let answer = match ended {
            Err(error) if !error.is_cancelled() && work.has_results() => {
                ctx.status(&json!({ "emergency": error.message() }));
                let agent = bare(&self.crew.planner, "emergency");
                let why = foreign(error.message());
                // What went wrong at first is what has to be mended.
                work.conclude(&agent, EMERGENCY, Some(why)).await.map_err(|_| error)?
            }
            ended => ended?,
        };
        Ok(work.state.tally.on(answer))
    }
}

/// One objective under way.
struct Deep<'a> {
    this: &'a DeepOrchestrator,
    ctx: &'a Ctx,
    input: &'a Input,
    begun: SystemTime,
    state: State,
}

impl Deep<'_> {
    /// Until the objective is reached, or enough is spent: then it says why.
    async fn go(&mut self) -> Result<Option<String>> {
        for _ in 0..=self.this.max_replans {
            if let Some(why) = self.enough().await? {
                return Ok(Some(why));
            }
            let mut plan = self.plan().await?;
            if plan.complete {
                return Ok(None);
            }
            plan.drop_known(&self.state.known());
            if plan.steps.is_empty() {
                return Ok(Some("nothing new was planned".to_owned()));
            }
            for step in &plan.steps {
                if let Some(why) = self.enough().await? {
                    return Ok(Some(why));
                }
                self.carry_out(step).await?;
            }
        }
        Ok(Some(format!("it was planned anew {} times", self.this.max_replans)))
    }

    /// Why no more is to be spent. Recorded: prices are not the journal's, and may be others on replay.
    async fn enough(&mut self) -> Result<Option<String>> {
        if self.this.budget.is_none() {
            return Ok(None);
        }
        let ms = self.ctx.now().duration_since(self.begun).map_or(0, |since| since.as_millis());
        self.state.ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let used = self.state.used_up(&self.this.budget);
        let step = self.ctx.step("budget", (), move |()| {
            let used = used.clone();
            async move { Ok::<_, Error>(used) }
        });
        step.local().await
    }

    /// A plan that can be carried out: what is wrong with one is told to the planner.
    async fn plan(&mut self) -> Result<DeepPlan> {
        let workers = &self.this.crew.workers;
        let duty = format!("{PLAN}\n\nThe agents:\n{}", roster(workers));
        let mut asked = self.objective();
        if !self.state.done.is_empty() {
            asked.context.push("\n\nWhat is done already:".to_owned());
            asked.context.extend(self.state.done.iter().flat_map(Done::brief));
        }
        asked.context.extend(self.state.facts_for(&self.input.text));
        "What is the plan?".clone_into(&mut asked.text);
        let mut corrections = 0;
        loop {
            let (shape, tally) = (DeepPlan::shape(workers), &mut self.state.tally);
            let plan: DeepPlan = verdict(&self.this.crew.planner, self.ctx, &duty, shape, asked.clone(), tally).await?;
            let done = self.state.names();
            let mut plan = plan.meant(&done);
            if corrections == CORRECTIONS {
                plan.drop_senseless_needs(&done);
            }
            let wrong = plan.check(workers, &done);
            if wrong.is_empty() {
                return Ok(plan);
            }
            let wrong = wrong.join("; ");
            if corrections == CORRECTIONS {
                let name = &self.this.title.name;
                let times = CORRECTIONS + 1;
                return Err(terminal(format!(
                    "the planner of `{name}` gave {times} plans that cannot be used: {wrong}"
                )));
            }
            corrections += 1;
            corrected(&mut asked, &wrong, &plan);
        }
    }

    async fn carry_out(&mut self, step: &DeepStep) -> Result<()> {
        let (mut ready, mut works): (Vec<Need>, Vec<_>) = (Vec::new(), Vec::new());
        for need in &step.assignments {
            let failed = |name: &&String| self.state.of(name).is_none_or(|done| done.result.is_err());
            let lacks: Vec<&str> = need.needs.iter().filter(failed).map(String::as_str).collect();
            if lacks.is_empty()
                && let Some(worker) = find(&self.this.crew.workers, &need.agent)
            {
                works.push((worker.clone(), self.asked(need)));
                ready.push(need.clone());
            } else {
                let error = terminal(format!("it was not begun: it needs {}, which failed", names(lacks)));
                self.state.done.push(Done { need: need.clone(), result: Err(error) });
            }
        }
        let from = self.state.done.len();
        let branches = fan_out(self.ctx, "step", works, self.this.crew.at_once, &mut self.state.tally).await?;
        let done = ready.into_iter().zip(branches).map(|(need, branch)| Done { need, result: branch.result });
        self.state.done.extend(done);
        self.keep(from).await
    }

    /// What an agent is asked: its part, the results that it needs, and the facts that may help.
    fn asked(&self, need: &Need) -> Input {
        let mut asked = self.objective();
        asked.context.extend(need.needs.iter().filter_map(|name| self.state.of(name)).flat_map(Done::told));
        asked.context.extend(self.state.facts_for(&need.instruction));
        part(asked, &need.instruction)
    }

    /// Keeps what the results from this one on have brought.
    async fn keep(&mut self, from: usize) -> Result<()> {
        let new: Vec<String> =
            self.state.done.iter().skip(from).filter(|done| done.result.is_ok()).flat_map(Done::told).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut asked = self.objective();
        asked.context.extend(self.state.facts_for(&self.input.text));
        asked.context.extend(new);
        "Which facts are to be kept?".clone_into(&mut asked.text);
        let fact = object([
            ("topic", text("What it is about.")),
            ("fact", text("One sentence.")),
            ("confidence", json!({"type": "number", "description": "From 0 to 1."})),
        ]);
        let schema = object([("facts", list(&fact))]);
        let shape = Shape { name: "facts", checked: schema.clone(), schema };
        let keeper = bare(&self.this.crew.planner, "keeper");
        match verdict::<Facts>(&keeper, self.ctx, KEEP, shape, asked, &mut self.state.tally).await {
            Ok(facts) => self.state.learn(facts.facts),
            Err(error) if error.is_cancelled() => return Err(error),
            // The results themselves are there: it goes on without.
            Err(_) => {}
        }
        Ok(())
    }

    async fn conclude(&mut self, agent: &Agent, duty: &str, note: Option<String>) -> Result<Answer> {
        let mut asked = self.objective();
        asked.context.extend(self.state.done.iter().flat_map(Done::told));
        asked.context.extend(self.state.facts_for(&self.input.text));
        asked.context.extend(note.map(|note| format!("\n\n(No more work is done: {note}.)")));
        let answer = concluded(agent, self.ctx, duty, asked).await?;
        self.state.tally.add(&answer);
        Ok(answer)
    }

    fn has_results(&self) -> bool {
        self.state.done.iter().any(|done| done.result.is_ok())
    }

    fn objective(&self) -> Input {
        objective(self.input, &[])
    }
}
