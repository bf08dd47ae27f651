//! One turn of the crank: poll, number, reveal, until nothing more happens (DESIGN rules 5 and 6). It never delivers a completion.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::event::{Command, Json, Outcome};
use crate::recorder::Recorder;
use crate::state::Shared;
use crate::step::BoxFuture;
use crate::{Error, ErrorKind, Fault, Result, StepId};

/// Polls in a row without anything of abide's happening, after which a workflow is taken to spin.
const SPINS: usize = 1_000_000;

/// The parts of a machine that a poll needs.
pub(crate) struct Run<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) future: &'a mut Option<BoxFuture<Result<Json>>>,
    pub(crate) outcome: &'a mut Option<Outcome>,
    pub(crate) waker: &'a Waker,
}

impl Run<'_> {
    /// Polls, numbers and reveals until nothing more happens; returns the commands that came of it (none on replay).
    pub(crate) fn settle(mut self, recorder: &mut Recorder<'_>) -> Result<Vec<Command>, Fault> {
        let bell = self.shared.bell.clone();
        loop {
            self.poll_while_woken()?;
            let woken = self.rest(recorder)?;
            if woken {
                continue;
            }
            if self.future.is_none() {
                break;
            }
            let Some(waker) = self.shared.lock().reveal() else { break };
            bell.while_polling(|| waker.wake());
            bell.take_ours();
            self.poll()?;
            self.shared.lock().hide();
        }
        let state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        if self.future.is_some() && state.open == 0 {
            return Err(Fault::ForeignAwait { what: "it waits although nothing of abide's is outstanding".to_owned() });
        }
        drop(state);
        Ok(recorder.take_commands())
    }

    fn poll_while_woken(&mut self) -> Result<(), Fault> {
        let mut spins = 0;
        while self.future.is_some() && self.shared.bell.take_ours() {
            self.poll()?;
            spins += 1;
            if spins > SPINS {
                let what = format!("it woke itself {SPINS} times in a row without awaiting anything of abide's");
                return Err(Fault::ForeignAwait { what });
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Fault> {
        let Some(future) = self.future.as_mut() else { return Ok(()) };
        let mut cx = Context::from_waker(self.waker);
        let bell = &self.shared.bell;
        let polled = bell.while_polling(|| catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))));
        let result = match polled {
            Ok(Poll::Pending) => return Ok(()),
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(of_panic(panic.as_ref())?),
        };
        let future = self.future.take();
        let _ = bell.while_polling(|| catch_unwind(AssertUnwindSafe(move || drop(future))));
        *self.outcome = Some(self.ending(result));
        Ok(())
    }

    fn ending(&self, result: Result<Json>) -> Outcome {
        let next = self.shared.lock().next_input.take();
        match (result, next) {
            (Ok(value), _) => Outcome::Completed(crate::Payload::Inline(value)),
            (Err(e), Some(input)) if *e.kind() == ErrorKind::ContinueAsNew => {
                Outcome::Continued(crate::Payload::Inline(input))
            }
            (Err(e), _) if e.is_cancelled() && self.shared.lock().cancelled => Outcome::Cancelled(e),
            (Err(e), _) => Outcome::Failed(e),
        }
    }

    /// Numbers what is new, records it, and wakes the scopes that were opened. True if one was.
    fn rest(&mut self, recorder: &mut Recorder<'_>) -> Result<bool, Fault> {
        let mut state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        let rest = state.rest();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        recorder.rest(&mut state, &rest)?;
        if self.future.is_none()
            && let Some(outcome) = self.outcome.as_mut()
        {
            recorder.end(outcome)?;
        }
        drop(state);
        let woken = !rest.to_wake.is_empty();
        self.shared.bell.while_polling(|| rest.to_wake.into_iter().for_each(Waker::wake));
        Ok(woken && self.future.is_some())
    }
}

/// Settles what a completion is for. Returns the time of the delivery.
pub(crate) fn apply(
    shared: &Arc<Shared>,
    id: Option<&StepId>,
    result: Result<Json>,
    at_ms: i64,
    recorder: &mut Recorder<'_>,
) -> Result<i64, Fault> {
    let mut state = shared.lock();
    state.now_ms = state.now_ms.max(at_ms);
    let at = state.now_ms;
    if let Some(id) = id {
        let settled = state.find(id).is_some_and(|slot| state.settle(slot, result));
        return if settled { Ok(at) } else { Err(Fault::diverged(id, "an outcome", "nothing of that id")) };
    }
    state.cancelled = true;
    let ids = state.cancel_all();
    recorder.cancelled(ids)?;
    Ok(at)
}

/// The error of a workflow that panicked; a runtime's panic for want of its context is a foreign await.
fn of_panic(panic: &(dyn std::any::Any + Send)) -> Result<Error, Fault> {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    let runtimes = ["there is no reactor running", "Tokio 1.x runtime", "no timer running", "no current reactor"];
    if runtimes.iter().any(|mark| text.contains(mark)) {
        return Err(Fault::ForeignAwait { what: format!("it asked for a runtime ({text})") });
    }
    Ok(Error::new(ErrorKind::Terminal, format!("the workflow panicked: {text}")))
}
