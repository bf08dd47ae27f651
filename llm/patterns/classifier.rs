//! What somebody wants, out of a list of intents: by a model, with the entities that it finds, or by the likeness of embeddings to examples.
//! It never answers the input itself.

use std::collections::BTreeMap;

use abide_engine::{Ctx, Result, terminal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::builders::{chooser, pattern};
use super::similar::{By, Found, best};
use super::verdict::{Shape, list, name_of, object, text, verdict};
use super::words::names;
use super::work::{Tally, Title};
use crate::agent::{Agent, Answer};
use crate::input::Input;
use crate::model::ModelConfig;

/// Finds out what is wanted. As a piece of work its answer's text is the surest intent's name and its value `{"intents": [..]}`; none is an error.
///
/// ```
/// use abide_llm::{Agent, IntentClassifier};
///
/// let what = IntentClassifier::new(Agent::new("listener"))
///     .intent("refund", ["I want my money back", "Please cancel my order"])
///     .intent("bug", ["It crashes when I open a file"]);
/// ```
#[derive(Clone)]
pub struct IntentClassifier {
    title: Title,
    by: By,
    intents: Vec<(String, Vec<String>)>,
    top: usize,
    at_least: f64,
}

pattern!(IntentClassifier);
chooser!(IntentClassifier, "The most intents that are found, at least 1.");

/// An intent that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Its name.
    pub name: String,
    /// From 0 to 1.
    pub confidence: f64,
    /// What the input says about it, by name; empty where embeddings decide.
    #[serde(default)]
    pub entities: BTreeMap<String, String>,
}

impl Found for Intent {
    fn name(&self) -> &str {
        &self.name
    }

    fn confidence(&mut self) -> &mut f64 {
        &mut self.confidence
    }
}

#[derive(Deserialize)]
struct Named {
    intents: Vec<NamedIntent>,
}

#[derive(Deserialize)]
struct NamedIntent {
    name: String,
    confidence: f64,
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
struct Entity {
    name: String,
    value: String,
}

impl IntentClassifier {
    /// An agent decides; the name is `classifier`.
    pub fn new(agent: Agent) -> Self {
        Self::by(By::Model(Box::new(agent)))
    }

    /// The likeness of the input to examples decides, by a model of embeddings.
    pub fn by_embedding(model: ModelConfig) -> Self {
        Self::by(By::likeness(model))
    }

    fn by(by: By) -> Self {
        Self { title: Title::new("classifier"), by, intents: Vec::new(), top: 1, at_least: 0.0 }
    }

    /// One more intent: its name, and examples of it or words about it.
    #[must_use]
    pub fn intent<S: Into<String>>(mut self, name: impl Into<String>, examples: impl IntoIterator<Item = S>) -> Self {
        self.intents.push((name.into(), examples.into_iter().map(Into::into).collect()));
        self
    }

    /// The least confidence, from 0 to 1: what is below does not count.
    #[must_use]
    pub fn at_least(mut self, confidence: f64) -> Self {
        self.at_least = confidence;
        self
    }

    /// What is wanted, the surest first; an empty list if it is none of the intents. Its steps stand in the scope of `ctx`.
    pub async fn classify(&self, ctx: &Ctx, input: impl Into<Input>) -> Result<Vec<Intent>> {
        self.find(ctx, &input.into(), &mut Tally::default()).await
    }

    async fn find(&self, ctx: &Ctx, input: &Input, tally: &mut Tally) -> Result<Vec<Intent>> {
        if self.intents.is_empty() {
            return Err(terminal(format!("`{}` knows no intents: give it at least one", self.title.name)));
        }
        let found = match &self.by {
            By::Model(agent) => self.ask(agent, ctx, input, tally).await?,
            By::Likeness(similar) => {
                let of = |(name, examples): &(String, Vec<String>)| {
                    let texts = if examples.is_empty() { vec![name.clone()] } else { examples.clone() };
                    (name.clone(), texts)
                };
                let named: Vec<_> = self.intents.iter().map(of).collect();
                let ranked = similar.rank(ctx, &named, &input.whole()).await?;
                let intent = |(name, confidence)| Intent { name, confidence, entities: BTreeMap::new() };
                ranked.into_iter().map(intent).collect()
            }
        };
        let known = |name: &str| self.intents.iter().any(|(known, _)| known == name);
        Ok(best(found, known, self.at_least, self.top).0)
    }

    async fn ask(&self, agent: &Agent, ctx: &Ctx, input: &Input, tally: &mut Tally) -> Result<Vec<Intent>> {
        let lines = self.intents.iter().map(|(name, examples)| match examples.as_slice() {
            [] => format!("- {name}"),
            examples => format!("- {name}: {}", examples.join(" | ")),
        });
        let duty = format!(
            "You find out what somebody wants, and do not answer them. Name at most {} of these intents, the surest first, each with how sure \
             you are from 0 to 1, and with what the text says about it: names, numbers, dates. Name none if none fits.\n{}",
            self.top,
            lines.collect::<Vec<_>>().join("\n")
        );
        let of = |known: bool| {
            let entity =
                object([("name", text("What it is, such as `order`.")), ("value", text("As the text has it."))]);
            let intent = object([
                ("name", name_of(known.then(|| self.intents.iter().map(|(name, _)| name.as_str())))),
                ("confidence", json!({"type": "number", "description": "From 0 to 1."})),
                ("entities", list(&entity)),
            ]);
            object([("intents", list(&intent))])
        };
        let shape = Shape { name: "intents", schema: of(true), checked: of(false) };
        let found: Named = verdict(agent, ctx, &duty, shape, input.clone(), tally).await?;
        let intent = |NamedIntent { name, confidence, entities }: NamedIntent| Intent {
            name,
            confidence,
            entities: entities.into_iter().map(|entity| (entity.name, entity.value)).collect(),
        };
        Ok(found.intents.into_iter().map(intent).collect())
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let mut tally = Tally::default();
        let found = self.find(&ctx, &input, &mut tally).await?;
        let Some(first) = found.first() else {
            let name = &self.title.name;
            let there = names(self.intents.iter().map(|(name, _)| name.as_str()));
            return Err(terminal(format!("`{name}` found no intent in this input: there are {there}")));
        };
        let answer = Answer { value: Some(json!({ "intents": found })), ..first.name.as_str().into() };
        Ok(tally.on(answer))
    }
}
