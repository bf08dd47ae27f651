//! What is said to a model and what it answers, apart from how a vendor spells it. Pure functions: they never send anything.
//!
//! `prompt` and `reply` are the two sides as plain data. One file spells each wire: `chat` (`OpenAI` Chat Completions), `responses`
//! (`OpenAI` Responses), `messages` (Anthropic Messages), `gemini` (`generateContent`), `ollama` (`/api/chat`). What a model said goes
//! back to it verbatim, as the wire's own JSON: signatures and reasoning that abide does not know survive. `history` rebuilds it for
//! another model, `offer` decides how tools and an answer in JSON are asked for, within the `bounds` of a small model. `embed` is about vectors.

mod bounds;
mod chat;
pub mod embed;
mod gemini;
mod history;
mod messages;
mod offer;
mod ollama;
mod parts;
mod prompt;
mod reply;
mod responses;

use abide_engine::Error;
use serde_json::Value;

pub use prompt::{Assistant, Origin, Output, Part, Prompt, Source, ToolChoice, ToolDecl, ToolReply, Turn};
pub use reply::{CallRequest, Reply, Stop, Usage};

use crate::model::{ModelConfig, Provider};
use parts::Unread;

/// Why a body with status 200 is no answer. Worth another attempt.
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
    /// The model called a tool in a form that its own provider could not read.
    #[error("the model called a tool in a form that cannot be read ({reason}): {start}")]
    BadCall {
        /// The provider's word for it.
        reason: String,
        /// How the body begins.
        start: String,
    },
    /// The provider says in the body that it failed.
    #[error("the {} endpoint failed ({code}): {message}", provider.as_str())]
    Failed {
        /// The wire that was spoken.
        provider: Provider,
        /// The provider's code, such as `server_error`; `unknown` where it gave none.
        code: String,
        /// The provider's words.
        message: String,
    },
}

/// The exact body of a request.
///
/// | wire | images | documents | images in a tool's result |
/// | --- | --- | --- | --- |
/// | `openai` | base64, URL | PDF in base64 | named |
/// | `openai-responses` | base64, URL | any in base64, URL | yes |
/// | `anthropic` | base64, URL | PDF in base64, by URL; `text/plain` in base64 | yes, unless it is an error |
/// | `gemini` | base64, URL | any in base64, URL | base64, since Gemini 3 |
/// | `ollama` | base64 | no | named |
///
/// Anything else in a [`Turn::User`] is a terminal error that names the wire and what it cannot carry; so is an [`Output`] whose
/// name or schema no vendor takes.
pub fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    match model.provider {
        Provider::Openai => chat::request(model, prompt),
        Provider::OpenaiResponses => responses::request(model, prompt),
        Provider::Anthropic => messages::request(model, prompt),
        Provider::Gemini => gemini::request(model, prompt),
        Provider::Ollama => ollama::request(model, prompt),
    }
}

/// Reads the body of an answer with status 200: what came whole, or what a stream was put together to.
pub fn parse(provider: Provider, body: &Value) -> Result<Reply, WireError> {
    let parsed = match provider {
        Provider::Openai => chat::parse(body),
        Provider::OpenaiResponses => responses::parse(body),
        Provider::Anthropic => messages::parse(body),
        Provider::Gemini => gemini::parse(body),
        Provider::Ollama => ollama::parse(body),
    };
    let start = || quote(&body.to_string(), START);
    let mut reply = parsed.map_err(|unread| match unread {
        Unread::Missing(missing) => WireError::NotAReply { provider, missing, start: start() },
        Unread::BadCall(reason) => WireError::BadCall { reason, start: start() },
        Unread::Failed { code, message } => WireError::Failed { provider, code, message: quote(&message, START) },
    })?;
    if reply.stop == Stop::End && !reply.tool_calls.is_empty() {
        // Gemini and Ollama always say so, and some servers that speak Chat Completions.
        reply.stop = Stop::ToolUse;
    }
    let ended = matches!(&reply.stop, Stop::End | Stop::ToolUse) || reply.stop == Stop::missing();
    if ended && reply.tool_calls.is_empty() && reply.text.trim().is_empty() {
        return Err(WireError::Empty { start: start() });
    }
    Ok(reply)
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
