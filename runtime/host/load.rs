//! Beginning a run, and bringing one back from its journal: what was in flight is taken up again, or is in doubt. It never commits a turn itself.

use std::collections::HashMap;
use std::sync::Arc;

use abide_engine::event::{Command, HostEvent, Start, Verdict};
use abide_engine::{Effect, Fault, Machine, OpenWhat, Row, StepId};
use tokio::sync::oneshot;

use super::act::Alarm;
use super::inner::{Definition, Made};
use super::progress::{Progress, ProgressKind};
use super::resident::{LettingGo, Resident, StepState};
use super::run::{Settled, StartRun};
use super::shard::{Msg, Shard, alarm};
use super::standing::running;
use super::turn::{Plan, chained, diverged};
use crate::HostError;
use crate::store::{self, HeadState, Reply, RunKey, RunRow, Started, run_hash};

impl Shard {
    /// Begins a run: its machine takes its first turn, and that is committed together with its creation.
    pub(crate) fn begin(&mut self, start: StartRun, reply: oneshot::Sender<Result<Started, HostError>>) {
        let token = self.token();
        let definition = Definition { body: start.definition.clone(), root: start.root.clone() };
        match self.inner.workflow(&start.id, &start.workflow, &definition) {
            Err(error) => {
                let _ = reply.send(Err(error));
            }
            Ok(made) => match self.first_turn(token, &start, made) {
                Ok((run, row)) => self.commit_start(run, &row, start, reply),
                Err(fault) => self.create_diverged(start, &fault, reply),
            },
        }
    }

    /// A run whose very first turn breaks a rule exists all the same, parked: mended code resumes it.
    fn create_diverged(&self, start: StartRun, fault: &Fault, reply: oneshot::Sender<Result<Started, HostError>>) {
        let done = Box::new(move |result| {
            let _ = reply.send(result);
        });
        let error = Some((fault.to_string(), fault.help()));
        let job = store::StartRun { status: "diverged", error, ..start.created(None, self.inner.now_ms(), done) };
        self.inner.writer.submit(Box::new(job));
    }

    fn first_turn(&self, token: u64, start: &StartRun, made: Made) -> Result<(Resident, Row), Fault> {
        let mut machine = Machine::new(start.id.clone(), made.workflow, made.resources, alarm(&self.to, token));
        machine.start(&start.workflow, start.seed, start.input.clone(), self.inner.now_ms())?;
        let row = machine.take_row().unwrap_or_default();
        Ok((resident(token, 0, &start.id, &start.workflow, machine), row))
    }

    fn commit_start(
        &mut self,
        mut run: Resident,
        row: &Row,
        start: StartRun,
        reply: oneshot::Sender<Result<Started, HostError>>,
    ) {
        let now = self.inner.now_ms();
        let token = run.token;
        // A first turn that already ends, or starts children, takes the common way: it is created first and begun then.
        let simple = run.machine.outcome().is_none() && !asks_for_children(row);
        if !simple {
            let to = self.to.clone();
            self.create_then_load(start, reply, &to);
            return;
        }
        let (body, hash) = match chained(&run_hash(&start.id), row) {
            Ok(chained) => chained,
            Err(fault) => {
                let _ = reply.send(Err(diverged(&start.id, &fault)));
                return;
            }
        };
        let plan = run.plan(row, now);
        run.hash = hash;
        run.state = run.standing_now();
        let note = run.machine.take_status().map(|s| s.get().to_owned());
        let to = self.to.clone();
        let job = store::StartRun {
            owner: (!run.state.release).then(|| self.inner.own_id()),
            status: run.state.status,
            waiting_for: run.state.waiting_for,
            until_ms: run.state.until_ms,
            note,
            ..start.job(
                body,
                hash,
                now,
                Box::new(move |result| {
                    let _ = to.send(Msg::Begun { token, result, reply });
                }),
            )
        };
        run.first_acts(plan);
        self.residents.insert(token, run);
        self.inner.writer.submit(Box::new(job));
    }

    fn create_then_load(
        &mut self,
        start: StartRun,
        reply: oneshot::Sender<Result<Started, HostError>>,
        to: &std::sync::mpsc::Sender<Msg>,
    ) {
        let to = to.clone();
        let done: store::StartDone = Box::new(move |result| match result {
            Ok(Started::New { key, head }) => {
                let _ = to.send(Msg::Load { key, epoch: 1, reply: None });
                let _ = reply.send(Ok(Started::New { key, head }));
            }
            other => {
                let _ = reply.send(other);
            }
        });
        let job = start.created(Some(self.inner.own_id()), self.inner.now_ms(), done);
        self.inner.writer.submit(Box::new(job));
    }

