//! Tests of Gemini: exact bodies, signatures and ids that come and that are missing, blocks, and what it counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::super::tests::{calling, conversation, document, image, image_url, model, tool, user};
use super::super::{ToolChoice, ToolReply, Turn, WireError, parse, request};
use super::*;
use crate::model::Provider;

const P: Provider = Provider::Gemini;

fn answer(parts: &Value, finish: &str) -> Value {
    json!({"modelVersion": "m-1", "responseId": "r", "candidates": [{"index": 0, "finishReason": finish,
        "content": {"role": "model", "parts": parts}}]})
}

#[test]
fn a_request_is_exactly_this() {
    let mut turns = conversation(&model(P), 1);
    turns.push("Go on".into());
    let mut prompt = Prompt {
        system: Some("Be brief.".into()),
        turns,
        tools: vec![tool("f"), ToolDecl { input_schema: json!({"type": "object"}), ..tool("g") }],
        tool_choice: ToolChoice::None,
        max_tokens: Some(50),
        temperature: Some(0.5),
        stop: vec!["END".into()],
        ..Prompt::default()
    };
    let mut said = calling(P)["candidates"][0]["content"].clone();
    said["parts"][3]["functionCall"]["args"] = json!({});
    assert_eq!(
        request(&model(P), &prompt).unwrap(),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 50, "temperature": 0.5, "stopSequences": ["END"]},
            "contents": [
                {"role": "user", "parts": [{"text": "Question?"}]}, said,
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "f", "response": {"output": "of f"}}},
                    {"functionResponse": {"name": "g", "response": {"error": "of g"}}},
                    {"text": "Go on"},
                ]},
            ],
            "tools": [{"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": prompt.tools[0].input_schema},
                {"name": "g", "description": "d"},
            ]}],
            "toolConfig": {"functionCallingConfig": {"mode": "NONE"}},
        })
    );
    prompt.turns.truncate(1);
    assert_eq!(request(&model(P), &prompt).unwrap().get("tools"), None);
    for (choice, mode) in [(ToolChoice::Auto, "AUTO"), (ToolChoice::Required, "ANY")] {
        prompt.tool_choice = choice;
        assert_eq!(request(&model(P), &prompt).unwrap()["toolConfig"]["functionCallingConfig"]["mode"], mode);
    }
}

