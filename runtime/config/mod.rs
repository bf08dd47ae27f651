//! Reads what a user writes: `abide.toml`, agents' files, INPUT, and the record of what the user trusts. It starts
//! nothing and asks nobody.
//!
//! A map, from the outside in:
//! - `project`: everything together; `consent` what of it needs the user's consent, `trust` the record of that
//! - `discover`: where files are; `error`: what is wrong with them, and how to mend it
//! - `abide_toml`: the settings (`keys` documents them, `schema` for editors, `limits` and `queues` are tables of it), from which `models` and `servers` (with `oauth`) are made; `secrets` reads literals again
//! - `workflows`: agents composed by a pattern; `agents`: finds agents; `agent_file` reads one (`agent_front` by `agent_keys`, `front_matter`, `inline_servers`, `agent_able`: its own tools and memory, `agent_manner`: how its model is asked); `skills` finds those
//! - `node` and `parse`: TOML and YAML as values that know their lines
//! - `input`: INPUT

mod abide_toml;
mod agent_able;
mod agent_file;
mod agent_front;
mod agent_keys;
mod agent_manner;
mod agents;
mod consent;
mod discover;
mod error;
mod front_matter;
mod inline_servers;
mod input;
pub mod keys;
mod limits;
mod models;
mod node;
mod oauth;
mod parse;
mod preference;
mod project;
mod queues;
mod schema;
mod secrets;
mod servers;
mod skills;
mod trust;
mod workflows;

pub use agent_file::AgentDef;
pub use consent::{ConsentKind, ConsentRequest, Consented};
pub use discover::{Database, DatabaseSource, Env};
pub use error::{ConfigError, Origin, Place};
pub use input::{Takes, read_input};
pub use limits::Limits;
pub use node::{At, KeyDoc};
pub use project::Project;
pub use schema::schema;
pub use secrets::FileVars;
pub use trust::TrustStore;
pub(crate) use trust::make_private_folders;
pub use workflows::{Pattern, WorkflowDef};
