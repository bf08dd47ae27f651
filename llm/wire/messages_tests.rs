//! Tests of Anthropic Messages: exact bodies, marks for the cache, and answers with thinking, pauses and odd inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::super::tests::{document, image, image_url, model, tool, user};
use super::super::{ToolChoice, ToolReply, Turn, parse, request};
use super::*;

const P: Provider = Provider::Anthropic;

fn answer(content: &Value, stop: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "model": "m-1", "role": "assistant", "content": content, "stop_reason": stop,
           "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5}})
}

fn prompt(content: &Value) -> Prompt {
    let said = parse(P, &answer(content, "tool_use")).unwrap().into_turn(&model(P));
    Prompt {
        system: Some("Be brief.".into()),
        turns: vec!["Hi".into(), said, Turn::ToolResults(vec![ToolReply::text("c1", "42", true)]), "Go on".into()],
        tools: vec![tool("f"), tool("g")],
        tool_choice: ToolChoice::None,
        max_tokens: Some(50),
        temperature: Some(0.5),
        stop: vec!["END".into()],
        ..Prompt::default()
    }
}

#[test]
fn a_request_is_exactly_this() {
    let said = json!([{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": ""},
                      {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]);
    let mut first = prompt(&said);
    let schema = &first.tools[0].input_schema;
    assert_eq!(
        request(&model(P), &first).unwrap(),
        json!({
            "model": "m", "max_tokens": 50, "temperature": 0.5, "stop_sequences": ["END"], "system": "Be brief.", "tool_choice": {"type": "none"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [said[0], said[2]]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "42", "is_error": true},
                    {"type": "text", "text": "Go on"},
                ]},
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": schema},
                      {"name": "g", "description": "d", "input_schema": schema}],
        })
    );
    first.turns.truncate(1);
    first.max_tokens = None;
    let body = request(&model(P), &first).unwrap();
    assert_eq!((body.get("tools"), &body["max_tokens"]), (None, &json!(4096)));
    first.tool_choice = ToolChoice::Required;
    assert_eq!(request(&model(P), &first).unwrap()["tool_choice"], json!({"type": "any"}));
}

#[test]
fn the_cache_is_told_of_system_and_tools_and_never_in_a_message() {
    let mut prompt = prompt(&json!([{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]));
    let plain = request(&model(P), &prompt).unwrap();
    let body = request(&ModelConfig::new(P, "m"), &prompt).unwrap();
    let mark = json!({"type": "ephemeral"});
    assert_eq!(body["cache_control"], mark);
    assert_eq!(body["system"], json!([{"type": "text", "text": "Be brief.", "cache_control": mark}]));
    assert_eq!((body["tools"][0].get("cache_control"), &body["tools"][1]["cache_control"]), (None, &mark));
    assert_eq!((&body["messages"], &body["stream"]), (&plain["messages"], &json!(true)));
    assert_eq!(body.to_string().matches("cache_control").count(), 3, "four are allowed");
    // An empty block cannot be marked.
    prompt.system = Some(String::new());
    assert_eq!(request(&ModelConfig::new(P, "m"), &prompt).unwrap().get("system"), None);
}

#[test]
fn images_and_documents_stand_beside_the_text() {
    let base64 = |data: &str| Source::Base64(data.into());
    let pdf = document("application/pdf", base64("BBBB"));
    let by_url = document("application/pdf", Source::Url("https://h/a.pdf".into()));
    let plain = document("text/plain", base64("w6k="));
    let body = request(&model(P), &user(&["See".into(), image(), image_url(), pdf, by_url, plain])).unwrap();
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "text", "text": "See"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
            {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
            {"type": "document", "title": "a.pdf", "source": {"type": "url", "url": "https://h/a.pdf"}},
            {"type": "document", "title": "a.pdf", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ])
    );
}

#[test]
fn a_tool_shows_its_images_unless_it_failed() {
    let odd = document("a/b", Source::Base64("AAAA".into()));
    for (is_error, expected) in [
        (
            false,
            json!([{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                       {"type": "text", "text": "[document omitted: a/b]"}]),
        ),
        (true, json!("a\n[image omitted: image/png]\n[document omitted: a/b]")),
    ] {
        let reply = ToolReply { call_id: "c".into(), content: vec!["a".into(), image(), odd.clone()], is_error };
        let prompt = Prompt { turns: vec![Turn::ToolResults(vec![reply])], ..Prompt::default() };
        assert_eq!(request(&model(P), &prompt).unwrap()["messages"][0]["content"][0]["content"], expected);
    }
}

#[test]
fn a_text_is_read_with_its_usage() {
    let content = json!([{"type": "thinking", "signature": "s"}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]);
    let reply = parse(P, &answer(&content, "end_turn")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop, &reply.assistant), ("Hello", &Stop::End, &content));
    assert_eq!(reply.usage, Usage { input_tokens: 12, output_tokens: 2, cache_read_tokens: 4, cache_write_tokens: 5 });
    assert_eq!(reply.model.as_deref(), Some("m-1"));
}

#[test]
fn an_odd_input_spoils_only_its_call() {
    let blocks =
        json!([{"type": "tool_use", "id": "a", "name": "f"}, {"type": "tool_use", "id": "b", "name": "f", "input": 5}]);
    let reply = parse(P, &answer(&blocks, "tool_use")).unwrap();
    assert_eq!(reply.tool_calls[0].arguments, Ok(json!({})));
    assert!(reply.tool_calls[1].arguments.is_err());
    assert!(reply.assistant.as_array().unwrap().iter().all(|block| block["input"].is_object()));
}

#[test]
fn stop_reasons_are_told_apart() {
    for (word, stop) in [
        ("end_turn", Stop::End),
        ("stop_sequence", Stop::End),
        ("tool_use", Stop::ToolUse),
        ("max_tokens", Stop::Truncated),
        ("model_context_window_exceeded", Stop::Truncated),
        ("refusal", Stop::Refused),
        ("pause_turn", Stop::Paused),
        ("compaction", Stop::Other("compaction".into())),
        ("", Stop::Other("missing".into())),
    ] {
        let content = json!([{"type": "text", "text": "t"}]);
        assert_eq!(parse(P, &answer(&content, word)).unwrap().stop, stop);
    }
    assert_eq!(parse(P, &answer(&json!([]), "refusal")).unwrap().stop, Stop::Refused);
}

#[test]
fn a_paused_turn_is_sent_back_as_the_last_one() {
    let content =
        json!([{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}]);
    let paused = parse(P, &answer(&content, "pause_turn")).unwrap();
    assert_eq!((&paused.stop, paused.tool_calls.len()), (&Stop::Paused, 0));
    let prompt = Prompt { turns: vec!["Hi".into(), paused.into_turn(&model(P))], ..Prompt::default() };
    let body = request(&model(P), &prompt).unwrap();
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": content}));
}
