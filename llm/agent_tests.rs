//! Tests of whole agents: conversations with a scripted model, crashed after every row. They never reach further than the
//! loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "agent_more_tests.rs"]
mod more;
#[path = "own_tools_tests.rs"]
mod own_tools;
#[path = "agent_sim.rs"]
mod sim;

use std::collections::BTreeMap;

use abide_engine::{Error, ErrorKind, Resources, terminal};
use serde_json::{Value, json};

use self::sim::{Script, Sim, calls, result, says, spec};
use super::*;
use crate::model::Provider;
use crate::tools::Policy;

fn agent() -> Agent {
    Script::new(Vec::new(), Vec::new()).agent
}

#[test]
fn two_calls_of_a_turn_run_in_parallel_and_are_told_in_order() {
    let replies = vec![calls(&[("fs_read", r#"{"path":"a"}"#), ("fs_read", r#"{"path":"b"}"#)]), says("Both read.")];
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow), spec("memory_add", Policy::Allow)], replies);
    for last_first in [false, true] {
        script.last_first = last_first;
        let sim = script.survives();
        let mut ran = sim.ran.clone();
        ran[2..4].sort();
        assert_eq!(
            ran,
            ["tools", "llm", "fs_read", "fs_read#2", "llm#2"].map(|name| format!("researcher/{name}")),
            "in the agent's scope"
        );
        let answer = sim.answer().unwrap();
        assert_eq!((answer.text(), answer.turns, &answer.stop), ("Both read.", 2, &Stop::End));
        assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (20, 4));
        assert!(sim.rows[1].contains("researcher/llm"), "one commit for a result and what it led to");
        let both = sim.rows.iter().find(|row| row.contains(r#""id":"researcher/fs_read","#)).unwrap();
        assert!(both.contains(r#""id":"researcher/fs_read#2","#), "asked for in one turn: {both}");
        assert!(both.contains(r#"{"server":"fs","tool":"read","arguments":{"path":"#), "{both}");

        let seen = sim.seen.lock().unwrap();
        let (key, body) = &seen.asked[1];
        assert_eq!(*key, sim.machine.seed().step_key("researcher/llm#2"));
        assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be brief."}));
        assert_eq!(body["messages"][1], json!({"role": "user", "content": "Question?"}));
        assert_eq!(body["messages"][3], json!({"role": "tool", "tool_call_id": "c0", "content": "ok"}));
        assert_eq!(body["messages"][4]["tool_call_id"], "c1");
        assert_eq!(body["tools"][1]["function"]["name"], "memory_add");
        let keys = ["fs_read", "fs_read#2"].map(|id| sim.machine.seed().step_key(&format!("researcher/{id}")));
        for (call, meta) in &seen.calls {
            assert_eq!((call.server.as_str(), call.tool.as_str()), ("fs", "read"));
            assert!(keys.iter().any(|key| meta["io.abide/idempotency-key"] == **key), "{meta:?}");
        }
    }
}

#[test]
fn a_tool_is_required_in_the_first_turn_alone() {
    let replies = vec![calls(&[("fs_read", "{}")]), says("Done.")];
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], replies);
    for (choice, first, second) in [
        (ToolChoice::Auto, json!("auto"), json!("auto")),
        (ToolChoice::Required, json!("required"), json!("auto")),
        (ToolChoice::None, Value::Null, Value::Null),
    ] {
        script.agent = script.agent.tool_choice(choice);
        let sim = script.survives();
        let seen = sim.seen.lock().unwrap();
        let said: Vec<&Value> = seen.asked.iter().map(|(_, body)| &body["tool_choice"]).collect();
        assert_eq!(said, [&first, &second], "{choice:?}");
    }
}

#[test]
fn equal_calls_of_a_turn_are_told_apart() {
    let twice = calls(&[("fs_append", "{}"), ("fs_append", "{}")]);
    let sim = Script::new(vec![spec("fs_append", Policy::Allow)], vec![twice, says("Done.")]).survives();
    assert_eq!(sim.seen.lock().unwrap().calls.len(), 2);
}

fn two_questions() -> Script {
    let asks = calls(&[("fs_write", r#"{"path":"a"}"#), ("fs_rm", r#"{"path":"b"}"#)]);
    Script::new(vec![spec("fs_rm", Policy::Ask), spec("fs_write", Policy::Ask)], vec![asks, says("Done.")])
}

#[test]
fn calls_that_need_approval_are_asked_side_by_side() {
    let mut script = two_questions();
    script.approvals = BTreeMap::from([("researcher/fs_write.approval", json!({"allow": true}))]);
    let mut sim = Sim::new(script.clone());
    while sim.advance() {}
    assert_eq!(sim.ran.last().unwrap(), "researcher/fs_write", "an allowed call starts while the other waits");
    let open: Vec<String> = sim.machine.open().iter().map(|open| open.id.to_string()).collect();
    assert_eq!(open, ["researcher/fs_rm.approval"]);
    assert!(sim.rows.iter().any(|row| row.contains(r#""wait":"approval""#) && row.contains(r#"{"path":"b"}"#)));

    script.approvals.insert("researcher/fs_rm.approval", json!({"allow": false, "reason": "keep ${HOME}"}));
    let sim = script.survives();
    assert_eq!(sim.answer().unwrap().text, "Done.");
    assert!(!sim.ran.iter().any(|id| id.contains("fs_rm")), "{:?}", sim.ran);
    let told = sim.told(1);
    assert_eq!(told[0], "ok");
    assert_eq!(told[1], "Error: the user refused this call of `fs_rm`, so it was not made: keep $ {HOME}");
}

#[test]
fn a_cancel_while_a_person_is_asked_ends_the_run() {
    let script = Script { cancel: true, ..two_questions() };
    let error = script.survives().answer().unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

#[test]
fn calls_that_cannot_be_made_are_told_to_the_model_and_make_no_step() {
    let replies = vec![
        calls(&[("fs_reed", "{}"), ("fs_read", "{bad"), ("fs_read", "[1]"), ("fs_rm", "{}"), ("memory_add", "{}")]),
        says("Sorry."),
    ];
    let tools = vec![spec("fs_read", Policy::Allow), spec("fs_rm", Policy::Deny), spec("memory_add", Policy::Allow)];
    let mut script = Script::new(tools, replies);
    script.agent = script.agent.deny(["mcp__memory"]);
    let sim = script.survives();
    assert_eq!(sim.ran, ["researcher/tools", "researcher/llm", "researcher/llm#2"]);
    let told = sim.told(1);
    let parts = ["`fs_reed` not found", "not valid JSON", "have to be a JSON object", "does not allow", "not found"];
    for (text, part) in told.iter().zip(parts) {
        assert!(text.starts_with("Error: ") && text.contains(part), "{text}");
    }
    let tools = &sim.seen.lock().unwrap().asked[0].1["tools"];
    let names: Vec<&Value> = tools.as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["fs_read", "fs_rm"], "a denied glob hides, a policy does not");
}

#[test]
fn tools_that_fail_are_told_and_the_conversation_goes_on() {
    let turn = || calls(&[("fs_read", "{}"), ("fs_stat", "{}"), ("fs_list", "{}")]);
    let mut script = Script::new(
        ["fs_list", "fs_read", "fs_stat"].map(|name| spec(name, Policy::Allow)).into(),
        vec![turn(), says("I could not read it.")],
    );
    script.agent = script.agent.max_result_chars(4);
    script.results = BTreeMap::from([
        ("read", Err(terminal("it broke, says ${KEY}"))),
        ("stat", Ok(json!({"content": [{"type": "text", "text": "gone"}], "isError": true}))),
        ("list", Ok(result("123456"))),
    ]);
    let sim = script.survives();
    assert_eq!(sim.answer().unwrap().text, "I could not read it.");
    let told = sim.told(1);
    assert_eq!(told[0], "Error: the tool failed: it broke, says $ {KEY}");
    assert_eq!(told[1], "Error: gone");
    assert!(told[2].starts_with("1234\n[cut off: 2 of 6"), "{}", told[2]);
    assert!(sim.rows.iter().any(|row| row.contains("123456")), "the journal keeps the whole");
}

#[test]
fn a_server_that_was_started_anew_is_told() {
    let replies = vec![calls(&[("memory_add", "{}")]), calls(&[("memory_get", "{}")]), says("Gone.")];
    let mut script = Script::new(["memory_add", "memory_get"].map(|name| spec(name, Policy::Allow)).into(), replies);
    let of = |session: &str| {
        Ok(json!({"content": [{"type": "text", "text": "ok"}], "_meta": {"io.abide/session": session}}))
    };
    script.results = BTreeMap::from([("add", of("1")), ("get", of("2"))]);
    let sim = script.survives();
    assert_eq!(sim.told(1), ["ok"]);
    let told = sim.told(2);
    assert!(told[0].contains("`memory` was started anew") && told[0].ends_with("\nok"), "{told:?}");
}

#[test]
fn in_its_last_turn_the_model_concludes_without_tools() {
    let tools = || vec![spec("fs_read", Policy::Allow)];
    let turn = || calls(&[("fs_read", "{}")]);
    let mut script = Script::new(tools(), vec![turn(), says("So far.")]);
    script.agent = script.agent.max_turns(2);
    let sim = script.survives();
    assert_eq!(sim.answer().unwrap().text, "So far.");
    {
        let seen = sim.seen.lock().unwrap();
        let body = &seen.asked[1].1;
        assert_eq!(body.get("tools"), None);
        let last = body["messages"].as_array().unwrap().last().unwrap();
        assert!(last["role"] == "user" && last["content"].as_str().unwrap().contains("final answer"), "{last}");
    }

    script.replies = vec![turn(), turn()];
    let sim = script.survives();
    assert_eq!(sim.seen.lock().unwrap().calls.len(), 1, "the second call is not made");
    let error = sim.answer().unwrap_err();
    assert!(error.message().contains("its turns (2)") && error.message().contains("fs_read"), "{error}");

    let mut with_text = turn();
    with_text["choices"][0]["message"]["content"] = json!("Half of it.");
    script.replies = vec![turn(), with_text];
    let answer = script.survives().answer().unwrap();
    assert_eq!((answer.text(), &answer.stop, answer.is_complete()), ("Half of it.", &Stop::ToolUse, false));
}

#[test]
fn the_messages_wire_works_too_and_keeps_its_tools_in_the_last_turn() {
    let call = json!({"content": [{"type": "tool_use", "id": "t1", "name": "fs_read", "input": {}}], "stop_reason": "tool_use"});
    let text = json!({"content": [{"type": "text", "text": "Read."}], "stop_reason": "end_turn"});
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], vec![call, text]);
    script.agent = script.agent.max_turns(2).model(ModelConfig::new(Provider::Anthropic, "m"));
    let sim = script.survives();
    assert_eq!(sim.answer().unwrap().text, "Read.");
    let body = &sim.seen.lock().unwrap().asked[1].1;
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "t1");
}

#[test]
fn an_agent_without_servers_just_answers_and_says_if_it_was_cut_off() {
    let mut cut = says("Once upon a");
    cut["choices"][0]["finish_reason"] = json!("length");
    let mut script = Script::new(Vec::new(), vec![cut]);
    script.agent = Agent::new("a/b#1");
    let sim = script.survives();
    assert_eq!(sim.ran, ["a_b_1/llm"]);
    let answer = sim.answer().unwrap();
    assert_eq!((answer.text(), &answer.stop, answer.is_complete()), ("Once upon a", &Stop::Truncated, false));
    assert_eq!(
        sim.seen.lock().unwrap().asked[0].1,
        json!({"model": "m", "messages": [{"role": "user", "content": "Question?"}],
               "stream": true, "stream_options": {"include_usage": true}})
    );
}

#[test]
fn a_refusal_of_the_provider_fails_the_run_with_its_words() {
    let error = Script::new(Vec::new(), Vec::new()).survives().answer().unwrap_err();
    assert!(error.message().contains("the script is over"), "{error}");
}

/// The error of an agent that cannot even begin.
fn refused(agent: Agent, resources: Resources) -> Error {
    let flow = abide_engine::workflow(move |ctx: Ctx, (): ()| {
        let agent = agent.clone();
        async move { agent.run(&ctx, "x").await }
    });
    let mut machine = abide_engine::Machine::new("run", flow, resources, Arc::new(|| {}));
    let seed = abide_engine::Seed { nonce: [0; 16], generation: 0 };
    machine.start("w", seed, abide_engine::event::json(&()).unwrap(), 0).unwrap();
    match machine.outcome() {
        Some(abide_engine::event::Outcome::Failed(error)) => error.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_missing_is_named() {
    let with_host = || Sim::new(Script::new(Vec::new(), Vec::new())).resources();
    for (agent, resources, part) in [
        (agent(), Resources::default(), "no AgentHost"),
        (agent(), with_host(), "`researcher` has no model"),
        (agent().allow(["fs_["]), with_host(), "`fs_[` in `allow`"),
    ] {
        let error = refused(agent, resources);
        assert_eq!(*error.kind(), ErrorKind::Terminal);
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn runs_of_one_agent_can_be_joined() {
    let flow = abide_engine::workflow(|ctx: Ctx, (): ()| async move {
        let agent = agent().servers([""; 0]).model(ModelConfig::new(Provider::Openai, "m"));
        let (a, b) = futures_util::future::join(agent.run(&ctx, "one"), agent.run(&ctx, "two")).await;
        Ok::<_, Error>((a?, b?))
    });
    let resources = Sim::new(Script::new(Vec::new(), Vec::new())).resources();
    let mut machine = abide_engine::Machine::new("run", flow, resources, Arc::new(|| {}));
    let seed = abide_engine::Seed { nonce: [0; 16], generation: 0 };
    machine.start("w", seed, abide_engine::event::json(&()).unwrap(), 0).unwrap();
    let open: Vec<String> = machine.open().iter().map(|open| open.id.to_string()).collect();
    assert_eq!(open, ["researcher#2/llm", "researcher/llm"]);
}

#[test]
fn a_pinned_definition_reads_back_and_has_defaults() {
    let agent: Agent = serde_json::from_value(json!({"name": "a"})).unwrap();
    assert_eq!(agent, Agent::new("a"));
    let agent = agent.instructions("i").servers(["s"]).allow(["s_*"]).deny(["s_x"]).max_turns(3);
    let agent = agent.model(ModelConfig::new(Provider::Anthropic, "m"));
    let text = serde_json::to_string(&agent).unwrap();
    assert_eq!(serde_json::from_str::<Agent>(&text).unwrap(), agent);
    for stop in [Stop::Truncated, Stop::Other("x".into())] {
        let answer = Answer { text: "t".into(), turns: 1, stop, usage: Usage::default(), value: None, nano_usd: 0 };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
    }
}

#[derive(serde::Deserialize)]
struct Count {
    n: u32,
}

#[test]
fn an_answer_in_json_is_checked_and_sent_back_once() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let of = |replies: Vec<Value>| {
        let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], replies);
        script.agent = script.agent.output("count", schema.clone());
        script.survives()
    };
    let read = calls(&[("fs_read", r#"{"path":"a"}"#)]);
    let sim = of(vec![read, says("It is: ```json\n{\"n\": \"many\"}\n```"), says("{\"n\": 3}")]);
    let answer = sim.answer().unwrap();
    assert_eq!((answer.value.clone(), answer.turns), (Some(json!({"n": 3})), 3));
    assert_eq!(answer.read::<Count>().unwrap().n, 3);
    let asked = sim.seen.lock().unwrap().asked.clone();
    assert_eq!(asked[0].1["response_format"]["type"], "json_schema");
    let told = asked[2].1["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(told.contains("/n") && told.contains("integer"), "{told}");

    let error = of(vec![says("no idea"), says("still none")]).answer().unwrap_err();
    assert!(error.message().contains("there is no JSON"), "{error}");
}
