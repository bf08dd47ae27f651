//! What follows a commit: attempts start, timers are set, waiters are told. Nothing here happens before the commit has returned.

use std::sync::Arc;

use abide_engine::{Arrival, Attempt, OpenWhat, Place, StepId};

use super::attempt::{self, Started};
use super::progress::{Progress, ProgressKind};
use super::resident::{Act, Arrived, Came, Committing, Ended, LettingGo, Resident, StepState};
use super::run::Settled;
use super::submit::diverged;
use super::turn::Shop;
use crate::store::Tail;
use crate::{HostError, crash};

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
        let Committing { delivered, acts, mut state, ended, retired } = committing;
        drop(retired);
        state.release &= !tail.kept;
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
            crash::point("end.committed");
            shop.inner.settled(self.key, &settled(&ended));
            return After::Leave;
        }
        let mut alarms = Vec::new();
        for act in acts {
            crash::point("act.before");
            match act {
                Act::Start { id, n } => {
                    if self.may_start(&id, n, &tail.dealt, self.idle_since, &mut alarms) {
                        let place = self.place(&id, tail.dealt.at_ms, self.idle_since);
                        self.start(shop, id, n, place);
                    }
                }
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
        // What came for a generation that has ended, or for a step that was cancelled, is nobody's now.
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.retain(|one| !matches!(&one.what, Came::Attempt { id, serial, .. } if !self.is_current(id, *serial)));
        self.arrived = arrived;
        if self.state.release {
            crash::point("park.committed");
            self.tell_parked(shop);
            return After::Leave;
        }
        After::Stay(alarms)
    }

    pub(crate) fn start(&mut self, shop: &Shop<'_>, id: StepId, n: u32, place: Place) {
        if self.start_probe(shop, &id, n) {
            return;
        }
        let Some(StepState::Working { n: latest, failures, serial: 0, .. }) = self.steps.get(&id) else { return };
        if *latest != n || self.fault.is_some() {
            return;
        }
        let (failures, serial) = (*failures, attempt::serial());
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
        let which = (self.token, &id, serial);
        let teller = attempt::teller(shop.inner, &self.id, &id, n);
        let attempt = Attempt { teller, place, ..Attempt::new(key, n) };
        let started = attempt::start(shop.inner, shop.to, which, &step, attempt, &mut inline);
        crash::point("attempt.started");
        let abort = match started {
            Started::Done(result) => {
                let (at, id) = (shop.inner.now_ms(), id.clone());
                let what = Came::Attempt { id, n, serial, result };
                self.arrived.push(Arrived { at, order: Arrival::Outcome, what });
                None
            }
            Started::Working(abort) => Some(abort),
        };
        self.set_step(id, StepState::Working { n, failures, serial, abort });
        if alone && !inline {
            self.inline = false;
        }
    }

    fn tell_ended(&mut self, shop: &Shop<'_>, delivered: &[Arrived]) {
        for one in delivered {
            if let Came::Attempt { id, result, .. } = &one.what
                && !self.steps.contains_key(id)
            {
                if let Some((spender, spent)) = self.used.remove(id) {
                    let what = || ProgressKind::Spent { id: id.to_string(), spender: spender.clone(), spent };
                    shop.inner.tell(|| Progress { run: self.id.clone(), what: what() });
                }
                let error = result.as_ref().err().map(|e| e.message().to_owned());
                let what = || ProgressKind::Ended { id: id.to_string(), error: error.clone() };
                shop.inner.tell(|| Progress { run: self.id.clone(), what: what() });
            }
        }
    }

    fn tell_parked(&self, shop: &Shop<'_>) {
        if let Some(fault) = self.fault.as_ref().filter(|_| self.state.status == "diverged") {
            return shop.inner.settled(self.key, &Settled::Stopped(diverged(&self.id, fault)));
        }
        let settled = match self.letting_go {
            Some(LettingGo::Environment) => {
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

    /// What was delivered by a commit that failed waits again, and what it ended goes on.
    pub(crate) fn take_back(&mut self, committing: Committing) {
        if let Some(retired) = committing.retired {
            self.steps = retired;
        }
        self.take_back_outcomes(committing.delivered);
    }

    /// Outcomes belong to the host until they are committed (DESIGN rule 3); messages still lie in the inbox.
    pub(crate) fn take_back_outcomes(&mut self, delivered: impl IntoIterator<Item = Arrived>) {
        self.arrived.extend(delivered.into_iter().filter(|one| matches!(one.what, Came::Attempt { .. })));
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
