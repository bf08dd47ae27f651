//! What a journal holds: rows of turns, what happened and what it led to. Plain data; it decides nothing.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chunks::{Chunk, Payload};
use crate::hex;
pub use crate::host_event::{By, HostEvent, Verdict};
use crate::{Effect, Error, Retry, Seed, StepId, StepKind};

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

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
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
