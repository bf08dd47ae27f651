//! The SQLite file: opening, the one writer, readers and the chain. It never decides what a run does next.

mod admit;
mod append;
mod chain;
mod commit;
mod free;
mod jobs;
mod line;
mod marker;
#[cfg(feature = "agents")]
mod memories;
mod open;
mod owner;
mod place;
mod places;
mod queue;
mod read;
mod repair;
mod rows;
#[cfg(feature = "schedule")]
pub(crate) mod schedules;
mod schema;
mod settle;
mod spend;
mod turnstile;
mod writer;

pub(crate) use admit::{Answered, Ask, Dealings, Dealt};
pub(crate) use append::{Append, ChildStart, Ending, HeadState, Tail, Trouble};
pub(crate) use chain::{Hash, row_hash, run_hash};
pub(crate) use commit::{CHECKPOINT_AT, Pen};
pub(crate) use jobs::{Claim, Claimed, DefinitionRow, Sent, StartDone, StartRun, Started, release};
pub(crate) use line::First;
#[cfg(feature = "agents")]
pub(crate) use memories::{recall, remember};
pub(crate) use open::{Access, open_for_reading, open_for_writing};
pub(crate) use owner::{Owner, hold_dead};
pub(crate) use place::Place;
pub(crate) use places::step_aside;
pub use queue::Queue;
pub(crate) use read::{Reader, RunRow};
pub(crate) use repair::repair;
pub(crate) use rows::{Admitted, InboxRow, LogRow, is_ended};
#[cfg(feature = "schedule")]
pub(crate) use schedules::{Kept, ScheduleRow};
pub(crate) use settle::{Met, Settle};
pub use spend::Raise;
#[cfg(feature = "schedule")]
pub(crate) use writer::Job;
pub(crate) use writer::{Tx, Writer};

/// The key of a run in its database.
pub(crate) type RunKey = i64;

/// The folder that a file lies in.
fn folder_of(path: &std::path::Path) -> std::path::PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => std::path::PathBuf::from("."),
    }
}
