//! `Ctx`: what a workflow sees of the engine. It never does anything itself: it asks, and the machine decides.

use std::borrow::Cow;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::asked::{Asked, StepAsked, What};
use crate::durable::{Child, Durable, Op, Signal, Sleep, Step, millis};
use crate::event::{Json, Wait, json};
use crate::probe::fits;
use crate::scope::{Scoped, map_all, race_all};
use crate::state::Shared;
use crate::step::erase;
use crate::{Effect, Error, ErrorKind, Fault, Result, Retry, StepKind};

/// The context of a run, or of a branch of it: a cheap clone, `Send + Sync`, to be used inside the workflow's own poll only.
#[derive(Clone)]
pub struct Ctx {
    shared: Arc<Shared>,
    scope: u32,
}

impl Ctx {
    pub(crate) fn in_scope(shared: Arc<Shared>, scope: u32) -> Self {
        Self { shared, scope }
    }

    /// The branch of this index below the scope.
    pub(crate) fn branch(&self, index: usize) -> Self {
        let mut state = self.shared.lock();
        let path = format!("{}[{index}]", state.path(self.scope));
        let scope = state.add_scope(&path);
        drop(state);
        Self { shared: self.shared.clone(), scope }
    }

    fn ask<T, K>(
        &self,
        name: Cow<'static, str>,
        what: What,
        input: Result<Option<Json>, serde_json::Error>,
    ) -> Durable<T, K> {
        let (input, bad) = match input {
            Ok(input) => (input, None),
            Err(e) => (None, Some(format!("its input is not JSON: {e}"))),
        };
        let asked = Asked { scope: self.scope, name, hash: [0; 16], input, what };
        Durable::new(self.shared.clone(), asked, bad)
    }

    /// A step: `f(input)` runs once, its result is journaled, and replay returns that result.
    ///
    /// `input` is recorded, hashed and shown, so `f` may capture handles (a client, a pool) but no data. It is
    /// [`Effect::Idempotent`] with 5 attempts unless the builder methods of what is returned say otherwise.
    pub fn step<I, O, F, Fut, E>(&self, name: impl Into<Cow<'static, str>>, input: I, f: F) -> Step<O>
    where
        I: Serialize + Clone + Send + Sync + 'static,
        O: Serialize + DeserializeOwned,
        F: Fn(I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
        E: Into<Error>,
    {
        let recorded = json(&input).map(Some);
        let step = StepAsked {
            run: erase(input, f),
            kind: StepKind::Step,
            effect: Effect::Idempotent,
            retry: Retry::default(),
            timeout_ms: None,
            local: false,
            probe: None,
            admission: None,
            fits: fits::<O>,
        };
        self.ask(name.into(), What::Step(Box::new(step)), recorded)
    }

    /// Waits this long, over restarts and evictions. Rounded up to milliseconds.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.ask("sleep".into(), What::Timer { ms: millis(duration), due: 0 }, Ok(None))
    }

    /// Waits for a signal of this name; one that came early is kept. Each is delivered once.
    pub fn signal<T: DeserializeOwned>(&self, name: impl Into<Cow<'static, str>>) -> Signal<T> {
        let name = name.into();
        let what = What::Signal { signal: name.to_string(), wait: Wait::Signal, timeout_ms: None, due: None };
        self.ask(name, what, Ok(None))
    }

    /// Starts a run of another workflow and waits for its result. Dropping it, or a cancel of this run, cancels that run.
    pub fn child<T: DeserializeOwned>(
        &self,
        workflow: impl Into<Cow<'static, str>>,
        input: &(impl Serialize + ?Sized),
    ) -> Child<T> {
        let workflow = workflow.into();
        let what = What::Child { workflow: workflow.to_string(), run: None };
        self.ask(workflow, what, json(input).map(Some))
    }

    fn open_scope(&self, name: Cow<'static, str>) -> Op {
        let asked = Asked { scope: self.scope, name, hash: [0; 16], input: None, what: What::Scope };
        Op::new(self.shared.clone(), asked, None)
    }

    /// A branch with a numbering of its own: `name/step`.
    pub fn scope<T, F, Fut>(&self, name: impl Into<Cow<'static, str>>, f: F) -> Scoped<T>
    where
        F: FnOnce(Ctx) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        Scoped::new(self.open_scope(name.into()), Box::new(move |ctx, _| Box::pin(f(ctx))))
    }

    /// A branch for each item, side by side: `name[3]/step`. Results come in the order of the items.
    pub fn map<I, T, F, Fut>(
        &self,
        name: impl Into<Cow<'static, str>>,
        items: impl IntoIterator<Item = I>,
        f: F,
    ) -> Scoped<Vec<T>>
    where
        I: Send + 'static,
        T: Send + 'static,
        F: Fn(Ctx, I) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let items: Vec<I> = items.into_iter().collect();
        Scoped::new(self.open_scope(name.into()), Box::new(move |ctx, n| Box::pin(map_all(ctx, n, items, f))))
    }

