//! Attempts that need a place at a service and a budget: what a turn asks for with its commit, and what follows from the answer (DESIGN rule 11).
//! Who gets a place is decided in that commit (`store`), never here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abide_engine::event::HostEvent;
use abide_engine::{Admission, Arrival, Error, ErrorKind, Json, OpenWhat, Parked, Place, Spent, StepId, terminal};

use super::act::Alarm;
use super::attempt;
use super::inner::Inner;
use super::resident::{Act, Arrived, Came, Resident, StepState};
use crate::store::{Answered, Ask, Dealings, Dealt, Met, Raise, Settle};

/// A request that has not left so long after its place was granted asks for another: those of a service are counted a second longer than
/// the service counts them (`store`), which has to suffice for the commit, for this and for the way.
const LEAVES_WITHIN: Duration = Duration::from_millis(500);
/// Where nothing is ever in time, a request leaves all the same after so many tries.
const MOST_LATE: u32 = 4;

/// Did an attempt not leave, for its place had lapsed?
pub(crate) fn is_late(result: &Result<Json, Error>) -> bool {
    matches!(result, Err(error) if *error.kind() == ErrorKind::TooLate)
}

impl Resident {
    /// What an attempt of this step needs before it may start.
    pub(crate) fn admission(&self, id: &StepId) -> Option<Arc<Admission>> {
        match self.machine.find(id)?.what {
            OpenWhat::Step(step) => step.admission,
            _ => None,
        }
    }

    /// What the commit of these acts has to settle with services and budgets.
    pub(crate) fn deal(&mut self, inner: &Inner, acts: &[Act], over: bool) -> Dealings {
        let mut dealings = std::mem::take(&mut self.dealings);
        for act in acts {
            match act {
                Act::Start { id, n } => {
                    if let Some(admission) = self.admission(id) {
                        dealings.asks.push(Ask { step: id.to_string(), attempt: *n, admission });
                    }
                }
                Act::Cancel { id } if self.admitted.remove(id) => dealings.given_up.push(id.to_string()),
                _ => {}
            }
        }
        if over {
            dealings.given_up.extend(self.admitted.drain().map(|id| id.to_string()));
        }
        if !dealings.is_empty() {
            dealings.learnt = inner.governor.take_fresh();
            dealings.dead = inner.governor.dead();
        }
        dealings
    }

    /// An attempt is over: what it has used is settled with the commit that delivers it.
    pub(crate) fn settle_attempt(&mut self, id: &StepId, n: u32, result: &Result<Json, Error>, at: i64) {
        let Some(admission) = self.admission(id) else { return };
        self.admitted.remove(id);
        if is_late(result) {
            *self.late.entry(id.clone()).or_default() += 1;
        } else {
            self.late.remove(id);
        }
        let nothing = Some(Spent { nano_usd: Some(0), ..Spent::default() });
        let (spent, met) = match result {
            Ok(out) => {
                let spent = (admission.spent)(out.get());
                self.used.insert(id.clone(), (admission.spender.clone(), spent));
                (Some(spent), Met::Answer)
            }
            Err(_) if is_late(result) => (nothing, Met::Nobody),
            Err(error) => match error.kind() {
                ErrorKind::RetryAfter { ms, rate_limit: true } => {
                    let until_ms = at.saturating_add(i64::try_from(*ms).unwrap_or(i64::MAX));
                    (nothing, Met::Limit { until_ms })
                }
                // It may have been worked on: nobody will ever say.
                ErrorKind::InDoubt | ErrorKind::TimedOut => (None, Met::Other),
                _ => (nothing, Met::Other),
            },
        };
        self.dealings.settles.push(Settle { step: id.to_string(), attempt: n, admission, spent, met });
    }

    /// A step whose attempt has to be told apart from one that was granted its place: is it to start now?
    pub(crate) fn may_start(&mut self, id: &StepId, n: u32, dealt: &Dealt, now: i64, alarms: &mut Vec<Alarm>) -> bool {
        let answer = dealt.answers.iter().find(|(step, _)| *step == *id.as_str()).map(|(_, answer)| answer);
        let Some(answer) = answer else { return true };
        let Some(StepState::Working { failures, .. }) = self.steps.get(id) else { return false };
        let failures = *failures;
        match answer {
            Answered::Granted => {
                let waited = !self.admitted.insert(id.clone());
                if (waited || n > 1) && !self.late.contains_key(id) {
                    // The place is the record; the journal says so too as soon as it says anything else.
                    self.later.push(HostEvent::Attempt { id: id.clone(), n, at: now });
                }
                return true;
            }
            Answered::Queued { until_ms } => {
                self.admitted.insert(id.clone());
                self.set_step(id.clone(), StepState::Queued { n, failures, at: *until_ms });
                alarms.push(Alarm { at: *until_ms, id: id.clone() });
            }
            Answered::TooLong { until_ms } => {
                let seconds = (until_ms - now).max(0) / 1_000;
                let error = terminal(format!("it would have to wait {seconds} s for its turn, which is too long"));
                let serial = attempt::serial();
                self.set_step(id.clone(), StepState::Working { n, failures, serial, abort: None });
                let what = Came::Attempt { id: id.clone(), n, serial, result: Err(error) };
                self.arrived.push(Arrived { at: now, order: Arrival::Outcome, what });
            }
            Answered::OverBudget { why } => {
                let run = &self.id;
                let error = format!("{why}: `abide resume {run} --budget +AMOUNT` raises it and goes on");
                let (what, at) = (Parked::Budget, now);
                self.host.push(HostEvent::Parked { id: id.clone(), n, what, error: error.clone(), at });
                self.error = Some(error.clone());
                self.set_step(id.clone(), StepState::Parked { n, failures, what, why: error });
            }
        }
        false
    }

    /// How long the place that this attempt was given may be used.
    pub(crate) fn place(&self, id: &StepId, granted_ms: i64, now: i64) -> Place {
        if !self.admitted.contains(id) || self.late.get(id).is_some_and(|late| *late >= MOST_LATE) {
            return Place::default();
        }
        let gone = Duration::from_millis(now.saturating_sub(granted_ms).max(0).unsigned_abs());
        let left = Instant::now() + LEAVES_WITHIN.saturating_sub(gone);
        Place::new(move || Instant::now() < left)
    }

    /// A person raises the budgets: what is parked over them is tried again.
    pub(crate) fn raise_budget(&mut self, raise: Raise, at: i64) {
        self.host.push(HostEvent::Raised {
            calls: raise.calls,
            tokens: raise.tokens,
            nano_usd: raise.nano_usd,
            ms: raise.ms,
            at,
        });
        self.dealings.raises.push(raise);
        let parked = self.steps.iter().filter_map(|(id, step)| match step {
            StepState::Parked { n, failures, what: Parked::Budget, .. } => Some((id.clone(), *n, *failures)),
            _ => None,
        });
        for (id, n, failures) in parked.collect::<Vec<_>>() {
            self.start_after_commit(id, n.saturating_add(1), failures, at, true);
        }
    }

    /// A place may be free: those that wait in line ask now.
    pub(crate) fn poke(&mut self, now: i64) {
        let queued = self.steps.iter_mut().filter_map(|(id, step)| match step {
            StepState::Queued { at, .. } => {
                *at = now.min(*at);
                Some(id.clone())
            }
            _ => None,
        });
        let due: Vec<Alarm> = queued.map(|id| Alarm { at: now, id }).collect();
        self.come_due(due);
    }
}
