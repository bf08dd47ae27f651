//! Reads what a user writes: `abide.toml`, agents' files, INPUT, and the record of what the user trusts. It starts nothing and asks nobody.

mod agent_file;
mod agents;
mod discover;
mod error;
mod front_matter;
mod input;
mod node;
mod parse;
mod tool_filter;
mod trust;

pub use discover::{Database, DatabaseSource, Env};
pub use error::{ConfigError, Origin, Place};
pub use node::{At, KeyDoc};
pub use agent_file::AgentDef;
pub use input::{Takes, read_input};
pub use trust::TrustStore;
