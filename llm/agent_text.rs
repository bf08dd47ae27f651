//! What a model is told of a tool's result: text, cut to a length, and the images that every provider takes. Pure functions of what
//! the journal holds; they never change the result itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::wire::{Part, Source, ToolReply};

/// Where `abide-mcp` puts the id of the server's connection into a `CallToolResult`.
const SESSION: &str = "/_meta/io.abide~1session";

/// The images that every provider with eyes takes. Another one would make it refuse the whole conversation.
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The most bytes of an image in base64: Anthropic's limit, the lowest.
const IMAGE_BYTES: usize = 5 << 20;

/// What the model is told of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) content: Vec<Part>,
    pub(crate) is_error: bool,
    /// The server and the id of its connection, if the result names one.
    pub(crate) session: Option<(String, String)>,
}

impl Told {
    /// That the call was not made, or failed. The text says so itself, as not every wire has a place for it.
    pub(crate) fn error(text: &str) -> Self {
        let mut told = Self { content: vec![text.into()], is_error: true, session: None };
        told.begin_with("Error: ");
        told
    }

    /// A `CallToolResult` of `server`, at most `most` characters of its text.
    pub(crate) fn of_result(server: &str, result: &Value, most: usize) -> Self {
        let mut told = Self { content: cut(parts_of(result), most), is_error: false, session: None };
        if result.get("isError") == Some(&Value::Bool(true)) {
            told.is_error = true;
            told.begin_with("Error: ");
        }
        let id = result.pointer(SESSION);
        told.session = id.map(|id| (server.to_owned(), id.as_str().map_or_else(|| id.to_string(), str::to_owned)));
        told
    }

    fn begin_with(&mut self, words: &str) {
        match self.content.first_mut() {
            Some(Part::Text(text)) => text.insert_str(0, words),
            _ => self.content.insert(0, words.trim_end().into()),
        }
    }

    pub(crate) fn reply(self, call_id: String) -> ToolReply {
        ToolReply { call_id, content: self.content, is_error: self.is_error }
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
            told.begin_with(&format!(
                "[Note: the server `{server}` was started anew since your last call; what it kept in memory is lost.]\n"
            ));
        }
    }
}

/// A result in words alone: an image is named in its place.
pub(crate) fn text_of(result: &Value) -> String {
    parts_of(result).iter().map(Part::named).collect::<Vec<_>>().join("\n")
}

/// Texts that follow each other are one part.
fn parts_of(result: &Value) -> Vec<Part> {
    let Some(result) = result.as_object() else {
        return vec![Part::Text(result.as_str().map_or_else(|| result.to_string(), str::to_owned))];
    };
    let items = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut has_text = false;
    let mut parts: Vec<Part> = items.iter().map(|item| part(item, &mut has_text)).collect();
    match result.get("structuredContent") {
        Some(structured) if !has_text && !structured.is_null() => parts.insert(0, structured.to_string().into()),
        _ => {}
    }
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => {
                before.push('\n');
                before.push_str(&text);
            }
            (_, part) => joined.push(part),
        }
    }
    if joined.is_empty() { vec!["(the tool gave no output)".into()] } else { joined }
}

/// One content block: its text, the image if it can be shown, or what it is called.
fn part(item: &Value, has_text: &mut bool) -> Part {
    let at = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
    let or_unknown = |text: Option<&str>| text.unwrap_or("of an unknown type").to_owned();
    match at("/type") {
        Some("text") => {
            let text = at("/text").unwrap_or_default();
            *has_text |= !text.is_empty();
            text.into()
        }
        Some("image") => match (at("/mimeType"), at("/data")) {
            (Some(mime), Some(data)) if can_be_shown(mime, data) => {
                Part::Image { mime: mime.to_owned(), source: Source::Base64(data.to_owned()) }
            }
            (mime, _) => format!("[image omitted: {}]", or_unknown(mime)).into(),
        },
        Some("resource") => {
            let uri = at("/resource/uri").unwrap_or("without an address");
            match at("/resource/text") {
                Some(text) => {
                    *has_text = true;
                    format!("[resource {uri}]\n{text}").into()
                }
                None => format!("[resource omitted: {uri}, {}]", or_unknown(at("/resource/mimeType"))).into(),
            }
        }
        Some("resource_link") => {
            let (name, uri) = (at("/name").unwrap_or_default(), at("/uri").unwrap_or_default());
            format!("[link to a resource: {name} {uri}]").into()
        }
        Some(kind) => format!("[{kind} omitted: {}]", or_unknown(at("/mimeType"))).into(),
        None => "[content of an unknown type omitted]".into(),
    }
}

