//! Steps in doubt: their reconcile probes, and what is said of them (DESIGN rule 16). It never decides that a step is in doubt, and
//! no answer counts before the commit that holds it.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc;
use std::time::Duration;

use abide_engine::event::{By, HostEvent, Verdict};
use abide_engine::{
    Attempt, AttemptFuture, Completion, Error, ErrorKind, Fault, Json, OpenWhat, Probe, Reconciled, StepId,
    did_not_happen,
};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use super::attempt::{serial, text_of};
use super::inner::{Inner, null};
use super::resident::{Resident, StepState};
use super::shard::Msg;
use super::turn::Shop;
use crate::store::InboxRow;

/// Why a step is in doubt, and what was tried.
#[derive(Debug, Clone)]
pub(crate) struct Doubt {
    /// The attempt of which nobody knows.
    pub(crate) n: u32,
    /// The failed attempts before it.
    pub(crate) failures: u32,
    /// It ended with an error that does not tell; otherwise it was cut off.
    pub(crate) failed: bool,
    pub(crate) why: String,
    /// The probe was asked and cannot tell: it is a person's turn.
    pub(crate) undecided: bool,
}

/// What somebody puts into an inbox about a step in doubt.
#[derive(Serialize, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) verdict: Verdict,
    #[serde(default)]
    pub(crate) result: Option<Json>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// The generation and the attempt that they saw in doubt: a later one is not meant.
    pub(crate) generation: u32,
    pub(crate) attempt: u32,
}

/// Why a probe did not tell, or what it found.
pub(crate) type Answer = Result<Reconciled<Json>, String>;

/// Asks a probe; an error, a panic and a time-out are told as what could not be found out.
pub(crate) fn ask(
    inner: &std::sync::Arc<Inner>,
    to: &mpsc::Sender<Msg>,
    (token, id, serial): (u64, &StepId, u64),
    probe: &Probe,
    attempt: Attempt,
) -> tokio::task::AbortHandle {
    let (ask, limit) = (probe.ask.clone(), Duration::from_millis(probe.limit_ms));
    let asked = attempt.clone();
    let body = AssertUnwindSafe(async move { AttemptFuture::start(|| ask(asked), attempt).await }).catch_unwind();
    let (to, id, inner2) = (to.clone(), id.clone(), inner.clone());
    let task = inner.runtime.spawn(async move {
        let answer = match tokio::time::timeout(limit, body).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(format!("its probe failed: {}", error.message())),
            Ok(Err(panic)) => Err(format!("its probe panicked: {}", text_of(&*panic))),
            Err(_) => Err(format!("its probe did not answer within {} s", limit.as_secs_f64())),
        };
        let _ = to.send(Msg::Probed { token, id, serial, answer, at_ms: inner2.now_ms() });
    });
    task.abort_handle()
}

impl Resident {
    /// A step is in doubt from now on: its probe is asked once that is committed.
    pub(crate) fn doubt(&mut self, id: StepId, doubt: Doubt, at: i64) {
        let (n, why, failed) = (doubt.n, doubt.why.clone(), doubt.failed);
        self.host.push(HostEvent::InDoubt { id: id.clone(), n, why, at, failed });
        self.in_doubt(id, doubt);
    }

    /// Plans to ask the probe of a step in doubt, if it has one that has not been asked; otherwise a person is.
    pub(crate) fn in_doubt(&mut self, id: StepId, doubt: Doubt) {
        let has_probe = || match self.machine.find(&id).map(|open| open.what) {
            Some(OpenWhat::Step(step)) => step.probe.is_some(),
            _ => false,
        };
        if doubt.undecided || self.letting_go.is_some() || !has_probe() {
            return self.set_step(id, StepState::InDoubt(doubt));
        }
        self.to_start.push((id.clone(), doubt.n));
        self.set_step(id, StepState::Probing { doubt, serial: 0, abort: None });
    }

    /// Asks the probe of a step. True if that is what was planned.
    pub(crate) fn start_probe(&mut self, shop: &Shop<'_>, id: &StepId, n: u32) -> bool {
        let Some(StepState::Probing { doubt, serial: 0, .. }) = self.steps.get(id) else { return false };
        let doubt = doubt.clone();
        let found = self.machine.find(id).map(|open| open.what);
        if let (true, Some(OpenWhat::Step(step)), None) = (doubt.n == n, found, &self.fault)
            && let Some(probe) = &step.probe
        {
            let (serial, key) = (serial(), self.machine.seed().step_key(id.as_str()).into());
            let abort = ask(shop.inner, shop.to, (self.token, id, serial), probe, Attempt::new(key, n));
            self.set_step(id.clone(), StepState::Probing { doubt, serial, abort: Some(abort) });
        }
        true
    }

