//! An agent: a model with instructions and tools, as plain data that a run pins. Running it is `agent_loop`; this file never
//! calls a model or a tool.

use std::sync::Arc;

use abide_engine::{Ctx, MAX_NAME, Result, Scoped, terminal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent_loop::converse;
use crate::agent_manner::Written;
use crate::ask_person::AskPerson;
use crate::charge::Limit;
use crate::function::ToolFunction;
use crate::hooks::Hooks;
use crate::http::Client;
use crate::input::Input;
use crate::memory::Remembers;
use crate::model::ModelConfig;
use crate::redact::Redactor;
use crate::rounds::ResourceRef;
use crate::secret::Vars;
use crate::skill::Skill;
use crate::tools::Tools;
use crate::wire::{Output, Stop, ToolChoice, Usage};

/// Turns of an agent that does not say how many.
const MAX_TURNS: u32 = 10;

/// Characters that the model is sent of one tool's result when the agent does not say how many.
const MAX_RESULT_CHARS: usize = 100_000;

/// Calls of tools that are made of one message when the agent does not say how many.
const CALLS_PER_TURN: u32 = 100;

/// How often one call is made with nothing new in between when the agent does not say.
const IDENTICAL_CALLS: u32 = 10;

/// An agent: plain data, part of a run's pinned definition. All its texts are in the written form of [`Redactor`].
///
/// ```
/// use abide_llm::{Agent, ModelConfig, Provider};
///
/// let researcher = Agent::new("researcher")
///     .instructions("Search and summarize.")
///     .servers(["filesystem", "memory"])
///     .model(ModelConfig::new(Provider::Anthropic, "claude-sonnet-4-5"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name, the scope of its steps: `researcher/llm#2`.
    pub name: String,
    /// What it is good for: planners and routers choose by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the model is told it is; nothing is sent if it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// The model. A run pins one; without it the agent cannot run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    /// The servers whose tools it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Globs of the tools that it sees, as [`crate::ToolFilter`] reads them; `None` for all, an empty list for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Globs of the tools that it does not see, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The most calls of the model; in the last one it has to answer without tools. 0 means 1.
    #[serde(default = "max_turns")]
    pub max_turns: u32,
    /// The most characters that the model is sent of one tool's result. The journal keeps the whole.
    #[serde(default = "max_result_chars")]
    pub max_result_chars: usize,
    /// The most calls of tools that are made of one message of the model; the model is told of the others.
    #[serde(default = "calls_per_turn")]
    pub calls_per_turn: u32,
    /// The form of its answer, if that is to be JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// What its answer in JSON is checked against, if that is less than the model is given.
    #[serde(skip)]
    pub(crate) checked: Option<Value>,
    /// What it may spend within a run.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub budget: Limit,
    /// What the run may spend, with all runs below it.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub run_budget: Limit,
    /// Who of those that wait for one provider goes first: the higher number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// May, must or must not it call a tool? What it must, it must in its first turn alone, else it would never come to an end.
    #[serde(default, skip_serializing_if = "is_auto")]
    pub tool_choice: ToolChoice,
    /// How often one call is made with nothing new in between; after that the model is told instead.
    #[serde(default = "identical_calls")]
    pub identical_calls: u32,
    /// Are its instructions a template over its input?
    #[serde(default, skip_serializing_if = "is_false")]
    pub template: bool,
    /// What writes instructions of its own for each input.
    #[serde(skip)]
    pub(crate) written: Written,
    /// The sampling temperature, in the place of its model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Where its model stops, in the place of what the model's entry says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The skills that it may load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<Arc<Skill>>,
    /// The conversation of earlier runs that it goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Remembers>,
    /// May it ask a person?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_person: Option<AskPerson>,
    /// Functions of the program that it may call.
    #[serde(skip)]
    pub functions: Vec<ToolFunction>,
    /// Code around its calls of tools.
    #[serde(skip)]
    pub hooks: Hooks,
    /// What it is shown before its input, read once in each run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceRef>,
}

/// What an agent came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What the model said last; never empty.
    pub text: String,
    /// Calls of the model.
    pub turns: u32,
    /// Why the model stopped. [`Stop::ToolUse`]: its turns were used up, and it still asked for tools.
    pub stop: Stop,
    /// Tokens of all turns together.
    pub usage: Usage,
    /// The answer in JSON, if the agent was to answer so; its text is the same then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Billionths of a US dollar, as far as prices are known now: in no journal, so nothing may be decided by it that is not recorded.
    #[serde(skip)]
    pub(crate) nano_usd: u64,
}

/// What agents need of their host; lent to workflows as a resource of the engine.
#[derive(Clone)]
pub struct AgentHost {
    /// Calls models.
    pub client: Client,
    /// Lists and calls tools.
    pub tools: Arc<dyn Tools>,
    /// Where references to secrets are looked up, at each call.
    pub vars: Arc<dyn Vars>,
    /// Keeps secrets out of what is written.
    pub redactor: Redactor,
}

