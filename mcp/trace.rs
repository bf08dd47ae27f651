//! W3C trace context of calls: what lets a server's traces be found from a step's idempotency key. It exports nothing.

use std::collections::BTreeMap;

use serde_json::Value;

/// The key of a call's `_meta` that whoever makes the call may set, too.
const PARENT: &str = "traceparent";

/// Where the step's key is.
const KEY: &str = "io.abide/idempotency-key";

/// Adds a `traceparent` unless there is one: derived from the step's key, so that all attempts of a step are one trace.
pub(crate) fn add(meta: &mut BTreeMap<String, Value>) {
    let Some(key) = meta.get(KEY).and_then(Value::as_str).filter(|_| !meta.contains_key(PARENT)) else { return };
    let hash = blake3::Hasher::new_derive_key("abide 2026 trace of a step").update(key.as_bytes()).finalize();
    let hex = hash.to_hex();
    let (trace, span) = (hex.get(..32).unwrap_or_default(), hex.get(32..48).unwrap_or_default());
    meta.insert(PARENT.to_owned(), format!("00-{trace}-{span}-01").into());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_step_has_one_trace_and_another_step_another() {
        let parent = |key: &str| {
            let mut meta = BTreeMap::from([(KEY.to_owned(), Value::from(key))]);
            add(&mut meta);
            meta[PARENT].as_str().unwrap().to_owned()
        };
        let one = parent("k-1");
        assert_eq!((one.clone(), one.len()), (parent("k-1"), 55));
        assert_ne!(one, parent("k-2"));
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"));
    }

    #[test]
    fn what_the_caller_says_stays_and_without_a_key_there_is_none() {
        let mut meta = BTreeMap::from([(KEY.to_owned(), Value::from("k")), (PARENT.to_owned(), Value::from("mine"))]);
        add(&mut meta);
        assert_eq!(meta[PARENT], "mine");
        let mut meta = BTreeMap::new();
        add(&mut meta);
        assert!(meta.is_empty());
    }
}
