//! Tests of what a body offers: the way to JSON that each wire takes, and which schemas qualify for a guarantee.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abide_engine::ErrorKind;
use serde_json::json;

use super::super::request;
use super::super::tests::{ALL, conversation, model, tool};
use super::*;

fn closed() -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["a"],
           "additionalProperties": false, "properties": {"a": {"type": "string"}}})
}

fn plain() -> Value {
    let mut schema = closed();
    schema.as_object_mut().unwrap().remove("$schema");
    schema
}

fn prompt(tools: &[ToolDecl]) -> Prompt {
    let output = Some(Output { name: "answer".into(), schema: closed() });
    Prompt { turns: vec!["q".into()], tools: tools.to_vec(), output, ..Prompt::default() }
}

fn named(provider: Provider, name: &str) -> ModelConfig {
    ModelConfig { model: name.into(), ..model(provider) }
}

#[test]
fn each_wire_asks_in_its_own_way() {
    let schema = plain();
    for (model, key, expected) in [
        (
            named(Provider::Openai, "m"),
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}}),
        ),
        (
            named(Provider::OpenaiResponses, "m"),
            "text",
            json!({"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": true}}),
        ),
        (
            named(Provider::Anthropic, "claude-sonnet-5-5"),
            "output_config",
            json!({"format": {"type": "json_schema", "schema": schema}}),
        ),
        (
            named(Provider::Gemini, "m"),
            "generationConfig",
            json!({"responseMimeType": "application/json", "responseJsonSchema": schema}),
        ),
        (named(Provider::Ollama, "m"), "format", schema.clone()),
    ] {
        let body = request(&model, &prompt(&[])).unwrap();
        assert_eq!((&body[key], body.get("tools")), (&expected, None), "{model:?}");
    }
}

#[test]
fn a_forced_tool_stands_in_for_the_format() {
    let forced = |provider, name| ModelConfig { structured: Some(Structured::Tool), ..named(provider, name) };
    let function = json!({"type": "function", "function": {"name": "answer"}});
    let any = json!({"functionCallingConfig": {"mode": "ANY"}});
    let only = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["answer"]}});
    for (model, key, alone, beside) in [
        (forced(Provider::Openai, "m"), "tool_choice", function, json!("required")),
        (
            forced(Provider::OpenaiResponses, "m"),
            "tool_choice",
            json!({"type": "function", "name": "answer"}),
            json!("required"),
        ),
        // Without a word for it in the model's entry: too old a Claude, and too old a Gemini beside other tools.
        (
            named(Provider::Anthropic, "claude-3-7-sonnet"),
            "tool_choice",
            json!({"type": "tool", "name": "answer"}),
            json!({"type": "any"}),
        ),
        (
            named(Provider::Anthropic, "other"),
            "tool_choice",
            json!({"type": "tool", "name": "answer"}),
            json!({"type": "any"}),
        ),
        (forced(Provider::Gemini, "gemini-2.5-pro"), "toolConfig", only, any),
    ] {
        let body = request(&model, &prompt(&[])).unwrap();
        assert_eq!(body[key], alone, "{model:?}");
        assert_eq!(body["tools"].to_string().matches("\"answer\"").count(), 1);
        let body = request(&model, &prompt(&[tool("f")])).unwrap();
        assert_eq!(body[key], beside, "{model:?}");
        // To conclude it may call no other.
        let concluding = Prompt { tool_choice: ToolChoice::None, ..prompt(&[tool("f")]) };
        let body = request(&model, &concluding).unwrap();
        assert_eq!((&body[key], body["tools"].to_string().contains("\"f\"")), (&alone, false), "{model:?}");
    }
}

#[test]
fn the_tools_of_the_history_stay_where_they_must_when_the_answer_is_forced() {
    let model = ModelConfig { structured: Some(Structured::Tool), ..model(Provider::Anthropic) };
    let turns = conversation(&model, 1);
    let concluding = Prompt { tool_choice: ToolChoice::None, turns, ..prompt(&[tool("f")]) };
    let body = request(&model, &concluding).unwrap();
    let names: Vec<&str> =
        body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!((names.as_slice(), &body["tool_choice"]["name"]), (["f", "answer"].as_slice(), &json!("answer")));
}

