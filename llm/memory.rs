//! Named conversations that live across runs: what was said last stands before an agent's input, and what it answers is added once, at the
//! end. Where they are kept is the host's business; this file keeps nothing.

use std::sync::Arc;

use abide_engine::{Ctx, Result, step_key, terminal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::{Agent, Answer};
use crate::input::Input;
use crate::model::Provider;
use crate::tools::BoxFuture;
use crate::wire::{Assistant, Origin, Turn};

/// Exchanges that an agent is reminded of, unless told otherwise.
const TURNS: u32 = 20;

/// Characters of them, unless told otherwise.
const CHARS: usize = 40_000;

/// The longest name of a conversation, in bytes.
const MOST_NAME: usize = 200;

/// A conversation that an agent goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembers {
    /// The conversation's name: all agents of the database that name it share it.
    pub name: String,
    /// The most exchanges of before that stand before the input; 20 without it.
    #[serde(default = "turns")]
    pub turns: u32,
    /// The most characters of them; 40,000 without it, and never more than come to about a third of the model's window, if that is known.
    #[serde(default = "chars")]
    pub chars: usize,
}

/// What was once asked and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked.
    pub input: String,
    /// What was answered.
    pub answer: String,
}

/// Keeps conversations. Both methods are called inside a step's attempt, on a tokio runtime.
pub trait Memory: Send + Sync + 'static {
    /// The last exchanges of the conversation of this name, `most` at most, the oldest first; none of one that nobody has begun.
    fn recall(&self, name: String, most: u32) -> BoxFuture<Result<Vec<Exchange>>>;

    /// Adds an exchange. The same key is taken once.
    fn remember(&self, name: String, key: Arc<str>, exchange: Exchange) -> BoxFuture<Result<()>>;
}

/// The memory that a host lends to workflows, as a resource of the engine.
#[derive(Clone)]
pub struct Memories(pub Arc<dyn Memory>);

impl Remembers {
    /// The conversation of this name, with the usual bounds.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), turns: TURNS, chars: CHARS }
    }

    /// What is wrong with its name, if anything is.
    pub fn fault(&self) -> Option<String> {
        let fits = (1..=MOST_NAME).contains(&self.name.len()) && !self.name.chars().any(char::is_control);
        (!fits).then(|| format!("a conversation's name has 1 to {MOST_NAME} bytes and no control characters"))
    }
}

impl Agent {
    /// It goes on with the conversation of this name, also in later runs: what was said there stands before its input (20 exchanges,
    /// 40,000 characters), and its input and answer are added at the end.
    #[must_use]
    pub fn memory(self, name: impl Into<String>) -> Self {
        Self { memory: Some(Remembers::new(name)), ..self }
    }
}

/// What an agent's own conversation of earlier runs was.
pub(crate) async fn recall(ctx: &Ctx, agent: &Agent) -> Result<Vec<Turn>> {
    let Some(remembers) = &agent.memory else { return Ok(Vec::new()) };
    let memory = memory(ctx, agent, remembers)?;
    let mut remembers = remembers.clone();
    if let Some(window) = agent.model.as_ref().and_then(|model| model.context_tokens) {
        // Characters that come to about a third of it: the work needs room, too.
        remembers.chars = remembers.chars.min(usize::try_from(window).unwrap_or(usize::MAX));
    }
    let recall = move |asked: Remembers| {
        let recalled = memory.recall(asked.name, asked.turns);
        async move { recalled.await.map(|all| within(all, asked.chars)) }
    };
    let all: Vec<Exchange> = ctx.step("memory", remembers, recall).pure().await?;
    Ok(all.into_iter().flat_map(turns_of).collect())
}

/// Adds what was asked and answered to the conversation, once, however often the process dies on the way.
pub(crate) async fn remember(ctx: &Ctx, agent: &Agent, input: &Input, answer: &Answer) -> Result<()> {
    let Some(remembers) = &agent.memory else { return Ok(()) };
    let memory = memory(ctx, agent, remembers)?;
    let mut asked = input.text.clone();
    for one in &input.attachments {
        asked = format!("{asked}\n[attached: {}]", one.name);
    }
    let exchange = Exchange { input: asked.trim().to_owned(), answer: answer.text.clone() };
    let name = remembers.name.clone();
    let add = move |said: Value| {
        let exchange = serde_json::from_value(said.get("said").cloned().unwrap_or_default());
        let added = exchange.map(|one| memory.remember(name.clone(), step_key().unwrap_or_default(), one));
        async move { added?.await }
    };
    ctx.step("remember", json!({"name": remembers.name, "said": exchange}), add).await
}

fn memory(ctx: &Ctx, agent: &Agent, remembers: &Remembers) -> Result<Arc<dyn Memory>> {
    if let Some(why) = remembers.fault() {
        return Err(terminal(format!("agent `{}`: {why}", agent.name)));
    }
    ctx.resource::<Memories>().map(|memories| memories.0.clone()).ok_or_else(|| {
        terminal(format!(
            "agent `{}` remembers `{}`, and its host lends no Memories: run it on a database of abide, or add one to its resources",
            agent.name, remembers.name
        ))
    })
}

/// The last ones that come to no more than so many characters; of a last one that is too long by itself its beginnings.
fn within(all: Vec<Exchange>, most: usize) -> Vec<Exchange> {
    let mut left = most;
    let mut kept: Vec<Exchange> = Vec::new();
    for mut one in all.into_iter().rev() {
        let long = one.input.chars().count() + one.answer.chars().count();
        if long > left {
            if kept.is_empty() {
                cut(&mut one.input, left / 2);
                cut(&mut one.answer, left / 2);
                kept.push(one);
            }
            break;
        }
        left -= long;
        kept.push(one);
    }
    kept.reverse();
    kept
}

fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push_str("\n[cut off]");
    }
}

/// As the model is told: what somebody said whose wire is not known any more.
fn turns_of(Exchange { input, answer }: Exchange) -> [Turn; 2] {
    let origin = Origin { provider: Provider::Openai, base_url: String::new(), model: String::new() };
    [Turn::from(input), Turn::Assistant(Assistant { origin, verbatim: Value::Null, text: answer, calls: Vec::new() })]
}

fn turns() -> u32 {
    TURNS
}

fn chars() -> usize {
    CHARS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_last_exchanges_that_fit_are_kept() {
        let all = || ["é1", "b2", "c3"].map(|text| Exchange { input: text.into(), answer: text.repeat(2) }).to_vec();
        for (most, kept) in [(18, 3), (17, 2), (12, 2), (11, 1), (6, 1)] {
            let within = within(all(), most);
            assert_eq!(within, all().split_off(3 - kept), "{most}");
        }
        let cut = within(all(), 3);
        assert_eq!((cut.len(), cut[0].input.as_str(), cut[0].answer.as_str()), (1, "c\n[cut off]", "c\n[cut off]"));
        assert_eq!(within(Vec::new(), 3), []);
    }

    #[test]
    fn names_are_checked() {
        for (name, fits) in [("notes", true), ("", false), ("a\nb", false), (&"x".repeat(201), false)] {
            assert_eq!(Remembers::new(name).fault().is_none(), fits, "{name}");
        }
    }
}