/// What a provider would refuse would end the run.
pub(crate) fn can_be_shown(mime: &str, data: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    IMAGES.contains(&mime) && (1..=IMAGE_BYTES).contains(&data.len()) && data.bytes().all(is_base64)
}

/// The first `most` characters of the texts, and how much was cut. Behind the cut nothing is shown, images neither.
fn cut(parts: Vec<Part>, most: usize) -> Vec<Part> {
    let length = |part: &Part| if let Part::Text(text) = part { text.chars().count() } else { 0 };
    let all: usize = parts.iter().map(length).sum();
    let mut left = most;
    let mut shown = Vec::new();
    for part in parts {
        let long = length(&part);
        match part {
            Part::Text(mut text) if long > left => {
                let end = text.char_indices().nth(left).map_or(text.len(), |(end, _)| end);
                text.truncate(end);
                let cut = all - most;
                shown.push(Part::Text(
                    text + &format!("\n[cut off: {cut} of {all} characters are not shown; ask for less at a time]"),
                ));
                return shown;
            }
            part => shown.push(part),
        }
        left -= long;
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn in_words(told: &Told) -> String {
        told.content.iter().map(Part::named).collect::<Vec<_>>().join("\n")
    }

    fn told(result: &Value) -> String {
        in_words(&Told::of_result("s", result, 1_000))
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
        assert_eq!(in_words(&Told::of_result("s", &result, 12)), "é".repeat(12));
        let text = in_words(&Told::of_result("s", &result, 10));
        assert!(text.starts_with(&format!("{}\n[cut off: 2 of 12 characters", "é".repeat(10))), "{text}");
    }

    #[test]
    fn images_are_kept_in_their_place_if_every_provider_takes_them() {
        let image = |mime: &str, data: &str| json!({"type": "image", "data": data, "mimeType": mime});
        let text = |text: &str| json!({"type": "text", "text": text});
        let shown = Part::Image { mime: "image/png".into(), source: Source::Base64("AAAA".into()) };
        let result = json!({"content": [text("a"), text("b"), image("image/png", "AAAA"), text("c")]});
        let told = Told::of_result("s", &result, 99);
        assert_eq!(told.content, ["a\nb".into(), shown.clone(), "c".into()]);
        assert_eq!(text_of(&result), "a\nb\n[image omitted: image/png]\nc");
        let failed = Told::of_result("s", &json!({"content": [image("image/png", "AAAA")], "isError": true}), 99);
        assert_eq!(failed.content, ["Error:".into(), shown]);
        let long = "A".repeat(IMAGE_BYTES + 1);
        for (mime, data) in
            [("image/tiff", "AAAA"), ("image/png", ""), ("image/png", "no base64!"), ("image/png", &long)]
        {
            let told = Told::of_result("s", &json!({"content": [image(mime, data)]}), 99);
            assert_eq!(told.content, [format!("[image omitted: {mime}]").into()]);
        }
        let cut = Told::of_result("s", &json!({"content": [text("abc"), image("image/png", "AAAA")]}), 2);
        assert!(matches!(cut.content.as_slice(), [Part::Text(text)] if text.starts_with("ab\n[cut off: 1 of 3")));
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
            let text = in_words(&told);
            assert_eq!(text != "ok", noted, "{server} {id:?}: {text}");
            assert!(text.ends_with("ok"));
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
