//! What becomes of the steps that a journal leaves without an outcome: waiting goes on, what was in flight is tried again or is in
//! doubt, and attempts of this process are taken up (DESIGN rules 3, 11). It never starts an attempt: that follows a commit.

use std::collections::HashMap;

use abide_engine::event::{By, HostEvent, Verdict};
use abide_engine::{Arrival, Effect, OpenWhat, StepId};

use super::act::Alarm;
use super::attempt;
use super::doubt::Doubt;
use super::load::Why;
use super::resident::{Arrived, Came, LettingGo, Resident, StepState};
use crate::store::Admitted;

/// What a journal says of steps that have no outcome in it.
#[derive(Default)]
pub(crate) struct Left {
    known: HashMap<StepId, StepState>,
    /// Attempts that are over, and whose outcome was not delivered.
    over: Vec<Arrived>,
}

impl Left {
    fn failures(&self, id: &StepId) -> u32 {
        self.known.get(id).map_or(0, StepState::failures)
    }

    /// What the queue says of a step: an attempt that waits in line has not started, and one that has a place has.
    pub(crate) fn admitted(&mut self, one: &Admitted) {
        let (id, n) = (StepId::from(one.step.as_str()), one.attempt);
        let failures = self.failures(&id);
        let state = match one.at_ms {
            None => StepState::Held { n, failures },
            Some(_) => StepState::Working { n, failures, serial: 0, abort: None },
        };
        self.known.insert(id, state);
    }

    /// What a host event says of a step.
    pub(crate) fn note(&mut self, event: HostEvent) {
        let (id, state) = match event {
            HostEvent::Attempt { id, n, .. } => {
                let failures = self.failures(&id);
                (id, StepState::Working { n, failures, serial: 0, abort: None })
            }
            HostEvent::Retry { id, n, next, rate_limit, .. } => {
                let failures = self.failures(&id).saturating_add(u32::from(!rate_limit));
                (id, StepState::RetryAt { n, failures, at: next, rate_limit })
            }
            HostEvent::InDoubt { id, n, why, failed, .. } => {
                let failures = self.failures(&id);
                (id, StepState::InDoubt(Doubt { n, failures, failed, why, undecided: false }))
            }
            HostEvent::Undecided { id, by: By::Probe, .. } => {
                if let Some(StepState::InDoubt(doubt)) = self.known.get_mut(&id) {
                    doubt.undecided = true;
                }
                return;
            }
            // A person's word gives the step all its attempts again.
            HostEvent::Resolved { id, verdict: Verdict::Retry, by: By::Person, .. } => {
                if let Some(StepState::InDoubt(doubt)) = self.known.get_mut(&id) {
                    doubt.failures = 0;
                }
                return;
            }
            HostEvent::Parked { id, n, what, error, .. } => {
                let failures = self.failures(&id);
                (id, StepState::Parked { n, failures, what, why: error })
            }
            HostEvent::Held { id, .. } => {
                // Asked for and never begun, or the one after the last.
                let n = self.known.get(&id).map_or(1, |known| match known {
                    StepState::Held { n, .. } => *n,
                    other => other.attempt().saturating_add(1),
                });
                let failures = self.failures(&id);
                (id, StepState::Held { n, failures })
            }
            HostEvent::Outcome { id, n, at, out, error } => {
                let result = error.map_or_else(|| Ok(out.unwrap_or_else(super::inner::null)), Err);
                let what = Came::Attempt { id, n, serial: attempt::serial(), result };
                return self.over.push(Arrived { at, order: Arrival::Outcome, what });
            }
            HostEvent::Resolved { id, verdict, .. } if verdict != Verdict::Retry => {
                self.known.remove(&id);
                return;
            }
            _ => return,
        };
        // What was delivered and recorded since is not to be delivered again.
        self.over.retain(|one| !matches!(&one.what, Came::Attempt { id: other, .. } if *other == id));
        self.known.insert(id, state);
    }
}

