//! A turn: deliver what came, let the workflow run to rest, hand the row to the writer (DESIGN rule 2). It acts on nothing: `act` does,
//! when the commit has returned.

use std::sync::{Arc, mpsc};

use abide_engine::event::{Command, HostEvent, Outcome, Start, Verdict};
use abide_engine::{
    Arrival, Attempt, Completion, Error, ErrorKind, Fault, Json, Machine, Next, OpenWhat, Row, Seed, StepId, Wait,
    after_failure, in_order,
};
use serde::Deserialize;

use super::attempt::{self, Started};
use super::inner::{Inner, null};
use super::progress::{Progress, ProgressKind};
use super::resident::{Act, Arrived, Came, Committing, Ended, LettingGo, Resident, StepState};
use super::shard::Msg;
use super::standing::{running, standing};
use crate::HostError;
use crate::store::{Append, ChildStart, Ending, Hash, HeadState, InboxRow, Tail, row_hash};

/// What a turn needs of its shard.
pub(crate) struct Shop<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) to: &'a mpsc::Sender<Msg>,
}

/// What others put into an inbox about a step in doubt.
#[derive(Deserialize)]
struct Resolve {
    verdict: Verdict,
    #[serde(default)]
    result: Option<Json>,
    #[serde(default)]
    message: Option<String>,
}

/// What the end of a child brings.
#[derive(Deserialize)]
pub(crate) struct ChildEnd {
    #[serde(default)]
    ok: Option<Json>,
    #[serde(default)]
    error: Option<Error>,
}

/// What a row asks for once it is committed, and what commits with it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) acts: Vec<Act>,
    pub(crate) children: Vec<ChildStart>,
    pub(crate) cancel_runs: Vec<String>,
}

struct Turn {
    delivered: Vec<Arrived>,
    consumed: Vec<i64>,
}

impl Resident {
    /// Takes a turn if there is something to deliver or to record, and hands it to the writer.
    pub(crate) fn turn(&mut self, shop: &Shop<'_>) -> Result<(), Fault> {
        if self.committing.is_some() || self.key == 0 {
            return Ok(());
        }
        let mut turn = Turn { delivered: Vec::new(), consumed: Vec::new() };
        loop {
            let mut moved = self.deliver_arrived(shop, &mut turn)?;
            moved |= self.run_local_steps(shop)?;
            if !moved {
                break;
            }
        }
        let row = self.machine.take_row();
        self.submit(shop, row, turn)
    }

    /// Delivers what came, in the order of time. True if the workflow moved.
    fn deliver_arrived(&mut self, shop: &Shop<'_>, turn: &mut Turn) -> Result<bool, Fault> {
        let mut waiting = std::mem::take(&mut self.arrived);
        let mail = std::mem::take(&mut self.mail);
        waiting.extend(mail.into_iter().map(|m| Arrived { at: m.at_ms, order: Arrival::Inbox, what: Came::Mail(m) }));
        in_order(&mut waiting, |a| (a.at, a.order));
        let mut moved = false;
        for one in waiting {
            moved |= match one.what {
                Came::Attempt { id, n, result } => self.attempt_over(shop, turn, id, n, result, one.at)?,
                Came::Due { id } => self.due(&id, one.at, turn)?,
                Came::Retry { id } => self.retry(&id, one.at),
                Came::Mail(message) => self.read_mail(message, turn)?,
            };
        }
        Ok(moved)
    }

    fn attempt_over(
        &mut self,
        shop: &Shop<'_>,
        turn: &mut Turn,
        id: StepId,
        n: u32,
        result: Result<Json, Error>,
        at: i64,
    ) -> Result<bool, Fault> {
        // The outcome of an attempt that was cancelled or is no longer the latest is nobody's.
        let failures = match self.steps.get(&id) {
            Some(StepState::Working { n: latest, failures, .. }) if *latest == n => *failures,
            _ => return Ok(false),
        };
        match result {
            Ok(out) => {
                self.drop_step(&id);
                turn.delivered.push(arrived(at, Came::Attempt { id: id.clone(), n, result: Ok(out.clone()) }));
                self.machine.deliver(Completion::Done { id, out }, at)
            }
            Err(error) => self.attempt_failed(shop, turn, id, (n, failures), error, at),
        }
    }

