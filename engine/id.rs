//! Step ids: readable paths of scope, name and ordinal. It never reads a journal.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a step, in bytes.
pub const MAX_NAME: usize = 128;

/// The id of a step, timer, signal or child within its run: `plan`, `fetch#2`, `tasks[3]/search` (DESIGN rule 6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(Arc<str>);

impl StepId {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn new(scope: &str, name: &str, ordinal: u32) -> Self {
        let slash = if scope.is_empty() { "" } else { "/" };
        if ordinal == 1 {
            return if scope.is_empty() { Self(name.into()) } else { Self(format!("{scope}{slash}{name}").into()) };
        }
        Self(format!("{scope}{slash}{name}#{ordinal}").into())
    }

    /// The name within the path: `search` of `tasks[3]/search#2`.
    pub fn name(&self) -> &str {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        last.split('#').next().unwrap_or(last)
    }
}

impl From<&str> for StepId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says why a name cannot be part of a path, or nothing.
pub(crate) fn fault_of_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_NAME {
        Some("it is longer than 128 bytes")
    } else if name.contains(['/', '#', '[', ']']) {
        Some("it contains one of / # [ ], which are the punctuation of step ids")
    } else if name.contains(char::is_control) {
        Some("it contains a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_scope_name_ordinal() {
        assert_eq!(StepId::new("", "plan", 1).as_str(), "plan");
        assert_eq!(StepId::new("", "fetch", 2).as_str(), "fetch#2");
        assert_eq!(StepId::new("tasks[3]", "search", 1).as_str(), "tasks[3]/search");
        assert_eq!(StepId::new("tasks[3]", "search", 4).name(), "search");
    }

    #[test]
    fn punctuation_of_ids_is_refused_in_names() {
        for bad in ["", "a/b", "a#b", "a[0]", "a\nb", &"x".repeat(129)] {
            assert!(fault_of_name(bad).is_some(), "{bad:?}");
        }
        assert_eq!(fault_of_name("mcp tool-name_1.2"), None);
    }
}