#[test]
fn a_format_that_would_forbid_tools_gives_way_to_them() {
    let tools = [tool("f")];
    let gemini = request(&named(Provider::Gemini, "gemini-2.5-pro"), &prompt(&tools)).unwrap();
    assert_eq!(
        (gemini.get("generationConfig"), &gemini["toolConfig"]["functionCallingConfig"]["mode"]),
        (None, &json!("ANY"))
    );
    let new = request(&named(Provider::Gemini, "gemini-3-pro"), &prompt(&tools)).unwrap();
    assert_eq!(new["generationConfig"]["responseJsonSchema"], plain());
    let ollama = request(&model(Provider::Ollama), &prompt(&tools)).unwrap();
    assert_eq!((ollama.get("format"), &ollama["messages"][0]["role"]), (None, &json!("system")));
    assert!(ollama["messages"][0]["content"].as_str().unwrap().contains("\"required\":[\"a\"]"));
    let concluding = Prompt { tool_choice: ToolChoice::None, ..prompt(&tools) };
    assert_eq!(request(&model(Provider::Ollama), &concluding).unwrap()["format"], plain());
}

#[test]
fn words_are_added_to_the_instructions_of_every_wire() {
    for provider in ALL {
        let model = ModelConfig { structured: Some(Structured::Text), ..model(provider) };
        let body = request(&model, &Prompt { system: Some("Be brief.".into()), ..prompt(&[]) }).unwrap();
        let text = body.to_string();
        assert!(text.contains("Be brief.\\n\\nGive your final answer as one JSON value"), "{text}");
        for key in ["response_format", "text", "output_config", "generationConfig", "format", "tools"] {
            assert_eq!(body.get(key), None, "{provider:?}");
        }
    }
}

#[test]
fn only_schemas_that_qualify_get_a_guarantee() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut schema = closed();
        change(&mut schema);
        Output { name: "a".into(), schema }
    };
    let nested = |inner: Value| with(&move |schema| schema["properties"]["a"] = inner.clone());
    for (output, strict, anthropic) in [
        (with(&|_| {}), true, true),
        (with(&|schema| schema["required"] = json!([])), false, true),
        (with(&|schema| schema["additionalProperties"] = json!(true)), false, false),
        (nested(json!({"type": "object"})), false, false),
        (nested(json!({"type": "object", "additionalProperties": false})), true, true),
        (nested(json!({"type": ["object", "null"], "properties": {}})), false, false),
        (nested(json!({"type": "array", "items": {"type": "object", "properties": {}}})), false, false),
        (nested(json!({"anyOf": [{"type": "string"}, {"properties": {"x": {}}}]})), false, false),
        (nested(json!({"type": "integer", "minimum": 1})), true, false),
        (nested(json!({"$ref": "#/$defs/x"})), true, false),
        (nested(json!({"type": "string", "default": "x"})), false, true),
        (nested(json!({"oneOf": [{"type": "string"}]})), false, false),
        (nested(json!(true)), false, false),
    ] {
        assert_eq!((output.is_strict(), output.fits_anthropic()), (strict, anthropic), "{}", output.schema);
    }
    // Where it does not qualify, it is still shown.
    let loose = Prompt { output: Some(nested(json!(true))), ..prompt(&[]) };
    let body = request(&model(Provider::Openai), &loose).unwrap();
    assert_eq!(body["response_format"]["json_schema"].get("strict"), None);
    assert_eq!(request(&model(Provider::OpenaiResponses), &loose).unwrap()["text"]["format"]["strict"], false);
    let claude = request(&named(Provider::Anthropic, "claude-opus-5-5"), &loose).unwrap();
    assert_eq!(claude["tool_choice"], json!({"type": "tool", "name": "a"}));
}

#[test]
fn a_name_or_schema_that_no_vendor_takes_is_refused() {
    for (name, schema, part) in [
        ("a b", closed(), "`a b`"),
        ("", closed(), "name of an output"),
        ("a", json!({"type": "array"}), "\"type\": \"object\""),
        ("a", json!(true), "object"),
    ] {
        let prompt = Prompt { output: Some(Output { name: name.into(), schema }), ..Prompt::default() };
        for provider in ALL {
            let error = request(&model(provider), &prompt).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Terminal);
            assert!(error.message().contains(part), "{error}");
        }
    }
}

#[test]
fn the_bounds_of_a_small_model_are_in_every_schema_that_it_is_given() {
    for provider in ALL {
        let bounds = Some(crate::model::Bounds { text: Some(77), items: None });
        let small = ModelConfig { bounds, ..model(provider) };
        let told = ToolDecl { input_schema: plain(), ..tool("t") };
        for asked in [prompt(&[]), Prompt { tools: vec![told], output: None, ..prompt(&[]) }] {
            let said = |model: &ModelConfig| request(model, &asked).unwrap().to_string();
            assert!(!said(&model(provider)).contains("maxLength"));
            // In words a schema stands within a text, with its marks written out.
            assert!(said(&small).replace('\\', "").contains("\"maxLength\":77"), "{}", said(&small));
        }
    }
}
