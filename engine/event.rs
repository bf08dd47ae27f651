//! What a journal holds: rows of turns, what happened and what it led to. Plain data; it decides nothing.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chunks::{Chunk, Payload};
use crate::hex;
use crate::{Effect, Error, Parked, Retry, Seed, StepId, StepKind};

/// The version of the engine's own semantics, stored in each run's first event (DESIGN rule 13).
pub const SEMANTICS: u32 = 1;

/// JSON text that is kept as it is.
pub type Json = Box<RawValue>;

/// One row of the journal: a turn, or host events that replay skips, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Bodies of chunks that this row is the first to use; they are numbered in the order of the whole journal.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Chunk>,
    /// The deliveries of a turn, one after the other.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
    /// What the host did on its own: attempts, doubts, parking. Replay skips them.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<HostEvent>,
}

/// One thing that happened, and the commands that followed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// When, in Unix milliseconds; never less than the delivery before it. This is what `ctx.now()` returns.
    pub at: i64,
    /// What happened.
    pub on: Happened,
    /// What the workflow asked for then, in canonical order.
    #[serde(rename = "do", default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
}

/// Something that happened to a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Happened {
    /// The run, or a new generation of it, began.
    Start(Box<Start>),
    /// A step or a child ended well.
    Done {
        /// Whose result it is.
        id: StepId,
        /// The result.
        out: Payload,
    },
    /// A step or a child ended badly, or a signal did not come in time.
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
    /// A signal reached the one who waits for it.
    Signal {
        /// The waiter.
        id: StepId,
        /// What was sent.
        value: Payload,
    },
    /// Somebody asked for the run to be cancelled.
    Cancel,
}

/// The first event of a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The workflow's registered name.
    pub workflow: String,
    /// [`SEMANTICS`] of the build that began it.
    pub semantics: u32,
    /// Where keys and randomness derive from.
    pub seed: Seed,
    /// The input.
    pub input: Payload,
}

/// What a workflow asks its host to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Run a step.
    Step(StepCommand),
    /// Wake me later.
    Sleep {
        /// Its id.
        id: StepId,
        /// How long, in milliseconds: what replay compares.
        ms: u64,
        /// When that is, in Unix milliseconds.
        due: i64,
    },
    /// Tell me when this signal comes.
    Signal(SignalCommand),
    /// Start a run of another workflow.
    Child(ChildCommand),
    /// The future of this step, timer, signal or child was dropped unfinished, or the run was cancelled.
    Cancel {
        /// Whose.
        id: StepId,
    },
    /// The code took this side of a version gate.
    Version {
        /// The change's name.
        change: String,
        /// The version taken.
        value: u32,
    },
    /// The generation ended.
    End(Outcome),
}

/// A step to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepCommand {
    /// Its id.
    pub id: StepId,
    /// What it is to a reader.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: StepKind,
    /// What repeating it would do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// Hash of the input and key.
    #[serde(with = "hex::serde16")]
    pub hash: [u8; 16],
    /// The input.
    #[serde(rename = "in")]
    pub input: Payload,
    /// How often it is tried.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// The time an attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Ran in the process before its intent was journaled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub local: bool,
}

/// A signal to wait for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignalCommand {
    /// Its id.
    pub id: StepId,
    /// The signal's name.
    pub name: String,
    /// Who is expected to send it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: Wait,
    /// Hash of what it is about and key.
    #[serde(with = "hex::serde16")]
    pub hash: [u8; 16],
    /// What is asked, for approvals and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Payload>,
    /// How long it may take, in milliseconds: what replay compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// When that is over, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
}

/// A run to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChildCommand {
    /// The id of the step in the parent.
    pub id: StepId,
    /// The id of the run.
    pub run: String,
    /// The workflow's name.
    pub workflow: String,
    /// Hash of workflow, input and key.
    #[serde(with = "hex::serde16")]
    pub hash: [u8; 16],
    /// The input.
    #[serde(rename = "in")]
    pub input: Payload,
}

/// Who is expected to send a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Anybody: `abide signal`, or a program.
    #[default]
    Signal,
    /// A person who allows or refuses: `abide approve`, `abide deny`.
    Approval,
    /// A person who answers a question: `abide answer`.
    Answer,
}