    fn attempt_failed(
        &mut self,
        shop: &Shop<'_>,
        turn: &mut Turn,
        id: StepId,
        (n, failures): (u32, u32),
        error: Error,
        at: i64,
    ) -> Result<bool, Fault> {
        let Some(OpenWhat::Step(step)) = self.machine.find(&id).map(|open| open.what) else { return Ok(false) };
        let limited = matches!(error.kind(), ErrorKind::RetryAfter { rate_limit: true, .. });
        let failures = if limited { failures } else { failures + 1 };
        let jitter = self.machine.seed().jitter(id.as_str(), n);
        match after_failure(step.effect, &step.retry, failures, &error, jitter, at) {
            Next::Fail(error) => {
                self.drop_step(&id);
                turn.delivered.push(arrived(at, Came::Attempt { id: id.clone(), n, result: Err(error.clone()) }));
                return self.machine.deliver(Completion::Failed { id, error }, at);
            }
            Next::RetryAt { at_ms, rate_limit } => {
                let text = error.message().to_owned();
                let event = HostEvent::Retry { id: id.clone(), n, error, at, next: at_ms, rate_limit };
                self.host.push(event);
                let what = ProgressKind::Retrying { id: id.to_string(), error: text, at_ms };
                shop.inner.tell(|| Progress { run: self.id.clone(), what });
                self.set_step(id, StepState::RetryAt { n, failures, at: at_ms, rate_limit });
            }
            Next::InDoubt => {
                let why = error.message().to_owned();
                self.host.push(HostEvent::InDoubt { id: id.clone(), n, why, at });
                self.set_step(id, StepState::InDoubt { n });
            }
            Next::Park(what) => {
                self.error = Some(error.message().to_owned());
                self.host.push(HostEvent::Parked { id: id.clone(), n, what, error: error.message().to_owned(), at });
                self.set_step(id, StepState::Parked { n, failures, what });
            }
            Next::Stop => {
                self.error = Some(error.message().to_owned());
                self.stopped_by = Some(error.message().to_owned());
                self.host.push(HostEvent::Held { id: id.clone(), at });
                self.set_step(id, StepState::Held { n });
                self.letting_go.get_or_insert(LettingGo::Environment);
            }
        }
        Ok(false)
    }

    fn due(&mut self, id: &StepId, at: i64, turn: &mut Turn) -> Result<bool, Fault> {
        let completion = match self.machine.find(id).map(|open| open.what) {
            Some(OpenWhat::Timer { .. }) => Completion::Fired { id: id.clone() },
            Some(OpenWhat::Signal { name, .. }) => {
                let error = Error::new(ErrorKind::TimedOut, format!("signal `{name}` did not come in time"));
                Completion::Failed { id: id.clone(), error }
            }
            _ => return Ok(false),
        };
        turn.delivered.push(Arrived { at, order: Arrival::Due, what: Came::Due { id: id.clone() } });
        self.machine.deliver(completion, at)
    }

    /// The time of a further attempt has come: its start is recorded before it acts.
    fn retry(&mut self, id: &StepId, at: i64) -> bool {
        if let Some(StepState::RetryAt { n, failures, .. }) = self.steps.get(id) {
            let (n, failures) = (*n + 1, *failures);
            self.start_after_commit(id.clone(), n, failures, at, true);
        }
        false
    }

    /// Plans an attempt: started when the next row is committed, or held while the run is being let go of.
    pub(crate) fn start_after_commit(&mut self, id: StepId, n: u32, failures: u32, at: i64, record: bool) {
        if self.letting_go.is_some() {
            self.host.push(HostEvent::Held { id: id.clone(), at });
            self.set_step(id, StepState::Held { n });
            return;
        }
        if record {
            self.host.push(HostEvent::Attempt { id: id.clone(), n, at });
        }
        self.set_step(id.clone(), StepState::Working { n, failures, abort: None });
        self.to_start.push((id, n));
    }

