//! The agent loop: asks the model, calls the tools it names, and asks again, each as a step of the run. It decides nothing
//! by itself (`agent_move` does) and never touches the network outside a step.

use std::sync::Arc;

use abide_engine::{Ctx, Result, Wait, terminal};
use futures_util::future::join_all;

use crate::agent::{Agent, AgentHost, Answer, Approval};
use crate::agent_exit::{Exits, Talked};
use crate::agent_filter::ToolFilter;
use crate::agent_limit::CallLimit;
use crate::agent_move::{Move, Plan, answer_text, conclude, decide, tool_named};
use crate::agent_rounds::Calling;
use crate::agent_start;
use crate::agent_text::{Sessions, Told, foreign};
use crate::ask::Models;
use crate::charge;
use crate::input::Input;
use crate::memory;
use crate::model::ModelConfig;
use crate::own_tools::{OwnTools, Place};
use crate::skill;
use crate::structured;
use crate::template;
use crate::tools::{Policy, ToolSpec};
use crate::wire::{Output, Prompt, Reply, Stop, ToolChoice, ToolDecl, Turn};

/// A conversation with a model about one input.
struct Conversation<'a> {
    ctx: &'a Ctx,
    agent: &'a Agent,
    host: Arc<AgentHost>,
    own: OwnTools<'a>,
}

/// Runs the agent on `input`, in the scope of `ctx`.
pub(crate) async fn converse(agent: &Agent, ctx: &Ctx, input: Input) -> Result<Answer> {
    let first = First::Asked(input.clone());
    let begin = Begin { instructions: &template::filled(agent, &input)?, first, recalls: true };
    let answer = talk(agent, ctx, begin, &Exits::default()).await?.answer;
    memory::remember(ctx, agent, &input, &answer).await?;
    Ok(answer)
}

/// What a conversation begins with.
pub(crate) struct Begin<'a> {
    pub(crate) instructions: &'a str,
    pub(crate) first: First,
    /// Does what the agent remembers stand before it?
    pub(crate) recalls: bool,
}

/// What stands before the model's first reply.
pub(crate) enum First {
    /// What the agent is asked, with all that its file attaches.
    Asked(Input),
    /// What was said so far.
    Turns(Vec<Turn>),
}

/// Goes on with a conversation until the agent answers or takes one of the exits.
pub(crate) async fn talk(agent: &Agent, ctx: &Ctx, begin: Begin<'_>, exits: &Exits) -> Result<Talked> {
    let filter = ToolFilter::new(agent.allow.as_deref(), &agent.deny)
        .map_err(|error| terminal(format!("agent `{}`: {error}", agent.name)))?;
    let talk = Conversation { ctx, agent, host: host(agent, ctx)?, own: OwnTools::of(agent) };
    let mut models = Models::new(&agent.in_its_manner(model(agent)?), talk.host.clone(), ctx);
    let tools = talk.own.before(filter.choose(talk.discover().await?))?;
    let remembered = if begin.recalls { memory::recall(ctx, agent).await? } else { Vec::new() };
    let turns = match begin.first {
        First::Asked(input) => agent_start::turns(ctx, agent, &talk.host, model(agent)?, input).await?,
        First::Turns(turns) => turns,
    };
    let mut prompt = talk.prompt(begin.instructions, turns, &tools, exits);
    prompt.turns.splice(..0, remembered);
    let expected = agent.expected();
    let mut sessions = Sessions::default();
    let mut limit = CallLimit::new(agent.calls_per_turn, agent.identical_calls);
    let (mut spent, mut repaired) = (Answer::from(""), false);
    loop {
        spent.turns += 1;
        let last = spent.turns >= agent.max_turns;
        if last {
            conclude(&mut prompt, spent.turns > 1);
        }
        let (reply, model) = models.ask(ctx, agent, &mut prompt).await?;
        if prompt.tool_choice == ToolChoice::Required {
            prompt.tool_choice = ToolChoice::Auto;
        }
        spent.usage += reply.usage;
        spent.nano_usd = spent.nano_usd.saturating_add(talk.cost(&model, &reply));
        if let Some(output) = &expected
            && is_answer(&reply, output, exits, |name| tool_named(&tools, &agent.servers, name).is_some())
        {
            match structured::read(&reply, output) {
                Ok(value) => {
                    let answer = Answer { text: value.to_string(), value: Some(value), ..spent };
                    return Ok(Talked::over(answer, prompt.turns));
                }
                // Once: a model that misses it twice will not find it.
                Err(unfit) if unfit.can_be_repaired() && !repaired && !last => {
                    repaired = true;
                    prompt.turns.extend(unfit.repair(reply, &model, output)?);
                    continue;
                }
                Err(unfit) => return Err(terminal(format!("agent `{}`: {unfit}", agent.name))),
            }
        }
        if reply.stop == Stop::Paused && !last {
            // The provider works on by itself when it is shown what it has said so far.
            prompt.turns.push(reply.into_turn(&model));
            continue;
        }
        match decide(&reply, &tools, &agent.servers, exits, last) {
            Move::End => {
                let text = answer_text(agent, &reply, spent.turns)?;
                let answer = Answer { text, stop: reply.stop.clone(), ..spent };
                prompt.turns.push(reply.into_turn(&model));
                return Ok(Talked::over(answer, prompt.turns));
            }
            Move::Call(mut plans) => {
                limit.hold_back(&mut plans);
                let mut told = talk.carry_out(plans).await?;
                let left = exits.take(&reply, &mut told);
                prompt.turns.extend(tell(&model, reply, told, &mut sessions));
                if left.is_some() {
                    return Ok(Talked { answer: Answer { stop: Stop::ToolUse, ..spent }, left, turns: prompt.turns });
                }
            }
        }
    }
}

