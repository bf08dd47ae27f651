//! The replay machine of one run: it takes completions in and hands commands out, live and on replay by the same path.
//! It never acts on a command: that is the host's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::asked::{StepAsked, What};
use crate::bell::{Bell, Notify};
use crate::chunks::{ChunkError, ChunkTable};
use crate::event::{Delivery, Happened, Json, Outcome, Row, Start, Wait};
use crate::recorder::Recorder;
use crate::settle::{Run, apply};
use crate::state::Shared;
use crate::step::BoxFuture;
use crate::workflow::WorkflowFn;
use crate::{Ctx, Error, Fault, Resources, Result, Seed, StepId};

/// A run in memory: its workflow's future and what it waits for.
pub struct Machine {
    shared: Arc<Shared>,
    workflow: WorkflowFn,
    future: Option<BoxFuture<Result<Json>>>,
    waker: Waker,
    table: ChunkTable,
    row: Row,
    outcome: Option<Outcome>,
    begun: bool,
}

/// What the host tells a machine.
#[derive(Debug, Clone)]
pub enum Completion {
    /// A step or child ended well.
    Done {
        /// Whose result it is.
        id: StepId,
        /// The result.
        out: Json,
    },
    /// A step or child ended badly, or a signal's time is over.
    Failed {
        /// Whose error it is.
        id: StepId,
        /// What the workflow gets.
        error: Error,
    },
    /// A timer came due.
    Fired {
        /// Which one.
        id: StepId,
    },
    /// A signal came: the earliest waiter of its name gets it; an approval or answer goes to the waiter of that id.
    Signal {
        /// Who sent it.
        wait: Wait,
        /// Its name.
        name: String,
        /// What was sent.
        value: Json,
    },
    /// Somebody asked for the run to be cancelled.
    Cancel,
}

/// An operation that has no completion yet.
#[derive(Clone)]
pub struct Open {
    /// Its id.
    pub id: StepId,
    /// What it is.
    pub what: OpenWhat,
}

/// What an open operation is.
#[derive(Clone)]
#[non_exhaustive]
pub enum OpenWhat {
    /// A step to run.
    Step(StepAsked),
    /// A timer.
    Timer {
        /// Unix milliseconds.
        due: i64,
    },
    /// A signal.
    Signal {
        /// Who is expected to send it.
        wait: Wait,
        /// Its name.
        name: String,
        /// Unix milliseconds at which its time is over.
        due: Option<i64>,
        /// Hash of what it is about: an answer may be bound to it.
        hash: [u8; 16],
    },
    /// A child.
    Child {
        /// The id of its run.
        run: String,
    },
}

impl Machine {
    /// A machine that has not begun: give it [`Self::start`], or [`Self::replay`] with the generation's first row.
    ///
    /// `notify` is called from any thread when something outside the poll concerns this run: then ask [`Self::fault`].
    pub fn new(run: impl Into<String>, workflow: WorkflowFn, resources: Resources, notify: Notify) -> Self {
        let bell = Bell::new(notify);
        let waker = Waker::from(bell.clone());
        let shared = Shared::new(bell, run.into(), resources);
        Self {
            shared,
            workflow,
            future: None,
            waker,
            table: ChunkTable::default(),
            row: Row::default(),
            outcome: None,
            begun: false,
        }
    }

    /// Begins a generation, live.
    pub fn start(&mut self, workflow: &str, seed: Seed, input: Json, at_ms: i64) -> Result<(), Fault> {
        let payload = self.table.encode(input.clone());
        let start = Start { workflow: workflow.to_owned(), semantics: crate::SEMANTICS, seed, input: payload };
        self.begin(seed, input, at_ms);
        let mut recorder = Recorder::live(&mut self.table);
        let commands =
            Run { shared: &self.shared, future: &mut self.future, outcome: &mut self.outcome, waker: &self.waker }
                .settle(&mut recorder)?;
        let at = self.shared.lock().now_ms;
        self.row.deliveries.push(Delivery { at, on: Happened::Start(Box::new(start)), commands });
        Ok(())
    }

