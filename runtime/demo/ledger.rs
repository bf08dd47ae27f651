//! What somebody other than abide has seen of the calls: one line of JSON for each, in a file of its own. It never reads a
//! journal, so that a journal can be judged by it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of a tool, as its server has executed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolCalled {
    /// Unix milliseconds.
    pub(super) at_ms: i64,
    /// The server's own name of the tool.
    pub(super) tool: String,
    /// The arguments.
    pub(super) arguments: Value,
    /// The idempotency key of the request's `_meta`.
    pub(super) key: Option<String>,
}

/// One request of the model, as it came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelAsked {
    /// Unix milliseconds.
    pub(super) at_ms: i64,
    /// The body's [`fingerprint`].
    pub(super) body: String,
    /// The header `Idempotency-Key`.
    pub(super) key: Option<String>,
}

/// A file of such lines.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    path: PathBuf,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds a line, in one write.
    pub(super) fn append(&self, entry: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        OpenOptions::new().append(true).create(true).open(&self.path)?.write_all(line.as_bytes())
    }

    /// All lines; none if there is no file.
    pub(super) fn read<T: DeserializeOwned>(&self) -> io::Result<Vec<T>> {
        let text = match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
    }
}

/// Unix milliseconds, now.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A hash of a value that does not depend on the order of its keys.
pub(super) fn fingerprint(value: &Value) -> String {
    fn feed(hasher: &mut blake3::Hasher, value: &Value) {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                hasher.update(b"{");
                for (key, value) in entries {
                    hasher.update(Value::from(key.as_str()).to_string().as_bytes());
                    feed(hasher, value);
                }
                hasher.update(b"}");
            }
            Value::Array(items) => {
                hasher.update(b"[");
                for item in items {
                    feed(hasher, item);
                }
                hasher.update(b"]");
            }
            other => {
                hasher.update(other.to_string().as_bytes()).update(b",");
            }
        }
    }
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, value);
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("calls.jsonl"));
        assert_eq!(ledger.read::<ModelAsked>().unwrap(), []);
        let entries = [1, 2].map(|at_ms| ModelAsked { at_ms, body: "b".into(), key: Some("k".into()) });
        for entry in &entries {
            ledger.append(entry).unwrap();
        }
        assert_eq!(ledger.read::<ModelAsked>().unwrap(), entries);
    }

    #[test]
    fn a_fingerprint_tells_values_apart_and_not_their_order() {
        let parse = |text: &str| fingerprint(&serde_json::from_str(text).unwrap());
        assert_eq!(parse(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#), parse(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#));
        for (one, other) in [(json!([1, 2]), json!([12])), (json!("1"), json!(1)), (json!([[1], 2]), json!([[1, 2]]))] {
            assert_ne!(fingerprint(&one), fingerprint(&other));
        }
    }
}
