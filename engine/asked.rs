//! What the code of a workflow asks for, before it is numbered and journaled; and the comparison with what was recorded (DESIGN rule 7).

use std::borrow::Cow;
use std::sync::Arc;

use crate::chunks::{ChunkTable, Payload};
use crate::event::{ChildCommand, Command, Json, SignalCommand, StepCommand, Wait};
use crate::probe::Probe;
use crate::step::StepFn;
use crate::{Admission, Effect, Fault, Retry, Seed, StepId, StepKind, hex};

/// A request for a step, timer, signal, child or scope.
pub(crate) struct Asked {
    pub(crate) scope: u32,
    pub(crate) name: Cow<'static, str>,
    pub(crate) hash: [u8; 16],
    pub(crate) input: Option<Json>,
    pub(crate) what: What,
}

pub(crate) enum What {
    Step(Box<StepAsked>),
    Timer { ms: u64, due: i64 },
    Signal { signal: String, wait: Wait, timeout_ms: Option<u64>, due: Option<i64> },
    Child { workflow: String, run: Option<String> },
    Scope,
}

/// How a step is to be run.
#[derive(Clone)]
pub struct StepAsked {
    /// The closure.
    pub run: StepFn,
    /// What it is to a reader.
    pub kind: StepKind,
    /// What repeating it would do.
    pub effect: Effect,
    /// How often it is tried.
    pub retry: Retry,
    /// The time an attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// It may run before its intent is journaled.
    pub local: bool,
    /// What tells whether it has happened, if it is in doubt.
    pub probe: Option<Probe>,
    /// What an attempt needs before it may start.
    pub admission: Option<Arc<Admission>>,
    /// Whether the code can read this as its result; why not.
    pub fits: fn(&str) -> Result<(), String>,
}

impl Asked {
    /// What the numbering within a scope sorts by.
    pub(crate) fn order(&self) -> (&str, &[u8; 16]) {
        (&self.name, &self.hash)
    }

