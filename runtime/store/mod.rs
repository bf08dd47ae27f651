//! The SQLite file: opening, the one writer, readers and the chain. It never decides what a run does next.

mod append;
mod chain;
mod jobs;
mod open;
mod owner;
mod read;
mod rows;
mod schema;
mod writer;

pub(crate) use append::{Append, ChildStart, Ending, HeadState, Tail, Trouble};
pub(crate) use chain::{Hash, row_hash, run_hash};
pub(crate) use jobs::{Claim, Claimed, DefinitionRow, Sent, StartDone, StartRun, Started};
pub(crate) use open::{Access, open_for_reading, open_for_writing};
pub(crate) use owner::{Owner, hold_dead};
pub(crate) use read::{Reader, RunRow};
pub(crate) use rows::{InboxRow, LogRow, is_ended};
pub(crate) use writer::{Tx, Writer};

/// The key of a run in its database.
pub(crate) type RunKey = i64;