    /// The commit of a run's start has returned.
    pub(crate) fn begun(
        &mut self,
        token: u64,
        result: Result<Started, HostError>,
        reply: oneshot::Sender<Result<Started, HostError>>,
    ) {
        match result {
            Ok(Started::New { key, head }) => {
                if let Some(run) = self.residents.get_mut(&token) {
                    (run.key, run.epoch, run.head) = (key, 1, head);
                    self.by_key.insert(key, token);
                    let _ = reply.send(Ok(Started::New { key, head }));
                    self.acknowledge_start(token);
                }
            }
            other => {
                self.remove(token);
                let _ = reply.send(other);
            }
        }
    }

    fn acknowledge_start(&mut self, token: u64) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        if let Some(committing) = run.committing.take() {
            let tail = store::Tail { head: run.head, hash: run.hash, ..store::Tail::default() };
            run.committing = Some(committing);
            let to = self.to.clone();
            let _ = to.send(Msg::Committed { token, result: Ok(tail), fenced: false });
        }
    }

    /// Brings a run into memory from its journal.
    pub(crate) fn load(&mut self, key: RunKey, epoch: i64) -> Result<(), HostError> {
        self.load_keeping(key, epoch, None)
    }

    /// Like [`Self::load`]; the attempts of `old`, whose machine was thrown away, belong to the new one.
    pub(crate) fn load_keeping(
        &mut self,
        key: RunKey,
        epoch: i64,
        old: Option<&mut Resident>,
    ) -> Result<(), HostError> {
        if self.by_key.contains_key(&key) {
            return Ok(());
        }
        let (row, rows, definition) = self.inner.read(|reader| {
            let row = reader.run(key)?.ok_or_else(|| HostError::NoSuchRun { run: key.to_string() })?;
            let rows = reader.journal(&row)?;
            let definition = match row.definition {
                Some(definition) => reader.definition(definition)?,
                None => None,
            };
            Ok((row, rows, definition))
        })?;
        if row.epoch != epoch {
            return Err(HostError::Owned { run: row.id, pid: row.owner.map_or(0, |o| o.pid) });
        }
        let definition = Definition { body: definition, root: row.root.clone() };
        let Made { workflow, resources } = match self.inner.workflow(&row.id, &row.workflow, &definition) {
            Ok(made) => made,
            Err(error) => {
                self.release_sleeping(key, epoch);
                return Err(error);
            }
        };
        let token = old.as_ref().map_or_else(|| self.token(), |old| old.token);
        let machine = Machine::new(row.id.clone(), workflow, resources, alarm(&self.to, token));
        let mut run = resident(token, key, &row.id, &row.workflow, machine);
        (run.epoch, run.head) = (epoch, row.head);
        run.hash = rows.last().map_or_else(|| run_hash(&row.id), |last| last.hash);
        run.parent = row.parent.zip(row.parent_step.clone());
        run.state = state_of(&row);
        if self.is_letting_go() {
            run.letting_go = Some(LettingGo::Release);
        }
        let now = self.inner.now_ms();
        if let Err(fault) = replay(&mut run, &row, rows, now, old) {
            let error = diverged(&row.id, &fault);
            self.write_diverged(key, epoch, &fault, error.clone());
            return Err(error);
        }
        let replayed = run.replayed;
        self.inner.tell(|| Progress { run: run.id.clone(), what: ProgressKind::Replayed { steps: replayed } });
        let alarms = run.alarms();
        let children: Vec<String> = run.children.values().cloned().collect();
        self.residents.insert(token, run);
        self.by_key.insert(key, token);
        self.set_alarms(token, alarms);
        self.read_inbox(token);
        for child in children {
            self.inner.adopt_by_id(child);
        }
        self.turn(token);
        Ok(())
    }

    /// Releases a run that is not in memory.
    pub(crate) fn release_sleeping(&self, key: RunKey, epoch: i64) {
        let (job, _) = Reply::new(move |tx: &store::Tx<'_>| {
            tx.conn.execute("UPDATE heads SET owner = NULL WHERE run = ?1 AND epoch = ?2", [key, epoch])
        });
        self.inner.writer.submit(job);
    }

    /// Writes that a run is parked as diverged, and why; then tells those who wait for it.
    pub(crate) fn write_diverged(&self, key: RunKey, epoch: i64, fault: &Fault, error: HostError) {
        let (why, help, now) = (fault.to_string(), fault.help(), self.inner.now_ms());
        let (job, written) = Reply::new(move |tx: &store::Tx<'_>| {
            let changed = tx.conn.execute(
                "UPDATE heads SET status = 'diverged', waiting_for = NULL, until_ms = NULL, owner = NULL, updated_ms = ?3
                 WHERE run = ?1 AND epoch = ?2",
                [key, epoch, now],
            )?;
            if changed == 1 {
                tx.conn.execute(
                    "INSERT INTO notes (run, error, help) VALUES (?1, ?2, ?3)
                     ON CONFLICT (run) DO UPDATE SET error = ?2, help = ?3",
                    rusqlite::params![key, why, help],
                )?;
            }
            Ok(())
        });
        self.inner.writer.submit(job);
        let inner = self.inner.clone();
        self.inner.runtime.spawn(async move {
            let _ = written.await;
            inner.settled(key, &Settled::Stopped(error));
        });
    }
}