    fn read_mail(&mut self, message: InboxRow, turn: &mut Turn) -> Result<bool, Fault> {
        let at = message.at_ms;
        let value = || serde_json::value::RawValue::from_string(message.body.clone()).unwrap_or_else(|_| null());
        let wait = match message.kind.as_str() {
            "signal" => Some(Wait::Signal),
            "approval" => Some(Wait::Approval),
            "answer" => Some(Wait::Answer),
            _ => None,
        };
        let moved = match (wait, message.kind.as_str()) {
            (Some(wait), _) => {
                let name = message.name.clone();
                if !self.machine.deliver(Completion::Signal { wait, name, value: value() }, at)? {
                    self.mail.push(message);
                    return Ok(false);
                }
                true
            }
            (None, "cancel") => self.machine.deliver(Completion::Cancel, at)?,
            (None, "child") => self.child_ended(&message, at)?,
            (None, "resolve") => self.resolve(&message, at, turn)?,
            (None, "pause") => {
                self.let_go(LettingGo::Pause);
                false
            }
            _ => false,
        };
        turn.consumed.push(message.id);
        turn.delivered.push(Arrived { at, order: Arrival::Inbox, what: Came::Mail(message) });
        Ok(moved)
    }

    fn child_ended(&mut self, message: &InboxRow, at: i64) -> Result<bool, Fault> {
        let id = StepId::from(message.name.as_str());
        let completion = match serde_json::from_str::<ChildEnd>(&message.body) {
            Ok(ChildEnd { error: Some(error), .. }) => Completion::Failed { id, error },
            Ok(ChildEnd { ok, .. }) => Completion::Done { id, out: ok.unwrap_or_else(null) },
            Err(e) => {
                let error = Error::new(ErrorKind::Failed, format!("the child's end cannot be read: {e}"));
                Completion::Failed { id, error }
            }
        };
        self.machine.deliver(completion, at)
    }

    /// What somebody said of a step in doubt (DESIGN rule 16). It is recorded even where it comes too late to matter.
    fn resolve(&mut self, message: &InboxRow, at: i64, turn: &mut Turn) -> Result<bool, Fault> {
        let id = StepId::from(message.name.as_str());
        let Some(StepState::InDoubt { n }) = self.steps.get(&id) else { return Ok(false) };
        let n = *n;
        let Ok(said) = serde_json::from_str::<Resolve>(&message.body) else { return Ok(false) };
        self.host.push(HostEvent::Resolved { id: id.clone(), verdict: said.verdict, at });
        match said.verdict {
            Verdict::Retry => {
                self.start_after_commit(id, n + 1, 0, at, true);
                Ok(false)
            }
            Verdict::Landed => {
                self.drop_step(&id);
                self.machine.deliver(Completion::Done { id, out: said.result.unwrap_or_else(null) }, at)
            }
            Verdict::Fail => {
                self.drop_step(&id);
                let text = said.message.unwrap_or_else(|| "somebody let it fail".to_owned());
                let _ = turn;
                self.machine.deliver(Completion::Failed { id, error: Error::new(ErrorKind::Failed, text) }, at)
            }
        }
    }

