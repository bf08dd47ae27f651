//! What both wires have to mend in an answer before it can be used or sent back. It never changes what is in order.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{START, quote};

/// Gives each call an id of its own where the model or its server gave none, or one twice: `call_0` and so on.
pub(super) fn mend_ids<'c>(calls: impl Iterator<Item = &'c mut Value>) {
    let calls: Vec<&mut Value> = calls.collect();
    let given = |call: &Value| call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let mut taken: BTreeSet<String> = calls.iter().filter_map(|call| given(call)).collect();
    let mut seen = BTreeSet::new();
    for (at, call) in calls.into_iter().enumerate() {
        if given(call).is_some_and(|id| seen.insert(id)) {
            continue;
        }
        let mut number = at;
        let mut id = format!("call_{number}");
        while !taken.insert(id.clone()) {
            number += 1;
            id = format!("call_{number}");
        }
        if let Some(call) = call.as_object_mut() {
            call.insert("id".to_owned(), Value::String(id));
        }
    }
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

/// The text at `key`, or an empty one.
pub(super) fn text_at<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer, or zero.
pub(super) fn count_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}