fn asks_for_children(row: &Row) -> bool {
    row.deliveries.iter().flat_map(|d| &d.commands).any(|c| matches!(c, Command::Child(_)))
        || row.deliveries.iter().flat_map(|d| &d.commands).any(|c| matches!(c, Command::Step(s) if s.local))
}

fn resident(token: u64, key: RunKey, id: &str, workflow: &str, machine: Machine) -> Resident {
    Resident {
        token,
        key,
        id: Arc::from(id),
        workflow: Arc::from(workflow),
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
        children: HashMap::new(),
        host: Vec::new(),
        to_start: Vec::new(),
        committing: None,
        state: running(),
        inline: true,
        letting_go: None,
        idle_since: 0,
        failures: 0,
        error: None,
        stopped_by: None,
        replayed: 0,
    }
}

fn state_of(row: &RunRow) -> HeadState {
    let status = match row.status.as_str() {
        "waiting" => "waiting",
        _ => "running",
    };
    // What it waits for is written anew with the first commit.
    HeadState { status, waiting_for: None, until_ms: row.until_ms, release: false }
}

/// Replays the rows, then decides what becomes of each step that has no outcome.
fn replay(
    run: &mut Resident,
    row: &RunRow,
    rows: Vec<store::LogRow>,
    now: i64,
    old: Option<&mut Resident>,
) -> Result<(), Fault> {
    let mut known: HashMap<StepId, StepState> = HashMap::new();
    let mut created: Option<(Box<Start>, Vec<abide_engine::Chunk>)> = None;
    for log in rows {
        let mut parsed: Row = serde_json::from_str(&log.body)
            .map_err(|e| Fault::Journal { why: format!("row {} is not a row of this version: {e}", log.id) })?;
        for delivery in &parsed.deliveries {
            run.replayed += usize::from(matches!(delivery.on, abide_engine::event::Happened::Done { .. }));
            for command in &delivery.commands {
                match command {
                    Command::Child(child) => {
                        run.children.insert(child.id.clone(), child.run.clone());
                    }
                    Command::Cancel { id } => {
                        run.children.remove(id);
                    }
                    _ => {}
                }
            }
        }
        for event in std::mem::take(&mut parsed.host) {
            match event {
                HostEvent::Created(start) => created = Some((start, std::mem::take(&mut parsed.chunks))),
                other => note(&mut known, other),
            }
        }
        if parsed.deliveries.is_empty() {
            run.machine.replay(Row { deliveries: Vec::new(), host: Vec::new(), chunks: parsed.chunks })?;
        } else {
            created = None;
            run.machine.replay(parsed)?;
        }
    }
    if let Some((start, chunks)) = created {
        let mut table = abide_engine::ChunkTable::default();
        table.learn(chunks);
        let input = table.into_value(start.input).map_err(|e| Fault::Journal { why: e.to_string() })?;
        run.machine.start(&row.workflow, start.seed, input, now.max(row.created_ms))?;
        return Ok(());
    }
    if let Some(fault) = run.machine.fault() {
        return Err(fault);
    }
    run.take_up(known, now, old);
    Ok(())
}

/// What a host event says of a step.
fn note(known: &mut HashMap<StepId, StepState>, event: HostEvent) {
    let failures = |known: &HashMap<StepId, StepState>, id: &StepId| match known.get(id) {
        Some(
            StepState::Working { failures, .. }
            | StepState::RetryAt { failures, .. }
            | StepState::Parked { failures, .. },
        ) => *failures,
        _ => 0,
    };
    match event {
        HostEvent::Attempt { id, n, .. } => {
            let failures = failures(known, &id);
            known.insert(id, StepState::Working { n, failures, abort: None });
        }
        HostEvent::Retry { id, n, next, rate_limit, .. } => {
            let failures = failures(known, &id) + u32::from(!rate_limit);
            known.insert(id, StepState::RetryAt { n, failures, at: next, rate_limit });
        }
        HostEvent::InDoubt { id, n, .. } => {
            known.insert(id, StepState::InDoubt { n });
        }
        HostEvent::Parked { id, n, what, .. } => {
            let failures = failures(known, &id);
            known.insert(id, StepState::Parked { n, failures, what });
        }
        HostEvent::Held { id, .. } => {
            let n = known.get(&id).map_or(1, StepState::attempt);
            known.insert(id, StepState::Held { n });
        }
        HostEvent::Resolved { id, verdict, .. } => {
            if verdict != Verdict::Retry {
                known.remove(&id);
            }
        }
        _ => {}
    }
}

