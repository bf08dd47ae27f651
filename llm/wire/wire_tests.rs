//! Tests of all wires together: answers that are odd, broken, empty or blocked, and what cannot be carried. They never reach a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abide_engine::ErrorKind;
use serde_json::json;

use super::*;

pub(super) const ALL: [Provider; 5] =
    [Provider::Openai, Provider::OpenaiResponses, Provider::Anthropic, Provider::Gemini, Provider::Ollama];

/// A model without streams and marks: the plainest body.
pub(super) fn model(provider: Provider) -> ModelConfig {
    ModelConfig { stream: None, cache: None, ..ModelConfig::new(provider, "m") }
}

pub(super) fn tool(name: &str) -> ToolDecl {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    ToolDecl { name: name.into(), description: "d".into(), input_schema: schema }
}

pub(super) fn image() -> Part {
    Part::Image { mime: "image/png".into(), source: Source::Base64("AAAA".into()) }
}

pub(super) fn image_url() -> Part {
    Part::Image { mime: "image/png".into(), source: Source::Url("https://h/a.png".into()) }
}

pub(super) fn document(mime: &str, source: Source) -> Part {
    Part::Document { mime: mime.into(), name: "a.pdf".into(), source }
}

pub(super) fn user(parts: &[Part]) -> Prompt {
    Prompt { turns: vec![Turn::User(parts.to_vec())], ..Prompt::default() }
}

/// Answers of each wire that say `Hm`, and call `f` with `{"q": "a"}` and `g` without arguments, side by side.
pub(super) fn calling(provider: Provider) -> Value {
    match provider {
        Provider::Openai => {
            let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            json!({"model": "m-1", "choices": [{"finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "Hm", "tool_calls": [call("call_A", "f", "{\"q\":\"a\"}"), call("call_B", "g", "")],
                "reasoning_content": "kept"}}]})
        }
        Provider::OpenaiResponses => {
            json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m-1", "output": [
                {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
                {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": "Hm", "annotations": []}]},
                {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_A", "name": "f", "arguments": "{\"q\":\"a\"}"},
                {"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "call_B", "name": "g", "arguments": ""}]})
        }
        Provider::Anthropic => {
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_reason": "tool_use",
            "content": [{"type": "thinking", "thinking": "t", "signature": "sig"}, {"type": "text", "text": "Hm"},
                        {"type": "tool_use", "id": "toolu_A", "name": "f", "input": {"q": "a"}},
                        {"type": "tool_use", "id": "toolu_B", "name": "g", "input": {}}]})
        }
        Provider::Gemini => {
            json!({"modelVersion": "m-1", "candidates": [{"index": 0, "finishReason": "STOP", "content": {
            "role": "model", "parts": [
                {"text": "thinking aloud", "thought": true}, {"text": "Hm"},
                {"functionCall": {"name": "f", "args": {"q": "a"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "g"}}]}}]})
        }
        Provider::Ollama => {
            json!({"model": "m-1", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop", "message": {
            "role": "assistant", "content": "Hm", "thinking": "kept",
            "tool_calls": [{"function": {"name": "f", "arguments": {"q": "a"}}}, {"function": {"name": "g", "arguments": {}}}]}})
        }
    }
}

/// An answer that says `Done`.
fn saying(provider: Provider) -> Value {
    match provider {
        Provider::Openai => {
            json!({"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Done"}}]})
        }
        Provider::OpenaiResponses => json!({"status": "completed", "output": [
            {"id": "msg_2", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done"}]}]}),
        Provider::Anthropic => json!({"stop_reason": "end_turn", "content": [{"type": "text", "text": "Done"}]}),
        Provider::Gemini => {
            json!({"candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "Done"}]}}]})
        }
        Provider::Ollama => {
            json!({"done": true, "done_reason": "stop", "message": {"role": "assistant", "content": "Done"}})
        }
    }
}

/// A conversation about a question: `f` and `g` were called and have answered, `rounds` times.
pub(super) fn conversation(asked: &ModelConfig, rounds: usize) -> Vec<Turn> {
    let mut turns = vec!["Question?".into()];
    for _ in 0..rounds {
        let reply = parse(asked.provider, &calling(asked.provider)).unwrap();
        let mut replies: Vec<ToolReply> = reply
            .tool_calls
            .iter()
            .map(|call| ToolReply::text(&*call.id, format!("of {}", call.name), false))
            .collect();
        replies[1].is_error = true;
        turns.extend([reply.into_turn(asked), Turn::ToolResults(replies)]);
    }
    turns
}

#[test]
fn missing_and_repeated_call_ids_are_mended_alike_everywhere() {
    let given = [json!("call_1"), json!(null), json!("call_1"), json!(""), json!("x")];
    let of = |one: fn(&Value) -> Value| given.iter().map(one).collect::<Vec<_>>();
    let function = |id: &Value| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let bodies = [
        json!({"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": of(function)}}]}),
        json!({"status": "completed", "output": of(|id| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}))}),
        json!({"stop_reason": "tool_use", "content": of(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}}))}),
        json!({"candidates": [{"finishReason": "STOP", "content": {"parts": of(|id| json!({"functionCall": {"id": id, "name": "f"}}))}}]}),
        json!({"done_reason": "stop", "message": {"tool_calls": of(|id| json!({"id": id, "function": {"name": "f", "arguments": {}}}))}}),
    ];
    for (provider, body) in ALL.into_iter().zip(bodies) {
        let reply = parse(provider, &body).unwrap();
        let ids: Vec<&str> = reply.tool_calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(ids, ["call_1", "call_2", "call_3", "call_4", "x"], "{provider:?}");
        assert_eq!(reply.stop, Stop::ToolUse);
        if provider != Provider::Gemini {
            let back = reply.assistant.to_string();
            assert!(ids.iter().all(|id| back.contains(&format!("\"{id}\""))), "{back}");
        }
    }
}

