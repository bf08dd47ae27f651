//! Models, agents and patterns of abide. It never opens a database and never speaks MCP: it states as small traits what
//! it needs of those who do.
//!
//! A map, from what a user names to what leaves the machine:
//!
//! - `model`: an entry of `[models]`, or `vendor/name`: plain data, pinned in a run
//! - `secret`: references to keys, resolved at each call; `redact` keeps their values out of everything written
//! - `wire`: prompt to request body and answer to [`Reply`], one file per wire, pure; `embed` in it: texts to vectors
//! - `structured`: an answer in JSON, found in a reply, checked, and what is told to a model that missed it; pure
//! - `errors`: what a refusal means: wait (`wait` reads how long), park, or give up; pure
//! - `http`: the one place that calls out, one attempt at a time (`tls` makes its connections)
//! - `tools`: what an agent needs of whoever runs its tools
//! - `agent`: an agent as plain data and its answer; `agent_loop` turns it into steps, by the pure rules of `agent_filter`
//!   (which tools it sees), `agent_move` (what follows a reply), `agent_text` (what the model is told of a result) and
//!   `reconcile` (what a tool says of a call in doubt)

#![forbid(unsafe_code)]

mod address;
mod agent;
mod agent_filter;
mod agent_limit;
mod agent_loop;
mod agent_move;
mod agent_text;
mod errors;
mod http;
mod model;
mod reconcile;
mod redact;
mod secret;
pub mod structured;
mod tls;
mod tools;
mod wait;
mod wire;

pub use address::secret_in_address;
pub use agent::{Agent, AgentHost, Answer, Approval};
pub use agent_filter::{FilterError, ToolFilter};
pub use errors::{Headers, Refusal};
pub use http::Client;
pub use model::{ModelConfig, Provider, Structured};
pub use reconcile::Reconcile;
pub use redact::Redactor;
pub use secret::{EnvVars, MissingVar, SecretRef, Vars, expand};
pub use tls::http_client;
pub use tools::{BoxFuture, Policy, ToolCall, ToolSpec, Tools};
pub use wire::embed;
pub use wire::{
    Assistant, CallRequest, Origin, Output, Part, Prompt, Reply, Source, Stop, ToolChoice, ToolDecl, ToolReply, Turn,
    Usage, WireError, parse, request,
};
