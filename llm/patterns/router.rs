//! A router: who is asked, chosen by a model or by the likeness of embeddings. A name that it does not know is dropped, never guessed.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Work;
use super::branch::{all_failed, fan_out};
use super::builders::{chooser, pattern};
use super::parallel::sections;
use super::similar::{By, Found, best, of_names};
use super::verdict::{Shape, list, name_of, object, text, verdict};
use super::words::{names, roster};
use super::work::{Tally, Title, shared};
use crate::agent::{Agent, Answer};
use crate::input::Input;
use crate::model::ModelConfig;

/// Sends an input to whom it is for.
///
/// ```
/// use abide_llm::{Agent, Router};
///
/// let desk = Router::new(Agent::new("desk")).routes([
///     Agent::new("billing").description("Invoices, refunds and prices"),
///     Agent::new("technical").description("Errors and installation"),
/// ]);
/// ```
#[derive(Clone)]
pub struct Router {
    title: Title,
    by: By,
    routes: Vec<Arc<dyn Work>>,
    top: usize,
}

pattern!(Router);
chooser!(
    Router,
    "The most that are chosen, at least 1. Where it is more than one, all of them are asked side by side."
);

/// One that was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Whose name it is.
    pub name: String,
    /// From 0 to 1.
    pub confidence: f64,
    /// Why, in the model's words; none where embeddings chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Found for Choice {
    fn name(&self) -> &str {
        &self.name
    }

    fn confidence(&mut self) -> &mut f64 {
        &mut self.confidence
    }
}

#[derive(Deserialize)]
struct Chosen {
    choices: Vec<Choice>,
}

impl Router {
    /// An agent chooses; the name is `router`.
    pub fn new(agent: Agent) -> Self {
        Self::by(By::Model(Box::new(agent)))
    }

    /// The likeness of the input to what routes say they are good for chooses, by a model of embeddings.
    pub fn by_embedding(model: ModelConfig) -> Self {
        Self::by(By::likeness(model))
    }

    fn by(by: By) -> Self {
        Self { title: Title::new("router"), by, routes: Vec::new(), top: 1 }
    }

    /// One more that can be chosen.
    #[must_use]
    pub fn route(mut self, work: impl Work) -> Self {
        self.routes.push(Arc::new(work));
        self
    }

    /// More that can be chosen.
    #[must_use]
    pub fn routes<W: Work>(mut self, works: impl IntoIterator<Item = W>) -> Self {
        self.routes.extend(shared(works));
        self
    }

    /// Who is to be asked, the best first; an empty list if nobody fits. Its steps stand in the scope of `ctx`.
    pub async fn choose(&self, ctx: &Ctx, input: impl Into<Input>) -> Result<Vec<Choice>> {
        Ok(self.decide(ctx, &input.into(), &mut Tally::default()).await?.0)
    }

    /// The choices, and the names that nobody has.
    async fn decide(&self, ctx: &Ctx, input: &Input, tally: &mut Tally) -> Result<(Vec<Choice>, Vec<String>)> {
        if self.routes.is_empty() {
            return Err(terminal(format!("`{}` has nobody to choose: name at least one agent", self.title.name)));
        }
        let choices = match &self.by {
            By::Model(agent) => self.ask(agent, ctx, input, tally).await?,
            By::Likeness(similar) => {
                let texts = self.routes.iter().map(|route| {
                    let about = route.about().trim();
                    (route.name().to_owned(), vec![if about.is_empty() { route.name() } else { about }.to_owned()])
                });
                of_names(similar.rank(ctx, &texts.collect::<Vec<_>>(), &input.whole()).await?)
            }
        };
        let known = |name: &str| self.routes.iter().any(|route| route.name() == name);
        Ok(best(choices, known, 0.0, self.top))
    }

    async fn ask(&self, agent: &Agent, ctx: &Ctx, input: &Input, tally: &mut Tally) -> Result<Vec<Choice>> {
        let duty = format!(
            "You decide who is to handle a request, and do not handle it yourself. Choose at most {} of these, the best first, each with how \
             sure you are from 0 to 1 and why. Choose nobody if none of them fits.\n{}",
            self.top,
            roster(&self.routes)
        );
        let shape = self.shape();
        let chosen: Chosen = verdict(agent, ctx, &duty, shape, input.clone(), tally).await?;
        Ok(chosen.choices)
    }

    /// A list of names with confidence and reason.
    fn shape(&self) -> Shape {
        let of = |known: bool| {
            let choice = object([
                ("name", name_of(known.then(|| self.routes.iter().map(Work::name)))),
                ("confidence", json!({"type": "number", "description": "From 0 to 1."})),
                ("reason", text("Why, in a sentence.")),
            ]);
            object([("choices", list(&choice))])
        };
        Shape { name: "choice", schema: of(true), checked: of(false) }
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let mut tally = Tally::default();
        let (choices, unknown) = self.decide(&ctx, &input, &mut tally).await?;
        let routes: Vec<&Arc<dyn Work>> =
            choices.iter().filter_map(|choice| self.routes.iter().find(|route| route.name() == choice.name)).collect();
        let answer = match routes.as_slice() {
            [] => {
                let others = if unknown.is_empty() {
                    String::new()
                } else {
                    format!(" (it named {}, which do not exist)", names(unknown.iter().map(String::as_str)))
                };
                let there = names(self.routes.iter().map(Work::name));
                let name = &self.title.name;
                return Err(terminal(format!("`{name}` found nobody for this input{others}: there are {there}")));
            }
            [one] => {
                let answer = one.begin(&ctx, input).await?;
                tally.add(&answer);
                answer
            }
            several => {
                let works = several.iter().map(|route| (Arc::clone(route), input.clone())).collect();
                let branches = fan_out(&ctx, "route", works, usize::MAX, &mut tally).await?;
                if let Some(error) = all_failed(&self.title.name, &branches) {
                    return Err(error);
                }
                sections(&branches).into()
            }
        };
        Ok(tally.on(answer))
    }
}