impl Resident {
    /// Decides what becomes of each step without an outcome.
    pub(crate) fn take_up(&mut self, mut left: Left, now: i64, why: Why) {
        let (claimed, mut old) = match why {
            Why::Claimed => (true, None),
            Why::Woken => (false, None),
            Why::Mended(old) => (false, Some(old)),
        };
        if let Some(old) = &mut old {
            (self.failures, self.inline) = (old.failures, old.inline);
            self.letting_go = self.letting_go.or(old.letting_go);
            self.stopped_by = old.stopped_by.take();
            left.over.extend(old.arrived.drain(..).filter(|one| matches!(one.what, Came::Attempt { .. })));
        }
        let mut over = HashMap::new();
        for one in &left.over {
            if let Came::Attempt { id, n, serial, .. } = &one.what {
                over.insert(id.clone(), (*n, *serial));
            }
        }
        for open in self.machine.open() {
            let OpenWhat::Step(step) = open.what else { continue };
            let id = open.id;
            let known = left.known.remove(&id);
            let failures = known.as_ref().map_or(0, StepState::failures);
            // Over, or still under way here: it belongs to the host.
            if let Some((n, serial)) = over.remove(&id) {
                self.set_step(id, StepState::Working { n, failures, serial, abort: None });
                continue;
            }
            let here = old.as_mut().and_then(|old| old.steps.remove(&id));
            if let Some(here @ StepState::Working { abort: Some(_), .. }) = here {
                self.set_step(id, here);
                continue;
            }
            match known {
                None => self.interrupted(id, 1, 0, step.effect, now),
                Some(StepState::Working { n, .. }) => self.interrupted(id, n, failures, step.effect, now),
                Some(StepState::Held { n, .. }) => self.start_after_commit(id, n, failures, now, true),
                Some(StepState::InDoubt(ref doubt)) => self.in_doubt(id, doubt.clone()),
                Some(known) => self.set_step(id, known),
            }
        }
        self.arrived.append(&mut left.over);
        if claimed {
            self.retry_parked(now);
        }
    }

    /// An attempt was under way when its process ended.
    fn interrupted(&mut self, id: StepId, n: u32, failures: u32, effect: Effect, now: i64) {
        if effect == Effect::Once {
            let why = "the process that ran it ended before an outcome was recorded".to_owned();
            self.doubt(id, Doubt { n, failures, failed: false, why, undecided: false }, now);
        } else {
            self.start_after_commit(id, n.saturating_add(1), failures, now, true);
        }
    }

    /// Somebody resumes the run: what only they could mend is tried again.
    pub(crate) fn retry_parked(&mut self, now: i64) {
        let parked = self.steps.iter().filter_map(|(id, step)| match step {
            StepState::Parked { n, failures, .. } => Some((id.clone(), *n, *failures)),
            _ => None,
        });
        for (id, n, failures) in parked.collect::<Vec<_>>() {
            self.start_after_commit(id, n.saturating_add(1), failures, now, true);
        }
    }

    /// The times at which this run wants to be looked at.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let open = self.machine.open().into_iter().filter_map(|open| match open.what {
            OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. } => Some(Alarm { at: due, id: open.id }),
            _ => None,
        });
        let retries = self.steps.iter().filter_map(|(id, state)| match state {
            StepState::RetryAt { at, .. } | StepState::Queued { at, .. } => Some(Alarm { at: *at, id: id.clone() }),
            _ => None,
        });
        open.chain(retries).collect()
    }

    /// Notes what is due.
    pub(crate) fn come_due(&mut self, due: Vec<Alarm>) {
        for Alarm { at, id } in due {
            let what = match self.steps.get(&id) {
                Some(_) => Came::Retry { id },
                None => Came::Due { id },
            };
            self.arrived.push(Arrived { at, order: Arrival::Due, what });
        }
    }

    /// Lets go of the run: attempts that may be repeated end now, others are waited for. A person's pause outranks other reasons.
    pub(crate) fn let_go(&mut self, why: LettingGo) {
        if self.letting_go.is_none() || why == LettingGo::Pause {
            self.letting_go = Some(why);
        }
        self.end_repeatable();
        self.end_probes();
    }

    /// Will it be out of memory, and no longer ours, when what it does now is done?
    pub(crate) fn is_leaving(&self) -> bool {
        self.letting_go.is_some() || self.committing.as_ref().is_some_and(|turn| turn.state.release)
    }

    /// Ends the attempts that may be repeated.
    pub(crate) fn end_repeatable(&mut self) {
        let is_repeatable = |id: &StepId| {
            let open = self.machine.find(id).map(|open| open.what);
            matches!(open, Some(OpenWhat::Step(step)) if step.effect != Effect::Once)
        };
        let is_over = |serial: u64| {
            self.arrived.iter().any(|one| matches!(&one.what, Came::Attempt { serial: other, .. } if *other == serial))
        };
        let works = |state: &StepState| matches!(state, StepState::Working { serial, .. } if !is_over(*serial));
        let under_way = self.steps.iter().filter(|(_, state)| works(state));
        let repeatable: Vec<StepId> = under_way.map(|(id, _)| id).filter(|id| is_repeatable(id)).cloned().collect();
        for id in repeatable {
            self.drop_step(&id);
            if self.admitted.remove(&id) {
                self.dealings.given_up.push(id.to_string());
            }
        }
    }
}