    /// Hash of everything that replay compares, but for the id.
    pub(crate) fn hash_of(what: &What, input: Option<&Json>, key: Option<&str>) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        match what {
            What::Step(_) => hasher.update(b"step"),
            What::Timer { ms, .. } => hasher.update(b"timer").update(&ms.to_le_bytes()),
            What::Signal { signal, wait, timeout_ms, .. } => hasher
                .update(b"signal")
                .update(&[*wait as u8])
                .update(&timeout_ms.unwrap_or(u64::MAX).to_le_bytes())
                .update(signal.as_bytes()),
            What::Child { workflow, .. } => hasher.update(b"child").update(workflow.as_bytes()),
            What::Scope => hasher.update(b"scope"),
        };
        hasher.update(&[0]);
        if let Some(key) = key {
            hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes());
        }
        hasher.update(&[0]);
        if let Some(input) = input {
            hasher.update(input.get().as_bytes());
        }
        let mut out = [0; 16];
        out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        out
    }

    /// The command as it goes into the journal.
    pub(crate) fn command(&mut self, id: StepId, seed: &Seed, table: &mut ChunkTable) -> Command {
        let mut payload = || self.input.take().map(|input| table.encode(input));
        match &mut self.what {
            What::Step(step) => Command::Step(StepCommand {
                id,
                kind: step.kind,
                effect: step.effect,
                hash: self.hash,
                input: payload().unwrap_or_else(null),
                retry: step.retry,
                timeout_ms: step.timeout_ms,
                local: step.local,
            }),
            What::Timer { ms, due } => Command::Sleep { id, ms: *ms, due: *due },
            What::Signal { signal, wait, timeout_ms, due } => Command::Signal(SignalCommand {
                id,
                name: signal.clone(),
                wait: *wait,
                hash: self.hash,
                about: payload(),
                timeout_ms: *timeout_ms,
                due: *due,
            }),
            What::Child { workflow, run } => {
                let run = run.get_or_insert_with(|| seed.child_run(id.as_str())).clone();
                let input = payload().unwrap_or_else(null);
                Command::Child(ChildCommand { id, run, workflow: workflow.clone(), hash: self.hash, input })
            }
            What::Scope => Command::Cancel { id },
        }
    }

    /// Compares with what was recorded under this id, and takes over what the record decides.
    pub(crate) fn match_recorded(&mut self, id: &StepId, recorded: &Command) -> Result<(), Fault> {
        let differ = |record: String, asked: String| Err(Fault::diverged(id, record, asked));
        match (&mut self.what, recorded) {
            (What::Step(step), Command::Step(rec)) => {
                if step.kind != rec.kind {
                    return differ(format!("a step of kind {:?}", rec.kind), format!("one of kind {:?}", step.kind));
                }
                if self.hash != rec.hash {
                    return differ(input_text(&rec.hash, &rec.input), asked_text(&self.hash, self.input.as_ref()));
                }
                // What was promised when it started holds for it: the stricter of the two.
                step.effect = stricter(step.effect, rec.effect);
            }
            (What::Timer { ms, due }, Command::Sleep { ms: rec_ms, due: rec_due, .. }) => {
                if ms != rec_ms {
                    return differ(format!("a sleep of {rec_ms} ms"), format!("one of {ms} ms"));
                }
                *due = *rec_due;
            }
            (What::Signal { signal, due, timeout_ms, .. }, Command::Signal(rec)) => {
                if self.hash != rec.hash {
                    let record = format!("signal `{}` with time-out {:?} ms", rec.name, rec.timeout_ms);
                    return differ(record, format!("signal `{signal}` with time-out {timeout_ms:?} ms"));
                }
                *due = rec.due;
            }
            (What::Child { workflow, run }, Command::Child(rec)) => {
                if self.hash != rec.hash {
                    let record = format!("child `{}` with {}", rec.workflow, input_text(&rec.hash, &rec.input));
                    let asked = format!("child `{workflow}` with {}", asked_text(&self.hash, self.input.as_ref()));
                    return differ(record, asked);
                }
                // An id of the code's own is compared; a derived one is what was recorded.
                if let Some(run) = run.as_ref().filter(|run| **run != rec.run) {
                    return differ(format!("child run `{}`", rec.run), format!("child run `{run}`"));
                }
                *run = Some(rec.run.clone());
            }
            (_, other) => return differ(describe(other), self.describe()),
        }
        self.input = None;
        Ok(())
    }

    /// For a message: what was asked.
    pub(crate) fn describe(&self) -> String {
        match &self.what {
            What::Step(_) => format!("a step with {}", asked_text(&self.hash, self.input.as_ref())),
            What::Timer { ms, .. } => format!("a sleep of {ms} ms"),
            What::Signal { signal, .. } => format!("signal `{signal}`"),
            What::Child { workflow, .. } => format!("child `{workflow}`"),
            What::Scope => "a scope".to_owned(),
        }
    }
}

/// For a message: what was recorded.
pub(crate) fn describe(command: &Command) -> String {
    match command {
        Command::Step(step) => format!("a step with {}", input_text(&step.hash, &step.input)),
        Command::Sleep { ms, .. } => format!("a sleep of {ms} ms"),
        Command::Signal(signal) => format!("signal `{}`", signal.name),
        Command::Child(child) => format!("child `{}`", child.workflow),
        Command::Cancel { .. } => "that it was dropped or cancelled here".to_owned(),
        Command::Version { change, value } => format!("version {value} of change `{change}`"),
        Command::End(_) => "the end of the run".to_owned(),
    }
}

fn stricter(a: Effect, b: Effect) -> Effect {
    match (a, b) {
        (Effect::Once, _) | (_, Effect::Once) => Effect::Once,
        (Effect::Idempotent, _) | (_, Effect::Idempotent) => Effect::Idempotent,
        (Effect::Pure, Effect::Pure) => Effect::Pure,
    }
}

fn null() -> Payload {
    Payload::Inline(serde_json::value::RawValue::NULL.to_owned())
}

fn input_text(hash: &[u8; 16], input: &Payload) -> String {
    match input {
        Payload::Inline(json) => format!("input {}", short(json.get())),
        Payload::Parts(_) => format!("input of hash {}", &hex::encode(hash)[..8]),
    }
}

fn asked_text(hash: &[u8; 16], input: Option<&Json>) -> String {
    match input {
        Some(json) if json.get().len() < 256 => format!("input {}", short(json.get())),
        Some(json) => format!("input {} of hash {}", short(json.get()), &hex::encode(hash)[..8]),
        None => "no input".to_owned(),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}
