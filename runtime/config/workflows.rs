//! Reads `[workflows.NAME]`: agents composed by a pattern, with the keys of that pattern alone. It looks up no agent and no model:
//! whoever runs a workflow does.

use std::collections::BTreeMap;

use abide_llm::{Grade, Limit, Planning, Rating};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::error::{ConfigError, Place, nearest};
use super::keys;
use super::node::{At, KeyDoc, Node, Reader, Table, Value, as_text, join};

/// How agents work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pattern {
    /// One after the other.
    Chain,
    /// Side by side on one question.
    Parallel,
    /// A planner and its workers.
    Orchestrator,
    /// The same for work that takes long.
    DeepOrchestrator,
    /// One writes and one rates.
    EvaluatorOptimizer,
    /// Whoever fits is asked.
    Router,
    /// What is wanted.
    Classifier,
    /// Agents that hand a conversation over.
    Swarm,
    /// The same for each item of a list.
    Map,
}

/// All patterns, as users name them.
pub(super) const PATTERNS: &[(&str, Pattern)] = &[
    ("chain", Pattern::Chain),
    ("parallel", Pattern::Parallel),
    ("orchestrator", Pattern::Orchestrator),
    ("deep-orchestrator", Pattern::DeepOrchestrator),
    ("evaluator-optimizer", Pattern::EvaluatorOptimizer),
    ("router", Pattern::Router),
    ("classifier", Pattern::Classifier),
    ("swarm", Pattern::Swarm),
    ("map", Pattern::Map),
];

/// One `[workflows.NAME]`. What a key does stands in [`keys::WORKFLOW`]; one that is not the pattern's is never set.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowDef {
    /// Its name.
    pub name: String,
    /// How its agents work together.
    pub pattern: Pattern,
    /// Who they are: agents, or other workflows.
    pub agents: Vec<String>,
    /// `servers`: servers that a router chooses among, each with its tools in the hands of a plain agent.
    pub servers: Vec<String>,
    /// What it is good for.
    pub description: String,
    /// The model of those that are no agents of the user's own: planner, router, evaluator, synthesizer.
    pub model: Option<String>,
    /// The agents that plan, rate, choose or conclude, by their key.
    pub roles: BTreeMap<&'static str, At<String>>,
    /// `plan`.
    pub plan: Planning,
    /// `at_least`.
    pub at_least: Option<Rating>,
    /// `vote`.
    pub vote: bool,
    /// Whole numbers by their key.
    pub counts: BTreeMap<&'static str, u64>,
    /// `max_tokens` and its like.
    pub budget: Limit,
    /// `embed`: the model of embeddings that chooses.
    pub embed: Option<String>,
    /// `intents`: their names, and examples of each.
    pub intents: BTreeMap<String, Vec<String>>,
    /// `min_confidence`.
    pub min_confidence: Option<f64>,
    /// `variables`: what a swarm knows from the start.
    pub variables: BTreeMap<String, String>,
    /// `queue`: the one in which its runs wait for their turn.
    pub queue: Option<At<String>>,
    /// Where the table stands.
    pub at: Place,
}

/// Keys that name an agent or a workflow.
const ROLES: [&str; 6] = ["planner", "synthesizer", "evaluator", "fan_in", "router", "classifier"];
/// Keys that are whole numbers.
const COUNTS: [&str; 6] = ["parallel", "max_iterations", "refinements", "top_k", "max_replans", "max_handoffs"];
/// Keys of which a workflow can have one alone.
const EITHER: [(&str, &str); 3] = [("vote", "fan_in"), ("embed", "router"), ("embed", "classifier")];

const EXAMPLE: &str = "intents = { refund = [\"I want my money back\"] }";

impl Pattern {
    /// Its name in a file.
    pub fn as_str(self) -> &'static str {
        PATTERNS.iter().find(|(_, pattern)| *pattern == self).map_or("", |(name, _)| name)
    }

    /// The keys that it has besides those of every workflow.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Chain => &[],
            Self::Parallel => &["fan_in", "vote", "parallel"],
            Self::Orchestrator => &["planner", "plan", "max_iterations", "synthesizer", "parallel"],
            Self::DeepOrchestrator => &[
                "planner",
                "synthesizer",
                "max_replans",
                "parallel",
                "max_cost_usd",
                "max_tokens",
                "max_turns",
                "max_time_s",
            ],
            Self::EvaluatorOptimizer => &["evaluator", "at_least", "refinements"],
            Self::Router => &["servers", "router", "embed", "top_k"],
            Self::Classifier => &["classifier", "embed", "intents", "top_k", "min_confidence"],
            Self::Swarm => &["max_handoffs", "variables"],
            Self::Map => &["parallel"],
        }
    }

    /// The number of agents that it takes, in words, if it takes not just any.
    fn takes(self, agents: usize) -> Option<&'static str> {
        match self {
            Self::EvaluatorOptimizer => (agents != 1).then_some("one agent, the one that writes"),
            Self::Map => (agents != 1).then_some("one agent, the one that works on each item"),
            Self::Classifier => (agents != 0).then_some("no agents, but `intents`"),
            _ => (agents == 0).then_some("at least one agent"),
        }
    }
}

impl WorkflowDef {
    /// Everybody that it names, each with what names it.
    pub fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        let roles = self.roles.iter().map(|(role, name)| (*role, name.value.as_str()));
        self.agents.iter().map(|name| ("agents", name.as_str())).chain(roles)
    }

    /// A whole number of the pattern's.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.counts.get(key).copied()
    }
}