/// What a person says to a call of a tool that needs approval: the payload of the signal that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// May the tool be called with these arguments?
    pub allow: bool,
    /// Why (not); the model is told if the call is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Agent {
    /// An agent without instructions, tools and model, with 10 turns.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            instructions: String::new(),
            model: None,
            servers: Vec::new(),
            allow: None,
            deny: Vec::new(),
            max_turns: MAX_TURNS,
            max_result_chars: MAX_RESULT_CHARS,
            calls_per_turn: CALLS_PER_TURN,
            identical_calls: IDENTICAL_CALLS,
            output: None,
            checked: None,
            budget: Limit::default(),
            run_budget: Limit::default(),
            priority: 0,
            tool_choice: ToolChoice::Auto,
            template: false,
            written: Written::default(),
            temperature: None,
            stop: Vec::new(),
            skills: Vec::new(),
            memory: None,
            ask_person: None,
            functions: Vec::new(),
            hooks: Hooks::default(),
            resources: Vec::new(),
        }
    }

    /// The scope of its steps: its name without what would break their ids.
    pub fn scope(&self) -> String {
        scope_name(&self.name)
    }

    /// What it is good for, in a sentence: planners and routers choose by it.
    #[must_use]
    pub fn description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// What the model is told it is.
    #[must_use]
    pub fn instructions(self, instructions: impl Into<String>) -> Self {
        Self { instructions: instructions.into(), ..self }
    }

    /// The model.
    #[must_use]
    pub fn model(self, model: ModelConfig) -> Self {
        Self { model: Some(model), ..self }
    }

    /// The servers whose tools it has.
    #[must_use]
    pub fn servers<S: Into<String>>(self, servers: impl IntoIterator<Item = S>) -> Self {
        Self { servers: texts(servers), ..self }
    }

    /// It sees only the tools that match one of these globs.
    #[must_use]
    pub fn allow<S: Into<String>>(self, globs: impl IntoIterator<Item = S>) -> Self {
        Self { allow: Some(texts(globs)), ..self }
    }

    /// It does not see the tools that match one of these globs.
    #[must_use]
    pub fn deny<S: Into<String>>(self, globs: impl IntoIterator<Item = S>) -> Self {
        Self { deny: texts(globs), ..self }
    }

    /// It is shown these resources of servers before its input.
    #[must_use]
    pub fn resources(self, resources: impl IntoIterator<Item = ResourceRef>) -> Self {
        Self { resources: resources.into_iter().collect(), ..self }
    }

    /// The most calls of the model.
    #[must_use]
    pub fn max_turns(self, max_turns: u32) -> Self {
        Self { max_turns, ..self }
    }

    /// The most characters that the model is sent of one tool's result.
    #[must_use]
    pub fn max_result_chars(self, max_result_chars: usize) -> Self {
        Self { max_result_chars, ..self }
    }

    /// It has to answer in JSON that fits this schema (of an object): [`Answer::value`]. An answer that does not fit is sent back once.
    #[must_use]
    pub fn output(self, name: impl Into<String>, schema: Value) -> Self {
        Self { output: Some(Output { name: name.into(), schema }), checked: None, ..self }
    }

    /// The same, and what misses only what is not in `checked` is an answer all the same.
    pub(crate) fn output_checked(self, name: &str, schema: Value, checked: Value) -> Self {
        Self { checked: Some(checked), ..self.output(name, schema) }
    }

    /// What its answer has to fit.
    pub(crate) fn expected(&self) -> Option<Output> {
        let asked = self.output.as_ref()?;
        let schema = self.checked.as_ref().unwrap_or(&asked.schema);
        Some(Output { name: asked.name.clone(), schema: schema.clone() })
    }

    /// What it may spend within a run. A call that could exceed it is not made: the run parks, and `abide resume --budget` raises it.
    #[must_use]
    pub fn budget(self, budget: Limit) -> Self {
        Self { budget, ..self }
    }

    /// What the run may spend, with all runs below it.
    #[must_use]
    pub fn run_budget(self, run_budget: Limit) -> Self {
        Self { run_budget, ..self }
    }

    /// Who of those that wait for one provider goes first: the higher number.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// May, must (in its first turn) or must not it call a tool?
    #[must_use]
    pub fn tool_choice(self, tool_choice: ToolChoice) -> Self {
        Self { tool_choice, ..self }
    }

    /// Runs it on `input`, in a scope of its name; awaited it gives a `Result<Answer>`. Every call of the model and of a
    /// tool is a step.
    ///
    /// Runs of one agent may be joined as long as their inputs differ; equal ones need [`Scoped::key`]. Errors: no
    /// [`AgentHost`] or model, a wrong glob, a model's call that failed for good, no text at the end (all of which say what
    /// to do), and the cancellation of the run. A tool that fails is no error: the model is told.
    pub fn run(&self, ctx: &Ctx, input: impl Into<Input>) -> Scoped<Result<Answer>> {
        let (agent, input) = (self.clone(), input.into());
        let key = input.key();
        ctx.scope(scope_name(&self.name), move |ctx| async move { converse(&agent, &ctx, input).await }).key(key)
    }
}

/// The name without what would break a step's id.
pub(crate) fn scope_name(name: &str) -> String {
    let mut name = name.replace(|c: char| c.is_control() || matches!(c, '/' | '#' | '[' | ']'), "_");
    while name.len() > MAX_NAME {
        name.pop();
    }
    if name.is_empty() { "agent".to_owned() } else { name }
}

impl Answer {
    /// The answer in JSON as a type of one's own.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        let value = self.value.clone().unwrap_or_else(|| Value::String(self.text.clone()));
        serde_json::from_value(value)
            .map_err(|error| terminal(format!("the answer does not fit what reads it: {error}")))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// False if the model was cut off, refused, or still asked for tools when its turns were used up.
    pub fn is_complete(&self) -> bool {
        !matches!(self.stop, Stop::Truncated | Stop::Refused | Stop::ToolUse)
    }
}

fn texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_auto(choice: &ToolChoice) -> bool {
    *choice == ToolChoice::Auto
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

fn max_turns() -> u32 {
    MAX_TURNS
}

fn calls_per_turn() -> u32 {
    CALLS_PER_TURN
}

fn identical_calls() -> u32 {
    IDENTICAL_CALLS
}

fn max_result_chars() -> usize {
    MAX_RESULT_CHARS
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
