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
//! - `price`: what a call costs, if anybody knows; `charge`: what it asks of its host before it may leave
//! - `stream`: the events of a streamed answer to the body that it would have been otherwise, one file per wire, pure
//! - `http`: the one place that calls out, one attempt at a time (`target` says where to and with which headers, `body` reads
//!   what comes, `failure` says what it means if nothing whole does, `tls` makes the connections)
//! - `call`: what goes with a call and who hears of it; `rate` reads what headers say of a provider's limits
//! - [`observe`]: spans under the names of OpenTelemetry
//! - `tools`: what an agent needs of whoever runs its tools, `rounds` what a call can come to beside a result; `own_tools`: those that it has of its
//!   own (`function`: functions of the program, `ask_person`: asking a person, `skill`: instructions loaded on demand); `hooks`: code around calls
//! - `input`: what an agent is asked; `template`: instructions filled in from it; `memory`: conversations that live across runs;
//!   `context`: what is summarized before a model's window is full; `vectors`: texts to vectors as steps
//! - `agent`: an agent as plain data and its answer; `agent_loop` turns it into steps (`ask` puts one question to a
//!   model and its fallbacks), by the pure rules of `agent_filter`
//!   (which tools it sees), `agent_manner` (how its model is asked), `agent_move` (what follows a reply), `agent_rounds` (one call over several rounds; `sampling` asks a model for
//!   a server), `agent_start` (what is read before the first question), `agent_text` (what the model is told of a result), `agent_exit` (what
//!   hands a conversation over) and
//!   `reconcile` (what a tool says of a call in doubt)
//! - `patterns`: agents composed, each composition itself usable as an agent is

#![forbid(unsafe_code)]

mod address;
mod agent;
mod agent_exit;
mod agent_filter;
mod agent_limit;
mod agent_loop;
mod agent_manner;
mod agent_move;
mod agent_rounds;
mod agent_start;
mod agent_text;
mod ask;
mod ask_person;
mod body;
mod call;
mod charge;
mod context;
mod errors;
mod failure;
mod function;
mod hooks;
mod http;
mod input;
mod memory;
mod model;
pub mod observe;
mod own_tools;
mod patterns;
mod price;
mod rate;
mod reconcile;
mod redact;
mod rounds;
mod sampling;
mod secret;
mod skill;
mod stream;
pub mod structured;
mod target;
mod template;
mod tls;
mod tools;
mod vectors;
mod wait;
mod wire;

pub use address::secret_in_address;
pub use agent::{Agent, AgentHost, Answer, Approval};
pub use agent_filter::{FilterError, ToolFilter};
pub use ask_person::{AgentQuestion, AskPerson};
pub use call::{CallOptions, Seen};
pub use charge::Limit;
pub use errors::{Headers, Refusal};
pub use function::ToolFunction;
pub use hooks::{Before, Hooks};
pub use http::Client;
pub use input::{Attachment, Input};
pub use memory::{Exchange, Memories, Memory, Remembers};
pub use model::{Bounds, ModelConfig, Provider, Structured};
pub use patterns::{
    Branch, Chain, Choice, DeepOrchestrator, EvaluatorOptimizer, Function, Grade, Intent, IntentClassifier, MapOver,
    Orchestrator, Parallel, Planning, Rating, Router, Swarm, Work,
};
pub use price::{Price, nano_of_usd};
pub use rate::RateLimits;
pub use reconcile::Reconcile;
pub use redact::Redactor;
pub use rounds::{Answers, Asks, Came, Given, Left, Look, Onward, PromptRef, ResourceRef, Sampling, Underway};
pub use schemars;
pub use secret::{EnvVars, MissingVar, SecretRef, Vars, expand};
pub use skill::Skill;
pub use stream::Delta;
pub use template::check_template;
pub use tls::http_client;
pub use tools::{BoxFuture, Policy, ToolCall, ToolSpec, Tools};
pub use wire::embed;
pub use wire::{
    Assistant, CallRequest, Origin, Output, Part, Prompt, Reply, Source, Stop, ToolChoice, ToolDecl, ToolReply, Turn,
    Usage, WireError, parse, request,
};
