//! What a journal holds besides turns: what the host did on its own, and what people and probes have said. Plain data; replay skips it.

use serde::{Deserialize, Serialize};

use crate::event::{Json, Start, is_default};
use crate::{Error, Parked, StepId};

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
    /// A person raised the budgets of the run, of its spenders and of the runs above it.
    Raised {
        /// By so many calls.
        #[serde(default, skip_serializing_if = "is_default")]
        calls: u64,
        /// By so many tokens.
        #[serde(default, skip_serializing_if = "is_default")]
        tokens: u64,
        /// By so many billionths of a US dollar.
        #[serde(default, skip_serializing_if = "is_default")]
        nano_usd: u64,
        /// By so many milliseconds.
        #[serde(default, skip_serializing_if = "is_default")]
        ms: u64,
        /// Unix milliseconds.
        at: i64,
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
