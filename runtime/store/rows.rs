//! Rows as they are read. It never interprets a body.

use super::Hash;

/// A row of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogRow {
    pub(crate) id: i64,
    pub(crate) hash: Hash,
    pub(crate) body: String,
}

/// A message in a run's inbox.
#[derive(Debug, Clone)]
pub(crate) struct InboxRow {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) at_ms: i64,
}

/// An attempt that has a place at a service, or waits in line for one.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) step: String,
    pub(crate) attempt: u32,
    /// Since when it has its place, in Unix milliseconds.
    pub(crate) at_ms: Option<i64>,
}

/// The words of a run's status that say it has ended.
pub(crate) fn is_ended(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}
