//! The replay machine of abide: journal in, journal out. It never touches a clock, a file, a socket or randomness.
//!
//! A map of the crate, from what a user sees to what a host sees:
//!
//! - [`Ctx`] (`ctx`) hands out futures: steps, timers, signals, children (`durable`) and branches (`scope`).
//! - Those register what they ask for (`asked`) in the run's `state`, which numbers it into readable ids (`id`) and reveals
//!   one completion at a time.
//! - [`Machine`] (`machine`) takes completions in; `settle` polls the workflow between reveals; `recorder` writes down what follows each delivery, or
//!   compares it with the journal; `bell` tells foreign wakes from ours.
//! - The journal is rows of plain data ([`event`]), with long payloads as content-addressed `chunks` (`split`).
//! - What a step needs before an attempt may start: `admission`.
//! - What tells whether a step in doubt has happened: `probe`.
//! - Pure rules of a host: what follows a failed attempt (`retry`), the order of late completions (`order`), keys (`seed`).

#![forbid(unsafe_code)]

mod admission;
mod asked;
mod bell;
mod chunks;
mod ctx;
mod durable;
mod effect;
mod error;
pub mod event;
mod fault;
#[cfg(test)]
mod faults_tests;
pub mod hex;
mod host_event;
mod id;
mod machine;
#[cfg(test)]
mod machine_tests;
mod order;
mod probe;
mod recorder;
mod resources;
mod retry;
mod scope;
mod seed;
mod settle;
#[cfg(test)]
mod sim;
mod split;
mod state;
mod step;
mod workflow;

pub use admission::{Admission, Budget, Ceiling, Learn, Rates, Spent};
pub use asked::StepAsked;
pub use bell::Notify;
pub use chunks::{Chunk, ChunkError, ChunkTable, MOST_VALUE, Part, Payload};
pub use ctx::Ctx;
pub use durable::{Child, ChildMark, Durable, Signal, SignalMark, Sleep, Step, StepMark, TimerMark};
pub use effect::{Effect, StepKind};
pub use error::{Error, ErrorKind, Parked, Result, did_not_happen, in_doubt, retry_after, terminal};
pub use event::{Json, Row, SEMANTICS, Wait};
pub use fault::Fault;
pub use id::{MAX_NAME, StepId};
pub use machine::{Completion, Machine, Open, OpenWhat};
pub use order::{Arrival, in_order};
pub use probe::{Probe, ProbeFn, Reconciled};
pub use resources::Resources;
pub use retry::{Next, Retry, after_failure};
pub use scope::Scoped;
pub use seed::{Seed, run_id};
pub use step::{
    Attempt, AttemptFuture, BoxFuture, Place, StepFn, Teller, Telling, step_attempt, step_key, step_may_leave,
    step_teller,
};
pub use workflow::{WorkflowFn, workflow};