fn host(agent: &Agent, ctx: &Ctx) -> Result<Arc<AgentHost>> {
    ctx.resource().ok_or_else(|| {
        terminal(format!(
            "agent `{}` runs in a host that lends no AgentHost, so it can reach neither models nor tools: start the host \
             with agents, or add one to its resources",
            agent.name
        ))
    })
}

fn model(agent: &Agent) -> Result<&ModelConfig> {
    agent.model.as_ref().ok_or_else(|| {
        terminal(format!(
            "agent `{}` has no model: name one in its file (`model:`), in [defaults] of abide.toml or with --model; in \
             code: Agent::model",
            agent.name
        ))
    })
}

/// Is this to be the answer? A call of a tool that the agent has comes before it.
fn is_answer(reply: &Reply, output: &Output, exits: &Exits, is_tool: impl Fn(&str) -> bool) -> bool {
    let gives_it = reply.tool_calls.iter().any(|call| call.name == output.name);
    let calls = reply.tool_calls.iter().any(|call| exits.has(&call.name) || is_tool(&call.name));
    gives_it || !calls
}

/// What is added to the conversation after a turn with calls.
fn tell(model: &ModelConfig, reply: Reply, told: Vec<Told>, sessions: &mut Sessions) -> [Turn; 2] {
    let replies = reply.tool_calls.iter().zip(told).map(|(call, mut told)| {
        sessions.note(&mut told);
        told.reply(call.id.clone())
    });
    let results = Turn::ToolResults(replies.collect());
    [reply.into_turn(model), results]
}

impl Conversation<'_> {
    /// The tools of the agent's servers: pinned in the run from here on.
    async fn discover(&self) -> Result<Vec<ToolSpec>> {
        if self.agent.servers.is_empty() {
            return Ok(Vec::new());
        }
        let host = self.host.clone();
        let tools = self.ctx.step("tools", self.agent.servers.clone(), move |servers| host.tools.discover(servers));
        let tools: Vec<ToolSpec> = tools.pure().await?;
        self.host.tools.pin(&tools);
        Ok(tools)
    }

    /// Billionths of a US dollar, as far as anybody knows.
    fn cost(&self, model: &ModelConfig, reply: &Reply) -> u64 {
        let (vars, served) = (self.host.vars.as_ref(), reply.model.as_deref());
        charge::cost(model, vars, &reply.usage, served, charge::now_ms(self.ctx)).unwrap_or(0)
    }

    fn prompt(&self, instructions: &str, turns: Vec<Turn>, tools: &[ToolSpec], exits: &Exits) -> Prompt {
        let said = Some(instructions.trim()).filter(|said| !said.is_empty()).map(str::to_owned);
        let system: Vec<String> = said.into_iter().chain(skill::listing(&self.agent.skills)).collect();
        let decl = |spec: &ToolSpec| ToolDecl {
            name: spec.name.clone(),
            description: spec.description.clone(),
            input_schema: spec.input_schema.clone(),
        };
        Prompt {
            system: (!system.is_empty()).then(|| system.join("\n\n")),
            turns,
            output: self.agent.output.clone(),
            tools: tools.iter().map(decl).chain(exits.tools()).collect(),
            tool_choice: self.agent.tool_choice,
            ..Prompt::default()
        }
    }

    /// Carries out the calls of a turn side by side; what the model is told comes in the order of the plans.
    async fn carry_out(&self, plans: Vec<Plan<'_>>) -> Result<Vec<Told>> {
        let calls = plans.into_iter().enumerate().map(|(index, plan)| self.carry_out_one(index, plan));
        join_all(calls).await.into_iter().collect()
    }

    /// One call from its approval to its result. Only the cancellation of the run is an `Err`.
    async fn carry_out_one(&self, index: usize, plan: Plan<'_>) -> Result<Told> {
        let (spec, call) = match plan {
            Plan::Tell(text) => return Ok(Told::error(&text)),
            Plan::Call(spec, call) => (spec, call),
        };
        let place = Place { ctx: self.ctx, host: &self.host, index };
        let call = match self.agent.hooks.before(&place, spec, call).await? {
            Ok(call) => call,
            Err(told) => return Ok(Told::error(&told)),
        };
        if spec.policy == Policy::Ask {
            let asked = self.ctx.signal::<Approval>(format!("{}.approval", spec.name));
            let approval = asked.ask(Wait::Approval, &call).key(index).await?;
            if !approval.allow {
                let reason = approval.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
                let reason = reason.map_or_else(|| "no reason was given".to_owned(), foreign);
                let text = format!("the user refused this call of `{}`, so it was not made: {reason}", spec.name);
                return Ok(Told::error(&text));
            }
        }
        let (server, made) = (call.server.clone(), call.clone());
        let result = match self.own.find(&spec.name) {
            Some(own) => own.call(self.agent, &place, call).await,
            None => Calling { ctx: self.ctx, agent: self.agent, host: &self.host, spec, index }.carry_out(call).await,
        };
        match result {
            Ok(result) => Ok(match self.agent.hooks.after(&place, spec, made, result).await? {
                Ok(result) => Told::of_result(&server, &result, self.agent.max_result_chars),
                Err(told) => Told::error(&told),
            }),
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => Ok(Told::error(&format!("the tool failed: {}", foreign(error.message())))),
        }
    }
}
