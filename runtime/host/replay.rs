//! Replaying recorded runs against the code of this process, to see whether it still does what was recorded. It calls nothing,
//! writes nothing and owns nothing: live runs are replayed as far as they have been committed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use abide_engine::event::{Command, Happened, HostEvent, Outcome};
use abide_engine::{Error, Fault, Json, Machine, Payload, Row};
use tokio::sync::oneshot;

use super::api::Abide;
use super::attempt::text_of;
use super::inner::{Definition, Inner, Made};
use crate::HostError;
use crate::report::{Divergence, Replayed};
use crate::store::{LogRow, RunKey, RunRow};

impl Abide {
    /// Runs the code of this process against the journal of a run, without calling anything, and says where they part.
    /// Every generation is replayed from its own first row. It neither writes to the run nor takes it, so that a live run can be looked at as well.
    ///
    /// An error means that nothing was compared: there is no such run, its journal is not whole, or this process does not have its workflow.
    pub async fn replay(&self, id: &str) -> Result<Replayed, HostError> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let (reply, answer) = oneshot::channel();
        // A plain thread outside any runtime, as a shard is: a workflow that awaits something foreign is noticed.
        let thread = std::thread::Builder::new().name("abide-replay".to_owned()).spawn(move || {
            let _ = reply.send(replay(&inner, &id));
        });
        thread.map_err(|e| HostError::Storage { why: format!("a thread cannot be started: {e}") })?;
        answer.await.map_err(|_| HostError::ShuttingDown)?
    }
}

fn replay(inner: &Arc<Inner>, id: &str) -> Result<Replayed, HostError> {
    let (run, journal, definition) = inner.read(|reader| {
        let run = reader.find(id)?;
        let journal = reader.whole_journal(&run)?;
        let body = reader.definition_of(&run)?;
        let definition = Definition { body, root: run.root.clone() };
        Ok((run, journal, definition))
    })?;
    let mut replayed = Replayed { id: run.id.clone(), workflow: run.workflow.clone(), ..Replayed::default() };
    let mut playing = None;
    for log in journal {
        replayed.rows += 1;
        let row = read(&run, &log)?;
        let starts = row.deliveries.first().is_some_and(|first| matches!(first.on, Happened::Start(_)));
        if starts {
            let made = inner.workflow(&run.id, &run.workflow, &definition)?;
            replayed.divergences.extend(playing.take().and_then(Generation::end));
            playing = Some(Generation::new(&run, made, replayed.generations));
            replayed.generations += 1;
        }
        if let Some(generation) = &mut playing {
            generation.row(row);
        }
    }
    // Even if nothing has begun: a process that has not this workflow cannot say that it agrees.
    inner.workflow(&run.id, &run.workflow, &definition)?;
    replayed.divergences.extend(playing.take().and_then(Generation::end));
    Ok(replayed)
}

/// Replays the generation so far, and the turn that is about to be committed after this head, in a machine of its own: code that does not
/// repeat itself is noticed before anything of it is kept. For tests: each turn costs as much as all before it.
pub(super) fn repeat(inner: &Inner, key: RunKey, head: i64, turn: &Row, machine: &Machine) -> Result<(), Fault> {
    let found = inner.read(|reader| {
        let run = reader.run(key)?.ok_or_else(|| HostError::NoSuchRun { run: key.to_string() })?;
        let journal = reader.journal(&run)?;
        Ok((run, journal))
    });
    // What cannot be read, or is somebody else's by now, the commit itself tells of.
    let Some((run, journal)) = found.ok().filter(|(run, _)| run.head == head) else { return Ok(()) };
    let unreadable = |why: String| Fault::Journal { why };
    let made = Made { workflow: machine.workflow(), resources: machine.resources() };
    let mut generation = Generation::new(&run, made, 0);
    for log in &journal {
        generation.row(read(&run, log).map_err(|e| unreadable(e.to_string()))?);
    }
    let text = serde_json::to_string(turn).map_err(|e| unreadable(e.to_string()))?;
    generation.row(serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?);
    match generation.fault() {
        None => Ok(()),
        Some(Fault::Diverged { id, recorded, asked }) => Err(Fault::Unrepeated { id, recorded, asked }),
        Some(other) => Err(other),
    }
}

