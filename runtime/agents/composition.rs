//! Agents and workflows from files as a run pins them: every agent whole, with its model, and how they work together. It reads no file
//! by itself and runs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use abide_llm::{
    Agent, Chain, DeepOrchestrator, EvaluatorOptimizer, IntentClassifier, Limit, MapOver, ModelConfig, Orchestrator,
    Parallel, Planning, Rating, Router, Swarm, Work,
};
use serde::{Deserialize, Serialize};

use crate::config::{Pattern, WorkflowDef};

/// An agent, or a composition of such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Composition {
    /// One agent, its model included.
    Agent(Box<Agent>),
    /// Several by a pattern.
    Workflow(Box<Composed>),
}

/// A `[workflows.NAME]` with everybody in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Composed {
    /// Its name, the scope of its steps.
    pub name: String,
    /// What it is good for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How they work together.
    pub pattern: Pattern,
    /// Those of `agents`.
    pub parts: Vec<Composition>,
    /// Those of `planner`, `evaluator` and its like, by the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Composition>,
    /// `plan`.
    #[serde(default)]
    pub plan: Planning,
    /// `at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Rating>,
    /// `vote`.
    #[serde(default)]
    pub vote: bool,
    /// Whole numbers by their key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// `max_tokens` and its like, of the pattern's own.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub budget: Limit,
    /// What the run may spend, for calls that are no agent's.
    #[serde(default, skip_serializing_if = "Limit::is_none")]
    pub run_budget: Limit,
    /// `embed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<ModelConfig>,
    /// `intents`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intents: BTreeMap<String, Vec<String>>,
    /// `min_confidence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_confidence: Option<f64>,
    /// `variables`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// What lets a definition not be a piece of work.
type Broken = String;

impl Composition {
    /// The workflow's name, as `ls` and `show` tell it: `agent:researcher`, `workflow:report`.
    pub fn workflow_name(&self) -> String {
        match self {
            Self::Agent(agent) => super::workflow_name(&agent.name),
            Self::Workflow(composed) => format!("{}:{}", super::WORKFLOW_FACTORY, composed.name),
        }
    }

    /// All agents in it.
    pub fn agents(&self) -> Vec<&Agent> {
        match self {
            Self::Agent(agent) => vec![agent],
            Self::Workflow(composed) => {
                composed.parts.iter().chain(composed.roles.values()).flat_map(Composition::agents).collect()
            }
        }
    }

    /// All models in it.
    pub fn models(&self) -> Vec<&ModelConfig> {
        match self {
            Self::Agent(agent) => agent.model.iter().collect(),
            Self::Workflow(composed) => {
                let parts = composed.parts.iter().chain(composed.roles.values());
                parts.flat_map(Composition::models).chain(&composed.embed).collect()
            }
        }
    }

    /// Changes all agents in it.
    pub(super) fn edit(&mut self, change: &mut dyn FnMut(&mut Agent)) {
        match self {
            Self::Agent(agent) => change(agent),
            Self::Workflow(composed) => {
                composed.parts.iter_mut().chain(composed.roles.values_mut()).for_each(|part| part.edit(change));
            }
        }
    }

    /// What runs it; the error says what is missing.
    pub fn work(&self) -> Result<Arc<dyn Work>, Broken> {
        match self {
            Self::Agent(agent) => Ok(Arc::new(agent.as_ref().clone())),
            Self::Workflow(composed) => composed.work(),
        }
    }

    fn agent(&self) -> Result<Agent, Broken> {
        match self {
            Self::Agent(agent) => Ok(agent.as_ref().clone()),
            Self::Workflow(composed) => Err(format!("`{}` is a workflow where an agent is needed", composed.name)),
        }
    }
}

impl Composed {
    /// A workflow of a file, with those that it names.
    pub(super) fn of(def: &WorkflowDef, parts: Vec<Composition>, roles: BTreeMap<String, Composition>) -> Self {
        Self {
            name: def.name.clone(),
            description: def.description.clone(),
            pattern: def.pattern,
            parts,
            roles,
            plan: def.plan,
            at_least: def.at_least,
            vote: def.vote,
            counts: def.counts.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect(),
            budget: def.budget,
            run_budget: Limit::default(),
            embed: None,
            intents: def.intents.clone(),
            min_confidence: def.min_confidence,
            variables: def.variables.clone(),
        }
    }