impl Resident {
    /// Decides what becomes of each step without an outcome: waiting goes on, what was in flight is tried again or is in doubt.
    fn take_up(&mut self, mut known: HashMap<StepId, StepState>, now: i64, mut old: Option<&mut Resident>) {
        for open in self.machine.open() {
            let OpenWhat::Step(step) = open.what else { continue };
            let id = open.id;
            if let Some(old) = old.as_mut()
                && let Some(state) = old.steps.remove(&id)
            {
                // Still under way, or over and waiting to be delivered again: it belongs to the host.
                let adopted = matches!(&state, StepState::Working { abort: Some(_), .. });
                if adopted {
                    self.set_step(id, state);
                    continue;
                }
            }
            match known.remove(&id) {
                None => self.interrupted(id, 1, 0, step.effect, now),
                Some(StepState::Working { n, failures, .. }) => self.interrupted(id, n, failures, step.effect, now),
                Some(StepState::Parked { n, failures, .. }) => self.start_after_commit(id, n + 1, failures, now, true),
                Some(StepState::Held { n }) => self.start_after_commit(id, n, 0, now, true),
                Some(StepState::RetryAt { n, failures, at, rate_limit }) => {
                    self.set_step(id, StepState::RetryAt { n, failures, at, rate_limit });
                }
                Some(StepState::InDoubt { n }) => self.set_step(id, StepState::InDoubt { n }),
            }
        }
        if let Some(old) = old {
            for one in std::mem::take(&mut old.arrived) {
                if let super::resident::Came::Attempt { id, n, .. } = &one.what {
                    self.set_step(id.clone(), StepState::Working { n: *n, failures: 0, abort: None });
                    self.host.retain(|e| !matches!(e, HostEvent::InDoubt { id: other, .. } | HostEvent::Attempt { id: other, .. } if other == id));
                    self.to_start.retain(|(other, _)| other != id);
                }
                self.arrived.push(one);
            }
        }
    }

    /// An attempt was under way when its process ended.
    fn interrupted(&mut self, id: StepId, n: u32, failures: u32, effect: Effect, now: i64) {
        if effect == Effect::Once {
            let why = "the process that ran it ended before an outcome was recorded".to_owned();
            self.host.push(HostEvent::InDoubt { id: id.clone(), n, why, at: now });
            self.set_step(id, StepState::InDoubt { n });
        } else {
            self.start_after_commit(id, n + 1, failures, now, true);
        }
    }

    /// The times at which this run wants to be looked at.
    fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for open in self.machine.open() {
            match open.what {
                OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. } => {
                    alarms.push(Alarm { at: due, id: open.id })
                }
                _ => {}
            }
        }
        for (id, state) in &self.steps {
            if let StepState::RetryAt { at, .. } = state {
                alarms.push(Alarm { at: *at, id: id.clone() });
            }
        }
        alarms
    }

    /// The acts of a first turn, to be done when its commit has returned.
    fn first_acts(&mut self, mut plan: Plan) {
        let starts = self.to_start.drain(..).map(|(id, n)| super::resident::Act::Start { id, n });
        plan.acts.extend(starts);
        self.committing = Some(super::resident::Committing {
            delivered: Vec::new(),
            acts: plan.acts,
            state: self.state.clone(),
            ended: None,
            retired: Vec::new(),
        });
    }

    fn standing_now(&self) -> HeadState {
        super::standing::standing(&self.machine.open(), |id| self.steps.get(id))
    }

    /// Lets go of the run: attempts that may be repeated end now, others are waited for.
    pub(crate) fn let_go(&mut self, why: LettingGo) {
        self.letting_go.get_or_insert(why);
        let repeatable: Vec<StepId> = self
            .steps
            .iter()
            .filter(|(id, state)| {
                matches!(state, StepState::Working { .. })
                    && matches!(self.machine.find(id).map(|o| o.what), Some(OpenWhat::Step(s)) if s.effect != Effect::Once)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in repeatable {
            self.drop_step(&id);
        }
    }
}
