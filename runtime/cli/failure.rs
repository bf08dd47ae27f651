//! What a command has to say when it does not end with 0: a word, a sentence, what to do, and the exit code (DESIGN
//! section 7). It never decides what is a failure.

use serde::Serialize;

use crate::HostError;
use crate::config::ConfigError;

/// Wrong use of the command line.
pub(crate) const USAGE: u8 = 2;
/// The run waits for somebody, or for a time under `--no-wait`.
pub(crate) const PARKED: u8 = 3;
/// Code and journal disagree.
pub(crate) const DIVERGED: u8 = 5;
/// Something named is not there.
pub(crate) const NOT_FOUND: u8 = 6;
/// A living process works on it.
pub(crate) const OWNED: u8 = 7;
/// Database, configuration or a server.
pub(crate) const ENVIRONMENT: u8 = 8;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ends with something other than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A word for programs.
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) help: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into(), exit }
    }

    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message, help)
    }

    /// False for a run that merely waits: nothing went wrong.
    pub(crate) fn is_error(&self) -> bool {
        self.exit != PARKED && self.exit != INTERRUPTED
    }

    /// `{"error":{"code","message","help"}}`.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'a str,
            message: &'a str,
            help: &'a str,
        }
        let error = Body { code: self.code, message: &self.message, help: &self.help };
        serde_json::to_string(&Document { error }).unwrap_or_default()
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let word = if self.is_error() { "error: " } else { "" };
        if self.help.is_empty() {
            format!("{word}{}", self.message)
        } else {
            format!("{word}{}\n  {}", self.message, self.help.replace('\n', "\n  "))
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(error.exit_code(), error.code(), error.to_string(), error.help())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit_code(), error.code(), error.to_string(), error.help())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_error_of_the_host_has_its_exit_code() {
        let run = || "r".to_owned();
        let why = || "w".to_owned();
        for (error, exit) in [
            (HostError::Failed { run: run(), error: why() }, 1),
            (HostError::Ambiguous { prefix: run(), candidates: vec![] }, 2),
            (HostError::Ended { run: run(), status: "completed".into() }, 2),
            (HostError::IdTaken { run: run(), differs: "another input" }, 2),
            (HostError::Step { why: why(), help: why() }, 2),
            (HostError::Cancelled { run: run() }, 4),
            (HostError::Diverged { run: run(), why: why(), help: why() }, 5),
            (HostError::NoSuchRun { run: run() }, 6),
            (HostError::Owned { run: run(), pid: 1 }, 7),
            (HostError::Storage { why: why() }, 8),
            (HostError::NoWorkflow { run: run(), workflow: why() }, 8),
            (HostError::Environment { run: run(), why: why() }, 8),
            (HostError::ShuttingDown, 130),
        ] {
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit, "{failure:?}");
            assert!(!failure.help.is_empty() && !failure.code.is_empty());
        }
    }

    #[test]
    fn the_document_and_the_text_say_the_same() {
        let failure = Failure::usage("what \"it\" is", "first\nsecond");
        let expected = r#"{"error":{"code":"usage","message":"what \"it\" is","help":"first\nsecond"}}"#;
        assert_eq!(failure.json(), expected);
        assert_eq!(failure.text(), "error: what \"it\" is\n  first\n  second");
        assert_eq!(Failure::new(PARKED, "parked", "it waits", "").text(), "it waits");
    }
}
