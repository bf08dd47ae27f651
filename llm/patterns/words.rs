//! What models are told around the words of users and of other models. Pure functions; they never shorten what the journal keeps.

use std::fmt::Write as _;
use std::sync::Arc;

use abide_engine::Error;

use super::Work;
use crate::agent_text::foreign;

/// The most characters of one result that others are told of.
const RESULT: usize = 20_000;

/// A heading, and what was said, or that it failed: apart, so that what was said stands there word for word.
pub(crate) fn section(title: &str, said: Result<&str, &Error>) -> [String; 2] {
    let said = match said {
        Ok(text) => cut(text),
        Err(error) => format!("(failed: {})", foreign(error.message())),
    };
    [format!("\n\n## {title}\n\n"), said]
}

/// At most so much of a result that a conversation of several can hold it.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(RESULT) {
        None => text.to_owned(),
        Some((end, _)) => {
            let left = text.chars().count() - RESULT;
            format!("{}\n[cut off: {left} more characters]", text.get(..end).unwrap_or_default())
        }
    }
}

/// A line for each: its name and what it is good for.
pub(crate) fn roster(works: &[Arc<dyn Work>]) -> String {
    let mut lines = String::new();
    for work in works {
        // Writing to a text does not fail.
        let _ = match work.about().trim() {
            "" => writeln!(lines, "- {}", work.name()),
            about => writeln!(lines, "- {}: {about}", work.name()),
        };
    }
    lines
}

/// Names in an error: `a, b`.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}
