//! What a model is told of a tool's result: text, cut to a length. Pure functions of what the journal holds; they never
//! change the result itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::wire::ToolReply;

/// Where `abide-mcp` puts the id of the server's connection into a `CallToolResult`.
const SESSION: &str = "/_meta/io.abide~1session";

/// What the model is told of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) is_error: bool,
    /// The server and the id of its connection, if the result names one.
    pub(crate) session: Option<(String, String)>,
}

impl Told {
    /// That the call was not made, or failed. The text says so itself, as not every wire has a place for it.
    pub(crate) fn error(text: &str) -> Self {
        Self { text: format!("Error: {text}"), is_error: true, session: None }
    }

    /// A `CallToolResult` of `server`, at most `most` characters of it.
    pub(crate) fn of_result(server: &str, result: &Value, most: usize) -> Self {
        let text = cut(text_of(result), most);
        let mut told = match result.get("isError") {
            Some(Value::Bool(true)) => Self::error(&text),
            _ => Self { text, is_error: false, session: None },
        };
        let id = result.pointer(SESSION);
        told.session = id.map(|id| (server.to_owned(), id.as_str().map_or_else(|| id.to_string(), str::to_owned)));
        told
    }

    pub(crate) fn reply(self, call_id: String) -> ToolReply {
        ToolReply { call_id, text: self.text, is_error: self.is_error }
    }
}

/// A text that is not in the written form of [`crate::Redactor`] (an error's message, a person's words): nothing in it may
/// be taken for a secret's name and filled in on sending.
pub(crate) fn foreign(text: &str) -> String {
    text.replace("${", "$ {")
}

/// The connections of each server that the conversation has seen.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<String, BTreeSet<String>>);

impl Sessions {
    /// Adds a line to the result of a server that was started anew since its last one.
    ///
    /// Results of one turn come in the order of the calls, so a stale id may follow a new one: only one that was never
    /// seen is news.
    pub(crate) fn note(&mut self, told: &mut Told) {
        let Some((server, id)) = told.session.take() else { return };
        let seen = self.0.entry(server.clone()).or_default();
        let known_before = !seen.is_empty();
        if seen.insert(id) && known_before {
            told.text = format!(
                "[Note: the server `{server}` was started anew since your last call; what it kept in memory is lost.]\n{}",
                told.text
            );
        }
    }
}

pub(crate) fn text_of(result: &Value) -> String {
    let Some(result) = result.as_object() else {
        return result.as_str().map_or_else(|| result.to_string(), str::to_owned);
    };
    let items = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut has_text = false;
    let mut parts: Vec<String> = items.iter().map(|item| part(item, &mut has_text)).collect();
    match result.get("structuredContent") {
        Some(structured) if !has_text && !structured.is_null() => parts.insert(0, structured.to_string()),
        _ => {}
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { "(the tool gave no output)".to_owned() } else { parts.join("\n") }
}

/// One content block: its text, or what it is called.
fn part(item: &Value, has_text: &mut bool) -> String {
    let at = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
    let or_unknown = |text: Option<&str>| text.unwrap_or("of an unknown type").to_owned();
    match at("/type") {
        Some("text") => {
            let text = at("/text").unwrap_or_default();
            *has_text |= !text.is_empty();
            text.to_owned()
        }
        Some("resource") => {
            let uri = at("/resource/uri").unwrap_or("without an address");
            match at("/resource/text") {
                Some(text) => {
                    *has_text = true;
                    format!("[resource {uri}]\n{text}")
                }
                None => format!("[resource omitted: {uri}, {}]", or_unknown(at("/resource/mimeType"))),
            }
        }
        Some("resource_link") => {
            format!("[link to a resource: {} {}]", at("/name").unwrap_or_default(), at("/uri").unwrap_or_default())
        }
        Some(kind) => format!("[{kind} omitted: {}]", or_unknown(at("/mimeType"))),
        None => "[content of an unknown type omitted]".to_owned(),
    }
}

/// The first `most` characters, and how much was cut.
fn cut(mut text: String, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else { return text };
    let all = text.chars().count();
    text.truncate(end);
    let left_out = all - most;
    text + &format!("\n[cut off: {left_out} of {all} characters are not shown; ask for less at a time]")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn told(result: &Value) -> String {
        Told::of_result("s", result, 1_000).text
    }

    #[test]
    fn results_become_text() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
        for (result, expected) in [
            (json!({"content": [text("a"), text("b")]}), "a\nb"),
            (json!({"content": [text("a")], "structuredContent": {"x": 1}}), "a"),
            (json!({"content": [], "structuredContent": {"x": 1}}), r#"{"x":1}"#),
            (json!({"content": [image], "structuredContent": {"x": 1}}), "{\"x\":1}\n[image omitted: image/png]"),
            (json!({"content": [text("a"), image]}), "a\n[image omitted: image/png]"),
            (json!({"content": [{"type": "audio"}]}), "[audio omitted: of an unknown type]"),
            (
                json!({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "hello"}}]}),
                "[resource file:///a]\nhello",
            ),
            (
                json!({"content": [{"type": "resource", "resource": {"uri": "u:1", "blob": "AA", "mimeType": "x/y"}}]}),
                "[resource omitted: u:1, x/y]",
            ),
            (json!({"content": [{"type": "resource_link", "name": "n", "uri": "u:1"}]}), "[link to a resource: n u:1]"),
            (json!({"content": [text("no such file")], "isError": true}), "Error: no such file"),
            (json!({"content": []}), "(the tool gave no output)"),
            (json!({"content": [5]}), "[content of an unknown type omitted]"),
            (json!({}), "(the tool gave no output)"),
            (json!("plain"), "plain"),
            (json!(["odd"]), r#"["odd"]"#),
        ] {
            assert_eq!(told(&result), expected, "{result}");
        }
    }

    #[test]
    fn long_results_are_cut_by_characters_and_say_so() {
        let result = json!({"content": [{"type": "text", "text": "é".repeat(12)}]});
        assert_eq!(Told::of_result("s", &result, 12).text, "é".repeat(12));
        let text = Told::of_result("s", &result, 10).text;
        assert!(text.starts_with(&format!("{}\n[cut off: 2 of 12 characters", "é".repeat(10))), "{text}");
    }

    #[test]
    fn a_new_connection_is_told_once_and_the_first_one_never() {
        let mut sessions = Sessions::default();
        let expected = [("s", Some("a"), false), ("s", None, false), ("t", Some("x"), false), ("s", Some("b"), true)];
        let stale_and_known = [("s", Some("a"), false), ("s", Some("b"), false), ("t", Some("y"), true)];
        for (server, id, noted) in expected.into_iter().chain(stale_and_known) {
            let meta = id.map_or(json!({}), |id| json!({"io.abide/session": id}));
            let mut told =
                Told::of_result(server, &json!({"content": [{"type": "text", "text": "ok"}], "_meta": meta}), 99);
            sessions.note(&mut told);
            assert_eq!(told.text != "ok", noted, "{server} {id:?}: {}", told.text);
            assert!(told.text.ends_with("ok"));
        }
    }

    #[test]
    fn no_name_in_a_foreign_text_is_filled_in() {
        let redactor = crate::Redactor::default();
        redactor.learn("KEY", "sk-0123456789");
        let text = foreign("masked ${KEY} or $${KEY}");
        assert_eq!(redactor.restore(&text), text);
    }
}