    fn begin(&mut self, seed: Seed, input: Json, at_ms: i64) {
        {
            let mut state = self.shared.lock();
            state.seed = seed;
            state.now_ms = state.now_ms.max(at_ms);
        }
        let ctx = Ctx::in_scope(self.shared.clone(), 0);
        let workflow = self.workflow.clone();
        self.future = Some(Box::pin(async move { workflow(ctx, input).await }));
        self.begun = true;
        let waker = self.waker.clone();
        self.shared.bell.while_polling(|| waker.wake());
    }

    /// Delivers a completion, live. False if nobody waits for it: then nothing was recorded.
    ///
    /// `at_ms` is when it came, in Unix milliseconds; a run's time never goes backwards.
    pub fn deliver(&mut self, completion: Completion, at_ms: i64) -> Result<bool, Fault> {
        if self.future.is_none() {
            return Ok(false);
        }
        let Some((on, id, result)) = self.match_waiter(completion) else { return Ok(false) };
        let mut recorder = Recorder::live(&mut self.table);
        let at = apply(&self.shared, id.as_ref(), result, at_ms, &mut recorder)?;
        let commands =
            Run { shared: &self.shared, future: &mut self.future, outcome: &mut self.outcome, waker: &self.waker }
                .settle(&mut recorder)?;
        self.row.deliveries.push(Delivery { at, on, commands });
        Ok(true)
    }

    /// What a completion is in the journal, whom it is for, and what that one gets.
    fn match_waiter(&mut self, completion: Completion) -> Option<(Happened, Option<StepId>, Result<Json>)> {
        let state = self.shared.lock();
        let open = |id: &StepId| state.find(id).is_some_and(|slot| !state.is_settled(slot));
        let found = match completion {
            Completion::Done { id, out } if open(&id) => {
                let payload = self.table.encode(out.clone());
                (Happened::Done { id: id.clone(), out: payload }, Some(id), Ok(out))
            }
            Completion::Failed { id, error } if open(&id) => {
                (Happened::Failed { id: id.clone(), error: error.clone() }, Some(id), Err(error))
            }
            Completion::Fired { id } if open(&id) => (Happened::Fired { id: id.clone() }, Some(id), Ok(null())),
            Completion::Signal { wait, name, value } => {
                let id = state.waiter(wait, &name)?;
                let payload = self.table.encode(value.clone());
                (Happened::Signal { id: id.clone(), value: payload }, Some(id), Ok(value))
            }
            Completion::Cancel if !state.cancelled => (Happened::Cancel, None, Ok(null())),
            _ => return None,
        };
        Some(found)
    }

    /// Replays one row of the journal.
    pub fn replay(&mut self, row: Row) -> Result<(), Fault> {
        self.table.learn(row.chunks);
        for delivery in row.deliveries {
            let mut recorder = Recorder::replay(delivery.commands);
            self.shared.lock().recorded_versions = Some(recorder.versions());
            let unreadable = |e: ChunkError| Fault::Journal { why: e.to_string() };
            let (id, result) = match delivery.on {
                Happened::Start(start) => {
                    if start.semantics > crate::SEMANTICS {
                        let why = format!(
                            "it was written with semantics {}, newer than {}",
                            start.semantics,
                            crate::SEMANTICS
                        );
                        return Err(Fault::Journal { why });
                    }
                    let input = self.table.into_value(start.input).map_err(unreadable)?;
                    self.begin(start.seed, input, delivery.at);
                    (None, None)
                }
                Happened::Done { id, out } => (Some(id), Some(Ok(self.table.into_value(out).map_err(unreadable)?))),
                Happened::Failed { id, error } => (Some(id), Some(Err(error))),
                Happened::Fired { id } => (Some(id), Some(Ok(null()))),
                Happened::Signal { id, value } => {
                    (Some(id), Some(Ok(self.table.into_value(value).map_err(unreadable)?)))
                }
                Happened::Cancel => (None, Some(Ok(null()))),
            };
            if !self.begun {
                return Err(Fault::Journal { why: "its first event is not a start".to_owned() });
            }
            if let Some(result) = result {
                apply(&self.shared, id.as_ref(), result, delivery.at, &mut recorder)?;
            }
            Run { shared: &self.shared, future: &mut self.future, outcome: &mut self.outcome, waker: &self.waker }
                .settle(&mut recorder)?;
            recorder.finish()?;
            self.shared.lock().recorded_versions = None;
        }
        Ok(())
    }

