//! Agents and workflows from files as durable runs: what a run pins of the files, and how its workflow is made from that alone. It looks
//! for no file of an agent (`config` does) and drives no run (`host` does).
//!
//! - `calls`: what each call of a model in a run has used
//! - `compose`: from names to everybody that takes part; `composition`: those as data, and as a piece of work
//! - `definition`: what a run carries, so that `resume` needs nothing but the database
//! - `target`: what a name means that somebody wants to run
//! - `hosts`: the factory of such runs, with the models, servers and secrets that they share in this process
//! - `lend`: agents and patterns in Rust as workflows of a `Builder`
//! - `memories`: conversations that live across runs, for every workflow of the database

mod calls;
mod compose;
mod composition;
mod definition;
mod hosts;
mod lend;
mod memories;
mod target;

pub use calls::CallTree;
pub use composition::{Composed, Composition};
pub use definition::AgentRun;
pub use hosts::Agents;
pub use lend::model;
pub(crate) use memories::lend;
pub use target::Target;

/// The name under which the factory is registered.
pub const FACTORY: &str = "agent";

/// The same for runs of `[workflows]`.
pub const WORKFLOW_FACTORY: &str = "workflow";

/// The workflow of an agent's runs, as `ls` and `show` name it: `agent:researcher`.
pub fn workflow_name(agent: &str) -> String {
    format!("{FACTORY}:{agent}")
}
