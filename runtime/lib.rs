//! abide: durable AI agents in one file.
//!
//! A workflow is an ordinary async function; every step, timer and signal of it is an event in a SQLite journal. Kill the process at
//! any instant: what resumes the run replays its journal, calls nothing twice, and goes on live. This crate hosts the engine on SQLite;
//! it never re-implements one of its rules.
//!
//! ```no_run
//! use abide::prelude::*;
//!
//! async fn greet(ctx: Ctx, name: String) -> Result<String> {
//!     let greeting: String = ctx.step("greet", name, |name| async move { Ok::<_, Error>(format!("Hello, {name}")) }).await?;
//!     ctx.sleep(std::time::Duration::from_secs(3600)).await?;
//!     Ok(greeting)
//! }
//!
//! # async fn demo() -> std::result::Result<(), HostError> {
//! let abide = Abide::open("runs.db").workflow("greet", greet).start().await?;
//! let run = abide.run("greet", "Ada").id("ada-1").await?;
//! let greeting: String = run.result().await?;
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "agents")]
pub mod agents;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "agents")]
pub mod config;
mod crash;
#[cfg(feature = "cli")]
mod demo;
mod error;
pub mod host;
mod hot;
mod os;
mod random;
pub mod report;
#[cfg(feature = "serve")]
pub mod serve;
mod shell;
mod store;
#[cfg(feature = "agents")]
mod vault;

pub use abide_engine as engine;
pub use abide_engine::{
    Ctx, Effect, Error, ErrorKind, Reconciled, Result, Retry, StepKind, did_not_happen, in_doubt, retry_after,
    step_attempt, step_key, terminal,
};
#[cfg(feature = "agents")]
pub use abide_llm as llm;
#[cfg(feature = "cli")]
pub use cli::cli;
pub use error::HostError;
pub use host::{Abide, Builder, Definition, Limits, Progress, ProgressKind, Queue, Raise, Run, RunInfo, Settled};
#[cfg(feature = "schedule")]
pub use host::{Missed, NewSchedule, Overlap, Schedule, ScheduleInfo, When};
pub use report::{Divergence, Replayed, Report, Spending, StepReport};

/// What a program that defines workflows needs.
pub mod prelude {
    pub use crate::{
        Abide, Ctx, Effect, Error, HostError, Queue, Reconciled, Result, Retry, Run, did_not_happen, in_doubt,
        retry_after, step_key, terminal,
    };
    #[cfg(feature = "schedule")]
    pub use crate::{Missed, Overlap, When};
    #[cfg(feature = "agents")]
    pub use abide_llm::{
        Agent, Answer, Chain, DeepOrchestrator, EvaluatorOptimizer, Function, Grade, Input, IntentClassifier, Limit,
        MapOver, ModelConfig, Orchestrator, Parallel,
        Planning::{self, Full, Iterative},
        Router, Swarm, Work,
    };
}
