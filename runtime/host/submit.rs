//! From a turn to the writer: the row, what commits with it, and what follows once it is committed. It acts on nothing.

use abide_engine::event::{Command, HostEvent, Outcome, Start};
use abide_engine::{Error, ErrorKind, Fault, Json, Machine, Row, Seed, Wait};

use super::api::fault_of_id;
use super::limits::events_of;
use super::mail::ChildEnd;
use super::resident::{Act, Came, Committing, Ended, LettingGo, Resident, StepState};
use super::standing::{running, standing};
use super::turn::{Shop, Turn};
use crate::store::{Append, ChildStart, Dealings, Ending, Hash, HeadState, Tail, Trouble, row_hash};
use crate::{HostError, crash};

/// What a row asks for once it is committed, and what commits with it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) acts: Vec<Act>,
    pub(crate) children: Vec<ChildStart>,
    pub(crate) cancel_runs: Vec<String>,
}

/// What is handed to the writer.
#[derive(Default)]
struct Written {
    row: Option<(String, Hash)>,
    next_generation: Option<(String, Hash)>,
    consumed: Vec<i64>,
    plan: Plan,
    ended: Option<Ended>,
    /// Why it is parked as diverged.
    fault: Option<Fault>,
    dealings: Dealings,
}

impl Resident {
    /// Hands the turn to the writer, if there is anything to write.
    pub(crate) fn submit(&mut self, shop: &Shop<'_>, turn: &mut Turn) -> Result<(), Fault> {
        let now = shop.inner.now_ms();
        let mut row = self.machine.take_row().unwrap_or_default();
        if shop.inner.check_replay && !row.deliveries.is_empty() {
            super::replay::repeat(shop.inner, self.key, self.head, &row, &self.machine)?;
        }
        let mut plan = self.plan(&row, now);
        let ended = self.ended()?;
        let next = self.next_generation(shop, now)?;
        row.host.append(&mut self.host);
        let nothing = row.deliveries.is_empty() && row.host.is_empty();
        if !nothing {
            row.host.append(&mut self.later);
        }
        let most = shop.inner.limits.row_bytes();
        let first = if nothing { None } else { Some(chained(&self.hash, &row, most)?) };
        let second = match &next {
            Some(next) => Some(chained(first.as_ref().map_or(&self.hash, |(_, hash)| hash), next, most)?),
            None => None,
        };
        let retired = next.as_ref().map(|_| self.retire_steps());
        self.events += events_of(&row);
        if let Some(next) = &next {
            self.events = events_of(next);
            let further = self.plan(next, now);
            plan.acts = further.acts;
            plan.children.extend(further.children);
        }
        plan.acts.extend(self.to_start.drain(..).map(|(id, n)| Act::Start { id, n }));
        let state = self.state_after(ended.as_ref(), &plan.acts);
        if state.status == "paused" {
            turn.consumed.append(&mut self.pauses);
        }
        if nothing
            && next.is_none()
            && turn.consumed.is_empty()
            && state == self.state
            && plan.acts.is_empty()
            && self.dealings.is_empty()
        {
            return Ok(());
        }
        let dealings = self.deal(shop.inner, &plan.acts, ended.is_some() || retired.is_some());
        let delivered = std::mem::take(&mut turn.delivered);
        let consumed = std::mem::take(&mut turn.consumed);
        let acts = std::mem::take(&mut plan.acts);
        let written = Written { row: first, next_generation: second, consumed, plan, ended, fault: None, dealings };
        let committing = Committing { delivered, acts, state, ended: None, retired };
        self.write(shop, written, committing, now);
        Ok(())
    }

    fn write(&mut self, shop: &Shop<'_>, written: Written, committing: Committing, now: i64) {
        let Written { row, next_generation, consumed, plan, ended, fault, dealings } = written;
        let state = &committing.state;
        let changed = *state != self.state || ended.is_some();
        if state.status == "running" && self.letting_go != Some(LettingGo::Environment) {
            self.error = None;
        } else if self.error.is_none() {
            // Others worked on when it was said.
            self.error = self.steps.values().find_map(|step| match step {
                StepState::Parked { what, why, .. } if Some(what.as_str()) == state.waiting_for => Some(why.clone()),
                _ => None,
            });
        }
        let parks = state.release && ended.is_none() && fault.is_none() && self.letting_go.is_none();
        let lets_go = state.status == "waiting" && state.release && self.letting_go == Some(LettingGo::Release);
        // To a generation that begins now, every message is news: those that lie here waited for it.
        let seen = if next_generation.is_some() { 0 } else { self.mail_seen };
        let trouble = match &fault {
            Some(fault) => Trouble { error: Some(fault.to_string()), help: Some(fault.help()) },
            None => Trouble { error: self.error.clone(), help: None },
        };
        if parks {
            crash::point("park.before");
        }
        let (to, token) = (shop.to.clone(), self.token);
        let append = Append {
            run: self.key,
            epoch: self.epoch,
            head: self.head,
            hash: self.hash,
            row,
            next_generation,
            state: changed.then(|| state.clone()),
            now_ms: now,
            consumed,
            children: plan.children,
            cancel_runs: plan.cancel_runs,
            ending: self.told_parent(ended.as_ref()),
            parks_after: (parks || lets_go).then_some(seen),
            lets_go,
            owner: shop.inner.own_id(),
            note: self.machine.take_status().map(|s| s.get().to_owned()),
            trouble: changed.then_some(trouble),
            dealings,
            tail: Tail::default(),
            fenced: false,
            done: Box::new(move |result, fenced| {
                let _ = to.send(super::shard::Msg::Committed { token, result, fenced });
            }),
        };
        self.committing = Some(Committing { ended, ..committing });
        shop.inner.writer.submit(Box::new(append));
    }