    /// Runs the local steps that this turn asked for, before anything of it is committed (DESIGN rule 1).
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
            let key = self.machine.seed().step_key(id.as_str()).into();
            let mut inline = true;
            match attempt::start(shop.inner, shop.to, self.token, &id, &step, Attempt { key, number: 1 }, &mut inline) {
                Started::Done(Ok(out)) => {
                    moved |= self.machine.deliver(Completion::Done { id, out }, shop.inner.now_ms())?
                }
                // It was not that cheap, or it failed: from here on it is a step like any other.
                Started::Done(Err(error)) => {
                    self.set_step(id.clone(), StepState::Working { n: 1, failures: 0, abort: None });
                    self.arrived.push(arrived(shop.inner.now_ms(), Came::Attempt { id, n: 1, result: Err(error) }));
                    moved = true;
                }
                Started::Working(abort) => {
                    self.set_step(id, StepState::Working { n: 1, failures: 0, abort: Some(abort) });
                }
            }
        }
        Ok(moved)
    }

    /// Hands the turn to the writer, if there is anything to write.
    fn submit(&mut self, shop: &Shop<'_>, row: Option<Row>, turn: Turn) -> Result<(), Fault> {
        let now = shop.inner.now_ms();
        let mut row = row.unwrap_or_default();
        let mut plan = self.plan(&row, now);
        row.host.append(&mut self.host);
        let ended = self.ended()?;
        let next = self.next_generation(shop, now)?;
        let mut retired = Vec::new();
        if let Some(next) = &next {
            retired = self.retire_steps();
            plan.acts.clear();
            let further = self.plan(next, now);
            plan.acts = further.acts;
            plan.children.extend(further.children);
        }
        plan.acts.extend(self.to_start.drain(..).map(|(id, n)| Act::Start { id, n }));
        let state = self.state_after(ended.as_ref());
        let nothing = row.deliveries.is_empty() && row.host.is_empty();
        if nothing && turn.consumed.is_empty() && state == self.state {
            return Ok(());
        }
        let first = if nothing { None } else { Some(chained(&self.hash, &row)?) };
        let second = match &next {
            Some(next) => Some(chained(first.as_ref().map_or(&self.hash, |(_, hash)| hash), next)?),
            None => None,
        };
        let changed = state != self.state || ended.is_some();
        let (to, token) = (shop.to.clone(), self.token);
        let append = Append {
            run: self.key,
            epoch: self.epoch,
            head: self.head,
            hash: self.hash,
            row: first,
            next_generation: second,
            state: changed.then(|| state.clone()),
            now_ms: now,
            consumed: turn.consumed,
            children: plan.children,
            cancel_runs: plan.cancel_runs,
            ending: self.told_parent(ended.as_ref()),
            owner: shop.inner.own_id(),
            note: self.machine.take_status().map(|s| s.get().to_owned()),
            error: changed.then(|| self.error.take()),
            tail: Tail::default(),
            fenced: false,
            done: Box::new(move |result, fenced| {
                let _ = to.send(Msg::Committed { token, result, fenced });
            }),
        };
        self.committing = Some(Committing { delivered: turn.delivered, acts: plan.acts, state, ended, retired });
        shop.inner.writer.submit(Box::new(append));
        Ok(())
    }

    /// What the commands of a row ask for.
    pub(crate) fn plan(&mut self, row: &Row, now: i64) -> Plan {
        let mut plan = Plan::default();
        for command in row.deliveries.iter().flat_map(|d| &d.commands) {
            match command {
                Command::Step(step) => {
                    if !self.steps.contains_key(&step.id) && self.machine.find(&step.id).is_some() {
                        self.start_after_commit(step.id.clone(), 1, 0, now, false);
                    }
                }
                Command::Sleep { id, due, .. } => plan.acts.push(Act::Timer { id: id.clone(), due: *due }),
                Command::Signal(signal) => {
                    if signal.wait != Wait::Signal {
                        plan.acts.push(Act::Ask { id: signal.id.clone(), wait: signal.wait });
                    }
                    if let Some(due) = signal.due {
                        plan.acts.push(Act::Timer { id: signal.id.clone(), due });
                    }
                }
                Command::Child(child) => {
                    self.children.insert(child.id.clone(), child.run.clone());
                    plan.children.extend(self.child_start(child));
                }
                Command::Cancel { id } => {
                    plan.cancel_runs.extend(self.children.remove(id));
                    self.to_start.retain(|(other, _)| other != id);
                    plan.acts.push(Act::Cancel { id: id.clone() });
                }
                Command::Version { .. } | Command::End(_) => {}
            }
        }
        // A child that was dropped in the very turn that asked for it is never begun.
        plan.children.retain(|child| !plan.cancel_runs.contains(&child.run_id));
        plan
    }

    fn child_start(&self, child: &abide_engine::event::ChildCommand) -> Option<ChildStart> {
        let input = self.machine.decode(&child.input).ok()?;
        let input_hash = *blake3::hash(input.get().as_bytes()).as_bytes();
        let seed = Seed { nonce: crate::random::bytes16(), generation: 0 };
        let body = created_row(&child.workflow, seed, input)?;
        let taken = format!("the id `{}` of the run it was to start is taken", child.run);
        let taken = Error::new(ErrorKind::Failed, taken);
        let taken_body = serde_json::to_string(&serde_json::json!({ "error": taken })).ok()?;
        Some(ChildStart {
            step: child.id.to_string(),
            run_id: child.run.clone(),
            workflow: child.workflow.clone(),
            input_hash,
            body,
            taken_body,
        })
    }

    fn ended(&self) -> Result<Option<Ended>, Fault> {
        Ok(match self.machine.outcome() {
            Some(Outcome::Completed(payload)) => {
                let value = self.machine.decode(payload).map_err(|e| Fault::Journal { why: e.to_string() })?;
                Some(Ended::Completed(value))
            }
            Some(Outcome::Failed(error)) => Some(Ended::Failed(error.clone())),
            Some(Outcome::Cancelled(error)) => Some(Ended::Cancelled(error.clone())),
            Some(Outcome::Continued(_)) | None => None,
        })
    }

    /// Begins the next generation if this one ended in one; returns its first row.
    fn next_generation(&mut self, shop: &Shop<'_>, now: i64) -> Result<Option<Row>, Fault> {
        let Some(Outcome::Continued(payload)) = self.machine.outcome() else { return Ok(None) };
        let input = self.machine.decode(payload).map_err(|e| Fault::Journal { why: e.to_string() })?;
        let before = self.machine.seed();
        let seed = Seed { generation: before.generation + 1, ..before };
        let alarm = super::shard::alarm(shop.to, self.token);
        let resources = self.machine.resources();
        let mut machine = Machine::new(self.id.to_string(), self.machine.workflow(), resources, alarm);
        machine.start(&self.workflow, seed, input, now.max(self.machine.now_ms()))?;
        self.machine = machine;
        Ok(self.machine.take_row())
    }

    fn told_parent(&self, ended: Option<&Ended>) -> Option<Ending> {
        let (parent, step) = self.parent.clone()?;
        let body = match ended? {
            Ended::Completed(value) => format!("{{\"ok\":{}}}", value.get()),
            Ended::Failed(error) | Ended::Cancelled(error) => {
                let kind = match error.kind() {
                    ErrorKind::Cancelled => ErrorKind::Failed,
                    other => other.clone(),
                };
                let text = format!("run `{}`: {}", self.id, error.message());
                serde_json::to_string(&serde_json::json!({ "error": Error::new(kind, text) })).unwrap_or_default()
            }
        };
        Some(Ending { parent, step, body })
    }

    fn state_after(&self, ended: Option<&Ended>) -> HeadState {
        let over = |status| HeadState { status, waiting_for: None, until_ms: None, release: true };
        match ended {
            Some(Ended::Completed(_)) => return over("completed"),
            Some(Ended::Failed(_)) => return over("failed"),
            Some(Ended::Cancelled(_)) => return over("cancelled"),
            None => {}
        }
        match self.letting_go {
            _ if self.working > 0 => running(),
            Some(LettingGo::Pause) => over("paused"),
            Some(LettingGo::Release | LettingGo::Environment) => {
                HeadState { release: true, ..standing(&self.machine.open(), |id| self.steps.get(id)) }
            }
            None => standing(&self.machine.open(), |id| self.steps.get(id)),
        }
    }
}

/// The row of a run that was created and has not begun.
pub(crate) fn created_row(workflow: &str, seed: Seed, input: Json) -> Option<String> {
    let mut table = abide_engine::ChunkTable::default();
    let input = table.encode(input);
    let start = Start { workflow: workflow.to_owned(), semantics: abide_engine::SEMANTICS, seed, input };
    let row = Row { chunks: table.take_fresh(), host: vec![HostEvent::Created(Box::new(start))], ..Row::default() };
    serde_json::to_string(&row).ok()
}

fn arrived(at: i64, what: Came) -> Arrived {
    Arrived { at, order: Arrival::Outcome, what }
}

/// The text of a row and its hash in the chain.
pub(crate) fn chained(before: &Hash, row: &Row) -> Result<(String, Hash), Fault> {
    let body = serde_json::to_string(row)
        .map_err(|e| Fault::Journal { why: format!("a turn cannot be written as JSON: {e}") })?;
    let hash = row_hash(before, &body);
    Ok((body, hash))
}

/// The error of a host that could not go on with a run.
pub(crate) fn diverged(run: &str, fault: &Fault) -> HostError {
    HostError::Diverged { run: run.to_owned(), why: fault.to_string(), help: fault.help().to_owned() }
}
