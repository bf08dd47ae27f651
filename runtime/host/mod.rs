//! The host that drives the engine on SQLite: shards of resident runs, attempts of steps, timers and inboxes. It never decides what a
//! completion means for a workflow: the engine does.
//!
//! From the outside in: `builder` opens a database as an [`Abide`] (`api`), which hands out [`Run`]s (`run`). Each run lives on one
//! `shard`, a thread that owns its machine (`resident`): it takes a turn (`turn`, with `mail` from outside), hands it to the writer (`submit`), acts on
//! it (`act`) when it is committed, and lets a run that only waits `sleep`. `begin` starts one, `admit` has its attempts wait for a place at a service
//! with limits and for budgets (`governor` is what a process knows of those), `take` claims one, `load` brings one back from its journal
//! and `take_up` decides what becomes of its open steps; `mend` is for what goes wrong, `watch` notices what other processes do, `replay` compares recorded runs with the
//! code of now. `schedule` keeps what is to be started `when`, and `meet` starts it.

mod act;
mod admit;
mod api;
mod attempt;
mod begin;
mod builder;
mod doubt;
mod governor;
mod inner;
mod limits;
mod load;
mod mail;
#[cfg(feature = "schedule")]
mod meet;
mod mend;
mod progress;
mod replay;
mod resident;
mod run;
#[cfg(feature = "schedule")]
mod schedule;
mod shard;
mod shutdown;
mod sleep;
mod standing;
mod submit;
mod take;
mod take_up;
mod turn;
mod watch;
#[cfg(feature = "schedule")]
mod when;

pub use crate::store::{Queue, Raise};
pub use api::{Abide, RunInfo, Start};
pub use builder::Builder;
pub(crate) use inner::null;
pub use inner::{Definition, Factory, Made};
pub use limits::Limits;
#[cfg(feature = "cli")]
pub(crate) use meet::{Begin, LookUp, Named};
pub use progress::{Progress, ProgressKind};
pub use run::{Run, Settled};
#[cfg(feature = "schedule")]
pub use schedule::{NewSchedule, Overlap, Schedule, ScheduleInfo};
#[cfg(feature = "schedule")]
pub use when::{Missed, When};
