//! Tests of swarms, with a scripted model, crashed after every event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unnecessary_wraps)]

use serde_json::{Value, json};

use super::testing::{Asked, agent, crash_everywhere, says};
use super::*;
use crate::input::Input;

/// Calls of tools: name and arguments.
fn calls(calls: &[(&str, Value)]) -> Result<Value, String> {
    let call = |(n, (name, arguments)): (usize, &(&str, Value))| {
        json!({"id": format!("c{n}"), "type": "function",
               "function": {"name": name, "arguments": arguments.to_string()}})
    };
    let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
    Ok(json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": calls},
                           "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}))
}

fn hand_over(to: &str) -> (String, Value) {
    (format!("hand_over_to_{to}"), json!({"why": "it is yours", "variables": [{"name": "order", "value": "7"}]}))
}

fn over(to: &str) -> Result<Value, String> {
    let (name, arguments) = hand_over(to);
    calls(&[(&name, arguments)])
}

fn support() -> Swarm {
    Swarm::new(agent("triage").instructions("triage of {{customer}}"))
        .named("support")
        .agent(agent("refunds").instructions("refunds").description("Pays back"))
        .variable("customer", "Ada")
}

fn tools(asked: &Asked) -> Vec<String> {
    let all = asked.body["tools"].as_array().unwrap();
    all.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_handoff_is_a_tool_and_the_next_agent_has_the_conversation_and_the_variables() {
    let played = crash_everywhere(support(), "my money", |asked| {
        if asked.system.starts_with("triage") { over("refunds") } else { says("paid back") }
    });
    let answer = played.answer.unwrap();
    assert_eq!((answer.text(), answer.turns), ("paid back", 2));
    assert_eq!(played.ran, ["support/triage/llm", "support/refunds/llm"]);
    let (first, second) = (&played.asked[0], &played.asked[1]);
    assert!(first.system.starts_with("triage of Ada\n\nWhat is known:\n- customer: Ada"), "{}", first.system);
    assert_eq!(
        (tools(first), tools(second)),
        (
            vec!["hand_over_to_refunds".to_owned(), "done".to_owned()],
            vec!["hand_over_to_triage".to_owned(), "done".to_owned()],
        )
    );
    assert!(first.body["tools"][0]["function"]["description"].as_str().unwrap().contains("refunds: Pays back"));
    for part in ["- order: 7", "- why it was handed over: it is yours"] {
        assert!(second.system.contains(part), "{}", second.system);
    }
    let roles: Vec<&str> =
        second.body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
}

#[test]
fn done_ends_the_conversation_with_its_answer() {
    let played = crash_everywhere(support(), "x", |_| calls(&[("done", json!({"answer": "that is all"}))]));
    assert_eq!(played.answer.unwrap().text, "that is all");
    let error = crash_everywhere(support(), "x", |_| calls(&[("done", json!({"answer": " "}))])).answer.unwrap_err();
    assert!(error.message().contains("agent `triage` ended the conversation without an answer"), "{error}");
}

#[test]
fn one_handover_at_a_time_and_what_is_wrong_is_told() {
    let played = crash_everywhere(support(), "x", |asked| match asked.body["messages"].as_array().unwrap().len() {
        2 => calls(&[("hand_over_to_nobody", json!({})), ("read", json!({}))]),
        4 | 5 => {
            let (name, arguments) = hand_over("refunds");
            calls(&[(&name, arguments.clone()), (&name, arguments)])
        }
        _ => says("here"),
    });
    assert_eq!(played.answer.unwrap().text, "here");
    let last = played.asked.last().unwrap().body["messages"].to_string();
    assert!(last.contains("`hand_over_to_nobody` not found") && last.contains("was called already"), "{last}");
}

#[test]
fn handovers_are_bounded_and_the_error_tells_the_way() {
    let ping_pong = |asked: &Asked| over(if asked.system.starts_with("triage") { "refunds" } else { "triage" });
    let error = crash_everywhere(support().max_handoffs(2), "x", ping_pong).answer.unwrap_err();
    for part in ["`support` handed over more than 2 times", "triage -> refunds -> triage -> refunds"] {
        assert!(error.message().contains(part), "{error}");
    }
    let twice = support().agent(agent("refunds"));
    let error = crash_everywhere(twice, "x", ping_pong).answer.unwrap_err();
    assert!(error.message().contains("two members of one name"), "{error}");
}

#[test]
fn a_pattern_can_be_handed_to_and_has_the_last_word() {
    let desk = Function::new("desk", |_, input: Input| async move { Ok(format!("desk: {}", input.text)) });
    let swarm = Swarm::new(agent("triage")).work(Chain::new().named("people").then(desk));
    let played = crash_everywhere(swarm, "x", |_| over("people"));
    assert_eq!(played.answer.unwrap().text, "desk: x");
}
