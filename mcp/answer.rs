//! What a tool's answer becomes: a `CallToolResult` as JSON in its written form, errors of the protocol included. It never
//! turns an answer into an `Err`: a server that answers has not failed.

use abide_llm::Redactor;
use rmcp::model::{ErrorData, ServerResult};
use serde_json::{Value, json};

use crate::envelope::UNREADABLE;

/// The key in a result's `_meta`.
const SESSION: &str = "io.abide/session";

/// The result for the journal. `limit` is in bytes of JSON; a larger one becomes an error result that says so.
pub(crate) fn result(answer: ServerResult, limit: usize, redactor: &Redactor) -> Value {
    let mut value = match answer {
        ServerResult::CallToolResult(result) => serde_json::to_value(result).unwrap_or_else(|error| odd(&error)),
        // A kind of content that rmcp does not know yet: passed on as it is.
        ServerResult::CustomResult(other) if other.0.get("content").is_some_and(Value::is_array) => other.0,
        ServerResult::InputRequiredResult(asked) => {
            let asked = asked.input_requests.and_then(|requests| serde_json::to_value(requests).ok());
            return error(&input_required(asked.as_ref()));
        }
        ServerResult::CreateTaskResult(_) => {
            return error(
                "The server began an MCP task for this call instead of answering it. abide does not support MCP tasks \
                 yet: the server may still be working on it, and its result will not come here.",
            );
        }
        _ => odd(&"it is no CallToolResult"),
    };
    let size = serde_json::to_vec(&value).map_or(0, |bytes| bytes.len());
    if size > limit {
        return error(&format!(
            "The tool ran, but its result is {size} bytes of JSON and the limit is {limit}: it was dropped. Ask for \
             less at a time, or raise `result_mib` under [limits] in abide.toml."
        ));
    }
    redactor.hide_value(&mut value);
    value
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

fn input_required(asked: Option<&Value>) -> String {
    let requests = asked.and_then(Value::as_object).into_iter().flatten();
    let methods: Vec<_> = requests.filter_map(|(_, request)| request.get("method")?.as_str()).collect();
    let named = if methods.is_empty() { String::new() } else { format!(" ({})", methods.join(", ")) };
    format!("The tool asks for more input before it goes on{named}. abide does not support input_required yet.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn answer(value: Value, limit: usize) -> Value {
        let redactor = Redactor::default();
        redactor.learn("KEY", "sk-0123456789");
        result(serde_json::from_value(value).unwrap(), limit, &redactor)
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
    fn what_is_not_supported_is_an_error_result_that_names_it() {
        let asked = json!({"resultType": "input_required", "inputRequests": {"a": {"method": "elicitation/create",
            "params": {"mode": "form", "message": "who?", "requestedSchema": {"type": "object", "properties": {}}}}}});
        let task = json!({"resultType": "task", "taskId": "t", "status": "working", "createdAt": "2026-11-01T00:00:00Z",
            "lastUpdatedAt": "2026-11-01T00:00:00Z", "ttlMs": null});
        let large = json!({"content": [{"type": "text", "text": "x".repeat(2_000)}]});
        for (value, expected) in [
            (asked, "elicitation/create"),
            (task, "MCP task"),
            (large, "the limit is 1000"),
            (json!({"odd": true}), "cannot be read"),
        ] {
            let got = answer(value, 1_000);
            assert_eq!(got["isError"], true, "{got}");
            assert!(got["content"][0]["text"].as_str().unwrap().contains(expected), "{got}");
        }
    }
}
