//! A turn: deliver what came, let the workflow run to rest, hand the row to the writer (DESIGN rule 2). It acts on nothing: `act` does,
//! when the commit has returned.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use abide_engine::event::{Command, HostEvent};
use abide_engine::{
    Arrival, Attempt, Completion, Error, ErrorKind, Fault, Json, Next, OpenWhat, StepId, after_failure, in_order,
};

use super::admit::is_late;
use super::attempt::{self, Started};
use super::doubt::Doubt;
use super::inner::Inner;
use super::progress::{Progress, ProgressKind};
use super::resident::{Arrived, Came, LettingGo, Resident, StepState};
use super::shard::Msg;
use crate::crash;

/// Deliveries after which a turn ends although local steps would go on.
const MOST_IN_A_TURN: usize = 1_000;

/// What a turn needs of its shard.
pub(crate) struct Shop<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) to: &'a mpsc::Sender<Msg>,
}

/// What a turn takes in.
#[derive(Default)]
pub(crate) struct Turn {
    /// What came, in the order of time.
    waiting: VecDeque<Arrived>,
    pub(crate) delivered: Vec<Arrived>,
    /// Messages that leave the inbox with its commit.
    pub(crate) consumed: Vec<i64>,
}

/// The outcome of an attempt.
struct Over {
    id: StepId,
    n: u32,
    serial: u64,
    result: Result<Json, Error>,
}

/// Puts the outcomes of attempts that came together into any order: none is promised. For tests.
fn shuffle_outcomes(waiting: &mut VecDeque<Arrived>) {
    let is_outcome = |one: &Arrived| matches!(one.what, Came::Attempt { .. });
    let places: Vec<usize> = (0..waiting.len()).filter(|i| waiting.get(*i).is_some_and(is_outcome)).collect();
    for (left, place) in places.iter().enumerate().rev() {
        let random = u128::from_le_bytes(crate::random::bytes16());
        if let Some(other) = places.get((random % (left as u128 + 1)) as usize) {
            waiting.swap(*place, *other);
        }
    }
}

impl Resident {
    /// Takes a turn if there is something to deliver or to record, and hands it to the writer.
    pub(crate) fn turn(&mut self, shop: &Shop<'_>) -> Result<(), Fault> {
        if self.committing.is_some() || self.key == 0 || self.mending {
            return Ok(());
        }
        if self.fault.is_some() {
            return self.park_faulted(shop);
        }
        if self.letting_go.is_none()
            && let Some(why) = shop.inner.limits.no_more(self.events)
        {
            // What it has asked for by now is held, and what is under way and must not be cut off ends first.
            self.let_go(LettingGo::Environment);
            (self.error, self.stopped_by) = (Some(why.clone()), Some(why));
        }
        let mut turn = Turn::default();
        let taken = self.play(shop, &mut turn).and_then(|()| self.submit(shop, &mut turn));
        if taken.is_err() {
            self.take_back_outcomes(turn.delivered.into_iter().chain(turn.waiting));
        }
        taken
    }

    /// Lets the workflow run to rest.
    fn play(&mut self, shop: &Shop<'_>, turn: &mut Turn) -> Result<(), Fault> {
        loop {
            self.deliver_arrived(shop, turn)?;
            // Local steps without an end are recorded now and then: from there on they are steps like any other.
            if self.machine.pending().len() >= MOST_IN_A_TURN || !self.run_local_steps(shop)? {
                return Ok(());
            }
        }
    }

    /// Delivers what came, in the order of time.
    fn deliver_arrived(&mut self, shop: &Shop<'_>, turn: &mut Turn) -> Result<(), Fault> {
        self.gather(turn, shop.inner.check_replay);
        while let Some(one) = turn.waiting.pop_front() {
            let moved = match one.what {
                Came::Attempt { id, n, serial, result } => {
                    self.attempt_over(shop, turn, Over { id, n, serial, result }, one.at)?
                }
                Came::Probed { id, serial, answer } => self.probed(shop, id, serial, answer, one.at)?,
                Came::Due { id } => self.due(&id, one.at)?,
                Came::Retry { id } => self.retry(&id, one.at),
                Came::Mail(message) => self.read_mail(message, turn)?,
            };
            // A message that nobody waited for may have found its waiter now.
            if moved && !self.mail.is_empty() {
                self.gather(turn, shop.inner.check_replay);
            }
        }
        Ok(())
    }

