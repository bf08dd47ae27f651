//! Several side by side on one question, and their answers brought together: as sections, by vote, by an agent or by a function. A branch
//! that fails never fails the others.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};

use super::branch::{all_failed, fan_out};
use super::builders::pattern;
use super::work::{Tally, Title, shared};
use super::{Branch, Work};
use crate::agent::Answer;
use crate::input::Input;

type Together = Arc<dyn Fn(Vec<Branch>) -> Result<Answer> + Send + Sync>;

/// The same question to several at once.
///
/// ```
/// use abide_llm::{Agent, Parallel};
///
/// let review = Parallel::new()
///     .branches([Agent::new("security"), Agent::new("speed"), Agent::new("style")])
///     .fan_in(Agent::new("editor").instructions("Make one review of these."));
/// ```
#[derive(Clone)]
pub struct Parallel {
    title: Title,
    branches: Vec<Arc<dyn Work>>,
    at_once: usize,
    fan_in: FanIn,
}

pattern!(Parallel);

#[derive(Clone)]
enum FanIn {
    Sections,
    Vote,
    Work(Arc<dyn Work>),
    Function(Together),
}

impl Parallel {
    /// Without branches, by the name of `parallel`; answers are put together as sections.
    pub fn new() -> Self {
        Self { title: Title::new("parallel"), branches: Vec::new(), at_once: usize::MAX, fan_in: FanIn::Sections }
    }

    /// One more branch.
    #[must_use]
    pub fn branch(mut self, work: impl Work) -> Self {
        self.branches.push(Arc::new(work));
        self
    }

    /// More branches.
    #[must_use]
    pub fn branches<W: Work>(mut self, works: impl IntoIterator<Item = W>) -> Self {
        self.branches.extend(shared(works));
        self
    }

    /// At most this many at a time.
    #[must_use]
    pub fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once;
        self
    }

    /// The answer that most branches give (in the same words, or the same JSON) is the answer; of several the first branch's.
    #[must_use]
    pub fn vote(mut self) -> Self {
        self.fan_in = FanIn::Vote;
        self
    }

    /// This one is given all answers, the failures among them, and answers for all.
    #[must_use]
    pub fn fan_in(mut self, work: impl Work) -> Self {
        self.fan_in = FanIn::Work(Arc::new(work));
        self
    }

    /// This makes one answer of all, the failures among them. Pure code, which runs again on replay.
    #[must_use]
    pub fn fan_in_with(mut self, together: impl Fn(Vec<Branch>) -> Result<Answer> + Send + Sync + 'static) -> Self {
        self.fan_in = FanIn::Function(Arc::new(together));
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let name = &self.title.name;
        if self.branches.is_empty() {
            return Err(terminal(format!("`{name}` has no branches to ask: name at least one agent")));
        }
        let mut tally = Tally::default();
        let works = self.branches.iter().map(|work| (work.clone(), input.clone())).collect();
        let branches = fan_out(&ctx, "branch", works, self.at_once, &mut tally).await?;
        let answer = match &self.fan_in {
            FanIn::Function(together) => together(branches)?,
            _ if let Some(error) = all_failed(name, &branches) => return Err(error),
            FanIn::Sections => sections(&branches).into(),
            FanIn::Vote => vote(branches)?,
            FanIn::Work(work) => {
                let answer = work.begin(&ctx, gathered(&input, &branches)).await?;
                tally.add(&answer);
                answer
            }
        };
        Ok(tally.on(answer))
    }
}

impl Default for Parallel {
    fn default() -> Self {
        Self::new()
    }
}

/// All answers below each other.
pub(crate) fn sections(branches: &[Branch]) -> String {
    let all: Vec<String> = branches.iter().flat_map(|branch| branch.section(&branch.name)).collect();
    all.concat().trim_start().to_owned()
}

/// What the one who brings them together is asked.
fn gathered(input: &Input, branches: &[Branch]) -> Input {
    let mut context = vec!["Several were asked this:\n\n".to_owned(), input.whole(), "\n\nThey answered:".to_owned()];
    context.extend(branches.iter().flat_map(|branch| branch.section(&branch.name)));
    Input {
        text: "Bring their answers together to one answer to the question. Where one failed, do without it.".to_owned(),
        attachments: input.attachments.clone(),
        prompt: input.prompt.clone(),
        context,
    }
}

/// The answer of most branches, and of several the first one.
fn vote(branches: Vec<Branch>) -> Result<Answer> {
    let mut tally: Vec<(String, usize, Answer)> = Vec::new();
    for answer in branches.into_iter().filter_map(|branch| branch.result.ok()) {
        let said = answer.value.as_ref().map_or_else(|| answer.text.trim().to_lowercase(), ToString::to_string);
        match tally.iter_mut().find(|(known, ..)| *known == said) {
            Some((_, votes, _)) => *votes += 1,
            None => tally.push((said, 1, answer)),
        }
    }
    let most = tally.iter().map(|(_, votes, _)| *votes).max().unwrap_or_default();
    let elected = tally.into_iter().find(|(_, votes, _)| *votes == most).map(|(.., answer)| answer);
    elected.ok_or_else(|| terminal("nobody voted"))
}
