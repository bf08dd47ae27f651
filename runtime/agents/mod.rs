//! Agents from files as durable runs: what a run pins of the files, and how its workflow is made from that alone. It looks
//! for no file of an agent (`config` does) and drives no run (`host` does).
//!
//! - `definition`: what a run carries, so that `resume` needs nothing but the database
//! - `hosts`: the factory of such runs, with the models, servers and secrets that they share in this process
//! - `memories`: conversations that live across runs, for every workflow of the database

mod definition;
mod hosts;
mod memories;

pub use definition::AgentRun;
pub use hosts::Agents;
pub(crate) use memories::lend;

/// The name under which the factory is registered.
pub const FACTORY: &str = "agent";

/// The workflow of an agent's runs, as `ls` and `show` name it: `agent:researcher`.
pub fn workflow_name(agent: &str) -> String {
    format!("{FACTORY}:{agent}")
}