    /// Adds what came and the messages that were not delivered to what waits, in the order of time.
    fn gather(&mut self, turn: &mut Turn, shuffles: bool) {
        turn.waiting.extend(self.arrived.drain(..));
        self.unread = false;
        let mail = self.mail.drain(..);
        turn.waiting.extend(mail.map(|m| Arrived { at: m.at_ms, order: Arrival::Inbox, what: Came::Mail(m) }));
        let waiting = turn.waiting.make_contiguous();
        // Of messages of the same millisecond, the first in the inbox comes first.
        waiting.sort_by_key(|one| if let Came::Mail(message) = &one.what { message.id } else { 0 });
        in_order(waiting, |a| (a.at, a.order));
        if shuffles {
            shuffle_outcomes(&mut turn.waiting);
        }
    }

    fn attempt_over(&mut self, shop: &Shop<'_>, turn: &mut Turn, over: Over, at: i64) -> Result<bool, Fault> {
        // The outcome of an attempt that was cancelled or is no longer the latest is nobody's.
        if !self.is_current(&over.id, over.serial) {
            return Ok(false);
        }
        crash::point("attempt.over");
        let failures = self.steps.get(&over.id).map_or(0, StepState::failures);
        self.settle_attempt(&over.id, over.n, &over.result, at);
        let late = is_late(&over.result);
        let Over { id, n, serial, result } = over;
        let kept = Came::Attempt { id: id.clone(), n, serial, result: result.clone() };
        turn.delivered.push(Arrived { at, order: Arrival::Outcome, what: kept });
        match result {
            // It has not left: it is the same attempt still, which needs another place.
            Err(_) if late => {
                self.start_after_commit(id, n, failures, at, false);
                Ok(false)
            }
            Ok(out) => {
                self.drop_step(&id);
                self.machine.deliver(Completion::Done { id, out }, at)
            }
            Err(error) => self.attempt_failed(shop, id, (n, failures), error, at),
        }
    }

    /// What follows a failed attempt; `failures` are those before it.
    pub(crate) fn attempt_failed(
        &mut self,
        shop: &Shop<'_>,
        id: StepId,
        (n, failures): (u32, u32),
        error: Error,
        at: i64,
    ) -> Result<bool, Fault> {
        let Some(OpenWhat::Step(step)) = self.machine.find(&id).map(|open| open.what) else { return Ok(false) };
        let limited = matches!(error.kind(), ErrorKind::RetryAfter { rate_limit: true, .. });
        let before = failures;
        let failures = if limited { failures } else { failures.saturating_add(1) };
        let jitter = self.machine.seed().jitter(id.as_str(), n);
        let text = error.message().to_owned();
        match after_failure(step.effect, &step.retry, failures, &error, jitter, at) {
            Next::Fail(error) => {
                self.drop_step(&id);
                return self.machine.deliver(Completion::Failed { id, error }, at);
            }
            Next::RetryAt { at_ms, rate_limit } => {
                let event = HostEvent::Retry { id: id.clone(), n, error, at, next: at_ms, rate_limit };
                self.host.push(event);
                let what = ProgressKind::Retrying { id: id.to_string(), error: text, at_ms };
                shop.inner.tell(|| Progress { run: self.id.clone(), what });
                self.set_step(id, StepState::RetryAt { n, failures, at: at_ms, rate_limit });
            }
            Next::InDoubt => {
                let doubt = Doubt { n, failures: before, failed: true, why: text, undecided: false };
                self.doubt(id, doubt, at);
            }
            Next::Park(what) => {
                self.error = Some(text.clone());
                self.host.push(HostEvent::Parked { id: id.clone(), n, what, error: text.clone(), at });
                self.set_step(id, StepState::Parked { n, failures, what, why: text });
            }
            Next::Stop => {
                self.let_go(LettingGo::Environment);
                (self.error, self.stopped_by) = (Some(text.clone()), Some(text));
                self.host.push(HostEvent::Held { id: id.clone(), at });
                self.set_step(id, StepState::Held { n: n.saturating_add(1), failures });
            }
        }
        Ok(false)
    }

