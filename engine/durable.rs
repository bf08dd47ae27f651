//! The futures that `Ctx` hands out: steps, timers, signals and children. They never touch the journal: the machine does.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::FusedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::asked::{Asked, What};
use crate::event::{Json, Wait, json};
use crate::probe::{self, LIMIT_MS, Probe, Reconciled};
use crate::state::{Entry, Shared};
use crate::{Admission, Effect, Error, Fault, Result, Retry, StepKind};

/// A request and its place in the machine: made when first polled, so that options can still be set until then.
pub(crate) struct Op {
    pub(crate) shared: Arc<Shared>,
    state: OpState,
}

enum OpState {
    New(Box<NewOp>),
    Open(usize),
    Done,
}

pub(crate) struct NewOp {
    pub(crate) asked: Asked,
    pub(crate) key: Option<String>,
    pub(crate) bad_input: Option<String>,
}

impl Op {
    pub(crate) fn new(shared: Arc<Shared>, asked: Asked, bad_input: Option<String>) -> Self {
        Self { shared, state: OpState::New(Box::new(NewOp { asked, key: None, bad_input })) }
    }

    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut NewOp)) {
        if let OpState::New(new) = &mut self.state {
            change(new);
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, OpState::Done)
    }

    /// The slot of the operation, which is made on the first call; `None` outside the workflow's poll.
    pub(crate) fn slot(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        match &self.state {
            OpState::Open(slot) => return Some(*slot),
            OpState::Done => return None,
            OpState::New(_) => {}
        }
        let mut state = self.shared.inside("a future of Ctx")?;
        let OpState::New(new) = std::mem::replace(&mut self.state, OpState::Done) else { return None };
        let NewOp { mut asked, key, bad_input } = *new;
        if let Some(why) = bad_input {
            state.fail(Fault::BadRequest { name: asked.name.to_string(), why });
        }
        let now = state.now_ms;
        match &mut asked.what {
            What::Timer { ms, due } => *due = after(now, *ms),
            What::Signal { timeout_ms: Some(ms), due, .. } => *due = Some(after(now, *ms)),
            _ => {}
        }
        asked.hash = Asked::hash_of(&asked.what, asked.input.as_ref(), key.as_deref());
        let slot = state.add(asked, cx.waker());
        self.state = OpState::Open(slot);
        Some(slot)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Json>> {
        if let OpState::Open(slot) = self.state {
            let Some(mut state) = self.shared.inside("a future of Ctx") else { return Poll::Pending };
            if let Some(result) = state.poll(slot, cx.waker()) {
                drop(state);
                self.state = OpState::Done;
                return Poll::Ready(result);
            }
            return Poll::Pending;
        }
        self.slot(cx);
        Poll::Pending
    }

    pub(crate) fn finish(&mut self) {
        self.state = OpState::Done;
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let OpState::Open(slot) = self.state else { return };
        // A drop by eviction journals nothing.
        if self.shared.bell.is_closing() {
            return;
        }
        if let Some(mut state) = self.shared.inside("dropping a future of Ctx") {
            state.forget(slot);
        }
    }
}

fn after(now: i64, ms: u64) -> i64 {
    now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

pub(crate) fn millis(d: Duration) -> u64 {
    // Never shorter than asked for.
    let ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if d.subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms.saturating_add(1) }
}

/// A durable operation of a workflow as a future. It is asked for when it is first polled; dropping it unfinished cancels it.
#[must_use = "futures do nothing unless awaited"]
pub struct Durable<T, K> {
    op: Op,
    kind: PhantomData<fn() -> (T, K)>,
}

/// Marks a step.
pub enum StepMark {}
/// Marks a timer.
pub enum TimerMark {}
/// Marks a signal.
pub enum SignalMark {}
/// Marks a child.
pub enum ChildMark {}

/// What `ctx.step` returns.
pub type Step<T> = Durable<T, StepMark>;
/// What `ctx.sleep` returns.
pub type Sleep = Durable<(), TimerMark>;
/// What `ctx.signal` returns.
pub type Signal<T> = Durable<T, SignalMark>;
/// What `ctx.child` returns.
pub type Child<T> = Durable<T, ChildMark>;

impl<T, K> Durable<T, K> {
    pub(crate) fn new(shared: Arc<Shared>, asked: Asked, bad_input: Option<String>) -> Self {
        Self { op: Op::new(shared, asked, bad_input), kind: PhantomData }
    }

    /// Tells this one from others of the same name and input that are made at the same moment.
    pub fn key(mut self, key: impl std::fmt::Display) -> Self {
        self.op.edit(|new| new.key = Some(key.to_string()));
        self
    }
}

impl<T> Step<T> {
    fn with(mut self, change: impl FnOnce(&mut crate::asked::StepAsked)) -> Self {
        self.op.edit(|new| {
            if let What::Step(step) = &mut new.asked.what {
                change(step);
            }
        });
        self
    }

