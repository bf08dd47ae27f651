//! What has changed of a tool since a run was given it, line by line, for the person who is asked whether that is well. It
//! decides nothing.

use std::fmt::Write as _;

use abide_llm::ToolSpec;
use serde_json::Value;

use crate::discover::Listed;

/// How many lines are shown.
const MOST: usize = 60;

/// The difference: a line for each changed value, before and after.
pub(crate) fn difference(pinned: &ToolSpec, now: &Listed) -> String {
    let mut lines = Vec::new();
    if pinned.description != now.description {
        lines.push(change("description", &pinned.description.clone().into(), &now.description.clone().into()));
    }
    compare("arguments", &pinned.input_schema, &now.input_schema, &mut lines);
    if lines.is_empty() {
        lines
            .push("  its annotations, its title or the schema of its results (a run keeps only their hash)".to_owned());
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    let mut text = lines.join("\n");
    if more > 0 {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

fn compare(at: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let at = format!("{at}.{key}");
                match new.get(key) {
                    Some(changed) => compare(&at, value, changed, lines),
                    None => lines.push(format!("  - {at}: {value}")),
                }
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                lines.push(format!("  + {at}.{key}: {value}"));
            }
        }
        _ => lines.push(change(at, before, after)),
    }
}

fn change(at: &str, before: &Value, after: &Value) -> String {
    format!("  - {at}: {before}\n  + {at}: {after}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn each_changed_value_is_a_line() {
        let mut lines = Vec::new();
        let before = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]});
        let after =
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "c": {}}, "required": ["a", "c"]});
        compare("arguments", &before, &after, &mut lines);
        let expected = "  - arguments.properties.a.type: \"string\"\n  + arguments.properties.a.type: \"integer\"\n  \
            - arguments.properties.b: {}\n  + arguments.properties.c: {}\n  - arguments.required: [\"a\"]\n  \
            + arguments.required: [\"a\",\"c\"]";
        assert_eq!(lines.join("\n"), expected);
        let mut none = Vec::new();
        compare("arguments", &after, &after, &mut none);
        assert!(none.is_empty());
    }
}
