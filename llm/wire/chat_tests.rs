//! Tests of Chat Completions: exact bodies, and answers as `OpenAI`, Azure and other servers give them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::super::tests::{document, image, image_url, model, tool, user};
use super::super::{ToolChoice, ToolReply, Turn, WireError, parse, request};
use super::*;

const P: Provider = Provider::Openai;

fn answer(message: &Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1",
           "choices": [{"index": 0, "message": message, "finish_reason": finish}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}})
}

fn called(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn a_request_is_exactly_this() {
    let message =
        json!({"role": "assistant", "content": null, "tool_calls": [called("c1", "{}")], "reasoning": "kept"});
    let said = parse(P, &answer(&message, "tool_calls")).unwrap().into_turn(&model(P));
    let mut prompt = Prompt {
        system: Some("Be brief.".into()),
        turns: vec!["Hi".into(), said, Turn::ToolResults(vec![ToolReply::text("c1", "42", true)]), "Go on".into()],
        tools: vec![tool("f")],
        tool_choice: ToolChoice::Required,
        max_tokens: Some(50),
        temperature: Some(0.5),
        stop: vec!["END".into()],
        ..Prompt::default()
    };
    let body = request(&model(P), &prompt).unwrap();
    let parameters = &prompt.tools[0].input_schema;
    assert_eq!(
        body,
        json!({
            "model": "m", "max_tokens": 50, "temperature": 0.5, "stop": ["END"], "tool_choice": "required",
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, message,
                {"role": "tool", "tool_call_id": "c1", "content": "42"}, {"role": "user", "content": "Go on"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}],
        })
    );
    prompt.tool_choice = ToolChoice::None;
    let concluding = request(&ModelConfig::new(P, "m"), &prompt).unwrap();
    assert_eq!((concluding.get("tools"), concluding.get("tool_choice")), (None, None));
    assert_eq!((&concluding["stream"], &concluding["stream_options"]), (&json!(true), &json!({"include_usage": true})));
}

#[test]
fn the_limit_has_the_key_that_the_server_knows() {
    let azure = "https://x.openai.azure.com/openai/deployments/mine?api-version=2024-10-21";
    for (name, base_url, key) in [
        ("o3-mini", None, "max_completion_tokens"),
        ("openai/gpt-5.1", None, "max_completion_tokens"),
        ("gpt-4o", None, "max_tokens"),
        ("olmo-2", None, "max_tokens"),
        ("mine", Some(azure), "max_completion_tokens"),
    ] {
        let prompt = Prompt { max_tokens: Some(1), ..Prompt::default() };
        let model = ModelConfig { base_url: base_url.map(str::to_owned), ..ModelConfig::new(P, name) };
        assert_eq!(request(&model, &prompt).unwrap()[key], 1, "{name}");
    }
}

#[test]
fn images_and_documents_stand_beside_the_text() {
    let pdf = document("application/pdf", Source::Base64("BBBB".into()));
    let body = request(&model(P), &user(&["See".into(), image(), image_url(), pdf])).unwrap();
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        ])
    );
    let reply = ToolReply { content: vec!["a".into(), image()], ..ToolReply::text("c", "", false) };
    let prompt = Prompt { turns: vec!["q".into(), Turn::ToolResults(vec![reply])], ..Prompt::default() };
    let body = request(&model(P), &prompt).unwrap();
    assert_eq!(body["messages"][1]["content"], "a\n[image omitted: image/png]");
}

#[test]
fn a_text_is_read_with_its_usage() {
    let message = json!({"role": "assistant", "content": "Hello", "x_unknown": [1]});
    let reply = parse(P, &answer(&message, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop, &reply.assistant), ("Hello", &Stop::End, &message));
    assert_eq!(reply.usage, Usage { input_tokens: 10, output_tokens: 2, cache_read_tokens: 4, cache_write_tokens: 0 });
    assert_eq!(reply.model.as_deref(), Some("m-1"));

    let parts = json!({"content": [{"type": "text", "text": "a"}, {"type": "other"}, {"type": "text", "text": "b"}]});
    let reply = parse(P, &answer(&parts, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.assistant["role"]), ("ab", &json!("assistant")));

    let mut body = answer(&message, "stop");
    for (usage, read, written) in [
        (json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3}), 6, 0),
        (json!({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 5}}), 2, 5),
        (json!(null), 0, 0),
    ] {
        body["usage"] = usage;
        let usage = parse(P, &body).unwrap().usage;
        assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (read, written));
    }
}

#[test]
fn malformed_arguments_spoil_only_their_call() {
    let given = ["{\"a\":1}", "", " ", "null", "{bad", "[1]", "\"text\""];
    let calls: Vec<Value> = given.iter().enumerate().map(|(n, text)| called(&format!("c{n}"), text)).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    // This server says `stop` although it calls.
    let reply = parse(P, &answer(&message, "stop")).unwrap();
    assert_eq!(reply.stop, Stop::ToolUse);
    let arguments: Vec<_> = reply.tool_calls.iter().map(|call| call.arguments.clone().ok()).collect();
    let empty = || Some(json!({}));
    assert_eq!(arguments, [Some(json!({"a": 1})), empty(), empty(), empty(), None, None, None]);
    let wrong = reply.tool_calls[4].arguments.clone().unwrap_err();
    assert!(wrong.contains("not valid JSON") && wrong.contains("{bad"), "{wrong}");
    for call in reply.assistant["tool_calls"].as_array().unwrap() {
        let text = call["function"]["arguments"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{text} goes back to the server");
    }
    for calls in [json!([{"id": "a"}]), json!([5, null])] {
        let body = answer(&json!({"content": "t", "tool_calls": calls}), "tool_calls");
        assert!(matches!(parse(P, &body), Err(WireError::NotAReply { .. })), "{body}");
    }
}

#[test]
fn stop_reasons_are_told_apart() {
    let other = |word: &str| Stop::Other(word.to_owned());
    for (word, stop) in [
        ("stop", Stop::End),
        ("tool_calls", Stop::ToolUse),
        ("function_call", Stop::ToolUse),
        ("length", Stop::Truncated),
        ("model_length", Stop::Truncated),
        ("content_filter", Stop::Refused),
        ("eos", other("eos")),
        ("", other("missing")),
    ] {
        assert_eq!(parse(P, &answer(&json!({"content": "t"}), word)).unwrap().stop, stop);
    }
    let refused = json!({"content": null, "refusal": "I will not."});
    let reply = parse(P, &answer(&refused, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("I will not.", Stop::Refused));
}
