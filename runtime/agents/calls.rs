//! What the calls of models in a run have used, as a tree: the run, its scopes (workflows, agents), each call. It reads a journal's steps and
//! prices them by the models that the run has pinned; a price that nobody knows is unknown.

use abide_llm::{Agent, EnvVars, ModelConfig, Provider, Usage, Vars, embed, parse};
use serde::Serialize;
use serde_json::Value;

use super::AgentRun;
use crate::report::Report;
use crate::{HostError, Run, StepReport};

/// A run, a scope of it or a call of a model, with all that it has used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CallTree {
    /// The run's id, or a part of its steps' ids: `report`, `step[1]`, `researcher`, `llm#2`.
    pub name: String,
    /// Calls that were answered.
    pub calls: u64,
    /// Tokens sent, those of the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Of the tokens sent, those read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Of the tokens sent, those written to the provider's cache.
    pub cache_write_tokens: u64,
    /// US dollars at the price of the time of each call; null if that of any of them is not known, as for agents of a program's own.
    pub cost_usd: Option<f64>,
    /// What is in it, in the order of the first call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<CallTree>,
}

/// What one call has used.
struct Used {
    usage: Usage,
    nano_usd: Option<u64>,
}

impl Run {
    /// What each call of a model in it has used, by the scopes in which they stand; runs below it have trees of their own.
    pub fn calls(&self) -> Result<CallTree, HostError> {
        let (report, definition) = (self.report()?, self.definition()?);
        // Without one its agents are code, and nobody knows their prices.
        let pinned = definition.body.is_some().then(|| AgentRun::read(self.id(), &definition)).transpose()?;
        let agents = pinned.as_ref().map(|pinned| pinned.work.agents()).unwrap_or_default();
        Ok(tree(&report, &agents, &EnvVars))
    }
}

fn tree(report: &Report, agents: &[&Agent], vars: &dyn Vars) -> CallTree {
    let mut root = CallTree::new(&report.run.id);
    for step in report.steps.iter().filter(|step| step.kind == "llm") {
        if let Some(used) = used(step, agents, vars) {
            root.add(&step.id.split('/').collect::<Vec<_>>(), &used);
        }
    }
    root
}

impl CallTree {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), cost_usd: Some(0.0), ..Self::default() }
    }

    fn add(&mut self, path: &[&str], used: &Used) {
        let Used { usage, nano_usd } = used;
        self.calls += 1;
        self.input_tokens += usage.input_tokens;
        self.output_tokens += usage.output_tokens;
        self.cache_read_tokens += usage.cache_read_tokens;
        self.cache_write_tokens += usage.cache_write_tokens;
        self.cost_usd = self.cost_usd.zip(*nano_usd).map(|(sum, nano)| sum + nano as f64 / 1e9);
        let Some((first, rest)) = path.split_first() else { return };
        let at = self.children.iter().position(|child| child.name == *first).unwrap_or_else(|| {
            self.children.push(Self::new(first));
            self.children.len() - 1
        });
        if let Some(child) = self.children.get_mut(at) {
            child.add(rest, used);
        }
    }
}

/// None for a call that was not answered.
fn used(step: &StepReport, agents: &[&Agent], vars: &dyn Vars) -> Option<Used> {
    let read = |json: &Option<abide_engine::Json>| -> Option<Value> { serde_json::from_str(json.as_ref()?.get()).ok() };
    let answer = read(&step.output)?;
    let asked = read(&step.input);
    let models = models_of(step, agents);
    let named = |model: &&ModelConfig| asked.as_ref().is_some_and(|body| body["model"] == *model.model);
    let model = models.iter().copied().find(named).or(models.first().copied());
    let providers = match model {
        Some(model) => vec![model.provider],
        None => ALL.to_vec(),
    };
    let reply = providers.iter().find_map(|provider| parse(*provider, &answer).ok());
    let (usage, served) = match reply {
        Some(reply) => (reply.usage, reply.model),
        None => (providers.first().map(|provider| embed::usage(*provider, &answer)).unwrap_or_default(), None),
    };
    let nano_usd = model.and_then(|model| model.nano_usd_at(&usage, served.as_deref(), step.started_ms, vars));
    Some(Used { usage, nano_usd })
}

const ALL: [Provider; 5] =
    [Provider::Openai, Provider::OpenaiResponses, Provider::Anthropic, Provider::Gemini, Provider::Ollama];

/// The models of the agent in whose scope the step stands: its own and those that are asked instead.
fn models_of<'a>(step: &StepReport, agents: &[&'a Agent]) -> Vec<&'a ModelConfig> {
    let scopes = step.id.rsplit('/').skip(1).map(|part| part.split(['#', '[']).next().unwrap_or_default());
    let agent = scopes.into_iter().find_map(|scope| agents.iter().find(|agent| agent.scope() == scope));
    let models = agent.and_then(|agent| agent.model.as_ref()).into_iter();
    models.flat_map(|model| std::iter::once(model).chain(&model.fallback)).collect()
}
