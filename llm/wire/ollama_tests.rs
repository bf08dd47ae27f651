//! Tests of Ollama's `/api/chat`: exact bodies, and answers as it gives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::super::tests::{calling, conversation, image, model, tool, user};
use super::super::{ToolChoice, ToolReply, Turn, WireError, parse, request};
use super::*;

const P: Provider = Provider::Ollama;

#[test]
fn a_request_is_exactly_this() {
    let mut prompt = Prompt {
        system: Some("Be brief.".into()),
        turns: conversation(&model(P), 1),
        tools: vec![tool("f")],
        tool_choice: ToolChoice::Required,
        max_tokens: Some(50),
        temperature: Some(0.5),
        stop: vec!["END".into()],
        ..Prompt::default()
    };
    let mut said = calling(P)["message"].clone();
    said["tool_calls"][0]["id"] = json!("call_0");
    said["tool_calls"][1]["id"] = json!("call_1");
    let parameters = &prompt.tools[0].input_schema;
    assert_eq!(
        request(&model(P), &prompt).unwrap(),
        json!({
            "model": "m", "stream": false, "options": {"num_predict": 50, "temperature": 0.5, "stop": ["END"]},
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Question?"}, said,
                {"role": "tool", "tool_name": "f", "tool_call_id": "call_0", "content": "of f"},
                {"role": "tool", "tool_name": "g", "tool_call_id": "call_1", "content": "of g"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}],
        })
    );
    prompt.tool_choice = ToolChoice::None;
    let concluding = request(&ModelConfig::new(P, "m"), &prompt).unwrap();
    assert_eq!((concluding.get("tools"), &concluding["stream"]), (None, &json!(true)));
}

#[test]
fn images_stand_beside_the_text() {
    let body = request(&model(P), &user(&["See".into(), image(), "this".into()])).unwrap();
    assert_eq!(body["messages"][0], json!({"role": "user", "content": "See\nthis", "images": ["AAAA"]}));
    let reply = ToolReply { content: vec!["a".into(), image()], ..ToolReply::text("c", "", false) };
    let prompt = Prompt { turns: vec![Turn::ToolResults(vec![reply])], ..Prompt::default() };
    assert_eq!(request(&model(P), &prompt).unwrap()["messages"][0]["content"], "a\n[image omitted: image/png]");
}

#[test]
fn a_text_is_read_with_its_usage_and_its_end() {
    let body = |reason: &str| {
        json!({"model": "m:latest", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "Hello"},
               "done": true, "done_reason": reason, "total_duration": 5, "prompt_eval_count": 26, "eval_count": 8})
    };
    let reply = parse(P, &body("stop")).unwrap();
    assert_eq!((reply.text.as_str(), reply.model.as_deref()), ("Hello", Some("m:latest")));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (26, 8));
    for (word, stop) in [
        ("stop", Stop::End),
        ("length", Stop::Truncated),
        ("unload", Stop::Other("unload".into())),
        ("", Stop::Other("missing".into())),
    ] {
        assert_eq!(parse(P, &body(word)).unwrap().stop, stop);
    }
    let mut unfinished = body("");
    unfinished["done"] = json!(false);
    assert!(matches!(parse(P, &unfinished), Err(WireError::NotAReply { .. })));
}

#[test]
fn calls_bring_their_arguments_as_objects() {
    let reply = parse(P, &calling(P)).unwrap();
    assert_eq!((&reply.stop, reply.tool_calls.len()), (&Stop::ToolUse, 2));
    assert_eq!(reply.tool_calls[0].arguments, Ok(json!({"q": "a"})));
    let odd = json!({"done": true, "done_reason": "stop", "message": {"content": "", "tool_calls": [
        {"function": {"name": "f", "arguments": "{\"a\":1}"}}, {"function": {"name": "f", "arguments": "{bad"}}]}});
    let reply = parse(P, &odd).unwrap();
    assert_eq!(reply.tool_calls[0].arguments, Ok(json!({"a": 1})));
    assert!(reply.tool_calls[1].arguments.is_err());
    let sent = reply.assistant["tool_calls"].as_array().unwrap();
    assert!(sent.iter().all(|call| call["function"]["arguments"].is_object()), "{sent:?}");
}
