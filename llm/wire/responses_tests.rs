//! Tests of `OpenAI` Responses: exact bodies without state at the provider, and answers that ended in each way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::super::tests::{calling, conversation, document, image, image_url, model, tool, user};
use super::super::{ToolChoice, ToolReply, Turn, WireError, parse, request};
use super::*;
use crate::model::Provider;

const P: Provider = Provider::OpenaiResponses;

fn answer(output: &Value, status: &str, more: &Value) -> Value {
    let mut body = json!({"id": "resp_1", "object": "response", "model": "m-1", "status": status, "output": output, "error": null,
        "incomplete_details": null, "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 17}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn text(text: &str) -> Value {
    json!([{"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]}])
}

#[test]
fn a_request_is_exactly_this() {
    let mut turns = conversation(&model(P), 1);
    turns.push("Go on".into());
    let mut prompt = Prompt {
        system: Some("Be brief.".into()),
        turns,
        tools: vec![tool("f")],
        tool_choice: ToolChoice::Required,
        max_tokens: Some(50),
        temperature: Some(0.5),
        ..Prompt::default()
    };
    let mut said = calling(P)["output"].clone();
    // An empty text is no JSON, and servers that parse it fail.
    said[3]["arguments"] = json!("{}");
    let parameters = &prompt.tools[0].input_schema;
    assert_eq!(
        request(&model(P), &prompt).unwrap(),
        json!({
            "model": "m", "store": false, "include": ["reasoning.encrypted_content"], "instructions": "Be brief.",
            "max_output_tokens": 50, "temperature": 0.5, "tool_choice": "required",
            "input": [
                {"type": "message", "role": "user", "content": "Question?"}, said[0], said[1], said[2], said[3],
                {"type": "function_call_output", "call_id": "call_A", "output": "of f"},
                {"type": "function_call_output", "call_id": "call_B", "output": "of g"},
                {"type": "message", "role": "user", "content": "Go on"},
            ],
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": parameters, "strict": false}],
        })
    );
    prompt.tool_choice = ToolChoice::None;
    let concluding = request(&ModelConfig::new(P, "m"), &prompt).unwrap();
    assert_eq!((concluding.get("tools"), &concluding["stream"]), (None, &json!(true)));
}

#[test]
fn only_a_model_that_may_reason_is_asked_for_its_reasoning() {
    for (name, asked) in [
        ("gpt-5.1", true),
        ("o4-mini", true),
        ("my-deployment", true),
        ("gpt-4o", false),
        ("openai/gpt-4.1-mini", false),
        ("gpt-5-chat-latest", false),
        ("chatgpt-4o-latest", false),
    ] {
        let body = request(&ModelConfig::new(P, name), &Prompt::default()).unwrap();
        assert_eq!(body.get("include").is_some(), asked, "{name}");
    }
}

#[test]
fn images_and_documents_stand_beside_the_text_in_results_too() {
    let parts = [
        "See".into(),
        image(),
        image_url(),
        document("application/pdf", Source::Base64("BBBB".into())),
        document("application/pdf", Source::Url("https://h/a.pdf".into())),
    ];
    let expected = json!([
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
        {"type": "input_image", "image_url": "https://h/a.png", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
        {"type": "input_file", "file_url": "https://h/a.pdf"},
    ]);
    assert_eq!(request(&model(P), &user(&parts)).unwrap()["input"][0]["content"], expected);
    let reply = ToolReply { content: parts.to_vec(), ..ToolReply::text("c", "", false) };
    let prompt = Prompt { turns: vec![Turn::ToolResults(vec![reply])], ..Prompt::default() };
    assert_eq!(request(&model(P), &prompt).unwrap()["input"][0]["output"], expected);
}

#[test]
fn a_text_is_read_with_its_usage() {
    let reply = parse(P, &answer(&text("Hello"), "completed", &json!({}))).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop), ("Hello", &Stop::End));
    assert_eq!(reply.usage, Usage { input_tokens: 10, output_tokens: 7, cache_read_tokens: 4, cache_write_tokens: 0 });
    let reply = parse(P, &calling(P)).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop, reply.tool_calls.len()), ("Hm", &Stop::ToolUse, 2));
    assert_eq!(reply.tool_calls[0].arguments, Ok(json!({"q": "a"})));
    assert_eq!(reply.tool_calls[1].arguments, Ok(json!({})));
}

#[test]
fn stop_reasons_are_told_apart() {
    let because = |reason: &str| json!({"incomplete_details": {"reason": reason}});
    for (status, more, stop) in [
        ("completed", json!({}), Stop::End),
        ("incomplete", because("max_output_tokens"), Stop::Truncated),
        ("incomplete", because("content_filter"), Stop::Refused),
        ("incomplete", because("new_reason"), Stop::Other("new_reason".into())),
        ("incomplete", json!({}), Stop::Other("incomplete".into())),
        ("cancelled", json!({}), Stop::Other("cancelled".into())),
    ] {
        assert_eq!(parse(P, &answer(&text("t"), status, &more)).unwrap().stop, stop);
    }
    let refused = json!([{"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}]);
    let reply = parse(P, &answer(&refused, "completed", &json!({}))).unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("I will not.", Stop::Refused));
    for status in ["queued", "in_progress"] {
        let error = parse(P, &answer(&json!([]), status, &json!({}))).unwrap_err();
        assert!(matches!(error, WireError::NotAReply { .. }), "{error}");
    }
}

#[test]
fn a_failure_is_quoted_with_its_code() {
    let why = json!({"error": {"code": "server_error", "message": "The model had a bad day."}});
    let error = parse(P, &answer(&json!([]), "failed", &why)).unwrap_err();
    let expected =
        WireError::Failed { provider: P, code: "server_error".into(), message: "The model had a bad day.".into() };
    assert_eq!(error, expected);
    assert!(parse(P, &json!({"status": "failed"})).unwrap_err().to_string().contains("unknown"));
}