#[test]
fn ids_that_it_gave_are_given_back_and_no_others() {
    let calls =
        json!([{"functionCall": {"id": "abc", "name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}]);
    let reply = parse(P, &answer(&calls, "STOP")).unwrap();
    let ids: Vec<_> = reply.tool_calls.iter().map(|call| call.id.clone()).collect();
    assert_eq!(ids, ["abc", "call_1"]);
    let replies = ids.iter().map(|id| ToolReply::text(id, "r", false)).collect();
    let turns = vec![reply.into_turn(&model(P)), Turn::ToolResults(replies)];
    let body = request(&model(P), &Prompt { turns, ..Prompt::default() }).unwrap();
    let parts = &body["contents"][1]["parts"];
    assert_eq!((&parts[0]["functionResponse"]["id"], parts[1]["functionResponse"].get("id")), (&json!("abc"), None));
}

#[test]
fn calls_of_another_model_carry_the_mark_instead_of_a_signature() {
    for (name, marked) in [("gemini-3-pro", true), ("gemini-flash-latest", true), ("models/gemini-2.5-pro", false)] {
        let turns = conversation(&model(Provider::Anthropic), 1);
        let body = request(&ModelConfig::new(P, name), &Prompt { turns, ..Prompt::default() }).unwrap();
        let parts = body["contents"][1]["parts"].as_array().unwrap();
        let marks: Vec<bool> = parts.iter().map(|part| part.get("thoughtSignature").is_some()).collect();
        assert_eq!(marks, [false, marked, false], "{name}: {parts:?}");
        assert_eq!(parts[1]["functionCall"], json!({"id": "toolu_A", "name": "f", "args": {"q": "a"}}));
    }
}

#[test]
fn images_and_documents_stand_beside_the_text() {
    let pdf = document("application/pdf", Source::Url("https://h/a.pdf".into()));
    let body = request(&model(P), &user(&["See".into(), image(), image_url(), pdf])).unwrap();
    assert_eq!(
        body["contents"][0]["parts"],
        json!([
            {"text": "See"},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.png"}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://h/a.pdf"}},
        ])
    );
    let reply = ToolReply { content: vec!["a".into(), image()], ..ToolReply::text("c", "", false) };
    let prompt = Prompt { turns: vec![Turn::ToolResults(vec![reply])], ..Prompt::default() };
    let of = |name| {
        request(&ModelConfig::new(P, name), &prompt).unwrap()["contents"][0]["parts"][0]["functionResponse"].clone()
    };
    let new = of("gemini-3-pro");
    assert_eq!(new["response"], json!({"output": "a"}));
    assert_eq!(new["parts"], json!([{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]));
    assert_eq!(of("gemini-2.5-flash")["response"], json!({"output": "a\n[image omitted: image/png]"}));
}

#[test]
fn a_text_is_read_with_its_usage() {
    let mut body = answer(
        &json!([{"text": "Hm", "thought": true}, {"text": "Hel"}, {"text": "lo", "thoughtSignature": "c2ln"}]),
        "STOP",
    );
    body["usageMetadata"] = json!({"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
        "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 5, "totalTokenCount": 47});
    let reply = parse(P, &body).unwrap();
    assert_eq!((reply.text.as_str(), &reply.stop), ("Hello", &Stop::End));
    assert_eq!(reply.usage, Usage { input_tokens: 15, output_tokens: 32, cache_read_tokens: 4, cache_write_tokens: 0 });
    assert_eq!((reply.model.as_deref(), reply.assistant), (Some("m-1"), body["candidates"][0]["content"].clone()));
}

#[test]
fn stop_reasons_are_told_apart() {
    let text = json!([{"text": "t"}]);
    for (word, stop) in [
        ("STOP", Stop::End),
        ("MAX_TOKENS", Stop::Truncated),
        ("SAFETY", Stop::Refused),
        ("RECITATION", Stop::Refused),
        ("PROHIBITED_CONTENT", Stop::Refused),
        ("OTHER", Stop::Other("OTHER".into())),
        ("MISSING_THOUGHT_SIGNATURE", Stop::Other("MISSING_THOUGHT_SIGNATURE".into())),
        ("", Stop::Other("missing".into())),
    ] {
        assert_eq!(parse(P, &answer(&text, word)).unwrap().stop, stop);
    }
    for word in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"] {
        let error = parse(P, &answer(&json!([]), word)).unwrap_err();
        assert!(matches!(&error, WireError::BadCall { reason, .. } if reason == word), "{error}");
    }
}

#[test]
fn what_was_blocked_is_a_refusal_and_sends_nothing_back() {
    let blocked = [
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m-1"}),
        json!({"candidates": [{"finishReason": "SAFETY", "index": 0}]}),
        json!({"candidates": [{"finishReason": "SAFETY", "content": {"role": "model"}}]}),
    ];
    for body in blocked {
        let reply = parse(P, &body).unwrap();
        assert_eq!((reply.text.as_str(), &reply.stop), ("", &Stop::Refused), "{body}");
        let turns = vec!["Hi".into(), reply.into_turn(&model(P)), "Again".into()];
        let sent = request(&model(P), &Prompt { turns, ..Prompt::default() }).unwrap();
        assert_eq!(sent["contents"], json!([{"role": "user", "parts": [{"text": "Hi"}, {"text": "Again"}]}]));
    }
    let cut = json!({"candidates": [{"finishReason": "MAX_TOKENS", "content": {"role": "model"}}]});
    assert_eq!(parse(P, &cut).unwrap().stop, Stop::Truncated);
}

#[test]
fn odd_arguments_spoil_only_their_call() {
    let calls = json!([{"functionCall": {"name": "f", "args": [1]}}, {"functionCall": {"name": "g", "args": null}}]);
    let reply = parse(P, &answer(&calls, "STOP")).unwrap();
    assert!(reply.tool_calls[0].arguments.is_err());
    assert_eq!(reply.tool_calls[1].arguments, Ok(json!({})));
    assert!(reply.assistant["parts"].as_array().unwrap().iter().all(|part| part["functionCall"]["args"].is_object()));
}