fn read(run: &RunRow, log: &LogRow) -> Result<Row, HostError> {
    let broken = |e: serde_json::Error| HostError::Journal {
        run: run.id.clone(),
        why: format!("row {} is not a row of this version: {e}", log.id),
    };
    let mut row: Row = serde_json::from_str(&log.body).map_err(broken)?;
    if matches!(row.host.first(), Some(HostEvent::Created(_))) {
        // The chunks of a run that has not begun are its own: the first turn brings them again.
        row.chunks.clear();
    }
    Ok(row)
}

/// A generation that is being replayed.
struct Generation {
    number: u32,
    machine: Machine,
    /// How the journal says it ended.
    recorded: Option<Outcome>,
    fault: Option<Fault>,
}

impl Generation {
    fn new(run: &RunRow, made: Made, number: u32) -> Self {
        let machine = Machine::new(run.id.clone(), made.workflow, made.resources, Arc::new(|| {}));
        Self { number, machine, recorded: None, fault: None }
    }

    fn row(&mut self, row: Row) {
        if self.fault.is_some() {
            return;
        }
        let commands = row.deliveries.iter().flat_map(|delivery| &delivery.commands);
        for command in commands {
            if let Command::End(outcome) = command {
                self.recorded = Some(outcome.clone());
            }
        }
        // The machine catches what a workflow throws; what its values throw when they are dropped it may not.
        let played = catch_unwind(AssertUnwindSafe(|| self.machine.replay(row)));
        self.fault = match played {
            Ok(played) => played.err(),
            Err(panic) => Some(Fault::Journal { why: format!("replaying it panicked: {}", text_of(&*panic)) }),
        };
    }

    /// What it came to.
    fn end(self) -> Option<Divergence> {
        self.fault().map(|fault| Divergence::of(self.number, &fault))
    }

    fn fault(&self) -> Option<Fault> {
        self.fault.clone().or_else(|| self.machine.fault()).or_else(|| self.other_end())
    }

    /// A run that ends the same way, with another result: no turn asked for anything else, and still it is not what was recorded.
    fn other_end(&self) -> Option<Fault> {
        let (recorded, asked) = (self.recorded.as_ref()?, self.machine.outcome()?);
        match (recorded, asked) {
            (Outcome::Completed(was), Outcome::Completed(is)) => self.other_value("the result", was, is),
            (Outcome::Continued(was), Outcome::Continued(is)) => self.other_value("a next generation with", was, is),
            (Outcome::Failed(was), Outcome::Failed(is)) | (Outcome::Cancelled(was), Outcome::Cancelled(is)) => {
                let text = |error: &Error| format!("the error `{error}`");
                (was != is).then(|| Fault::Diverged { id: "end".to_owned(), recorded: text(was), asked: text(is) })
            }
            // Other pairs did not get here: the machine compares how a generation ends.
            _ => None,
        }
    }

    fn other_value(&self, what: &str, was: &Payload, is: &Payload) -> Option<Fault> {
        let (was, is) = match (self.value(was), self.value(is)) {
            (Ok(was), Ok(is)) => (was, is),
            (Err(fault), _) | (_, Err(fault)) => return Some(fault),
        };
        let text = |value: &Json| format!("{what} {}", short(value.get()));
        (!same(&was, &is)).then(|| Fault::Diverged { id: "end".to_owned(), recorded: text(&was), asked: text(&is) })
    }

    fn value(&self, payload: &Payload) -> Result<Json, Fault> {
        self.machine.decode(payload).map_err(|e| Fault::Journal { why: e.to_string() })
    }
}

/// The same JSON, whatever the order of an object's keys.
fn same(a: &Json, b: &Json) -> bool {
    let value = |json: &Json| serde_json::from_str::<serde_json::Value>(json.get()).ok();
    a.get() == b.get() || value(a).is_some_and(|a| Some(a) == value(b))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
