//! The one error of workflows and steps: what went wrong and what may be done about it. It never decides a retry.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a workflow or a step returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a workflow or a step.
///
/// Like `anyhow::Error` it is not itself a `std::error::Error`, so that `?` turns any such error into it:
/// a plain error is [`ErrorKind::Plain`], which a step's retry policy retries and which ends a workflow.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What may be done about an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// An ordinary failure: a step is tried again by its policy; a `once` step is in doubt.
    Plain,
    /// A failure that says when to try again, in milliseconds from now.
    RetryAfter {
        /// How long to wait, in milliseconds.
        ms: u64,
        /// True for a provider's rate limit: the wait is shown as `rate_limit` and does not use up an attempt.
        rate_limit: bool,
    },
    /// Trying again is useless: the step failed.
    Terminal,
    /// The effect certainly did not happen: safe to try again whatever the effect.
    DidNotHappen,
    /// Nobody knows whether the effect happened (a lost connection in mid-flight).
    InDoubt,
    /// Only somebody outside can mend this: the run parks, and `resume` tries again.
    Park(Parked),
    /// Nothing has left, for the place that the attempt was given at a service has lapsed: made by [`crate::step_may_leave`] only. The
    /// host starts the attempt anew.
    TooLate,
    /// The surroundings are broken (a server that will not start): the run stops here, resumable, exit code 8.
    Environment,
    /// An attempt outlasted its time-out, or a signal did not come in time.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
    /// A step that was tried and has failed for good, as its caller in the workflow sees it.
    Failed,
    /// Ends this generation; made by `Ctx::continue_as_new` only.
    ContinueAsNew,
}

/// What a parked step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Parked {
    /// A valid key (401, 402, 403) or a variable that is not set.
    Credentials,
    /// A spent quota or a spend cap at the provider.
    Quota,
    /// The user's consent to what a project's files ask for.
    Trust,
    /// A raised ceiling.
    Budget,
}

impl Parked {
    /// The word for it in `waiting_for`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Quota => "quota",
            Self::Trust => "trust",
            Self::Budget => "budget",
        }
    }
}

impl Error {
    /// An error of this kind with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What may be done about it.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What went wrong, for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// True if this is the cancellation of the run.
    pub fn is_cancelled(&self) -> bool {
        self.kind == ErrorKind::Cancelled
    }

    /// True if a signal or an attempt ran out of time.
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::TimedOut
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self { kind: ErrorKind::Plain, message }
    }
}

/// A failure that trying again cannot mend.
pub fn terminal(message: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Terminal, message.to_string())
}

/// A failure that says when to try again.
pub fn retry_after(wait: Duration, message: impl fmt::Display) -> Error {
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Error::new(ErrorKind::RetryAfter { ms, rate_limit: false }, message.to_string())
}

/// A failure of which it is certain that the effect did not happen: even a `once` step is tried again.
pub fn did_not_happen(message: impl fmt::Display) -> Error {
    Error::new(ErrorKind::DidNotHappen, message.to_string())
}

/// A failure of which nobody knows whether the effect happened.
pub fn in_doubt(message: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InDoubt, message.to_string())
}
