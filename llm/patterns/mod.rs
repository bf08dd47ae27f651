//! Patterns: agents composed to larger pieces of work, each itself usable wherever an agent is. Durable code over `Ctx` alone: it calls
//! models through agents, and never touches a network, a clock or a file.
//!
//! - `work`: the one trait of agents and patterns, and Rust functions as [`Work`]
//! - [`Chain`]: one after the other; [`Parallel`]: side by side, brought together; [`MapOver`]: one for each item of a list
//! - [`Router`]: who is asked; [`IntentClassifier`]: what is wanted (`similar`: both by embeddings)
//! - [`Orchestrator`]: a planner (`plan` checks what it gives) and its workers; [`DeepOrchestrator`]: the same for long work
//!   (`deep_plan` checks its plans, `deep_state` is what it knows and may spend)
//! - [`EvaluatorOptimizer`]: a draft until it is good; [`Swarm`]: agents that hand a conversation over
//! - `builders`: what they have in common as builders; `crew`: a planner and its workers; `branch`: pieces of work side by side;
//!   `verdict`: an agent's answer in JSON; `words`: what models are told

mod branch;
mod builders;
mod chain;
mod classifier;
mod crew;
mod deep;
mod deep_plan;
mod deep_state;
mod evaluator;
mod map_over;
mod orchestrator;
mod parallel;
mod plan;
mod router;
mod similar;
mod swarm;
mod verdict;
mod words;
mod work;

pub use branch::Branch;
pub use chain::Chain;
pub use classifier::{Intent, IntentClassifier};
pub use deep::DeepOrchestrator;
pub use evaluator::{EvaluatorOptimizer, Grade, Rating};
pub use map_over::MapOver;
pub use orchestrator::{Orchestrator, Planning};
pub use parallel::Parallel;
pub use router::{Choice, Router};
pub use swarm::Swarm;
pub use work::{Function, Work};

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod deep_tests;
#[cfg(test)]
mod orchestrator_tests;
#[cfg(test)]
mod parallel_tests;
#[cfg(test)]
mod swarm_tests;
#[cfg(test)]
mod testing;