/// How a generation ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned a value.
    Completed(Payload),
    /// It returned an error, or panicked.
    Failed(Error),
    /// It returned the cancellation.
    Cancelled(Error),
    /// It goes on as a new generation with this input.
    Continued(Payload),
}

/// What the host records on its own; replay skips it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostEvent {
    /// The run was created and has not begun: its first turn is still to come.
    Created(Box<Start>),
    /// A further attempt of a step starts (the first one starts with its intent).
    Attempt {
        /// Of which step.
        id: StepId,
        /// 2 for the second.
        n: u32,
        /// Unix milliseconds.
        at: i64,
    },
    /// An attempt failed and another follows.
    Retry {
        /// Of which step.
        id: StepId,
        /// Which attempt failed.
        n: u32,
        /// Why.
        error: Error,
        /// Unix milliseconds of the failure.
        at: i64,
        /// Unix milliseconds of the next attempt.
        next: i64,
        /// True for a provider's rate limit.
        #[serde(default, skip_serializing_if = "is_default")]
        rate_limit: bool,
    },
    /// Nobody knows whether the step's effect happened.
    InDoubt {
        /// Of which step.
        id: StepId,
        /// Which attempt.
        n: u32,
        /// Why nobody knows.
        why: String,
        /// Unix milliseconds.
        at: i64,
        /// The attempt itself ended, with an error that does not tell; false if it was cut off.
        #[serde(default, skip_serializing_if = "is_default")]
        failed: bool,
    },
    /// A step stays in doubt: its probe could not tell, or what a person gave as its result does not fit.
    Undecided {
        /// Of which step.
        id: StepId,
        /// Which attempt.
        n: u32,
        /// Who could not settle it.
        by: By,
        /// Why not.
        why: String,
        /// Unix milliseconds.
        at: i64,
    },
    /// The step cannot go on until somebody outside has mended something.
    Parked {
        /// Of which step.
        id: StepId,
        /// Which attempt.
        n: u32,
        /// What it waits for.
        what: Parked,
        /// Why, in the provider's words.
        error: String,
        /// Unix milliseconds.
        at: i64,
    },
    /// A person or a probe said what became of a step in doubt.
    Resolved {
        /// Of which step.
        id: StepId,
        /// What they said.
        verdict: Verdict,
        /// Who said it.
        #[serde(default, skip_serializing_if = "is_default")]
        by: By,
        /// Unix milliseconds.
        at: i64,
    },
    /// An attempt ended while the run could not go on: its outcome is kept until mended code takes it.
    Outcome {
        /// Of which step.
        id: StepId,
        /// Which attempt.
        n: u32,
        /// Unix milliseconds.
        at: i64,
        /// The result, if it ended well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        out: Option<Json>,
        /// The error, if it ended badly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Error>,
    },
    /// The step was asked for, or was to be tried again, while the run was being paused: it has not started.
    Held {
        /// Which step.
        id: StepId,
        /// Unix milliseconds.
        at: i64,
    },
}

/// What became of a step in doubt (DESIGN rule 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did not happen: try again.
    Retry,
    /// It happened, and this was its result.
    Landed,
    /// Let it fail.
    Fail,
}

/// Who said what became of a step in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A person: `abide resolve`, or a program on their behalf.
    #[default]
    Person,
    /// The step's reconcile probe.
    Probe,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Command {
    /// The id it is about, if it is about one.
    pub fn id(&self) -> Option<&StepId> {
        match self {
            Self::Step(step) => Some(&step.id),
            Self::Signal(signal) => Some(&signal.id),
            Self::Child(child) => Some(&child.id),
            Self::Sleep { id, .. } | Self::Cancel { id } => Some(id),
            Self::Version { .. } | Self::End(_) => None,
        }
    }
}

impl Happened {
    /// The id it is about, if it is about one.
    pub fn id(&self) -> Option<&StepId> {
        match self {
            Self::Done { id, .. } | Self::Failed { id, .. } | Self::Fired { id } | Self::Signal { id, .. } => Some(id),
            Self::Start(_) | Self::Cancel => None,
        }
    }
}

/// The JSON text of a value.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Json, serde_json::Error> {
    serde_json::value::to_raw_value(value)
}
