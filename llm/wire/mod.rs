//! What is said to a model and what it answers, apart from how a vendor spells it. Pure functions: they never send anything.
//!
//! `chat` spells `OpenAI` Chat Completions, `messages` spells Anthropic Messages. What a model said goes back to it
//! verbatim, as the wire's own JSON: signatures and reasoning that abide does not know survive.

mod chat;
mod messages;
mod parts;

use std::ops::AddAssign;

use abide_engine::{Error, terminal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Provider;

/// Everything that decides a request's body, but for the model's name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// The instructions.
    pub system: Option<String>,
    /// The conversation so far; it begins with a [`Turn::User`].
    pub turns: Vec<Turn>,
    /// The tools that the model may call.
    pub tools: Vec<ToolDecl>,
    /// May, must or must not it call one? Keep `tools` when asking it to conclude with [`ToolChoice::None`]: Anthropic
    /// refuses a history of calls without them, and the others are not shown them.
    pub tool_choice: ToolChoice,
    /// The most tokens the answer may have.
    pub max_tokens: Option<u32>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
}

/// One piece of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// What the user, or abide in their place, says.
    User(String),
    /// What the model said: a [`Reply::assistant`].
    Assistant(Value),
    /// What the tools that it called have answered, one reply for each call.
    ToolResults(Vec<ToolReply>),
}

/// A tool's answer to one call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolReply {
    /// The [`CallRequest::id`] that this answers.
    pub call_id: String,
    /// The answer as text.
    pub text: String,
    /// Did the tool fail? (Chat Completions has no place for this: the text has to say it.)
    pub is_error: bool,
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDecl {
    /// Its name, within `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What it does, or an empty string.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
}

/// May the model call tools in this turn?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It may not.
    None,
    /// It has to.
    Required,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text, or an empty string.
    pub text: String,
    /// The tools it calls, in its order; the ids are unique within the reply.
    pub tool_calls: Vec<CallRequest>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it used.
    pub usage: Usage,
    /// What it said in the wire's own form, for a [`Turn::Assistant`]. Verbatim but for what would be refused on
    /// sending it back: call ids that were missing or given twice, and arguments that are not JSON.
    pub assistant: Value,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
}

/// One call of a tool that the model asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// The provider's id for the call, or `call_0` and so on where it gave none.
    pub id: String,
    /// The tool's name as the model spelt it.
    pub name: String,
    /// The arguments, a JSON object; or what is wrong with them, to be told to the model.
    pub arguments: Result<Value, String>,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stop {
    /// It has said everything.
    End,
    /// It waits for the tools it called.
    ToolUse,
    /// It reached `max_tokens` or the end of its context: the text is cut off, and so may be the last call.
    Truncated,
    /// It refused, or the provider's filter stopped it.
    Refused,
    /// Anything else, in the provider's word; `missing` where there was none.
    Other(String),
}

/// Tokens used, zero where the provider does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request, those read from and written to the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning among them.
    pub output_tokens: u64,
    /// Of the input, those read from the cache.
    pub cache_read_tokens: u64,
    /// Of the input, those written to the cache.
    pub cache_write_tokens: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
    }
}

/// Why a body with status 200 is no answer. Worth another attempt, but for [`WireError::NotBuilt`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The body is not what this wire answers.
    #[error("the {} endpoint answered something that is not a reply ({missing} is missing): {start}", provider.as_str())]
    NotAReply {
        /// The wire that was spoken.
        provider: Provider,
        /// What was looked for.
        missing: &'static str,
        /// How the body begins.
        start: String,
    },
    /// The model ended its turn without a text and without calling a tool.
    #[error("the model answered nothing, neither a text nor a call of a tool: {start}")]
    Empty {
        /// How the body begins.
        start: String,
    },
    /// The wire is known but not yet built.
    #[error(
        "the wire `{}` is not yet built: use provider = \"openai\" or \"anthropic\" with a base_url that speaks it",
        .0.as_str()
    )]
    NotBuilt(Provider),
}

/// The exact body of a request. A wire that is not yet built is a terminal error.
pub fn request(provider: Provider, model: &str, prompt: &Prompt) -> Result<Value, Error> {
    match provider {
        Provider::Openai => Ok(chat::request(model, prompt)),
        Provider::Anthropic => Ok(messages::request(model, prompt)),
        Provider::OpenaiResponses | Provider::Gemini | Provider::Ollama => Err(terminal(WireError::NotBuilt(provider))),
    }
}

/// Reads the body of an answer with status 200.
pub fn parse(provider: Provider, body: &Value) -> Result<Reply, WireError> {
    let parsed = match provider {
        Provider::Openai => chat::parse(body),
        Provider::Anthropic => messages::parse(body),
        Provider::OpenaiResponses | Provider::Gemini | Provider::Ollama => return Err(WireError::NotBuilt(provider)),
    };
    let start = || quote(&body.to_string(), START);
    let mut reply = parsed.map_err(|missing| WireError::NotAReply { provider, missing, start: start() })?;
    if reply.stop == Stop::End && !reply.tool_calls.is_empty() {
        // Some servers that speak Chat Completions say `stop` here.
        reply.stop = Stop::ToolUse;
    }
    let ended = matches!(&reply.stop, Stop::End | Stop::ToolUse) || reply.stop == missing_stop();
    if ended && reply.tool_calls.is_empty() && reply.text.trim().is_empty() {
        return Err(WireError::Empty { start: start() });
    }
    Ok(reply)
}

fn missing_stop() -> Stop {
    Stop::Other("missing".to_owned())
}

/// Characters of a body that an error quotes.
pub(crate) const START: usize = 300;

/// The first `most` characters of a text that came from outside, for an error message.
pub(crate) fn quote(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "(an empty body)".to_owned();
    }
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
