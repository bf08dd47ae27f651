//! What every wire has to mend in an answer before it can be used or sent back, and how it reads one. It never changes what is in
//! order.

use std::collections::BTreeSet;

use abide_engine::{Error, terminal};
use serde_json::{Value, json};

use super::{Part, START, quote};
use crate::model::Provider;

/// Why an answer is none; `super::parse` turns it into a `WireError`.
#[derive(Debug)]
pub(super) enum Unread {
    /// This is missing.
    Missing(&'static str),
    /// The provider itself could not read the model's call: its word for it.
    BadCall(String),
    /// The provider says that it failed.
    Failed { code: String, message: String },
}

impl From<&'static str> for Unread {
    fn from(missing: &'static str) -> Self {
        Self::Missing(missing)
    }
}

/// Gives each call an id of its own where the model or its server gave none, or one twice; `key` is where it stands.
pub(super) fn mend_ids<'c>(key: &str, calls: impl Iterator<Item = &'c mut Value>) {
    let calls: Vec<&mut Value> = calls.collect();
    let given: Vec<String> = calls.iter().map(|call| text_at(call, key).to_owned()).collect();
    for (call, (given, id)) in calls.into_iter().zip(given.iter().zip(own_ids(&given))) {
        if *given != id
            && let Some(call) = call.as_object_mut()
        {
            call.insert(key.to_owned(), Value::String(id));
        }
    }
}

/// These ids, with `call_0` and so on for those that are empty or there already.
pub(super) fn own_ids(given: &[String]) -> Vec<String> {
    let mut taken: BTreeSet<String> = given.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    let own = |(at, id): (usize, &String)| {
        if !id.is_empty() && seen.insert(id.clone()) {
            return id.clone();
        }
        let mut number = at;
        let mut name = format!("call_{number}");
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("call_{number}");
        }
        name
    };
    given.iter().enumerate().map(own).collect()
}

/// Arguments as they were given, text or JSON, as an object; or what is wrong with them.
pub(super) fn arguments(given: Option<&Value>) -> Result<Value, String> {
    let parsed = match given {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|error| format!("the arguments are not valid JSON ({error}): {}", quote(text, START)))?,
        Some(other) => other.clone(),
    };
    match parsed {
        Value::Object(_) => Ok(parsed),
        Value::Null => Ok(json!({})),
        other => Err(format!("the arguments have to be a JSON object, not {}", quote(&other.to_string(), START))),
    }
}

/// Arguments at `key` of a call whose wire wants a text there. Servers that fill it into a chat template parse it when it comes
/// back, and fail for good on what is no JSON, so that is replaced.
pub(super) fn take_text(call: &mut Value, key: &str) -> Result<Value, String> {
    let given = call.get(key);
    let arguments = arguments(given);
    let unfit = match given {
        Some(Value::String(text)) if arguments.is_err() => Some(json!({"invalid_arguments": text}).to_string()),
        Some(Value::String(text)) if text.trim().is_empty() => Some("{}".to_owned()),
        _ => None,
    };
    if let (Some(text), Some(call)) = (unfit, call.as_object_mut()) {
        call.insert(key.to_owned(), Value::String(text));
    }
    arguments
}

/// Arguments at `key` of a call whose wire wants an object there, also when it is sent back.
pub(super) fn take_object(call: &mut Value, key: &str) -> Result<Value, String> {
    let arguments = arguments(call.get(key));
    if let Some(call) = call.as_object_mut()
        && !call.get(key).is_some_and(Value::is_object)
    {
        let given = call.remove(key);
        call.insert(key.to_owned(), arguments.clone().unwrap_or_else(|_| json!({"invalid_arguments": given})));
    }
    arguments
}

/// The text at `key`, or an empty one.
pub(super) fn text_at<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of the array at `key`, or none.
pub(super) fn items_at<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The number at a JSON pointer, or zero.
pub(super) fn count_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The model that answered.
pub(super) fn model_at(body: &Value, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The part is not for this wire.
pub(super) fn cannot(provider: Provider, part: &Part, instead: &str) -> Error {
    terminal(format!("the wire `{}` cannot carry {}: {instead}", provider.as_str(), part.what()))
}

pub(super) fn data_url(mime: &str, base64: &str) -> String {
    format!("data:{mime};base64,{base64}")
}