    /// Ends the probes that are under way: they change nothing, and whoever goes on with the run asks again.
    pub(crate) fn end_probes(&mut self) {
        let probing = self.steps.iter().filter_map(|(id, step)| match step {
            StepState::Probing { doubt, .. } => Some((id.clone(), doubt.clone())),
            _ => None,
        });
        for (id, doubt) in probing.collect::<Vec<_>>() {
            self.set_step(id, StepState::InDoubt(doubt));
        }
    }

    /// A probe has answered. True if the workflow moved.
    pub(crate) fn probed(
        &mut self,
        shop: &Shop<'_>,
        id: StepId,
        serial: u64,
        answer: Answer,
        at: i64,
    ) -> Result<bool, Fault> {
        let doubt = match self.steps.get(&id) {
            Some(StepState::Probing { doubt, serial: current, .. }) if *current == serial => doubt.clone(),
            _ => return Ok(false),
        };
        let (by, n) = (By::Probe, doubt.n);
        let why = match answer {
            Ok(Reconciled::Landed(result)) => match self.misfit(&id, &result) {
                None => {
                    self.host.push(HostEvent::Resolved { id: id.clone(), verdict: Verdict::Landed, by, at });
                    self.drop_step(&id);
                    return self.machine.deliver(Completion::Done { id, out: result }, at);
                }
                Some(why) => format!("what its probe gave as its result does not fit: {why}"),
            },
            Ok(Reconciled::DidNotHappen) => {
                self.host.push(HostEvent::Resolved { id: id.clone(), verdict: Verdict::Retry, by, at });
                return self.try_again(shop, id, &doubt, at);
            }
            Ok(Reconciled::Unknown) => "its probe cannot tell".to_owned(),
            Err(why) => why,
        };
        self.host.push(HostEvent::Undecided { id: id.clone(), n, by, why, at });
        self.set_step(id, StepState::InDoubt(Doubt { undecided: true, ..doubt }));
        Ok(false)
    }

    /// The probe says that it did not happen: what was cut off starts at once, what failed by the step's policy of retries.
    fn try_again(&mut self, shop: &Shop<'_>, id: StepId, doubt: &Doubt, at: i64) -> Result<bool, Fault> {
        if !doubt.failed {
            self.start_after_commit(id, doubt.n.saturating_add(1), doubt.failures, at, true);
            return Ok(false);
        }
        let error = did_not_happen(format!("{}: its probe says that it did not happen", doubt.why));
        self.attempt_failed(shop, id, (doubt.n, doubt.failures), error, at)
    }

    /// Why the code cannot read this as the step's result, if it cannot.
    fn misfit(&self, id: &StepId, result: &Json) -> Option<String> {
        match self.machine.find(id).map(|open| open.what) {
            Some(OpenWhat::Step(step)) => (step.fits)(result.get()).err(),
            _ => None,
        }
    }

    /// What somebody said of a step in doubt. Said of another attempt or generation, or too late, it is nobody's.
    pub(crate) fn resolve(&mut self, message: &InboxRow, at: i64) -> Result<bool, Fault> {
        let id = StepId::from(message.name.as_str());
        let Ok(said) = serde_json::from_str::<Resolve>(&message.body) else {
            tracing::warn!(run = %self.id, step = %id, "what was said of it cannot be read");
            return Ok(false);
        };
        let n = match self.steps.get(&id) {
            Some(StepState::InDoubt(doubt) | StepState::Probing { doubt, .. }) => doubt.n,
            _ => return Ok(false),
        };
        if (said.generation, said.attempt) != (self.machine.seed().generation, n) {
            return Ok(false);
        }
        let (by, verdict) = (By::Person, said.verdict);
        let result = said.result.unwrap_or_else(null);
        if verdict == Verdict::Landed
            && let Some(why) = self.misfit(&id, &result)
        {
            let why = format!("the result that was given for it does not fit: {why}");
            self.host.push(HostEvent::Undecided { id, n, by, why, at });
            return Ok(false);
        }
        self.host.push(HostEvent::Resolved { id: id.clone(), verdict, by, at });
        match verdict {
            Verdict::Retry => {
                self.start_after_commit(id, n.saturating_add(1), 0, at, true);
                Ok(false)
            }
            Verdict::Landed => {
                self.drop_step(&id);
                self.machine.deliver(Completion::Done { id, out: result }, at)
            }
            Verdict::Fail => {
                self.drop_step(&id);
                let text = said.message.unwrap_or_else(|| "somebody let it fail".to_owned());
                self.machine.deliver(Completion::Failed { id, error: Error::new(ErrorKind::Failed, text) }, at)
            }
        }
    }
}
