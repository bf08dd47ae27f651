//! A chain: what one says is what the next is asked. A check between two may end it; it never skips one.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};

use super::Work;
use super::builders::pattern;
use super::work::{Tally, Title, shared};
use crate::agent::Answer;
use crate::input::Input;

type Check = Arc<dyn Fn(&Answer) -> Result<()> + Send + Sync>;

/// One piece of work after the other, each on the answer of the one before.
///
/// ```
/// use abide_llm::{Agent, Chain};
///
/// let article = Chain::new().then(Agent::new("outliner")).then(Agent::new("writer")).then(Agent::new("translator"));
/// ```
#[derive(Clone)]
pub struct Chain {
    title: Title,
    links: Vec<Link>,
}

pattern!(Chain);

#[derive(Clone)]
enum Link {
    Work(Arc<dyn Work>),
    Check(Check),
}

impl Chain {
    /// A chain without links, by the name of `chain`.
    pub fn new() -> Self {
        Self { title: Title::new("chain"), links: Vec::new() }
    }

    /// Then this.
    #[must_use]
    pub fn then(mut self, work: impl Work) -> Self {
        self.links.push(Link::Work(Arc::new(work)));
        self
    }

    /// Then these, in their order.
    #[must_use]
    pub fn all<W: Work>(mut self, works: impl IntoIterator<Item = W>) -> Self {
        self.links.extend(shared(works).map(Link::Work));
        self
    }

    /// Then the answer so far is looked at: an error ends the chain with it. Pure code, which runs again on replay.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&Answer) -> Result<()> + Send + Sync + 'static) -> Self {
        self.links.push(Link::Check(Arc::new(check)));
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let (mut tally, mut input, mut last) = (Tally::default(), input, None);
        for link in self.links {
            match link {
                Link::Work(work) => {
                    let answer = work.begin(&ctx, input).await?;
                    tally.add(&answer);
                    input = Input::from(&answer.text);
                    last = Some(answer);
                }
                Link::Check(check) => last.as_ref().map_or(Ok(()), |answer| check(answer))?,
            }
        }
        let nobody = || terminal(format!("the chain `{}` has nobody in it: name at least one agent", self.title.name));
        last.map(|last| tally.on(last)).ok_or_else(nobody)
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}
