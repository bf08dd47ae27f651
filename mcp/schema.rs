//! Does a value fit a JSON schema that a server gave? It never looks up a reference outside of the schema, and never lets a schema
//! that is made to take for ever keep anybody waiting for longer than a moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// The largest schema that is used, in bytes of JSON: how deep it can lead is bounded by that, and so is the stack.
const LARGEST: usize = 256 << 10;

/// The stack of the thread that compares, in bytes. It is taken only as far as it is needed.
const STACK: usize = 256 << 20;

/// How long a comparison may take. Those of honest schemas take microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most comparisons that may go on after that: nothing can end a thread.
const RUNAWAYS: usize = 4;

static RUNNING_AWAY: AtomicUsize = AtomicUsize::new(0);

/// Ok if it does, or if the schema is none that can be used: then nothing can be said against the value.
///
/// # Errors
/// Where it does not fit, and why.
pub(crate) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    if is_plain(schema) {
        return compare(schema, value);
    }
    if RUNNING_AWAY.load(Ordering::SeqCst) >= RUNAWAYS || schema.to_string().len() > LARGEST {
        tracing::warn!("a schema of an MCP server is too large, or others take for ever: it is not used");
        return Ok(());
    }
    let (done, outcome) = sync_channel(0);
    let (schema, value) = (schema.clone(), value.clone());
    let comparing = std::thread::Builder::new().name("schema".to_owned()).stack_size(STACK).spawn(move || {
        let found = compare(&schema, &value);
        if done.send(found).is_err() {
            RUNNING_AWAY.fetch_sub(1, Ordering::SeqCst);
        }
    });
    match comparing.map(|_| outcome.recv_timeout(PATIENCE)) {
        Ok(Ok(found)) => found,
        Ok(Err(RecvTimeoutError::Timeout)) => {
            RUNNING_AWAY.fetch_add(1, Ordering::SeqCst);
            Err(format!("its schema takes longer than {} s to compare it with", PATIENCE.as_secs()))
        }
        Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => Ok(()),
    }
}

/// A schema that refers to nothing and applies nothing twice to the same value: it takes no longer than the value is large.
fn is_plain(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let plain = |key: &str| !key.starts_with('$') || key == "$schema";
            let once = |key: &str| !BRANCHES.contains(&key);
            members.iter().all(|(key, value)| plain(key) && once(key) && is_plain(value))
        }
        Value::Array(items) => items.iter().all(is_plain),
        _ => true,
    }
}

/// What applies several schemas to one value, or looks at it with an expression of the server's.
const BRANCHES: [&str; 12] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "dependencies",
    "dependentSchemas",
    "contains",
    "pattern",
    "patternProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
];

fn compare(schema: &Value, value: &Value) -> Result<(), String> {
    let Ok(validator) = jsonschema::options().with_retriever(Nowhere).build(schema) else { return Ok(()) };
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "at its top".to_owned() } else { format!("at {place}") };
            Err(format!("{place}: {error}"))
        }
    }
}

/// Nothing is fetched: not from the network, not from a disk.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Err(format!("{uri} lies outside of the schema").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]});
        for schema in [schema.clone(), json!({ "allOf": [schema] })] {
            assert_eq!(check(&schema, &json!({"sum": 3, "more": true})), Ok(()));
            assert!(check(&schema, &json!({"sum": "3"})).unwrap_err().starts_with("at /sum: "));
            assert!(check(&schema, &json!({})).unwrap_err().starts_with("at its top: "));
        }
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_not_fetched_and_says_nothing() {
        for reference in ["https://example.com/s.json", "file:///etc/passwd"] {
            assert_eq!(check(&json!({"$ref": reference}), &json!(1)), Ok(()));
        }
        assert_eq!(check(&json!({"type": 7}), &json!(1)), Ok(()));
    }

    /// Definitions that each refer to the next one, `times` times.
    fn chain(length: usize, times: usize) -> Value {
        let definition = |n: usize| {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            (n.to_string(), if times == 1 { next } else { json!({ "allOf": vec![next; times] }) })
        };
        let mut all: Map<String, Value> = (0..length).map(definition).collect();
        all.insert(length.to_string(), json!({"type": "object"}));
        json!({"$defs": all, "$ref": "#/$defs/0"})
    }

    #[test]
    fn a_schema_that_would_take_for_ever_is_given_up() {
        let branching = json!({"properties": {"x": {"$ref": "#"}}});
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "x": deep });
        }
        for (schema, value) in [(chain(60, 2), json!({})), (json!({"allOf": [branching, branching]}), deep)] {
            assert!(check(&schema, &value).unwrap_err().contains("takes longer"));
        }
        assert_eq!(check(&json!({"$ref": "#"}), &json!({})), Ok(()));
    }

    #[test]
    fn a_schema_as_deep_as_it_may_be_needs_no_more_stack_than_there_is() {
        let length = LARGEST / 40;
        assert_eq!(check(&chain(length, 1), &json!({})), Ok(()));
        assert!(check(&chain(length, 1), &json!(7)).is_err(), "it is used");
        assert_eq!(check(&chain(10 * length, 1), &json!(7)), Ok(()), "it is not");
    }
}
