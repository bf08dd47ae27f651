//! What a tool's answer becomes: a `CallToolResult` as JSON in its written form, errors of the protocol included. It never
//! turns an answer into an `Err`: a server that answers has not failed.

use abide_llm::Redactor;
use rmcp::model::{ErrorData, ServerResult};
use serde_json::{Value, json};

use crate::envelope::UNREADABLE;
use crate::{resources, schema};

/// The key in a result's `_meta`.
const SESSION: &str = "io.abide/session";

/// The result for the journal. `schema` is what the tool says of its structured content; `limit` is in bytes of JSON, and a
/// larger result becomes an error result that says so.
pub(crate) fn result(answer: ServerResult, schema: Option<&Value>, limit: usize, redactor: &Redactor) -> Value {
    let value = match answer {
        ServerResult::CallToolResult(result) => serde_json::to_value(result).unwrap_or_else(|error| odd(&error)),
        ServerResult::ReadResourceResult(result) => {
            serde_json::to_value(result).map_or_else(|error| odd(&error), |read| resources::result_of_read(&read))
        }
        // A kind of content that rmcp does not know yet: passed on as it is.
        ServerResult::CustomResult(other) if other.0.get("content").is_some_and(Value::is_array) => other.0,
        _ => odd(&"it is no CallToolResult"),
    };
    kept(value, schema, limit, redactor)
}

/// A result as it is kept: within the limit, its structured content checked, its secrets hidden.
pub(crate) fn kept(mut value: Value, schema: Option<&Value>, limit: usize, redactor: &Redactor) -> Value {
    let size = serde_json::to_vec(&value).map_or(0, |bytes| bytes.len());
    if size > limit {
        return error(&format!(
            "The tool ran, but its result is {size} bytes of JSON and the limit is {limit}: it was dropped. Ask for \
             less at a time, or raise `result_mib` under [limits] in abide.toml."
        ));
    }
    if let Some(schema) = schema {
        check(&mut value, schema);
    }
    redactor.hide_value(&mut value);
    value
}

/// A result that is not as its tool says: an error result, with all that came.
fn check(value: &mut Value, schema: &Value) {
    if value.get("isError") == Some(&Value::Bool(true)) {
        return;
    }
    let why = match value.get("structuredContent").filter(|structured| !structured.is_null()) {
        None => "it has no structured content, which the tool's definition promises".to_owned(),
        Some(structured) => match schema::check(schema, structured) {
            Ok(()) => return,
            Err(why) => format!("its structured content is not as the tool's definition says ({why})"),
        },
    };
    let note =
        json!({"type": "text", "text": format!("The tool ran, but its result is not to be relied on: {why}. It was:")});
    if let Some(result) = value.as_object_mut() {
        match result.get_mut("content").and_then(Value::as_array_mut) {
            Some(content) => content.insert(0, note),
            None => drop(result.insert("content".to_owned(), json!([note]))),
        }
        result.insert("isError".to_owned(), true.into());
    }
}

/// The result with the id of the connection it came by, where the agent loop looks for it: a new one tells the model that
/// the server has lost what it kept in memory.
pub(crate) fn with_session(mut result: Value, session: &str) -> Value {
    if let Some(result) = result.as_object_mut() {
        let meta = result.entry("_meta").or_insert_with(|| json!({}));
        if !meta.is_object() {
            *meta = json!({});
        }
        meta[SESSION] = session.into();
    }
    result
}

/// A JSON-RPC error (an unknown tool, invalid arguments) is an answer, too.
pub(crate) fn refusal(refused: &ErrorData, redactor: &Redactor) -> Value {
    if refused.code.0 == UNREADABLE {
        return error(&redactor.hide(&format!("The tool may have run, but {}.", refused.message)));
    }
    error(&redactor.hide(&format!("The server refused the call: {} (code {})", refused.message, refused.code.0)))
}

/// A `CallToolResult` with `isError`.
pub(crate) fn error(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

fn odd(why: &dyn std::fmt::Display) -> Value {
    error(&format!("The server answered the call with something that cannot be read: {why}."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn answer(value: Value, limit: usize) -> Value {
        let redactor = Redactor::default();
        redactor.learn("KEY", "sk-0123456789");
        result(serde_json::from_value(value).unwrap(), None, limit, &redactor)
    }

    #[test]
    fn a_result_is_kept_as_it_is_except_for_secrets() {
        let value = json!({"content": [{"type": "text", "text": "key sk-0123456789"}], "structuredContent": null,
            "isError": false});
        let expected = json!({"content": [{"type": "text", "text": "key ${KEY}"}], "structuredContent": null,
            "isError": false});
        assert_eq!(answer(value, 1_000), expected);
        let unknown = json!({"content": [{"type": "hologram", "data": 1}]});
        assert_eq!(answer(unknown.clone(), 1_000), unknown);
    }

    #[test]
    fn the_session_is_added_to_what_the_server_says() {
        let session = json!({"io.abide/session": "s1"});
        for (meta, expected) in [
            (None, session.clone()),
            (Some(json!(null)), session.clone()),
            (Some(json!({"a": 1})), json!({"a": 1, "io.abide/session": "s1"})),
        ] {
            let mut result = json!({"content": []});
            if let Some(meta) = meta {
                result["_meta"] = meta;
            }
            assert_eq!(with_session(result, "s1")["_meta"], expected);
        }
    }

    #[test]
    fn what_cannot_be_used_is_an_error_result_that_says_so() {
        let large = json!({"content": [{"type": "text", "text": "x".repeat(2_000)}]});
        for (value, expected) in [(large, "the limit is 1000"), (json!({"odd": true}), "cannot be read")] {
            let got = answer(value, 1_000);
            assert_eq!(got["isError"], true, "{got}");
            assert!(got["content"][0]["text"].as_str().unwrap().contains(expected), "{got}");
        }
    }

    #[test]
    fn structured_content_that_is_not_as_promised_is_kept_as_an_error() {
        let schema = json!({"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]});
        let check = |value: Value| kept(value, Some(&schema), 10_000, &Redactor::default());
        let text = json!([{"type": "text", "text": "3"}]);
        let good = json!({"content": text, "structuredContent": {"sum": 3}});
        assert_eq!(check(good.clone()), good);
        let failed = json!({"content": text, "isError": true});
        assert_eq!(check(failed.clone()), failed, "an error owes no structure");
        for bad in [json!({"content": text, "structuredContent": {"sum": "3"}}), json!({"content": text})] {
            let got = check(bad.clone());
            assert_eq!((&got["isError"], &got["structuredContent"]), (&json!(true), &bad["structuredContent"]));
            assert!(got["content"][0]["text"].as_str().unwrap().contains("not to be relied on"), "{got}");
            assert_eq!(got["content"][1], text[0], "the whole is kept");
        }
    }
}