pub(super) fn read(name: &str, path: &str, node: &Node, table: &Table) -> Result<WorkflowDef, ConfigError> {
    let pattern = pattern(path, node, table)?;
    let own = |key: &str| keys::EVERY_WORKFLOW.contains(&key) || pattern.keys().contains(&key);
    let known: Vec<KeyDoc> = keys::WORKFLOW.iter().filter(|doc| own(doc.key)).copied().collect();
    let keys = Reader::new(path, table, &known)?;
    let agents = keys.texts("agents")?.map(|agents| agents.value).unwrap_or_default();
    let servers = keys.texts("servers")?.map(|servers| servers.value).unwrap_or_default();
    if let Some(wanted) = pattern.takes(agents.len() + servers.len()) {
        let problem =
            format!("[{path}] has {} agents, and the pattern `{}` takes {wanted}", agents.len(), pattern.as_str());
        return Err(ConfigError::invalid(&node.at, problem, "name them: agents = [\"researcher\", \"writer\"]"));
    }
    for (one, other) in EITHER {
        if keys.node(one).is_some()
            && let Some(both) = keys.node(other)
        {
            let problem = format!("[{path}] has `{one}` and `{other}`");
            return Err(ConfigError::invalid(&both.at, problem, "keep the one that is meant"));
        }
    }
    let mut roles = BTreeMap::new();
    for role in ROLES {
        roles.extend(keys.text(role)?.map(|name| (role, name)));
    }
    let mut counts = BTreeMap::new();
    for count in COUNTS {
        counts.extend(keys.count(count)?.map(|n| (count, n.value)));
    }
    let text = |key: &str| Ok::<_, ConfigError>(keys.text(key)?.map(|text| text.value));
    Ok(WorkflowDef {
        name: name.to_owned(),
        pattern,
        agents,
        servers,
        description: text("description")?.unwrap_or_default(),
        model: text("model")?,
        queue: keys.text("queue")?,
        roles,
        plan: word(&keys, "plan", "full or iterative")?.unwrap_or_default(),
        at_least: rating(&keys)?,
        vote: keys.flag("vote")?.is_some_and(|vote| vote.value),
        counts,
        budget: Limit {
            max_cost_usd: keys.amount("max_cost_usd")?.map(|x| x.value),
            max_tokens: keys.count("max_tokens")?.map(|n| n.value),
            max_calls: keys.count("max_turns")?.map(|n| n.value),
            max_time_s: keys.count("max_time_s")?.map(|n| n.value),
        },
        embed: text("embed")?,
        intents: intents(&keys)?,
        min_confidence: keys.amount("min_confidence")?.map(|x| x.value),
        variables: keys.map("variables")?.into_iter().map(|(name, value)| (name, value.value)).collect(),
        at: node.at.clone(),
    })
}

/// The pattern, which decides what else may stand there.
fn pattern(path: &str, node: &Node, table: &Table) -> Result<Pattern, ConfigError> {
    let names = || PATTERNS.iter().map(|(name, _)| *name);
    let all = names().collect::<Vec<_>>().join(", ");
    let Some(value) = table.get("pattern") else {
        let help = format!("add a line: pattern = \"orchestrator\" (patterns: {all})");
        return Err(ConfigError::invalid(&node.at, format!("[{path}] has no `pattern`"), help));
    };
    let found = as_text(value).unwrap_or_else(|| value.value.kind().to_owned());
    if let Some((_, pattern)) = PATTERNS.iter().find(|(name, _)| *name == found) {
        return Ok(*pattern);
    }
    let near = nearest(&found, names()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let problem = format!("`{}` is `{found}`, which is no pattern", join(path, "pattern"));
    Err(ConfigError::invalid(&value.at, problem, format!("{near}the patterns are {all}")))
}

/// One of a few words, as serde knows them.
fn word<T: serde::de::DeserializeOwned>(keys: &Reader<'_>, key: &str, wanted: &str) -> Result<Option<T>, ConfigError> {
    let word = keys.get(key, wanted, |value| match value {
        Value::Str(word) => serde_json::from_value(Json::String(word.clone())).ok(),
        _ => None,
    })?;
    Ok(word.map(|word| word.value))
}

/// A table of lists of texts, or of texts.
fn intents(keys: &Reader<'_>) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let Some(node) = keys.node("intents") else { return Ok(BTreeMap::new()) };
    let (path, wanted) = (keys.path_of("intents"), "a table of lists of examples");
    let intents = node.table(&path, EXAMPLE)?.iter().map(|(name, node)| {
        let examples = match &node.value {
            Value::Str(one) => Some(vec![one.clone()]),
            Value::List(items) => items.iter().map(as_text).collect(),
            _ => None,
        };
        let examples = examples.ok_or_else(|| node.wrong(&join(&path, name), wanted, node.value.kind(), EXAMPLE))?;
        Ok((name.clone(), examples))
    });
    intents.collect()
}

/// Points of 10, or a grade.
fn rating(keys: &Reader<'_>) -> Result<Option<Rating>, ConfigError> {
    let wanted = "a whole number from 0 to 10, or poor, fair, good or excellent";
    let rating = keys.get("at_least", wanted, |value| match value {
        Value::Int(n) => u8::try_from(*n).ok().filter(|n| *n <= 10).map(Rating::Points),
        Value::Str(word) => serde_json::from_value::<Grade>(Json::String(word.clone())).ok().map(Rating::Grade),
        _ => None,
    })?;
    Ok(rating.map(|rating| rating.value))
}

#[cfg(test)]
#[path = "workflows_tests.rs"]
mod tests;