    /// What was delivered since the last call, and what it led to: to be committed before any of it is acted on.
    pub fn take_row(&mut self) -> Option<Row> {
        if self.row.deliveries.is_empty() {
            return None;
        }
        let mut row = std::mem::take(&mut self.row);
        row.chunks = self.table.take_fresh();
        Some(row)
    }

    /// The workflow it runs.
    pub fn workflow(&self) -> WorkflowFn {
        self.workflow.clone()
    }

    /// The handles that it is lent.
    pub fn resources(&self) -> Resources {
        self.shared.resources.clone()
    }

    /// What the next row will hold so far.
    pub fn pending(&self) -> &[Delivery] {
        &self.row.deliveries
    }

    /// How the generation ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Why the run cannot go on, if something outside the poll says so. Whatever comes after its end concerns nobody.
    pub fn fault(&self) -> Option<Fault> {
        if self.outcome.is_some() {
            return None;
        }
        if self.shared.bell.is_foreign() {
            let what = "it was woken by something other than abide (another thread, a runtime's timer or socket)";
            self.shared.lock().fail(Fault::ForeignAwait { what: what.to_owned() });
        }
        self.shared.lock().fault.clone()
    }

    /// The operations that have no completion yet, in the order of their ids.
    pub fn open(&self) -> Vec<Open> {
        let state = self.shared.lock();
        let mut open: Vec<Open> = state.open_slots().filter_map(|slot| open_of(&state.entries[slot])).collect();
        open.sort_by(|a, b| a.id.cmp(&b.id));
        open
    }

    /// The operation of this id, if it has no completion yet.
    pub fn find(&self, id: &StepId) -> Option<Open> {
        let state = self.shared.lock();
        let slot = state.find(id)?;
        if state.is_settled(slot) {
            return None;
        }
        open_of(&state.entries[slot])
    }

    /// True if somebody waits for a signal of this name.
    pub fn waits_for(&self, wait: Wait, name: &str) -> bool {
        self.shared.lock().waiter(wait, name).is_some()
    }

    /// What the workflow last said of its progress, if it said something since the last call.
    pub fn take_status(&mut self) -> Option<Json> {
        self.shared.lock().status.take()
    }

    /// Where the run's keys derive from.
    pub fn seed(&self) -> Seed {
        self.shared.lock().seed
    }

    /// The time of the last delivery, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.shared.lock().now_ms
    }

    /// The value behind a payload of this generation's journal.
    pub fn decode(&self, payload: &crate::Payload) -> Result<Json, ChunkError> {
        self.table.decode(payload)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.shared.bell.close();
        // A user's destructor may panic; a host that evicts a run must not.
        let future = self.future.take();
        let bell = self.shared.bell.clone();
        let _ = catch_unwind(AssertUnwindSafe(move || bell.while_polling(|| drop(future))));
        // A step's closure may hold a Ctx: break that circle.
        let entries = std::mem::take(&mut self.shared.lock().entries);
        let _ = catch_unwind(AssertUnwindSafe(move || drop(entries)));
    }
}

fn open_of(entry: &crate::state::Entry) -> Option<Open> {
    let what = match &entry.asked.what {
        What::Step(step) => OpenWhat::Step(StepAsked::clone(step)),
        What::Timer { due, .. } => OpenWhat::Timer { due: *due },
        What::Signal { signal, wait, due, .. } => {
            OpenWhat::Signal { wait: *wait, name: signal.clone(), due: *due, hash: entry.asked.hash }
        }
        What::Child { run, .. } => OpenWhat::Child { run: run.clone()? },
        What::Scope => return None,
    };
    Some(Open { id: entry.id.clone()?, what })
}

fn null() -> Json {
    serde_json::value::RawValue::NULL.to_owned()
}
