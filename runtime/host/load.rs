//! Bringing a run into memory from its journal. It never commits a turn itself.

use std::collections::{HashMap, HashSet};

use abide_engine::event::{Command, Happened, HostEvent, Start};
use abide_engine::{Chunk, ChunkTable, Fault, Machine, Row, StepId};
use tokio::sync::oneshot;

use super::inner::{Definition, Made};
use super::limits::events_of;
use super::progress::{Progress, ProgressKind};
use super::resident::{LettingGo, Resident};
use super::run::Settled;
use super::shard::{Early, Shard, alarm};
use super::submit::diverged;
use super::take_up::Left;
use crate::store::{Admitted, Dealings, LogRow, RunKey, RunRow, is_ended, run_hash};
use crate::{HostError, crash};

/// Why a run is brought into memory.
pub(crate) enum Why {
    /// It was claimed or begun: what is parked is tried again.
    Claimed,
    /// It slept.
    Woken,
    /// Its last commit failed: the attempts of this one, whose machine is thrown away, belong to the new one (DESIGN rule 3).
    Mended(Box<Resident>),
}

/// A run that is ours from this epoch on, to be brought into memory.
pub(crate) struct Wanted {
    pub(crate) key: RunKey,
    pub(crate) epoch: i64,
    pub(crate) why: Why,
    /// How often it could not be read.
    pub(crate) tries: u32,
    /// Who asked for it, if anybody waits for that.
    pub(crate) reply: Option<LoadReply>,
}

/// Told whether the run is worked on here now. It is not if it was let go of before its turn to be loaded came, or if somebody took it.
pub(crate) type LoadReply = oneshot::Sender<Result<bool, HostError>>;

impl Wanted {
    pub(crate) fn new(key: RunKey, epoch: i64, why: Why) -> Self {
        Self { key, epoch, why, tries: 0, reply: None }
    }
}

/// Tells whoever asked for a run what came of it.
pub(crate) fn answer(key: RunKey, reply: Option<LoadReply>, result: Result<bool, HostError>) {
    match (reply, result) {
        (Some(reply), result) => drop(reply.send(result)),
        (None, Err(error)) => tracing::warn!(key, %error, "a run cannot be worked on"),
        (None, Ok(_)) => {}
    }
}

/// What the database holds of a run.
pub(crate) struct Read {
    pub(crate) row: RunRow,
    journal: Vec<LogRow>,
    admitted: Vec<Admitted>,
    definition: Definition,
}

impl Shard {
    /// Reads a run that is ours from this epoch on. `None` if it no longer is, or has ended: then there is nothing to do.
    pub(crate) fn read_run(&self, key: RunKey, epoch: i64) -> Result<Option<Read>, HostError> {
        self.inner.read(|reader| {
            let row = reader.run(key)?.ok_or_else(|| HostError::NoSuchRun { run: key.to_string() })?;
            let ours = row.owner.as_ref().is_some_and(|owner| owner.id == self.inner.own_id());
            if is_ended(&row.status) || !ours || row.epoch != epoch {
                return Ok(None);
            }
            let journal = reader.journal(&row)?;
            let admitted = reader.admitted(key)?;
            let body = reader.definition_of(&row)?;
            let definition = Definition { body, root: row.root.clone() };
            Ok(Some(Read { row, journal, admitted, definition }))
        })
    }

    /// Brings a run into memory that is not there. What goes wrong is told, and written if it can be.
    pub(crate) fn load(&mut self, wanted: Wanted) {
        let (key, epoch, stays_open) = (wanted.key, wanted.epoch, !self.is_letting_go());
        if let Some(token) = self.by_key.get(&key).copied() {
            match self.residents.get_mut(&token) {
                // Whoever asks for it now wants more than what is left of its stay.
                Some(run) if run.epoch >= epoch && run.is_leaving() && stays_open => {
                    return self.leaving.push(wanted);
                }
                Some(run) if run.epoch >= epoch => {
                    run.retry_parked(self.inner.now_ms());
                    self.touch(token);
                    return answer(key, wanted.reply, Ok(true));
                }
                // Somebody had it in between: what is here is fenced off.
                _ => self.remove(token),
            }
        }
        self.forget_sleeping(key);
        self.inner.no_longer_stopped(key);
        match self.read_run(key, epoch) {
            // Its start has been committed, and the news of that is on its way: it is not to be here twice.
            Ok(Some(read)) if self.begins(&read.row.id) => self.early.push(Early::Load(wanted)),
            Ok(Some(read)) => {
                crash::point("load.read");
                self.inner.works_again();
                answer(key, wanted.reply, self.bring(read, wanted.why).map(|()| true));
            }
            Ok(None) => {
                self.inner.settled(key, &Settled::TakenOver);
                answer(key, wanted.reply, Ok(false));
            }
            Err(error) => self.run_unread(wanted, &error),
        }
    }