    /// A branch for each item, side by side; the first to finish wins (its index and value) and the others are cancelled.
    pub fn race<I, T, F, Fut>(
        &self,
        name: impl Into<Cow<'static, str>>,
        items: impl IntoIterator<Item = I>,
        f: F,
    ) -> Scoped<(usize, T)>
    where
        I: Send + 'static,
        T: Send + 'static,
        F: Fn(Ctx, I) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let items: Vec<I> = items.into_iter().collect();
        Scoped::new(self.open_scope(name.into()), Box::new(move |ctx, _| Box::pin(race_all(ctx, items, f))))
    }

    /// The time of what happened last in this run: the same on replay. It costs no event.
    pub fn now(&self) -> SystemTime {
        let ms = self.shared.inside("Ctx::now").map_or(0, |state| state.now_ms);
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64)
    }

    /// 64 random bits: the same on replay. Draws count per scope and name. It costs no event.
    pub fn random(&self, name: &str) -> u64 {
        let Some(mut state) = self.shared.inside("Ctx::random") else { return 0 };
        let (scoped, n) = state.draw(self.scope, name);
        state.seed.random(&scoped, n)
    }

    /// A version 4 UUID: the same on replay. Draws count per scope and name. It costs no event.
    pub fn uuid(&self, name: &str) -> String {
        let Some(mut state) = self.shared.inside("Ctx::uuid") else { return String::new() };
        let (scoped, n) = state.draw(self.scope, name);
        state.seed.uuid(&scoped, n)
    }

    /// True once somebody asked for the run to be cancelled. Steps made after that still work, for clean-up.
    pub fn cancelled(&self) -> bool {
        self.shared.inside("Ctx::cancelled").is_some_and(|state| state.cancelled)
    }

    /// The version of a named change of the code that this run is on: the newest for a run that comes here for the first time,
    /// the oldest for one that was here before the change was made. It stays the same for the whole run.
    pub fn version(&self, change: &str, supported: RangeInclusive<u32>) -> u32 {
        let (oldest, newest) = supported.into_inner();
        let Some(mut state) = self.shared.inside("Ctx::version") else { return oldest };
        let state = &mut *state;
        let value = match (state.versions.get(change), &state.recorded_versions) {
            (Some(known), _) => *known,
            (None, Some(recorded)) => recorded.get(change).copied().unwrap_or(oldest),
            (None, None) => newest,
        };
        if !(oldest..=newest).contains(&value) {
            let recorded = format!("version {value} of change `{change}`");
            let asked = format!("one of {oldest} to {newest}");
            state.fail(Fault::Diverged { id: change.to_owned(), recorded, asked });
        }
        if state.versions.insert(change.to_owned(), value).is_none() {
            let is_recorded = state.recorded_versions.as_ref().is_none_or(|recorded| recorded.contains_key(change));
            if is_recorded {
                state.new_versions.push((change.to_owned(), value));
            }
        }
        value
    }

    /// Sets what `inspect` and `abide show` tell about this run's progress. It costs no event.
    pub fn status(&self, value: &(impl Serialize + ?Sized)) {
        let value = json(value);
        let Some(mut state) = self.shared.inside("Ctx::status") else { return };
        match value {
            Ok(value) => state.status = Some(value),
            Err(e) => state.fail(Fault::BadRequest { name: "status".to_owned(), why: e.to_string() }),
        }
    }

    /// Ends this generation and begins a new one of the same run with this input and an empty journal:
    /// `return ctx.continue_as_new(&next)`.
    pub fn continue_as_new<O>(&self, input: &(impl Serialize + ?Sized)) -> Result<O> {
        let input = json(input);
        if let Some(mut state) = self.shared.inside("Ctx::continue_as_new") {
            match input {
                Ok(input) => state.next_input = Some(input),
                Err(e) => state.fail(Fault::BadRequest { name: "continue_as_new".to_owned(), why: e.to_string() }),
            }
        }
        Err(Error::new(ErrorKind::ContinueAsNew, "this generation ended; the run goes on as a new one"))
    }

    /// A handle that the host lends to workflows, by type: `ctx.resource::<Pool>()`.
    pub fn resource<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.shared.resources.get::<T>()
    }

    /// The id of this run.
    pub fn run_id(&self) -> &str {
        &self.shared.run
    }
}
