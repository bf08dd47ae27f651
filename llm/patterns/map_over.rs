//! One piece of work for each item of a list, a bounded number at a time. An item that fails is a value among the others.

use std::sync::Arc;

use abide_engine::{Ctx, Error, Result, terminal};
use serde_json::{Value, json};

use super::branch::fan_out;
use super::builders::pattern;
use super::work::{Tally, Title};
use super::{Branch, Work};
use crate::agent::Answer;
use crate::agent_text::foreign;
use crate::input::Input;

/// Items at a time when nothing is said.
const AT_ONCE: usize = 8;

/// The same work on each item of a list: a JSON array, or a text with an item on each line. The answer is
/// `[{"item", "answer"} or {"item", "error"}, ..]`.
///
/// ```
/// use abide_llm::{Agent, MapOver};
///
/// let summaries = MapOver::new(Agent::new("summarizer").servers(["filesystem"])).at_once(16);
/// ```
#[derive(Clone)]
pub struct MapOver {
    title: Title,
    work: Arc<dyn Work>,
    at_once: usize,
}

pattern!(MapOver);

impl MapOver {
    /// By the name of `map`, 8 items at a time.
    pub fn new(work: impl Work) -> Self {
        Self { title: Title::new("map"), work: Arc::new(work), at_once: AT_ONCE }
    }

    /// At most this many at a time, at least 1.
    #[must_use]
    pub fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once.max(1);
        self
    }

    /// What came of each item, in their order. Its steps stand in the scope of `ctx`; only the cancellation of the run is an error.
    pub async fn each<I: Into<Input>>(
        &self,
        ctx: &Ctx,
        items: impl IntoIterator<Item = I>,
    ) -> Result<Vec<Result<Answer>>> {
        let branches = self.over(ctx, items.into_iter().map(Into::into), &mut Tally::default()).await?;
        Ok(branches.into_iter().map(|branch| branch.result).collect())
    }

    async fn over(&self, ctx: &Ctx, items: impl Iterator<Item = Input>, tally: &mut Tally) -> Result<Vec<Branch>> {
        let works = items.map(|item| (self.work.clone(), item)).collect();
        fan_out(ctx, "item", works, self.at_once, tally).await
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let mut tally = Tally::default();
        let items =
            items(&input).map_err(|why| terminal(format!("the input of `{}` is no list: {why}", self.title.name)))?;
        let attached = |text: &String| Input { attachments: input.attachments.clone(), ..text.into() };
        let branches = self.over(&ctx, items.iter().map(attached), &mut tally).await?;
        let done = items.iter().zip(&branches).map(|(item, branch)| told(item, &branch.result)).collect();
        let value = Value::Array(done);
        Ok(tally.on(Answer { value: Some(value.clone()), ..value.to_string().into() }))
    }
}

fn told(item: &str, result: &Result<Answer, Error>) -> Value {
    match result {
        Ok(answer) => {
            let said = answer.value.clone().unwrap_or_else(|| answer.text.clone().into());
            json!({ "item": item, "answer": said })
        }
        Err(error) => json!({ "item": item, "error": foreign(error.message()) }),
    }
}

/// A JSON array's items, texts as they are and anything else as JSON; else the lines that are not empty.
fn items(input: &Input) -> Result<Vec<String>, String> {
    let text = input.whole();
    let items: Vec<String> = if text.trim_start().starts_with('[') {
        let values: Vec<Value> =
            serde_json::from_str(&text).map_err(|error| format!("it begins as JSON and is none: {error}"))?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.into_iter().map(text).collect()
    } else {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    if items.is_empty() { Err("there is no item in it".to_owned()) } else { Ok(items) }
}
