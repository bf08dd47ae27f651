//! What follows a commit: attempts start, timers are set, waiters are told. Nothing here happens before the commit has returned.

use std::sync::Arc;

use abide_engine::{Arrival, Attempt, OpenWhat, StepId};

use super::attempt::{self, Started};
use super::progress::{Progress, ProgressKind};
use super::resident::{Act, Arrived, Came, Committing, Ended, LettingGo, Resident, StepState};
use super::run::Settled;
use super::turn::Shop;
use crate::HostError;
use crate::store::Tail;

/// A time at which a run wants to be looked at.
pub(crate) struct Alarm {
    pub(crate) at: i64,
    pub(crate) id: StepId,
}

/// What becomes of a resident run after a commit.
pub(crate) enum After {
    /// It stays.
    Stay(Vec<Alarm>),
    /// It is over, parked or released: it leaves memory.
    Leave,
}

impl Resident {
    /// Acts on what was committed.
    pub(crate) fn committed(&mut self, shop: &Shop<'_>, committing: Committing, tail: &Tail) -> After {
        let Committing { delivered, acts, state, ended, retired, .. } = committing;
        drop(retired);
        (self.head, self.hash, self.failures) = (tail.head, tail.hash, 0);
        self.tell_ended(shop, &delivered);
        let waits = state.status == "waiting" && state != self.state;
        self.state = state;
        if let Some(what) = self.state.waiting_for.filter(|_| waits) {
            let what = ProgressKind::Waiting { what, until_ms: self.state.until_ms };
            shop.inner.tell(|| Progress { run: self.id.clone(), what });
        }
        self.idle_since = shop.inner.now_ms();
        if let Some(ended) = ended {
            shop.inner.settled(self.key, &settled(&ended));
            return After::Leave;
        }
        let mut alarms = Vec::new();
        for act in acts {
            match act {
                Act::Start { id, n } => self.start(shop, id, n),
                Act::Timer { id, due } => alarms.push(Alarm { at: due, id }),
                Act::Cancel { id } => self.drop_step(&id),
                Act::Ask { id, wait } => {
                    let what = || ProgressKind::Asked { id: id.to_string(), wait };
                    shop.inner.tell(|| Progress { run: self.id.clone(), what: what() });
                }
            }
        }
        for (id, step) in &self.steps {
            if let StepState::RetryAt { at, .. } = step {
                alarms.push(Alarm { at: *at, id: id.clone() });
            }
        }
        if self.state.release {
            self.tell_parked(shop);
            return After::Leave;
        }
        After::Stay(alarms)
    }

    fn start(&mut self, shop: &Shop<'_>, id: StepId, n: u32) {
        let Some(StepState::Working { n: latest, failures, .. }) = self.steps.get(&id) else { return };
        if *latest != n {
            return;
        }
        let failures = *failures;
        let Some(OpenWhat::Step(step)) = self.machine.find(&id).map(|open| open.what) else {
            self.drop_step(&id);
            return;
        };
        let what = || ProgressKind::Started { id: id.to_string(), kind: step.kind, attempt: n };
        shop.inner.tell(|| Progress { run: self.id.clone(), what: what() });
        let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();
        // Polled right here only if it is alone: several at once shall run side by side.
        let mut inline = self.inline && self.working == 1;
        let alone = inline;
        match attempt::start(shop.inner, shop.to, self.token, &id, &step, Attempt { key, number: n }, &mut inline) {
            Started::Done(result) => {
                let at = shop.inner.now_ms();
                self.arrived.push(Arrived { at, order: Arrival::Outcome, what: Came::Attempt { id, n, result } });
            }
            Started::Working(abort) => self.set_step(id, StepState::Working { n, failures, abort: Some(abort) }),
        }
        if alone && !inline {
            self.inline = false;
        }
    }

    fn tell_ended(&self, shop: &Shop<'_>, delivered: &[Arrived]) {
        for one in delivered {
            if let Came::Attempt { id, result, .. } = &one.what {
                let error = result.as_ref().err().map(|e| e.message().to_owned());
                let what = || ProgressKind::Ended { id: id.to_string(), error: error.clone() };
                shop.inner.tell(|| Progress { run: self.id.clone(), what: what() });
            }
        }
    }

    fn tell_parked(&self, shop: &Shop<'_>) {
        let settled = match self.letting_go {
            Some(LettingGo::Environment) => {
                shop.inner.give_up(self.key, true);
                let why = self.stopped_by.clone().unwrap_or_else(|| "its surroundings are broken".to_owned());
                Settled::Stopped(HostError::Environment { run: self.id.to_string(), why })
            }
            Some(LettingGo::Release) => Settled::Stopped(HostError::ShuttingDown),
            Some(LettingGo::Pause) | None => Settled::Parked {
                status: self.state.status,
                waiting_for: self.state.waiting_for,
                until_ms: self.state.until_ms,
            },
        };
        shop.inner.settled(self.key, &settled);
    }

    /// What was delivered by a commit that failed waits again.
    pub(crate) fn take_back(&mut self, committing: Committing) {
        for one in committing.delivered {
            match one.what {
                Came::Mail(_) => {}
                what => self.arrived.push(Arrived { what, ..one }),
            }
        }
    }
}

/// What those who wait for a run are told of its end.
fn settled(ended: &Ended) -> Settled {
    match ended {
        Ended::Completed(value) => Settled::Completed(value.clone()),
        Ended::Failed(error) => Settled::Failed(error.clone()),
        Ended::Cancelled(_) => Settled::Cancelled,
    }
}