    /// The roles that have to be agents, and are plain ones where the file names none.
    pub(super) fn agents_of(def: &WorkflowDef) -> &'static [&'static str] {
        match def.pattern {
            Pattern::Orchestrator | Pattern::DeepOrchestrator => &["planner", "synthesizer"],
            Pattern::EvaluatorOptimizer => &["evaluator"],
            Pattern::Router if def.embed.is_none() => &["router"],
            Pattern::Classifier if def.embed.is_none() => &["classifier"],
            _ => &[],
        }
    }

    fn agent(&self, role: &str) -> Result<Agent, Broken> {
        let found = self.roles.get(role).ok_or_else(|| format!("the workflow `{}` has no `{role}`", self.name))?;
        found.agent()
    }

    fn first(&self) -> Result<&Composition, Broken> {
        self.parts.first().ok_or_else(|| format!("the workflow `{}` has nobody in it", self.name))
    }

    fn count(&self, key: &str, usual: u32) -> u32 {
        self.counts.get(key).map_or(usual, |n| u32::try_from(*n).unwrap_or(u32::MAX))
    }

    fn size(&self, key: &str, usual: usize) -> usize {
        self.counts.get(key).map_or(usual, |n| usize::try_from(*n).unwrap_or(usize::MAX))
    }

    fn parts(&self) -> Result<Vec<Arc<dyn Work>>, Broken> {
        self.parts.iter().map(Composition::work).collect()
    }

    fn work(&self) -> Result<Arc<dyn Work>, Broken> {
        let (name, about) = (&self.name, &self.description);
        let at_once = self.size("parallel", usize::MAX);
        Ok(match self.pattern {
            Pattern::Chain => Arc::new(Chain::new().named(name).describe(about).all(self.parts()?)),
            Pattern::Parallel => {
                let parallel = Parallel::new().named(name).describe(about).branches(self.parts()?).at_once(at_once);
                Arc::new(match self.roles.get("fan_in") {
                    Some(one) => parallel.fan_in(one.work()?),
                    None if self.vote => parallel.vote(),
                    None => parallel,
                })
            }
            Pattern::Orchestrator => Arc::new(
                Orchestrator::new(self.agent("planner")?)
                    .named(name)
                    .describe(about)
                    .workers(self.parts()?)
                    .plan(self.plan)
                    .synthesizer(self.agent("synthesizer")?)
                    .max_iterations(self.count("max_iterations", 10))
                    .at_once(at_once),
            ),
            Pattern::DeepOrchestrator => Arc::new(
                DeepOrchestrator::new(self.agent("planner")?)
                    .named(name)
                    .describe(about)
                    .workers(self.parts()?)
                    .synthesizer(self.agent("synthesizer")?)
                    .budget(self.budget)
                    .max_replans(self.count("max_replans", 5))
                    .at_once(at_once),
            ),
            Pattern::EvaluatorOptimizer => Arc::new(
                EvaluatorOptimizer::new(self.first()?.work()?, self.agent("evaluator")?)
                    .named(name)
                    .describe(about)
                    .at_least(self.at_least.unwrap_or(Rating::Points(8)))
                    .refinements(self.count("refinements", 3)),
            ),
            Pattern::Map => {
                let map = MapOver::new(self.first()?.work()?).named(name).describe(about);
                Arc::new(map.at_once(self.size("parallel", 8)))
            }
            Pattern::Router | Pattern::Classifier => self.chooser()?,
            Pattern::Swarm => self.swarm()?,
        })
    }

    /// What chooses: by an agent, or by embeddings.
    fn chooser(&self) -> Result<Arc<dyn Work>, Broken> {
        let (name, about, top) = (&self.name, &self.description, self.size("top_k", 1));
        if self.pattern == Pattern::Router {
            let router = match &self.embed {
                Some(model) => Router::by_embedding(model.clone()).run_budget(self.run_budget),
                None => Router::new(self.agent("router")?),
            };
            return Ok(Arc::new(router.named(name).describe(about).routes(self.parts()?).top(top)));
        }
        let mut classifier = match &self.embed {
            Some(model) => IntentClassifier::by_embedding(model.clone()).run_budget(self.run_budget),
            None => IntentClassifier::new(self.agent("classifier")?),
        };
        for (intent, examples) in &self.intents {
            classifier = classifier.intent(intent, examples);
        }
        let least = self.min_confidence.unwrap_or_default();
        Ok(Arc::new(classifier.named(name).describe(about).top(top).at_least(least)))
    }

    fn swarm(&self) -> Result<Arc<dyn Work>, Broken> {
        let mut swarm = Swarm::new(self.first()?.agent()?).named(&self.name).describe(&self.description);
        for part in self.parts.iter().skip(1) {
            swarm = match part {
                Composition::Agent(agent) => swarm.agent(agent.as_ref().clone()),
                Composition::Workflow(composed) => swarm.work(composed.work()?),
            };
        }
        for (name, value) in &self.variables {
            swarm = swarm.variable(name, value);
        }
        Ok(Arc::new(swarm.max_handoffs(self.count("max_handoffs", 10))))
    }
}
