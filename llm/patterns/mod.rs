//! Patterns: agents composed to larger pieces of work, each itself usable wherever an agent is. Durable code over `Ctx` alone: it calls
//! models through agents, and never touches a network, a clock or a file.
//!
//! - `work`: the one trait of agents and patterns, and Rust functions as [`Work`]
//! - [`Chain`]: one after the other; [`Parallel`]: side by side, brought together
//! - [`Orchestrator`]: a planner (`plan` checks what it gives) and its workers
//! - [`EvaluatorOptimizer`]: a draft until it is good
//! - `branch`: pieces of work side by side; `verdict`: an agent's answer in JSON; `words`: what models are told

mod branch;
mod chain;
mod evaluator;
mod orchestrator;
mod parallel;
mod plan;
mod verdict;
mod words;
mod work;

pub use branch::Branch;
pub use chain::Chain;
pub use evaluator::{EvaluatorOptimizer, Grade, Rating};
pub use orchestrator::{Orchestrator, Planning};
pub use parallel::Parallel;
pub use work::{Function, Work};

#[cfg(test)]
mod orchestrator_tests;
#[cfg(test)]
mod parallel_tests;
#[cfg(test)]
mod testing;