    /// Makes a resident run of what was read.
    pub(crate) fn bring(&mut self, read: Read, why: Why) -> Result<(), HostError> {
        let Read { row, journal, admitted, definition } = read;
        let (key, epoch) = (row.key, row.epoch);
        let Made { workflow, resources } = match self.inner.workflow(&row.id, &row.workflow, &definition) {
            Ok(made) => made,
            Err(error) => {
                self.give_up(key, epoch, &error);
                return Err(error);
            }
        };
        let token = if let Why::Mended(old) = &why { old.token } else { self.token() };
        let machine = Machine::new(row.id.clone(), workflow, resources, alarm(&self.to, token));
        let mut run = Resident::new(token, key, &row.id, &row.workflow, machine);
        run.stand_as(&row, journal.last().map_or_else(|| run_hash(&row.id), |last| last.hash));
        if self.is_letting_go() {
            run.letting_go = Some(LettingGo::Release);
        }
        let now = self.inner.now_ms();
        if let Err(fault) = run.replay(&row, journal, admitted, now, why) {
            let error = diverged(&row.id, &fault);
            self.write_diverged(key, epoch, &fault, error.clone());
            return Err(error);
        }
        crash::point("load.replayed");
        if let Some(why) = self.inner.limits.no_more(run.events) {
            let error = HostError::Environment { run: row.id, why };
            self.give_up(key, epoch, &error);
            return Err(error);
        }
        let replayed = run.replayed;
        self.inner.tell(|| Progress { run: run.id.clone(), what: ProgressKind::Replayed { steps: replayed } });
        let (due, alarms) = run.alarms().into_iter().partition(|alarm| alarm.at <= now);
        run.come_due(due);
        for child in run.children.values() {
            self.inner.adopt_by_id(child.clone());
        }
        self.residents.insert(token, run);
        self.by_key.insert(key, token);
        self.set_alarms(token, alarms);
        self.read_inbox(token);
        self.touch(token);
        Ok(())
    }
}

impl Resident {
    fn stand_as(&mut self, row: &RunRow, hash: crate::store::Hash) {
        (self.epoch, self.head, self.hash) = (row.epoch, row.head, hash);
        self.parent = row.parent.zip(row.parent_step.clone());
        self.error.clone_from(&row.error);
        if row.status == "waiting" {
            let waiting_for = row.waiting_for.as_deref().and_then(super::api::waiting_word);
            self.state =
                crate::store::HeadState { status: "waiting", waiting_for, until_ms: row.until_ms, release: false };
        }
    }

    /// Replays the rows, then decides what becomes of each step that has no outcome.
    fn replay(
        &mut self,
        row: &RunRow,
        journal: Vec<LogRow>,
        admitted: Vec<Admitted>,
        now: i64,
        why: Why,
    ) -> Result<(), Fault> {
        let mut left = Left::default();
        let mut created: Option<(Box<Start>, Vec<Chunk>)> = None;
        for log in journal {
            let mut parsed: Row = serde_json::from_str(&log.body)
                .map_err(|e| Fault::Journal { why: format!("row {} is not a row of this version: {e}", log.id) })?;
            self.follow_children(&parsed);
            self.events += events_of(&parsed);
            for event in std::mem::take(&mut parsed.host) {
                match event {
                    HostEvent::Created(start) => created = Some((start, std::mem::take(&mut parsed.chunks))),
                    other => left.note(other),
                }
            }
            if !parsed.deliveries.is_empty() {
                created = None;
            }
            self.machine.replay(parsed)?;
        }
        if let Some((start, chunks)) = created {
            let mut table = ChunkTable::default();
            table.learn(chunks);
            let input = table.into_value(start.input).map_err(|e| Fault::Journal { why: e.to_string() })?;
            return self.machine.start(&row.workflow, start.seed, input, now.max(row.created_ms));
        }
        if let Some(fault) = self.machine.fault() {
            return Err(fault);
        }
        for one in admitted {
            self.admitted.insert(StepId::from(one.step.as_str()));
            left.admitted(&one);
        }
        self.take_up(left, now, why);
        Ok(())
    }

    /// Keeps account of the children that have not ended.
    fn follow_children(&mut self, row: &Row) {
        for delivery in &row.deliveries {
            match &delivery.on {
                Happened::Done { id, .. } | Happened::Failed { id, .. } => {
                    self.replayed += usize::from(matches!(delivery.on, Happened::Done { .. }));
                    self.children.remove(id);
                }
                _ => {}
            }
            for command in &delivery.commands {
                let id: Option<&StepId> = command.id();
                match (command, id) {
                    (Command::Child(child), Some(id)) => drop(self.children.insert(id.clone(), child.run.clone())),
                    (Command::Cancel { .. }, Some(id)) => drop(self.children.remove(id)),
                    _ => {}
                }
            }
        }
    }

    /// An empty run in memory.
    pub(crate) fn new(token: u64, key: RunKey, id: &str, workflow: &str, machine: Machine) -> Self {
        Self {
            token,
            key,
            id: id.into(),
            workflow: workflow.into(),
            parent: None,
            machine,
            epoch: 0,
            head: 0,
            hash: [0; 32],
            steps: HashMap::new(),
            working: 0,
            arrived: Vec::new(),
            mail: Vec::new(),
            mail_seen: 0,
            unread: false,
            children: HashMap::new(),
            host: Vec::new(),
            later: Vec::new(),
            admitted: HashSet::new(),
            late: HashMap::new(),
            dealings: Dealings::default(),
            used: HashMap::new(),
            to_start: Vec::new(),
            committing: None,
            state: super::standing::running(),
            inline: true,
            letting_go: None,
            pauses: Vec::new(),
            fault: None,
            mending: false,
            looked_at: false,
            idle_since: 0,
            events: 0,
            failures: 0,
            error: None,
            stopped_by: None,
            replayed: 0,
        }
    }
}
