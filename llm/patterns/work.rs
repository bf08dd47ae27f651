//! What can be done with an input, be it by one agent, a pattern of many or a function: the trait that makes each usable in place of any
//! other. It does nothing by itself.

use std::future::Future;
use std::sync::Arc;

use abide_engine::{BoxFuture, Ctx, Result, Scoped};

use crate::agent::{Agent, Answer, scope_name};
use crate::input::Input;
use crate::wire::{Stop, Usage};

/// A piece of work: an [`Agent`], a pattern, or a [`Function`].
///
/// Its steps stand in a scope of its own name, so that ids stay readable to any depth: `report/step[1]/researcher/llm#2`.
pub trait Work: Send + Sync + 'static {
    /// Its name: the scope of its steps, and what planners and routers call it.
    fn name(&self) -> &str;

    /// What it is good for, in a sentence: planners and routers choose by it. May be empty.
    // Whoever has words of its own lends them.
    #[allow(clippy::unnecessary_literal_bound)]
    fn about(&self) -> &str {
        ""
    }

    /// Works on `input`. Like [`Agent::run`]: pieces of one name may be joined as long as their inputs differ; equal ones need
    /// [`Scoped::key`]. Errors end it: a model that failed for good, a configuration that cannot work, the cancellation of the run.
    fn begin(&self, ctx: &Ctx, input: Input) -> Scoped<Result<Answer>>;

    /// The same with any input.
    fn run(&self, ctx: &Ctx, input: impl Into<Input>) -> Scoped<Result<Answer>>
    where
        Self: Sized,
    {
        self.begin(ctx, input.into())
    }
}

impl Work for Agent {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.description
    }

    fn begin(&self, ctx: &Ctx, input: Input) -> Scoped<Result<Answer>> {
        Agent::run(self, ctx, input)
    }
}

impl<W: Work + ?Sized> Work for Arc<W> {
    fn name(&self) -> &str {
        self.as_ref().name()
    }

    fn about(&self) -> &str {
        self.as_ref().about()
    }

    fn begin(&self, ctx: &Ctx, input: Input) -> Scoped<Result<Answer>> {
        self.as_ref().begin(ctx, input)
    }
}

type Body = Arc<dyn Fn(Ctx, Input) -> BoxFuture<Result<Answer>> + Send + Sync>;

/// Durable code as a piece of work: it may use its `Ctx` as a workflow does.
///
/// ```
/// use abide_llm::{Function, Input};
///
/// let shout = Function::new("shout", |_, input: Input| async move { Ok(input.text.to_uppercase()) });
/// ```
#[derive(Clone)]
pub struct Function {
    title: Title,
    body: Body,
}

impl Function {
    /// A function of this name; what it returns is its answer's text.
    pub fn new<F, Fut, A>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(Ctx, Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A>> + Send + 'static,
        A: Into<Answer> + 'static,
    {
        let body = move |ctx, input| -> BoxFuture<Result<Answer>> {
            let work = body(ctx, input);
            Box::pin(async move { work.await.map(Into::into) })
        };
        Self { title: Title::new(&name.into()), body: Arc::new(body) }
    }

    /// What it is good for.
    #[must_use]
    pub fn describe(mut self, about: impl Into<String>) -> Self {
        self.title.about = about.into();
        self
    }
}

impl Work for Function {
    fn name(&self) -> &str {
        &self.title.name
    }

    fn about(&self) -> &str {
        &self.title.about
    }

    fn begin(&self, ctx: &Ctx, input: Input) -> Scoped<Result<Answer>> {
        let body = self.body.clone();
        self.title.scope(ctx, input, move |ctx, input| body(ctx, input))
    }
}

/// What a pattern is called, and what it is good for.
#[derive(Debug, Clone)]
pub(crate) struct Title {
    pub(crate) name: String,
    pub(crate) about: String,
}

impl Title {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), about: String::new() }
    }

    /// Runs `body` in the scope of this name.
    pub(crate) fn scope<F, Fut>(&self, ctx: &Ctx, input: Input, body: F) -> Scoped<Result<Answer>>
    where
        F: FnOnce(Ctx, Input) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Answer>> + Send + 'static,
    {
        let key = input.key();
        ctx.scope(scope_name(&self.name), move |ctx| body(ctx, input)).key(key)
    }
}

/// What all the pieces of one pattern have used together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) turns: u32,
    pub(crate) usage: Usage,
    /// Billionths of a US dollar, as far as prices are known.
    pub(crate) nano_usd: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, answer: &Answer) {
        self.turns = self.turns.saturating_add(answer.turns);
        self.usage += answer.usage;
        self.nano_usd = self.nano_usd.saturating_add(answer.nano_usd);
    }

    /// The answer of the whole: what `last` says, at the cost of all.
    pub(crate) fn on(self, last: Answer) -> Answer {
        Answer { turns: self.turns, usage: self.usage, nano_usd: self.nano_usd, ..last }
    }
}

impl From<String> for Answer {
    /// An answer that no model was asked for.
    fn from(text: String) -> Self {
        Self { text, turns: 0, stop: Stop::End, usage: Usage::default(), value: None, nano_usd: 0 }
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Several pieces of work as what a pattern keeps.
pub(crate) fn shared<W: Work>(works: impl IntoIterator<Item = W>) -> impl Iterator<Item = Arc<dyn Work>> {
    works.into_iter().map(|work| Arc::new(work) as Arc<dyn Work>)
}
