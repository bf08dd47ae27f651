//! Why a run cannot go on although nothing failed: the code and its journal, or the code and the rules, disagree. It never surfaces inside a workflow.

use crate::StepId;

/// A disagreement that parks the run as `diverged`; nothing is lost, and mended code resumes it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The code asks for something other than the journal holds (DESIGN rule 7).
    #[error("step `{id}`: the journal recorded {recorded}, the code now asks for {asked}")]
    Diverged {
        /// The step at which they part.
        id: String,
        /// What the journal holds.
        recorded: String,
        /// What the code asks for.
        asked: String,
    },
    /// The same code asked for something else when a turn was replayed as soon as it was over (a check for tests).
    #[error(
        "step `{id}`: the turn asked for {recorded}, and when it was replayed at once, the same code asked for {asked}"
    )]
    Unrepeated {
        /// The step at which they part.
        id: String,
        /// What the turn asked for.
        recorded: String,
        /// What its replay asked for.
        asked: String,
    },
    /// A recorded value no longer fits the type that the code expects.
    #[error("step `{id}`: its recorded value does not fit the type the code expects now: {why}")]
    Unreadable {
        /// The step whose value it is.
        id: String,
        /// What the decoder says.
        why: String,
    },
    /// The workflow waits for something outside abide (DESIGN rule 8).
    #[error("the workflow awaits something abide does not know: {what}")]
    ForeignAwait {
        /// How it was noticed.
        what: String,
    },
    /// `Ctx` or one of its futures was used outside the workflow's own poll (DESIGN rule 8).
    #[error("`{what}` was used outside the workflow's own poll (from another thread or a spawned future)")]
    OutsidePoll {
        /// What was called.
        what: String,
    },
    /// Two equal requests were made in one go and cannot be told apart (DESIGN rule 6).
    #[error("two steps named `{name}` with equal input were made at the same moment in scope `{scope}`")]
    Ambiguous {
        /// The path of the scope; empty for the run itself.
        scope: String,
        /// The name they share.
        name: String,
    },
    /// A name that cannot be part of a step id, or an input that cannot be recorded.
    #[error("`{name}` cannot be recorded: {why}")]
    BadRequest {
        /// The name that was asked for.
        name: String,
        /// Why not.
        why: String,
    },
    /// The journal itself makes no sense to this build.
    #[error("the journal cannot be read: {why}")]
    Journal {
        /// What is wrong with it.
        why: String,
    },
}

impl Fault {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => {
                "put the code back, or gate the change with ctx.version(..), then resume; `abide show` lists what was recorded"
            }
            Self::Unrepeated { .. } => {
                "the workflow depends on something that replay does not repeat (the clock, randomness, a HashMap's order, a global): take it from ctx.now(), ctx.random(..) or a step"
            }
            Self::Unreadable { .. } => {
                "make the type read the recorded value (e.g. #[serde(default)] on a new field), then resume"
            }
            Self::ForeignAwait { .. } | Self::OutsidePoll { .. } => {
                "rule 8: a workflow awaits abide's futures only; wrap other work in ctx.step, and use ctx.sleep instead of a runtime's timer"
            }
            Self::Ambiguous { .. } => "give each a `.key(..)` of its own, so that replay can tell them apart",
            Self::BadRequest { .. } => "change the name or the input",
            Self::Journal { .. } => "run `abide verify`; a journal of a newer abide needs that version",
        }
    }

    pub(crate) fn diverged(id: &StepId, recorded: impl Into<String>, asked: impl Into<String>) -> Self {
        Self::Diverged { id: id.to_string(), recorded: recorded.into(), asked: asked.into() }
    }
}