    /// Parks a run that cannot go on, once nothing is under way that must not be cut off. Of what its machine did in the turn that
    /// broke a rule nothing is kept; of what attempts brought, everything.
    pub(crate) fn park_faulted(&mut self, shop: &Shop<'_>) -> Result<(), Fault> {
        let over = |serial: u64| {
            self.arrived.iter().any(|one| matches!(&one.what, Came::Attempt { serial: other, .. } if *other == serial))
        };
        let under_way =
            |step: &StepState| matches!(step, StepState::Working { abort: Some(_), serial, .. } if !over(*serial));
        if self.steps.values().any(under_way) {
            return Ok(());
        }
        let now = shop.inner.now_ms();
        let mut row = Row::default();
        for (id, step) in &self.steps {
            if matches!(step, StepState::Working { serial: 0, .. }) {
                row.host.push(HostEvent::Held { id: id.clone(), at: now });
            }
        }
        for one in &self.arrived {
            if let Came::Attempt { id, n, result, .. } = &one.what {
                let (out, error) = (result.as_ref().ok().cloned(), result.as_ref().err().cloned());
                row.host.push(HostEvent::Outcome { id: id.clone(), n: *n, at: one.at, out, error });
            }
        }
        self.host.clear();
        let row = if row.host.is_empty() { None } else { Some(chained(&self.hash, &row, usize::MAX)?) };
        let state = HeadState { status: "diverged", waiting_for: None, until_ms: None, release: true };
        // What was cut off is given up; what is over is settled when its outcome is delivered.
        let dealings = Dealings {
            given_up: std::mem::take(&mut self.dealings).given_up,
            dead: shop.inner.governor.dead(),
            ..Dealings::default()
        };
        let written = Written { row, fault: self.fault.clone(), dealings, ..Written::default() };
        let committing = Committing { delivered: Vec::new(), acts: Vec::new(), state, ended: None, retired: None };
        self.write(shop, written, committing, now);
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
        let refused = fault_of_id(&child.run).unwrap_or("it is taken");
        let refused = Error::new(ErrorKind::Failed, format!("no run can be started as `{}`: {refused}", child.run));
        let taken = ChildEnd { run: child.run.clone(), ok: None, error: Some(refused) };
        let taken_body = serde_json::to_string(&taken).ok()?;
        Some(ChildStart {
            step: child.id.to_string(),
            run_id: child.run.clone(),
            impossible: fault_of_id(&child.run).is_some(),
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
        let seed = Seed { generation: before.generation.saturating_add(1), ..before };
        let alarm = super::shard::alarm(shop.to, self.token);
        let resources = self.machine.resources();
        let mut machine = Machine::new(self.id.to_string(), self.machine.workflow(), resources, alarm);
        machine.start(&self.workflow, seed, input, now.max(self.machine.now_ms()))?;
        self.machine = machine;
        Ok(self.machine.take_row())
    }

    fn told_parent(&self, ended: Option<&Ended>) -> Option<Ending> {
        let (parent, step) = self.parent.clone()?;
        let run = self.id.to_string();
        let end = match ended? {
            Ended::Completed(value) => ChildEnd { run, ok: Some(value.clone()), error: None },
            Ended::Failed(error) | Ended::Cancelled(error) => {
                let kind = match error.kind() {
                    ErrorKind::Cancelled => ErrorKind::Failed,
                    other => other.clone(),
                };
                let text = format!("run `{}`: {}", self.id, error.message());
                ChildEnd { run, ok: None, error: Some(Error::new(kind, text)) }
            }
        };
        Some(Ending { parent, step, body: serde_json::to_string(&end).ok()? })
    }

    /// Where the run stands once this is committed: attempts that are cancelled then do not count.
    fn state_after(&self, ended: Option<&Ended>, acts: &[Act]) -> HeadState {
        let over = |status| HeadState { status, waiting_for: None, until_ms: None, release: true };
        match ended {
            Some(Ended::Completed(_)) => return over("completed"),
            Some(Ended::Failed(_)) => return over("failed"),
            Some(Ended::Cancelled(_)) => return over("cancelled"),
            None => {}
        }
        let works = |id| self.steps.get(id).is_some_and(StepState::works);
        let cancelled = acts.iter().filter(|act| matches!(act, Act::Cancel { id } if works(id))).count();
        let stands = || standing(&self.machine.open(), |id| self.steps.get(id));
        match self.letting_go {
            _ if self.working > cancelled => running(),
            Some(LettingGo::Pause) => over("paused"),
            Some(LettingGo::Release | LettingGo::Environment) => HeadState { release: true, ..stands() },
            None => stands(),
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

/// The text of a row and its hash in the chain.
pub(crate) fn chained(before: &Hash, row: &Row, most: usize) -> Result<(String, Hash), Fault> {
    let body = serde_json::to_string(row)
        .map_err(|e| Fault::Journal { why: format!("a turn cannot be written as JSON: {e}") })?;
    if body.len() > most {
        let why = format!("it holds {} bytes, and the limit is {most}: give steps less at once", body.len());
        return Err(Fault::BadRequest { name: "a turn".to_owned(), why });
    }
    let hash = row_hash(before, &body);
    Ok((body, hash))
}

/// The error of a host that could not go on with a run.
pub(crate) fn diverged(run: &str, fault: &Fault) -> HostError {
    HostError::Diverged { run: run.to_owned(), why: fault.to_string(), help: fault.help().to_owned() }
}