    fn due(&mut self, id: &StepId, at: i64) -> Result<bool, Fault> {
        // An operation of a later generation may have the id of the one that this was meant for.
        let completion = match self.machine.find(id).map(|open| open.what) {
            Some(OpenWhat::Timer { due }) if due <= at => Completion::Fired { id: id.clone() },
            Some(OpenWhat::Signal { name, due: Some(due), .. }) if due <= at => {
                let error = Error::new(ErrorKind::TimedOut, format!("signal `{name}` did not come in time"));
                Completion::Failed { id: id.clone(), error }
            }
            _ => return Ok(false),
        };
        self.machine.deliver(completion, at)
    }

    /// The time of a further attempt has come: its start is recorded before it acts.
    fn retry(&mut self, id: &StepId, now: i64) -> bool {
        if let Some(StepState::RetryAt { n, failures, at, .. }) = self.steps.get(id)
            && *at <= now
        {
            let (n, failures) = (n.saturating_add(1), *failures);
            self.start_after_commit(id.clone(), n, failures, now, true);
        } else if let Some(StepState::Queued { n, failures, at }) = self.steps.get(id)
            && *at <= now
        {
            let (n, failures) = (*n, *failures);
            self.start_after_commit(id.clone(), n, failures, now, false);
        }
        false
    }

    /// Plans an attempt: started when the next row is committed, or held while the run is being let go of.
    pub(crate) fn start_after_commit(&mut self, id: StepId, n: u32, failures: u32, at: i64, record: bool) {
        if self.letting_go.is_some() {
            self.host.push(HostEvent::Held { id: id.clone(), at });
            self.set_step(id, StepState::Held { n, failures });
            return;
        }
        // One that needs a place is recorded by its place (`admit`).
        if record && self.admission(&id).is_none() {
            self.host.push(HostEvent::Attempt { id: id.clone(), n, at });
        }
        self.set_step(id.clone(), StepState::Working { n, failures, serial: 0, abort: None });
        self.to_start.push((id, n));
    }

    /// Runs the local steps that this turn asked for, before anything of it is committed (DESIGN rule 1). True if the workflow moved.
    fn run_local_steps(&mut self, shop: &Shop<'_>) -> Result<bool, Fault> {
        let local: Vec<StepId> = self
            .machine
            .pending()
            .iter()
            .flat_map(|d| &d.commands)
            .filter_map(|c| match c {
                Command::Step(step) if step.local && !self.steps.contains_key(&step.id) => Some(step.id.clone()),
                _ => None,
            })
            .collect();
        let mut moved = false;
        for id in local {
            let Some(OpenWhat::Step(step)) = self.machine.find(&id).map(|open| open.what) else { continue };
            let (key, serial) = (self.machine.seed().step_key(id.as_str()).into(), attempt::serial());
            let (mut inline, number) = (true, Attempt::new(key, 1));
            let which = (self.token, &id, serial);
            let abort = match attempt::start(shop.inner, shop.to, which, &step, number, &mut inline) {
                Started::Done(Ok(out)) => {
                    moved |= self.machine.deliver(Completion::Done { id, out }, shop.inner.now_ms())?;
                    continue;
                }
                // It was not that cheap, or it failed: from here on it is a step like any other.
                Started::Done(Err(error)) => {
                    let what = Came::Attempt { id: id.clone(), n: 1, serial, result: Err(error) };
                    self.arrived.push(Arrived { at: shop.inner.now_ms(), order: Arrival::Outcome, what });
                    moved = true;
                    None
                }
                Started::Working(abort) => Some(abort),
            };
            self.set_step(id, StepState::Working { n: 1, failures: 0, serial, abort });
        }
        Ok(moved)
    }
}
