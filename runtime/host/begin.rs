//! Beginning a run: its first turn is committed together with its creation. It never takes a second turn: that is the shard's.

use abide_engine::event::Command;
use abide_engine::{Fault, Json, Machine, Row, Seed};
use tokio::sync::oneshot;

use super::inner::{Definition, Made};
use super::limits::events_of;
use super::resident::{Act, Committing, Resident};
use super::shard::{Early, Msg, Shard, alarm};
use super::standing::standing;
use super::submit::{Plan, chained, created_row, diverged};
use crate::store::{self, DefinitionRow, Queue, StartDone, Started, Tail, row_hash, run_hash};
use crate::{HostError, crash};

/// Where the answer to a start goes.
pub(crate) type StartReply = oneshot::Sender<Result<Started, HostError>>;

/// A run to begin.
#[derive(Debug, Clone)]
pub(crate) struct StartRun {
    pub(crate) id: String,
    pub(crate) workflow: String,
    pub(crate) input: Json,
    pub(crate) seed: Seed,
    pub(crate) definition: Option<String>,
    pub(crate) root: Option<String>,
    /// Then it is created only: its first turn is a matter of its turn.
    pub(crate) queue: Option<Queue>,
}

impl StartRun {
    pub(crate) fn job(&self, body: String, hash: store::Hash, now_ms: i64, done: StartDone) -> store::StartRun {
        let definition =
            self.definition.clone().map(|body| DefinitionRow { hash: *blake3::hash(body.as_bytes()).as_bytes(), body });
        store::StartRun {
            id: self.id.clone(),
            workflow: self.workflow.clone(),
            definition,
            root: self.root.clone(),
            input_hash: *blake3::hash(self.input.get().as_bytes()).as_bytes(),
            body,
            hash,
            owner: None,
            status: "running",
            waiting_for: None,
            until_ms: None,
            note: None,
            error: None,
            queue: None,
            now_ms,
            dealings: store::Dealings::default(),
            started: None,
            done,
        }
    }

    /// The job that creates the run and leaves its first turn to whoever loads it.
    pub(crate) fn created(self, owner: Option<i64>, now_ms: i64, done: StartDone) -> store::StartRun {
        let body = created_row(&self.workflow, self.seed, self.input.clone()).unwrap_or_default();
        let hash = row_hash(&run_hash(&self.id), &body);
        let waits = self.queue.is_some();
        let (status, waiting_for) = if waits { ("waiting", Some("queue")) } else { ("running", None) };
        let queue = self.queue.clone();
        store::StartRun { owner, status, waiting_for, queue, ..self.job(body, hash, now_ms, done) }
    }
}

impl Shard {
    /// Begins a run.
    pub(crate) fn begin(&mut self, start: StartRun, reply: StartReply) {
        if self.is_letting_go() {
            let _ = reply.send(Err(HostError::ShuttingDown));
            return;
        }
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
    fn create_diverged(&self, start: StartRun, fault: &Fault, reply: StartReply) {
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
        Ok((Resident::new(token, 0, &start.id, &start.workflow, machine), row))
    }

    fn commit_start(&mut self, mut run: Resident, row: &Row, start: StartRun, reply: StartReply) {
        let now = self.inner.now_ms();
        let token = run.token;
        // A turn that is to be replayed first takes the common way as well.
        if run.machine.outcome().is_some() || !is_simple(row) || self.inner.check_replay {
            return self.create_then_load(start, reply);
        }
        let (body, hash) = match chained(&run_hash(&start.id), row, self.inner.limits.row_bytes()) {
            Ok(chained) => chained,
            Err(fault) => {
                let _ = reply.send(Err(diverged(&start.id, &fault)));
                return;
            }
        };
        let plan = run.plan(row, now);
        (run.hash, run.events) = (hash, events_of(row));
        run.state = standing(&run.machine.open(), |id| run.steps.get(id));
        run.first_acts(plan);
        let dealings = run.first_dealings(&self.inner);
        let note = run.machine.take_status().map(|s| s.get().to_owned());
        let to = self.to.clone();
        let done = Box::new(move |result| {
            let _ = to.send(Msg::Begun { token, result, reply });
        });
        let job = store::StartRun {
            owner: (!run.state.release).then(|| self.inner.own_id()),
            status: run.state.status,
            waiting_for: run.state.waiting_for,
            until_ms: run.state.until_ms,
            note,
            dealings,
            ..start.job(body, hash, now, done)
        };
        self.beginning += 1;
        self.residents.insert(token, run);
        self.inner.writer.submit(Box::new(job));
    }

    /// A first turn that already ends, or starts children, takes the common way: the run is created first and begun then.
    fn create_then_load(&mut self, start: StartRun, reply: StartReply) {
        let to = self.to.clone();
        let done: store::StartDone = Box::new(move |result| {
            if let Ok(Started::New { key, .. }) = &result {
                let _ = to.send(Msg::Load { key: *key, epoch: 1, reply: None });
            }
            let _ = reply.send(result);
        });
        let job = start.created(Some(self.inner.own_id()), self.inner.now_ms(), done);
        self.inner.writer.submit(Box::new(job));
    }

    /// The commit of a run's start has returned.
    pub(crate) fn begun(&mut self, token: u64, result: Result<Started, HostError>, reply: StartReply) {
        crash::point("start.committed");
        self.beginning = self.beginning.saturating_sub(1);
        if let (Ok(Started::New { key, head, dealt }), Some(run)) = (&result, self.residents.get_mut(&token)) {
            (run.key, run.epoch, run.head) = (*key, 1, *head);
            let tail = Tail { head: *head, hash: run.hash, dealt: dealt.clone(), ..Tail::default() };
            self.by_key.insert(*key, token);
            self.committed(token, Ok(tail), false);
        } else {
            self.inner.governor.forget();
            self.remove(token);
        }
        let _ = reply.send(result);
        for early in std::mem::take(&mut self.early) {
            match early {
                Early::News(key) => self.inbox(key),
                Early::Load(wanted) => self.load(wanted),
            }
        }
    }

    /// True if the start of a run of this id is being committed.
    pub(crate) fn begins(&self, id: &str) -> bool {
        self.beginning > 0 && self.residents.values().any(|run| run.key == 0 && *run.id == *id)
    }
}

/// It asks for nothing that needs the run's row to be there already, or that acts before the commit.
fn is_simple(row: &Row) -> bool {
    let mut commands = row.deliveries.iter().flat_map(|d| &d.commands);
    !commands.any(|c| matches!(c, Command::Child(_)) || matches!(c, Command::Step(step) if step.local))
}

impl Resident {
    fn first_dealings(&mut self, inner: &super::inner::Inner) -> store::Dealings {
        let acts = self.committing.as_mut().map(|first| std::mem::take(&mut first.acts)).unwrap_or_default();
        let dealings = self.deal(inner, &acts, false);
        if let Some(first) = &mut self.committing {
            first.acts = acts;
        }
        dealings
    }

    /// The acts of a first turn, to be done when its commit has returned.
    fn first_acts(&mut self, plan: Plan) {
        let mut acts = plan.acts;
        acts.extend(self.to_start.drain(..).map(|(id, n)| Act::Start { id, n }));
        let state = self.state.clone();
        self.committing = Some(Committing { delivered: Vec::new(), acts, state, ended: None, retired: None });
    }
}
