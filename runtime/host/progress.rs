//! What a terminal sees while a run works. It is told, never stored.

use std::sync::Arc;

use abide_engine::{Spent, StepKind, Telling, Wait};

/// Something that happened to a run that this process works on.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The run's id.
    pub run: Arc<str>,
    /// What happened.
    pub what: ProgressKind,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProgressKind {
    /// The run was rebuilt from its journal: this many steps were not called again.
    Replayed {
        /// Steps with a recorded outcome.
        steps: usize,
    },
    /// An attempt of a step starts.
    Started {
        /// The step.
        id: String,
        /// What it is.
        kind: StepKind,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// An attempt says something of itself: a piece of a model's text as it comes, or how far it is. What an attempt that fails has said
    /// is void.
    Told {
        /// The step.
        id: String,
        /// Which attempt.
        attempt: u32,
        /// What it says.
        telling: Telling,
    },
    /// A call of a model was answered, and what it has used is settled.
    Spent {
        /// The step.
        id: String,
        /// Who pays for it: an agent.
        spender: Arc<str>,
        /// Tokens and cost.
        spent: Spent,
    },
    /// A step has an outcome, and it is in the journal.
    Ended {
        /// The step.
        id: String,
        /// Its error, if it has one.
        error: Option<String>,
    },
    /// An attempt failed and another follows.
    Retrying {
        /// The step.
        id: String,
        /// Why it failed.
        error: String,
        /// Unix milliseconds of the next attempt.
        at_ms: i64,
    },
    /// Somebody is asked something: an approval or an answer.
    Asked {
        /// The id to answer to.
        id: String,
        /// What is expected.
        wait: Wait,
    },
    /// The run waits.
    Waiting {
        /// For what (`waiting_for` of DESIGN section 7).
        what: &'static str,
        /// Until when, in Unix milliseconds.
        until_ms: Option<i64>,
    },
}
