//! The MCP client of abide: servers from the files people already have, tools with effect and policy; and its face as a server
//! (`serve`, with the feature of that name). It never decides
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
//! - `calls`: one call, its rounds and its time; `tasks` when its server goes on without it, `visits` when it wants an address
//!   opened first, `changed` when the tool is another by now; `resources` as tools of their own; `trace` its trace
//! - `rounds`: the same calls for whoever keeps each request in a journal; `open` one that waits for an answer in the middle of it;
//!   `prompts` what servers offer as input
//! - [`driver`](Driver): who stands behind a call; `caller` what a server may ask, `asked` its answers, `underway` which call it
//!   is about, `schema` whether a value fits
//! - `discover` and `answer`: lists of tools (`pages` by page) and results of calls, as they go into the journal
//! - `connection`: one open connection, in either `era` of the protocol (`listen` for changed lists, `backlog` against who only asks); `wire` its lines over stdio (`envelope` those that
//!   cannot be read, `stderr` its last words), `http` its requests over HTTP, `ticket` how far one of them got
//! - [`oauth`](OAuth): how a server behind an address lets abide in, and [`vault`](Vault) the seam to where its tokens are kept
//! - [`launch`](Launcher): the seam to the operating system; `environment` what a process is started with

#![forbid(unsafe_code)]

mod answer;
mod asked;
mod backlog;
mod caller;
mod calls;
mod changed;
mod config;
mod config_file;
mod config_inputs;
mod connection;
mod consent;
mod discover;
mod driver;
mod envelope;
mod environment;
mod era;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fixture_http;
#[cfg(test)]
mod fixture_talk;
mod http;
mod launch;
mod lines;
mod listen;
mod names;
mod oauth;
mod open;
mod pages;
mod policy;
mod probe;
mod prompts;
mod resources;
mod rounds;
mod schema;
#[cfg(feature = "serve")]
pub mod serve;
mod servers;
mod slot;
mod stderr;
mod tasks;
mod ticket;
mod trace;
mod underway;
mod vault;
mod visits;
mod wire;

pub use calls::{Answers, Asked, Outcome};
pub use config::{ConfigError, Protocol, ServerConfig, Transport, load_file, load_project};
pub use config_file::{literal_at, parse_servers};
pub use consent::{Consent, consent_hash, consent_lines};
pub use driver::{Driver, Elicit, Handles, Progress, Question, Reply, Sample, SampleRequest, TaskHandle, Wants, Watch};
pub use environment::teach_secrets;
pub use launch::{KillGroup, LaunchSpec, Launched, Launcher, PlainLauncher};
pub use names::tool_names;
pub use oauth::{Grant, Login, OAuth, Waiting};
pub use policy::{DEFAULT_MAX_TIMEOUT_S, DEFAULT_TIMEOUT_S, Decision, Hints, RuleError, Rules, ToolRule};
pub use prompts::{PromptArgument, PromptSpec};
pub use servers::{Project, Servers};
pub use slot::{Host, Limits};
pub use vault::{Held, MemoryVault, Vault};
