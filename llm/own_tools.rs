//! The tools that an agent has of its own, beside those of its servers. A call of one is a step or a wait of the run like any other; this
//! file starts no server and never reaches the network.

use std::collections::BTreeSet;
use std::sync::Arc;

use abide_engine::{Ctx, Effect, Error, Result, StepKind, terminal};
use serde_json::Value;
use tracing::Instrument as _;

use crate::agent::{Agent, AgentHost};
use crate::ask_person::AskPerson;
use crate::function::ToolFunction;
use crate::observe;
use crate::skill::{self, Skill};
use crate::tools::{Policy, ToolCall, ToolSpec};

/// The longest name that every provider takes.
const MOST_NAME: usize = 64;

/// An agent's own tools.
pub(crate) struct OwnTools<'a> {
    agent: &'a Agent,
    own: Vec<Own<'a>>,
}

/// One of them.
pub(crate) enum Own<'a> {
    /// A function of the program.
    Function(&'a ToolFunction),
    /// Asking a person.
    Ask(&'a AskPerson),
    /// Loading skills.
    Skills(&'a [Arc<Skill>]),
}

/// Where a call of one of them is made.
pub(crate) struct Place<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) host: &'a Arc<AgentHost>,
    /// Tells it from equal ones of the same turn.
    pub(crate) index: usize,
}

impl<'a> OwnTools<'a> {
    pub(crate) fn of(agent: &'a Agent) -> Self {
        let own = agent.functions.iter().map(Own::Function).chain(agent.ask_person.as_ref().map(Own::Ask));
        let own = own.chain((!agent.skills.is_empty()).then_some(Own::Skills(&agent.skills)));
        Self { agent, own: own.collect() }
    }

    /// All tools that the model sees: these, then those of servers.
    pub(crate) fn before(&self, tools: Vec<ToolSpec>) -> Result<Vec<ToolSpec>> {
        let own: Vec<ToolSpec> = self.own.iter().map(Own::spec).collect();
        let mut names: BTreeSet<&str> = tools.iter().map(|spec| spec.name.as_str()).collect();
        for ToolSpec { name, .. } in &own {
            let agent = &self.agent.name;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(fits) {
                return Err(terminal(format!(
                    "agent `{agent}`: a tool cannot be called `{name}`: a name has 1 to {MOST_NAME} of A-Z, a-z, 0-9, _ and -"
                )));
            }
            if !names.insert(name) {
                return Err(terminal(format!(
                    "agent `{agent}` has two tools called `{name}`: give its own one another name, or keep the server's away \
                     from it (`deny`, `disallowedTools`)"
                )));
            }
        }
        Ok(own.into_iter().chain(tools).collect())
    }

    /// The one of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Own<'a>> {
        self.own.iter().find(|own| own.name() == name)
    }
}

impl Own<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Function(function) => function.name(),
            Self::Ask(ask) => &ask.name,
            Self::Skills(_) => skill::LOAD,
        }
    }

    fn spec(&self) -> ToolSpec {
        match self {
            Self::Function(function) => function.spec.clone(),
            Self::Ask(ask) => ask.spec(),
            Self::Skills(skills) => skill::spec(skills),
        }
    }

    /// From the call to its `CallToolResult`.
    pub(crate) async fn call(&self, agent: &Agent, place: &Place<'_>, call: ToolCall) -> Result<Value> {
        match self {
            Self::Function(function) => call_function(function, agent, place, call).await,
            Self::Ask(ask) => ask.call(agent, place, call).await,
            Self::Skills(skills) => skill::load(skills, place, call).await,
        }
    }
}

/// A tool that is abide's own: it changes nothing and needs nobody's leave.
pub(crate) fn own_spec(name: &str, description: &str, input_schema: Value) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        server: "abide".to_owned(),
        tool: name.to_owned(),
        description: description.to_owned(),
        input_schema,
        effect: Effect::Pure,
        policy: Policy::Allow,
        timeout_s: 0,
        max_timeout_s: None,
        attempts: None,
        hash: String::new(),
        reconcile: None,
    }
}

async fn call_function(function: &ToolFunction, agent: &Agent, place: &Place<'_>, call: ToolCall) -> Result<Value> {
    let (code, redactor) = (function.call.clone(), place.host.redactor.clone());
    let (run, agent): (Arc<str>, Arc<str>) = (place.ctx.run_id().into(), agent.name.as_str().into());
    let run = move |mut call: ToolCall| {
        let span = observe::execute_tool(&call.tool, &agent, &run);
        redactor.restore_value(&mut call.arguments);
        let called = span.in_scope(|| code(call.arguments)).instrument(span.clone());
        let redactor = redactor.clone();
        async move {
            let mut result = called.await;
            match &mut result {
                Ok(value) => redactor.hide_value(value),
                Err(error) => *error = Error::new(error.kind().clone(), redactor.mask(error.message())),
            }
            observe::tool_ended(&span, &result);
            result
        }
    };
    let step = place.ctx.step(function.spec.name.clone(), call, run).kind(StepKind::Tool).effect(function.spec.effect);
    let step = step.retry(function.retry).key(place.index);
    match function.timeout {
        Some(timeout) => step.timeout(timeout).await,
        None => step.await,
    }
}