    /// It must not be repeated: an attempt without a recorded outcome is in doubt.
    pub fn once(self) -> Self {
        self.effect(Effect::Once)
    }

    /// It changes nothing: repeat freely.
    pub fn pure(self) -> Self {
        self.effect(Effect::Pure)
    }

    /// What repeating it would do.
    pub fn effect(self, effect: Effect) -> Self {
        self.with(|step| step.effect = effect)
    }

    /// How often and how far apart it is tried.
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|step| step.retry = retry)
    }

    /// The time an attempt may take. Without it an attempt may take for ever.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|step| step.timeout_ms = Some(millis(timeout).max(1)))
    }

    /// What each attempt needs before it may start: a place at a service with limits, and a budget. The host grants it in the commit
    /// before the attempt.
    pub fn admission(self, admission: Admission) -> Self {
        self.with(|step| step.admission = Some(Arc::new(admission)))
    }

    /// A cheap, pure computation in the process: it may run before its intent is journaled, and costs no commit of its own.
    pub fn local(self) -> Self {
        self.with(|step| {
            step.local = true;
            step.effect = Effect::Pure;
        })
    }

    /// Names a probe that is asked when this step is in doubt: with the step's input and its idempotency key it tells whether the
    /// step has happened. Only where it cannot tell, fails, panics or takes longer than a minute, a person is asked.
    ///
    /// It must change nothing, and only a [`once`](Self::once) step is ever in doubt. Its answer is journaled: replay does not ask again.
    pub fn reconcile<I, F, Fut, E>(self, probe: F) -> Self
    where
        I: DeserializeOwned,
        T: Serialize,
        F: Fn(I, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reconciled<T>, E>> + Send + 'static,
        E: Into<Error>,
    {
        self.reconcile_within(Duration::from_millis(LIMIT_MS), probe)
    }

    /// Like [`Self::reconcile`], with the time that the probe may take.
    pub fn reconcile_within<I, F, Fut, E>(mut self, limit: Duration, probe: F) -> Self
    where
        I: DeserializeOwned,
        T: Serialize,
        F: Fn(I, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reconciled<T>, E>> + Send + 'static,
        E: Into<Error>,
    {
        self.op.edit(|new| {
            if let (What::Step(step), Some(input)) = (&mut new.asked.what, &new.asked.input) {
                let ask = probe::erase(input.clone(), probe);
                step.probe = Some(Probe { ask, limit_ms: millis(limit).max(1) });
            }
        });
        self
    }

    /// What it is to a reader of the journal.
    pub fn kind(self, kind: StepKind) -> Self {
        self.with(|step| step.kind = kind)
    }
}

impl<T> Signal<T> {
    fn with(mut self, change: impl FnOnce(&mut Wait, &mut Option<u64>)) -> Self {
        self.op.edit(|new| {
            if let What::Signal { wait, timeout_ms, .. } = &mut new.asked.what {
                change(wait, timeout_ms);
            }
        });
        self
    }

    /// Gives up after this long, with an error whose [`crate::Error::is_timeout`] is true.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|_, ms| *ms = Some(millis(timeout)))
    }

    /// Who is expected to send it, and what they are asked.
    pub fn ask<A: Serialize + ?Sized>(mut self, from: Wait, about: &A) -> Self {
        self.op.edit(|new| match json(about) {
            Ok(about) => new.asked.input = Some(about),
            Err(e) => new.bad_input = Some(e.to_string()),
        });
        self.with(|wait, _| *wait = from)
    }
}

impl<T> Child<T> {
    /// The id of the run that is started; one is derived from the parent's otherwise.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.op.edit(|new| {
            if let What::Child { run, .. } = &mut new.asked.what {
                *run = Some(id.into());
            }
        });
        self
    }
}

impl<T: DeserializeOwned, K> Future for Durable<T, K> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let open = match &this.op.state {
            OpState::Open(slot) => this.op.shared.lock().entries.get(*slot).and_then(Entry::named),
            _ => None,
        };
        match this.op.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(value)) => match serde_json::from_str(value.get()) {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(e) => match open {
                    // Anybody may send anything: what does not fit is an error, not the end of the run.
                    Some((id, true)) => {
                        let text = format!("what was sent as signal `{}` does not fit: {e}", id.name());
                        Poll::Ready(Err(crate::terminal(text)))
                    }
                    open => {
                        let id = open.map_or_else(String::new, |(id, _)| id.to_string());
                        this.op.shared.lock().fail(Fault::Unreadable { id, why: e.to_string() });
                        Poll::Pending
                    }
                },
            },
        }
    }
}

impl<T: DeserializeOwned, K> FusedFuture for Durable<T, K> {
    fn is_terminated(&self) -> bool {
        self.op.is_done()
    }
}

impl<T, K> Unpin for Durable<T, K> {}