#[test]
fn an_empty_answer_is_an_error_but_a_cut_off_or_blocked_one_is_not() {
    for provider in ALL {
        let mut body = saying(provider);
        assert_eq!(parse(provider, &body).unwrap().text, "Done");
        let text = body.to_string().replace("Done", " \\n");
        body = serde_json::from_str(&text).unwrap();
        let error = parse(provider, &body).unwrap_err();
        assert!(matches!(error, WireError::Empty { .. }), "{provider:?}: {error}");
        let (ended, cut) = match provider {
            Provider::OpenaiResponses => (
                "\"status\":\"completed\"",
                "\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}",
            ),
            Provider::Anthropic => ("end_turn", "max_tokens"),
            Provider::Gemini => ("STOP", "MAX_TOKENS"),
            _ => ("\"stop\"", "\"length\""),
        };
        let body = serde_json::from_str(&text.replace(ended, cut)).unwrap();
        assert_eq!(parse(provider, &body).unwrap().stop, Stop::Truncated, "{provider:?}: {body}");
    }
}

#[test]
fn what_is_not_a_reply_is_quoted_from_its_start() {
    let long = json!({"error": "é".repeat(1000)});
    let odd =
        [json!(null), json!([]), json!("text"), json!({}), json!({"choices": []}), json!({"content": "text"}), long];
    for body in &odd {
        for provider in ALL {
            let WireError::NotAReply { start, .. } = parse(provider, body).unwrap_err() else { panic!("{body}") };
            assert!(body.to_string().starts_with(start.trim_end_matches('.')), "{start}");
            assert!(start.chars().count() <= 303);
        }
    }
}

/// Every place of a body, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| places(inner, &format!("{at}/{key}"), out)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| places(inner, &format!("{at}/{n}"), out));
        }
        _ => {}
    }
}

#[test]
fn no_answer_however_odd_breaks_a_wire_or_the_next_request() {
    let odd = [
        json!(null),
        json!(-5),
        json!("x"),
        json!(""),
        json!([]),
        json!([[1]]),
        json!({}),
        json!({"type": "text"}),
        json!(true),
    ];
    let mut read = 0;
    for provider in ALL {
        let whole = calling(provider);
        let mut all = Vec::new();
        places(&whole, "", &mut all);
        for (place, odd) in all.iter().flat_map(|place| odd.iter().map(move |odd| (place, odd))) {
            let mut body = whole.clone();
            *body.pointer_mut(place).unwrap() = odd.clone();
            let Ok(reply) = parse(provider, &body) else { continue };
            read += 1;
            let ids: std::collections::BTreeSet<_> = reply.tool_calls.iter().map(|call| call.id.clone()).collect();
            assert_eq!(ids.len(), reply.tool_calls.len(), "{body}");
            let replies = reply.tool_calls.iter().map(|call| ToolReply::text(&*call.id, "r", false)).collect();
            let asked = model(provider);
            let turns = vec!["q".into(), reply.into_turn(&asked), Turn::ToolResults(replies)];
            for next in ALL {
                request(&model(next), &Prompt { turns: turns.clone(), ..Prompt::default() }).unwrap();
            }
        }
    }
    assert!(read > 500, "{read}");
}

#[test]
fn what_a_wire_cannot_carry_is_a_terminal_error_that_names_both() {
    let base64 = || Source::Base64("AAAA".into());
    let url = || Source::Url("https://h/a.pdf".into());
    let pdf = "application/pdf";
    let parts = [
        image(),
        image_url(),
        document(pdf, base64()),
        document(pdf, url()),
        document("text/plain", base64()),
        document("a/b", url()),
    ];
    for (provider, carries) in [
        (Provider::Openai, [true, true, true, false, false, false]),
        (Provider::OpenaiResponses, [true; 6]),
        (Provider::Anthropic, [true, true, true, true, true, false]),
        (Provider::Gemini, [true; 6]),
        (Provider::Ollama, [true, false, false, false, false, false]),
    ] {
        for (part, carried) in parts.iter().zip(carries) {
            match request(&model(provider), &user(std::slice::from_ref(part))) {
                Ok(body) => assert!(carried, "{provider:?} {part:?}: {body}"),
                Err(error) => {
                    assert!(!carried, "{error}");
                    assert_eq!(*error.kind(), ErrorKind::Terminal);
                    let mime =
                        if let Part::Image { mime, .. } | Part::Document { mime, .. } = part { mime } else { "" };
                    let named = error.message().contains(provider.as_str()) && error.message().contains(mime);
                    assert!(named, "{error}");
                }
            }
        }
    }
}
