//! What one request of a call can come to beside its result: a server that asks first, or works on by itself. Plain data, for the
//! journal; it asks nobody and waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tools::Policy;

/// What one request of a call came to. As JSON a result is itself; the others say so by `resultType`, which no result has
/// without a `content` beside it.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// The result: a `CallToolResult`.
    Done(Value),
    /// The server wants to know something first.
    Asks(Asks),
    /// The server works on it, and wants to be asked for the result.
    Works(Underway),
}

/// What a server wants to know before it goes on, under names of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Asks {
    /// Questions to a person, as they are shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, Value>,
    /// Questions to a model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Sampling>,
    /// What whoever runs the tools answers by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ready: BTreeMap<String, Value>,
    /// What whoever runs the tools wants back with the answers.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub back: Value,
    /// True if the call is still open, in this process alone: it ends with it. Otherwise nothing is under way meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The idempotency key of the call.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// A question to a model on behalf of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// May it be asked without asking a person?
    pub policy: Policy,
    /// The parameters of MCP's `sampling/createMessage`.
    pub params: Value,
}

/// What a server works on by itself, looked after by its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Underway {
    /// The server's id of it.
    pub id: String,
    /// How often the server wants to be asked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
    /// The idempotency key of the call.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// How a server's work stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// It is done, with this result.
    Over(Value),
    /// It waits for answers.
    Asks(Asks),
    /// It goes on; how often the server wants to be asked, in milliseconds.
    Works(Option<u64>),
    /// The server does not know it any more, and why that is known.
    Lost(String),
}

/// An answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// The result of the request, as MCP has it.
    Result(Value),
    /// There is none, and why.
    Refused(String),
}

/// Answers under the names of the questions.
pub type Answers = BTreeMap<String, Given>;

/// Which request of a call is made.
#[derive(Debug, Clone)]
pub enum Onward {
    /// The first.
    Begin,
    /// The one that brings answers to what was asked.
    Answer(Arc<Asks>, Answers),
}

/// What a server still has of a call that nobody wants any more.
#[derive(Debug, Clone)]
pub enum Left {
    /// An open call.
    Open(Arc<Asks>),
    /// A work.
    Work(Underway),
}

/// A prompt that a server offers, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptRef {
    /// The server's name as configured.
    pub server: String,
    /// The prompt's name at its server.
    pub name: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
}

/// A resource that a server offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceRef {
    /// The server's name as configured.
    pub server: String,
    /// The resource's address.
    pub uri: String,
}

const TYPE: &str = "resultType";
const ASKS: &str = "input_required";
const WORKS: &str = "task";

impl Asks {
    /// Without the questions of these names.
    pub(crate) fn without(mut self, names: &BTreeSet<String>) -> Self {
        self.people.retain(|name, _| !names.contains(name));
        self.models.retain(|name, _| !names.contains(name));
        self.ready.retain(|name, _| !names.contains(name));
        self
    }

    /// The names of all questions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.people.keys().chain(self.models.keys()).chain(self.ready.keys())
    }
}

impl Came {
    /// As it is kept.
    pub(crate) fn write(self) -> Value {
        let (kind, rest) = match self {
            Self::Done(result) => return result,
            Self::Asks(asks) => (ASKS, json!(asks)),
            Self::Works(work) => (WORKS, json!(work)),
        };
        let mut written = json!({ TYPE: kind });
        if let (Value::Object(written), Value::Object(rest)) = (&mut written, rest) {
            written.extend(rest);
        }
        written
    }

    /// What was kept.
    pub(crate) fn read(value: Value) -> Self {
        let kind = value.get(TYPE).and_then(Value::as_str).filter(|_| value.get("content").is_none());
        let read = match kind {
            Some(ASKS) => Asks::deserialize(&value).ok().map(Self::Asks),
            Some(WORKS) => Underway::deserialize(&value).ok().map(Self::Works),
            _ => None,
        };
        read.unwrap_or(Self::Done(value))
    }

    /// With the key under which the call was made.
    pub(crate) fn under(self, key: &str) -> Self {
        match self {
            Self::Done(result) => Self::Done(result),
            Self::Asks(asks) => Self::Asks(Asks { key: key.to_owned(), ..asks }),
            Self::Works(work) => Self::Works(Underway { key: key.to_owned(), ..work }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_a_result_is_never_taken_for_something_else() {
        let people = BTreeMap::from([("who".to_owned(), json!({"message": "who?"}))]);
        let asks = Asks { people, back: json!({"state": "s"}), ..Asks::default() };
        let work = Underway { id: "t".into(), poll_ms: None, key: String::new() };
        for came in [Came::Asks(asks).under("k"), Came::Works(work).under("k")] {
            assert_eq!(Came::read(came.clone().write()), came);
        }
        for result in [
            json!({"content": [], "resultType": "input_required", "people": {}}),
            json!({"content": [], "resultType": "complete"}),
            json!({"resultType": "task"}),
            json!("text"),
        ] {
            assert_eq!(Came::read(result.clone()), Came::Done(result));
        }
    }
}
