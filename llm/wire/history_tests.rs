//! Tests of conversations: what goes back verbatim, what is rebuilt for another wire, and journals that stay linear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abide_engine::ChunkTable;

use super::super::tests::{ALL, calling, conversation, model, tool};
use super::super::{Prompt, parse, request};
use super::*;
use crate::model::Provider;

type Pairs = Vec<(String, String)>;

/// The calls and results that a body tells, whatever its wire: ids and names of the calls, ids and texts of the results.
fn told(provider: Provider, body: &Value) -> (Pairs, Pairs) {
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pairs = |items: &[&Value], one: &str, other: &str| -> Pairs {
        items
            .iter()
            .map(|item| (text(item, one), text(item, other)))
            .filter(|pair| *pair != Default::default())
            .collect()
    };
    let all = |list: &str, inner: &str| -> Vec<&Value> {
        let messages = body[list].as_array().unwrap().iter();
        messages.flat_map(|message| message.get(inner).and_then(Value::as_array).into_iter().flatten()).collect()
    };
    match provider {
        Provider::Openai | Provider::Ollama => {
            let messages: Vec<&Value> =
                body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").collect();
            (
                pairs(&all("messages", "tool_calls"), "/id", "/function/name"),
                pairs(&messages, "/tool_call_id", "/content"),
            )
        }
        Provider::OpenaiResponses => {
            let of = |kind: &str| {
                body["input"].as_array().unwrap().iter().filter(|item| item["type"] == kind).collect::<Vec<_>>()
            };
            (
                pairs(&of("function_call"), "/call_id", "/name"),
                pairs(&of("function_call_output"), "/call_id", "/output"),
            )
        }
        Provider::Anthropic => {
            let blocks = all("messages", "content");
            (pairs(&blocks, "/id", "/name"), pairs(&blocks, "/tool_use_id", "/content"))
        }
        Provider::Gemini => {
            let parts = all("contents", "parts");
            let calls = pairs(&parts, "/functionCall/id", "/functionCall/name");
            let mut results = pairs(&parts, "/functionResponse/id", "/functionResponse/response/output");
            let errors = pairs(&parts, "/functionResponse/id", "/functionResponse/response/error");
            for (result, (_, error)) in results.iter_mut().zip(errors).filter(|(result, _)| result.1.is_empty()) {
                result.1 = error;
            }
            (calls, results)
        }
    }
}

#[test]
fn a_conversation_goes_on_with_a_model_on_any_other_wire() {
    for from in ALL {
        for to in ALL {
            let pair = format!("{from:?} to {to:?}");
            let (asked, next) = (model(from), ModelConfig { model: "n".into(), ..model(to) });
            let prompt =
                Prompt { turns: conversation(&asked, 3), tools: vec![tool("f"), tool("g")], ..Prompt::default() };
            let body = request(&next, &prompt).unwrap();
            let (calls, results) = told(to, &body);
            let names: Vec<&str> = calls.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names, ["f", "g"].repeat(3), "{pair}: {body}");
            let texts: Vec<&str> = results.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, ["of f", "of g"].repeat(3), "{pair}: {body}");
            let ids: Vec<&String> = calls.iter().map(|(id, _)| id).collect();
            assert_eq!(ids, results.iter().map(|(id, _)| id).collect::<Vec<_>>(), "{pair}");
            let mut own = ids.clone();
            own.sort();
            own.dedup();
            assert_eq!(own.len(), 6, "{pair}: each call has an id of its own: {ids:?}");
            let fits = |id: &&String| {
                id.len() <= 40 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            };
            assert!(ids.iter().all(fits), "{pair}: {ids:?}");
            // What only its author may read stays behind, what was said does not.
            let text = body.to_string();
            for secret in ["\"sig\"", "gAAA", "c2ln", "kept", "rs_1", "thinking aloud"] {
                assert!(!text.contains(secret), "{pair}: {secret} in {text}");
            }
            assert_eq!(text.matches("\"Hm\"").count(), 3, "{pair}: {text}");
        }
    }
}

#[test]
fn the_model_that_said_it_gets_it_back_verbatim() {
    for provider in ALL {
        let model = model(provider);
        let reply = parse(provider, &calling(provider)).unwrap();
        assert_eq!(reply.text, "Hm");
        let items = match &reply.assistant {
            Value::Array(items) => items.clone(),
            content if provider == Provider::Gemini => content["parts"].as_array().unwrap().clone(),
            message => vec![message.clone()],
        };
        let body =
            request(&model, &Prompt { turns: conversation(&model, 1), ..Prompt::default() }).unwrap().to_string();
        for item in items {
            assert!(body.contains(&item.to_string()), "{provider:?}: {item} in {body}");
        }
        // Another model at the same address is another author, as is the same one elsewhere.
        let elsewhere = ModelConfig { base_url: Some("https://elsewhere".into()), ..model.clone() };
        for other in [elsewhere, ModelConfig { model: "n".into(), ..model.clone() }] {
            let body =
                request(&other, &Prompt { turns: conversation(&model, 1), ..Prompt::default() }).unwrap().to_string();
            assert!(!["\"sig\"", "gAAA", "c2ln", "kept"].iter().any(|secret| body.contains(secret)), "{body}");
        }
    }
}

#[test]
fn a_growing_conversation_only_adds_to_its_messages_and_its_journal() {
    for provider in ALL {
        let model = ModelConfig::new(provider, "m");
        let big = "x".repeat(4_000);
        let mut table = ChunkTable::default();
        let (mut stored, mut turns, mut unique) = (0, vec!["Question?".into()], 0);
        let mut before: Vec<Value> = Vec::new();
        let tools = vec![tool("f"), tool("g")];
        for turn in 0..100 {
            let prompt = Prompt {
                system: Some("s".repeat(500)),
                turns: turns.clone(),
                tools: tools.clone(),
                ..Prompt::default()
            };
            let body = request(&model, &prompt).unwrap();
            let messages =
                ["messages", "input", "contents"].iter().find_map(|key| body[*key].as_array()).unwrap().clone();
            assert_eq!(messages[..before.len()], before[..], "{provider:?} turn {turn}");
            unique += messages[before.len()..].iter().map(|message| message.to_string().len()).sum::<usize>();
            before = messages;
            let payload = table.encode(serde_json::value::to_raw_value(&body).unwrap());
            if turn % 50 == 49 {
                assert_eq!(table.decode(&payload).unwrap().get(), body.to_string());
            }
            stored += serde_json::to_string(&payload).unwrap().len();
            stored += serde_json::to_string(&table.take_fresh()).unwrap().len();
            let reply = parse(provider, &calling(provider)).unwrap();
            let text = |n: usize| format!("{turn} {n} {big}");
            let ids = reply.tool_calls.iter().enumerate();
            let replies = ids.map(|(n, call)| ToolReply::text(&*call.id, text(n), false)).collect();
            turns.extend([reply.into_turn(&model), Turn::ToolResults(replies)]);
        }
        assert!(stored * 100 < unique * 112, "{provider:?}: {stored} bytes for {unique} unique ones");
    }
}
