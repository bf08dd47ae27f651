//! Tests of both wires: exact request bodies, and answers in order, odd and broken. They never reach a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;

const BOTH: [Provider; 2] = [Provider::Openai, Provider::Anthropic];

fn chat(message: &Value, finish: &str) -> Value {
    json!({"model": "m-1", "choices": [{"message": message, "finish_reason": finish}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}})
}

fn messages(content: &Value, stop: &str) -> Value {
    json!({"model": "m-1", "role": "assistant", "content": content, "stop_reason": stop,
           "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5}})
}

fn chat_call(id: &Value, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

fn prompt(assistant: Value, tool_choice: ToolChoice) -> Prompt {
    Prompt {
        system: Some("Be brief.".into()),
        turns: vec![
            Turn::User("Hi".into()),
            Turn::Assistant(assistant),
            Turn::ToolResults(vec![ToolReply { call_id: "c1".into(), text: "42".into(), is_error: true }]),
            Turn::User("Go on".into()),
        ],
        tools: vec![ToolDecl { name: "f".into(), description: "d".into(), input_schema: json!({"type": "object"}) }],
        tool_choice,
        max_tokens: Some(50),
        temperature: Some(0.5),
    }
}

#[test]
fn a_chat_request_is_exactly_this() {
    let said = json!({"role": "assistant", "content": null, "tool_calls": [chat_call(&json!("c1"), "{}")], "reasoning": "kept"});
    let body = request(Provider::Openai, "m", &prompt(said.clone(), ToolChoice::Required)).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m", "max_tokens": 50, "temperature": 0.5, "tool_choice": "required",
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, said,
                {"role": "tool", "tool_call_id": "c1", "content": "42"}, {"role": "user", "content": "Go on"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        })
    );
    let concluding = request(Provider::Openai, "m", &prompt(said, ToolChoice::None)).unwrap();
    assert_eq!((concluding.get("tools"), concluding.get("tool_choice")), (None, None));
    for (model, key) in [
        ("o3-mini", "max_completion_tokens"),
        ("openai/gpt-5.1", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
        ("olmo-2", "max_tokens"),
    ] {
        let prompt = Prompt { max_tokens: Some(1), ..Prompt::default() };
        assert_eq!(request(Provider::Openai, model, &prompt).unwrap()[key], 1, "{model}");
    }
}

#[test]
fn a_messages_request_is_exactly_this() {
    let said = json!([{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": ""},
                      {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]);
    let body = request(Provider::Anthropic, "m", &prompt(said.clone(), ToolChoice::None)).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m", "max_tokens": 50, "temperature": 0.5, "system": "Be brief.", "tool_choice": {"type": "none"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [said[0], said[2]]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "42", "is_error": true},
                    {"type": "text", "text": "Go on"},
                ]},
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        })
    );
    let mut first = prompt(said, ToolChoice::None);
    first.turns.truncate(1);
    first.max_tokens = None;
    let body = request(Provider::Anthropic, "m", &first).unwrap();
    assert_eq!((body.get("tools"), &body["max_tokens"]), (None, &json!(4096)));
    first.tool_choice = ToolChoice::Required;
    assert_eq!(request(Provider::Anthropic, "m", &first).unwrap()["tool_choice"], json!({"type": "any"}));
}

#[test]
fn a_text_is_read_with_its_usage() {
    let message = json!({"role": "assistant", "content": "Hello", "x_unknown": [1]});
    let reply = parse(Provider::Openai, &chat(&message, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop, &reply.assistant), ("Hello", &Stop::End, &message));
    assert_eq!(reply.usage, Usage { input_tokens: 10, output_tokens: 2, cache_read_tokens: 4, cache_write_tokens: 0 });
    assert_eq!(reply.model.as_deref(), Some("m-1"));

    let content = json!([{"type": "thinking", "signature": "s"}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]);
    let reply = parse(Provider::Anthropic, &messages(&content, "end_turn")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop, &reply.assistant), ("Hello", &Stop::End, &content));
    assert_eq!(reply.usage, Usage { input_tokens: 12, output_tokens: 2, cache_read_tokens: 4, cache_write_tokens: 5 });

    let parts = json!({"content": [{"type": "text", "text": "a"}, {"type": "other"}, {"type": "text", "text": "b"}]});
    let reply = parse(Provider::Openai, &chat(&parts, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), &reply.assistant["role"]), ("ab", &json!("assistant")));
}

#[test]
fn malformed_arguments_spoil_only_their_call() {
    let given = ["{\"a\":1}", "", " ", "null", "{bad", "[1]", "\"text\""];
    let calls: Vec<Value> =
        given.iter().enumerate().map(|(n, text)| chat_call(&json!(format!("c{n}")), text)).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    // This server says `stop` although it calls.
    let reply = parse(Provider::Openai, &chat(&message, "stop")).unwrap();
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

    let blocks =
        json!([{"type": "tool_use", "id": "a", "name": "f"}, {"type": "tool_use", "id": "b", "name": "f", "input": 5}]);
    let reply = parse(Provider::Anthropic, &messages(&blocks, "tool_use")).unwrap();
    assert_eq!(reply.tool_calls[0].arguments, Ok(json!({})));
    assert!(reply.tool_calls[1].arguments.is_err());
    assert!(reply.assistant.as_array().unwrap().iter().all(|block| block["input"].is_object()));
}

