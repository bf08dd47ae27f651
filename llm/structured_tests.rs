//! Tests of answers in JSON: found in texts, fences, prose and calls, checked, and the turn that asks again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::model::Provider;
use crate::wire::{CallRequest, Prompt, Usage, request};

fn output() -> Output {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "l": {"items": {"type": "string"}}}});
    Output { name: "answer".into(), schema }
}

fn says(text: &str) -> Reply {
    let assistant = json!({"role": "assistant", "content": text});
    Reply {
        text: text.into(),
        tool_calls: Vec::new(),
        stop: Stop::End,
        usage: Usage::default(),
        assistant,
        model: None,
    }
}

fn calls(calls: &[(&str, Result<Value, String>)]) -> Reply {
    let call = |(at, (name, arguments)): (usize, &(&str, Result<Value, String>))| CallRequest {
        id: format!("c{at}"),
        name: (*name).to_owned(),
        arguments: arguments.clone(),
    };
    Reply { tool_calls: calls.iter().enumerate().map(call).collect(), stop: Stop::ToolUse, ..says("") }
}

#[test]
fn json_is_found_wherever_it_stands() {
    for text in [
        "{\"n\": 1}",
        " \n{\"n\": 1}\n",
        "```json\n{\"n\": 1}\n```",
        "Here it is:\n```\n{\"n\": 1}\n```\nAnything else?",
        "```json{\"n\": 1}```",
        "The plan {as asked} is [1] this: {\"n\": 1} and no {\"n\": 2}.",
        "First ```js\n{\"n\": \"no\"}\n``` then ```json\n{\"n\": 1}\n```",
        "An open fence ```json\n{\"n\": 1}",
        "Wrong: {\"n\": \"x\"}, right: {\"n\": 1}",
        "{ \"broken\": {\"n\": 1}",
    ] {
        assert_eq!(read(&says(text), &output()), Ok(json!({"n": 1})), "{text}");
    }
    assert_eq!(read(&calls(&[("f", Ok(json!({}))), ("answer", Ok(json!({"n": 1})))]), &output()), Ok(json!({"n": 1})));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let Unfit::Invalid(mistakes) = read(&says("{\"n\": \"x\", \"l\": [1, \"a\", 2]}"), &output()).unwrap_err() else {
        panic!()
    };
    assert_eq!(mistakes.len(), 3);
    assert!(
        mistakes.iter().any(|mistake| mistake.starts_with("/n: ")) && mistakes.iter().any(|m| m.starts_with("/l/2: "))
    );
    let Unfit::Invalid(mistakes) = read(&says("Answer: {}"), &output()).unwrap_err() else { panic!() };
    assert!(mistakes[0].starts_with("the whole: ") && mistakes[0].contains("\"n\""), "{mistakes:?}");
    let many = json!({"n": 1, "l": vec![0; 100]}).to_string();
    assert!(matches!(read(&says(&many), &output()), Err(Unfit::Invalid(mistakes)) if mistakes.len() == MISTAKES));
    assert_eq!(read(&says("No."), &output()), Err(Unfit::NoJson("No.".into())));
    assert_eq!(read(&calls(&[("answer", Err("bad".into()))]), &output()), Err(Unfit::NoJson("bad".into())));
}

#[test]
fn a_cut_off_or_refused_answer_is_not_repaired() {
    let cut = Reply { stop: Stop::Truncated, ..says("{\"n\": ") };
    assert_eq!(read(&cut, &output()), Err(Unfit::Truncated));
    let refused = Reply { stop: Stop::Refused, ..says("I will not.") };
    assert_eq!(read(&refused, &output()), Err(Unfit::Refused("I will not.".into())));
    let model = ModelConfig::new(Provider::Openai, "m");
    for (reply, unfit) in [(cut, Unfit::Truncated), (refused, Unfit::Refused(String::new()))] {
        assert!(unfit.repair(reply, &model, &output()).is_err());
    }
    // The whole may be there all the same.
    assert_eq!(read(&Reply { stop: Stop::Truncated, ..says("{\"n\": 1} and") }, &output()), Ok(json!({"n": 1})));
}

#[test]
fn a_schema_that_cannot_be_used_is_named_and_nothing_is_fetched_for_it() {
    for schema in [
        json!({"type": "object", "properties": {"n": {"type": "nonsense"}}}),
        json!({"type": "object", "properties": {"n": {"$ref": "http://127.0.0.1:1/schema.json"}}}),
        json!({"type": "object", "properties": {"n": {"pattern": "("}}}),
    ] {
        let broken = Output { name: "answer".into(), schema };
        let unfit = read(&says("{}"), &broken).unwrap_err();
        assert!(matches!(&unfit, Unfit::Schema { name, .. } if name == "answer"), "{unfit}");
        assert!(!unfit.can_be_repaired());
    }
}

#[test]
fn the_repair_turn_answers_every_call_or_speaks_as_the_user() {
    let model = ModelConfig::new(Provider::Anthropic, "m");
    let unfit = read(&says("{}"), &output()).unwrap_err();
    let [_, told] = unfit.repair(says("{}"), &model, &output()).unwrap();
    let Turn::User(parts) = &told else { panic!("{told:?}") };
    assert!(
        matches!(parts.as_slice(), [Part::Text(text)] if text.contains("\"n\" is a required property")),
        "{parts:?}"
    );

    let reply = calls(&[("answer", Ok(json!({}))), ("f", Ok(json!({})))]);
    let turns = unfit.repair(reply, &model, &output()).unwrap();
    let body =
        request(&ModelConfig::new(Provider::Openai, "m"), &Prompt { turns: turns.to_vec(), ..Prompt::default() })
            .unwrap();
    let told = |at: usize| body["messages"][at]["content"].as_str().unwrap();
    assert!(told(1).contains("required property") && told(2).contains("it was not called"), "{body}");
    assert_eq!(body["messages"][1]["tool_call_id"], "c0");
}

#[test]
fn a_long_text_of_brackets_ends_soon() {
    assert!(read(&says(&"{[".repeat(100_000)), &output()).is_err());
    assert!(read(&says(&"[".repeat(1_000_000)), &output()).is_err());
}
