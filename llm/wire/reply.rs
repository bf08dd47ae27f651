//! What a model answered, apart from how a vendor spells it: plain data. It never guesses what a provider did not say.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Assistant, Origin, Turn};
use crate::model::ModelConfig;

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text, or an empty string. Reasoning is no part of it.
    pub text: String,
    /// The tools it calls, in its order; the ids are unique within the reply.
    pub tool_calls: Vec<CallRequest>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it used.
    pub usage: Usage,
    /// What it said in the wire's own form, for an [`Assistant::verbatim`]. Verbatim but for what would be refused on
    /// sending it back: call ids that were missing or given twice, and arguments that are not a JSON object.
    pub assistant: Value,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
}

impl Reply {
    /// What goes into the conversation; `asked` is the model that was called.
    pub fn into_turn(self, asked: &ModelConfig) -> Turn {
        Turn::Assistant(Assistant {
            origin: Origin::of(asked),
            verbatim: self.assistant,
            text: self.text,
            calls: self.tool_calls,
        })
    }
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
    /// It rests in a long turn of the provider's own tools: sent back as the last turn, it goes on.
    Paused,
    /// Anything else, in the provider's word; `missing` where there was none.
    Other(String),
}

impl Stop {
    /// The provider gave no reason.
    pub(super) fn missing() -> Self {
        Self::Other("missing".to_owned())
    }

    /// A reason that is none of those with a name of their own.
    pub(super) fn other(word: &str) -> Self {
        if word.is_empty() { Self::missing() } else { Self::Other(word.to_owned()) }
    }
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