#[test]
fn missing_and_repeated_call_ids_are_mended_alike_in_both_places() {
    let ids = [json!("call_1"), json!(null), json!("call_1"), json!(""), json!("x")];
    let calls: Vec<Value> = ids.iter().map(|id| chat_call(id, "{}")).collect();
    let chat = parse(Provider::Openai, &chat(&json!({"tool_calls": calls}), "tool_calls")).unwrap();
    let blocks: Vec<Value> =
        ids.iter().map(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}})).collect();
    let messages = parse(Provider::Anthropic, &messages(&json!(blocks), "tool_use")).unwrap();
    for (reply, sent_back) in [(&chat, &chat.assistant["tool_calls"]), (&messages, &messages.assistant)] {
        let ids: Vec<&str> = reply.tool_calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(ids, ["call_1", "call_2", "call_3", "call_4", "x"]);
        let back: Vec<&str> = sent_back.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!(ids, back);
    }
}

#[test]
fn stop_reasons_are_told_apart() {
    let other = |word: &str| Stop::Other(word.to_owned());
    for (word, stop) in [
        ("stop", Stop::End),
        ("tool_calls", Stop::ToolUse),
        ("length", Stop::Truncated),
        ("content_filter", Stop::Refused),
        ("eos", other("eos")),
        ("", other("missing")),
    ] {
        assert_eq!(parse(Provider::Openai, &chat(&json!({"content": "t"}), word)).unwrap().stop, stop);
    }
    for (word, stop) in [
        ("end_turn", Stop::End),
        ("stop_sequence", Stop::End),
        ("tool_use", Stop::ToolUse),
        ("max_tokens", Stop::Truncated),
        ("model_context_window_exceeded", Stop::Truncated),
        ("refusal", Stop::Refused),
        ("pause_turn", other("pause_turn")),
        ("", other("missing")),
    ] {
        let content = json!([{"type": "text", "text": "t"}]);
        assert_eq!(parse(Provider::Anthropic, &messages(&content, word)).unwrap().stop, stop);
    }
    let refused = json!({"content": null, "refusal": "I will not."});
    let reply = parse(Provider::Openai, &chat(&refused, "stop")).unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("I will not.", Stop::Refused));
}

#[test]
fn an_empty_answer_is_an_error_but_a_cut_off_one_is_not() {
    for text in [json!(""), json!(" \n"), json!(null)] {
        for finish in ["stop", "tool_calls", ""] {
            let error = parse(Provider::Openai, &chat(&json!({"content": text}), finish)).unwrap_err();
            assert!(matches!(error, WireError::Empty { .. }), "{error}");
        }
        assert_eq!(parse(Provider::Openai, &chat(&json!({"content": text}), "length")).unwrap().stop, Stop::Truncated);
    }
    let error = parse(Provider::Anthropic, &messages(&json!([]), "end_turn")).unwrap_err();
    assert!(matches!(error, WireError::Empty { .. }), "{error}");
    assert_eq!(parse(Provider::Anthropic, &messages(&json!([]), "refusal")).unwrap().stop, Stop::Refused);
}

#[test]
fn what_is_not_a_reply_is_quoted_from_its_start() {
    let long = json!({"error": "é".repeat(1000)});
    let odd =
        [json!(null), json!([]), json!("text"), json!({}), json!({"choices": []}), json!({"content": "text"}), long];
    for body in &odd {
        for provider in BOTH {
            let WireError::NotAReply { start, .. } = parse(provider, body).unwrap_err() else { panic!("{body}") };
            assert!(body.to_string().starts_with(start.trim_end_matches('.')), "{start}");
            assert!(start.chars().count() <= 303);
        }
    }
    let call_without_function = json!({"content": "t", "tool_calls": [{"id": "a"}]});
    assert!(parse(Provider::Openai, &chat(&call_without_function, "tool_calls")).is_err());
    assert!(parse(Provider::Openai, &chat(&json!({"content": "t", "tool_calls": [5, null]}), "tool_calls")).is_err());
}

#[test]
fn wires_that_are_not_built_say_so() {
    for provider in [Provider::OpenaiResponses, Provider::Gemini, Provider::Ollama] {
        let error = request(provider, "m", &Prompt::default()).unwrap_err();
        assert_eq!(*error.kind(), abide_engine::ErrorKind::Terminal);
        assert!(error.message().contains("not yet built") && error.message().contains(provider.as_str()), "{error}");
        assert_eq!(parse(provider, &json!({})), Err(WireError::NotBuilt(provider)));
    }
}
