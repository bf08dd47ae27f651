//! The MCP client of abide: servers from the files people already have, tools with effect and policy. It never decides
//! whether a call is repeated (the engine does), and never starts a server the user has not consented to.
//!
//! A map, from what a user writes to what reaches a server:
//!
//! - [`config`](ServerConfig): what a declaration says, unexpanded; `config_file` reads the files, `config_inputs` VS
//!   Code's inputs
//! - [`consent`](Consent): the lines a user consents to, and their hash
//! - [`policy`](Rules): what a tool may do, from the user's rules and believed annotations
//! - `probe`: the tool that tells whether a call in doubt has happened
//! - [`names`](tool_names): `server_tool`, told apart where they collide
//! - [`servers`](Servers): the tools of agents; `slot` is one server of it, started when needed and again after its end
//! - `discover` and `answer`: lists of tools and results of calls, as they go into the journal
//! - `connection`: one open connection, in either era of the protocol; `wire` its lines, `envelope` those that cannot be
//!   read, `stderr` its last words
//! - [`launch`](Launcher): the seam to the operating system; `environment` what a process is started with

#![forbid(unsafe_code)]

mod answer;
mod config;
mod config_file;
mod config_inputs;
mod connection;
mod consent;
mod discover;
mod envelope;
mod environment;
#[cfg(test)]
mod fixture;
mod launch;
mod lines;
mod names;
mod policy;
mod probe;
mod servers;
mod slot;
mod stderr;
mod wire;

pub use config::{ConfigError, ServerConfig, Transport, load_file, load_project};
pub use config_file::{literal_at, parse_servers};
pub use consent::{Consent, consent_hash, consent_lines};
pub use environment::teach_secrets;
pub use launch::{KillGroup, LaunchSpec, Launched, Launcher, PlainLauncher};
pub use names::tool_names;
pub use policy::{DEFAULT_TIMEOUT_S, Decision, Hints, RuleError, Rules, ToolRule};
pub use servers::{Project, Servers};
pub use slot::{Host, Limits};
