//! The host that drives the engine on SQLite: shards of resident runs, attempts of steps, timers and inboxes. It never decides what a
//! completion means for a workflow: the engine does.
//!
//! From the outside in: `builder` opens a database as an [`Abide`] (`api`), which hands out [`Run`]s (`run`). Each run lives on one
//! `shard`, a thread that owns its machine (`resident`): it takes a turn (`turn`), commits it, acts on it (`act`), and lets go of a run
//! that only waits. `load` brings a run back from its journal; `watch` notices what other processes do.

mod act;
mod api;
mod attempt;
mod builder;
mod inner;
mod load;
mod progress;
mod resident;
mod run;
mod shard;
mod standing;
mod turn;
mod watch;

pub use api::{Abide, RunInfo, Start};
pub use builder::Builder;
pub(crate) use inner::null;
pub use inner::{Definition, Factory, Made};
pub use progress::{Progress, ProgressKind};
pub use run::{Run, Settled};
