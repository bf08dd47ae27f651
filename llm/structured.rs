//! An answer in JSON: found in a reply however it came, checked against its schema, and what a model is told that missed it. Pure
//! functions: they never call a model, and never fetch a schema.

use std::fmt::Write as _;

use abide_engine::{Error, terminal};
use serde_json::{Deserializer, Value};

use crate::model::ModelConfig;
use crate::wire::{Output, Part, Reply, START, Stop, ToolReply, Turn, quote};

/// The most mistakes that are told at once.
const MISTAKES: usize = 10;
/// The most bytes that are read in search of JSON, counting again what is read again.
const SEARCH: usize = 16 << 20;

/// Why a reply is not the answer that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The schema itself is wrong: no reply could fit it.
    #[error("the schema of the output `{name}` cannot be used: {why}")]
    Schema {
        /// The output's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The model refused.
    #[error("the model refused to answer: {0}")]
    Refused(String),
    /// The reply is cut off.
    #[error("the answer was cut off at the limit of tokens: raise `max_tokens` of the model, or ask for less")]
    Truncated,
    /// There is no JSON in the reply.
    #[error("there is no JSON in the answer: {0}")]
    NoJson(String),
    /// There is JSON, and it does not fit the schema.
    #[error("the answer does not fit its schema: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

impl Unfit {
    /// May another try help?
    pub fn can_be_repaired(&self) -> bool {
        matches!(self, Self::NoJson(_) | Self::Invalid(_))
    }

    /// What the model is told, to answer again.
    pub fn words(&self) -> String {
        let mut words = "Your answer cannot be used.".to_owned();
        match self {
            Self::Invalid(mistakes) => {
                words += " It does not fit the JSON schema:";
                for mistake in mistakes {
                    // Writing to a text does not fail.
                    let _ = write!(words, "\n- {mistake}");
                }
            }
            other => {
                let _ = write!(words, " Reason: {other}.");
            }
        }
        words + "\nGive the whole answer again, corrected, in the form that was asked for, and nothing beside it."
    }

    /// The turns that follow such a reply, for one more try; an error if none would help. Every call of the reply is answered.
    pub fn repair(&self, reply: Reply, asked: &ModelConfig, output: &Output) -> Result<[Turn; 2], Error> {
        if !self.can_be_repaired() {
            return Err(terminal(self));
        }
        let told = if reply.tool_calls.is_empty() {
            Turn::User(vec![Part::Text(self.words())])
        } else {
            let beside = || "Error: it was not called, because the answer was given beside it".to_owned();
            let told = |name: &str| if name == output.name { format!("Error: {}", self.words()) } else { beside() };
            let calls = reply.tool_calls.iter();
            Turn::ToolResults(calls.map(|call| ToolReply::text(&*call.id, told(&call.name), true)).collect())
        };
        Ok([reply.into_turn(asked), told])
    }
}

/// The answer in `reply`: the arguments of the call by the output's name if there is one, else the text if it is JSON, else the JSON
/// in its fenced blocks or in its prose: the first that fits the schema.
pub fn read(reply: &Reply, output: &Output) -> Result<Value, Unfit> {
    let validator = jsonschema::validator_for(&output.schema)
        .map_err(|error| Unfit::Schema { name: output.name.clone(), why: quote(&error.to_string(), START) })?;
    let mut first: Option<Unfit> = None;
    let mut check = |value: Value| {
        let mistakes: Vec<String> = validator.iter_errors(&value).take(MISTAKES).map(|error| mistake(&error)).collect();
        if mistakes.is_empty() {
            return Some(value);
        }
        first.get_or_insert(Unfit::Invalid(mistakes));
        None
    };
    let found = match reply.tool_calls.iter().rfind(|call| call.name == output.name) {
        Some(call) => match &call.arguments {
            Ok(arguments) => check(arguments.clone()),
            Err(why) => {
                first = Some(Unfit::NoJson(why.clone()));
                None
            }
        },
        None => in_text(&reply.text, &mut check),
    };
    match (found, &reply.stop) {
        (Some(value), _) => Ok(value),
        (None, Stop::Refused) => Err(Unfit::Refused(quote(&reply.text, START))),
        (None, Stop::Truncated) => Err(Unfit::Truncated),
        (None, _) => Err(first.unwrap_or_else(|| Unfit::NoJson(quote(&reply.text, START)))),
    }
}

/// `/items/0: "x" is not of type "integer"`.
fn mistake(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    format!("{}: {}", if place.is_empty() { "the whole" } else { &place }, quote(&error.to_string(), START))
}

/// The first JSON object or array in the text that `check` takes.
fn in_text(text: &str, check: &mut dyn FnMut(Value) -> Option<Value>) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text.trim()) {
        return check(value);
    }
    let fenced = text.split("```").skip(1).step_by(2).filter_map(|block| {
        // The first line may name the language.
        let inner = block.find(['{', '[']).and_then(|at| block.get(at..))?;
        serde_json::from_str(inner.trim()).ok()
    });
    if let Some(value) = fenced.into_iter().find_map(&mut *check) {
        return Some(value);
    }
    let (mut at, mut left) = (0, SEARCH);
    while let Some(start) = text.get(at..).and_then(|rest| rest.find(['{', '['])).map(|start| at + start) {
        let rest = text.get(start..)?;
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                if let Some(value) = check(value) {
                    return Some(value);
                }
                at = start + values.byte_offset().max(1);
            }
            _ => at = start + 1,
        }
        left = left.checked_sub(rest.len())?;
    }
    None
}

#[cfg(test)]
#[path = "structured_tests.rs"]
mod tests;
