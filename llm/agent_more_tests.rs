//! Tests of what agents can beside calling tools: skills, hooks, templates, memory and summaries, crashed after every row.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use abide_engine::{Error, terminal};
use serde_json::{Value, json};

use super::super::*;
use super::sim::{Script, calls, result, says, spec};
use crate::tools::{Policy, ToolCall};
use crate::{Before, Exchange, Skill, ToolFunction};

fn skill() -> Skill {
    Skill {
        name: "review".into(),
        description: "How code is\n reviewed here".into(),
        body: "Look twice.".into(),
        files: BTreeMap::from([("ref/list.md".into(), "- names\n- tests".into())]),
        left_out: vec!["logo.png".into()],
    }
}

#[test]
fn a_skill_is_told_by_its_name_and_loaded_on_demand() {
    let asks = calls(&[
        ("load_skill", r#"{"name":"review"}"#),
        ("load_skill", r#"{"name":"review","file":"./ref/list.md"}"#),
        ("load_skill", r#"{"name":"review","file":"../../etc/passwd"}"#),
        ("load_skill", r#"{"name":"rewiew"}"#),
        ("load_skill", "{}"),
    ]);
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], vec![asks, says("Fine.")]);
    script.agent = script.agent.skill(skill());
    let sim = script.survives();
    assert_eq!(sim.answer().unwrap().text, "Fine.");
    let seen = sim.seen.lock().unwrap();
    let body = &seen.asked[0].1;
    let system = body["messages"][0]["content"].as_str().unwrap();
    assert!(
        system.starts_with("Be brief.\n\nSkills: ") && system.ends_with("\n- review: How code is reviewed here"),
        "{system}"
    );
    assert!(!body.to_string().contains("Look twice"), "only on demand");
    let names: Vec<&Value> = body["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["load_skill", "fs_read"]);
    assert_eq!(body["tools"][0]["function"]["parameters"]["properties"]["name"]["enum"], json!(["review"]));
    drop(seen);
    let told = sim.told(1);
    assert!(told[0].starts_with("Look twice.\n\n[Further files") && told[0].contains("ref/list.md"), "{}", told[0]);
    assert!(told[0].contains("Not to be had here") && told[0].contains("logo.png"), "{}", told[0]);
    assert_eq!(told[1], "- names\n- tests");
    for (told, part) in
        told[2..].iter().zip(["has no file `../../etc/passwd`", "no skill `rewiew`", "missing field `name`"])
    {
        assert!(told.starts_with("Error: ") && told.contains(part), "{told}");
    }
    let shown = r#"{"server":"abide","tool":"load_skill","arguments":{"name":"review"}}"#;
    assert!(sim.rows.iter().any(|row| row.contains(shown) && row.contains(r#""kind":"tool""#)), "{:#?}", sim.rows);
    let pinned = serde_json::to_string(&script.agent).unwrap();
    assert_eq!(serde_json::from_str::<Agent>(&pinned).unwrap(), script.agent);
}

/// A hook that counts how often it was asked.
fn counted() -> (Arc<AtomicU32>, impl Fn(&ToolCall) -> u32 + Clone + Send + Sync + 'static) {
    let count: Arc<AtomicU32> = Arc::default();
    let counting = count.clone();
    (count, move |_: &ToolCall| counting.fetch_add(1, Ordering::SeqCst))
}

#[test]
fn hooks_refuse_and_change_calls_and_results_once_and_for_all() {
    let asks = calls(&[
        ("fs_read", r#"{"path":"a"}"#),
        ("fs_rm", r#"{"path":"b"}"#),
        ("fs_stat", r#"{"path":"c"}"#),
        ("sum", r#"{"n":1}"#),
    ]);
    let tools = ["fs_read", "fs_rm", "fs_stat"].map(|name| spec(name, Policy::Allow));
    let mut script = Script::new(tools.into(), vec![asks, says("Done.")]);
    let (count, ask) = counted();
    let sum =
        ToolFunction::with_schema(
            "sum",
            "",
            json!({"type": "object"}),
            |given: Value| async move { Ok::<_, Error>(given) },
        );
    script
        .results
        .insert("read", Ok(json!({"content": [{"type": "text", "text": "4711"}], "_meta": {"io.abide/session": "s"}})));
    script.agent = script.agent.function(sum);
    script.agent = script.agent.before_tool(move |call: ToolCall| {
        // Never the same again: what it said first is what counts.
        let n = ask(&call);
        async move {
            match call.tool.as_str() {
                "rm" => Ok(Before::Refuse(format!("not {n} today"))),
                "stat" => Err(terminal("no idea")),
                _ => Ok(Before::Change(json!({"n": n}))),
            }
        }
    });
    script.agent = script.agent.before_tool(|call: ToolCall| async move {
        Ok::<_, Error>(if call.tool == "sum" {
            Before::Change(json!({"sum": call.arguments["n"]}))
        } else {
            Before::Call
        })
    });
    script.agent = script.agent.after_tool(|call: ToolCall, mut result: Value| async move {
        match call.tool.as_str() {
            "sum" => Err(terminal("cannot look")),
            _ => {
                result["content"][0]["text"] = json!("****");
                Ok(result)
            }
        }
    });
    let whole = super::sim::Sim::new(script.clone());
    let mut whole = whole;
    while whole.advance() {}
    assert_eq!(count.load(Ordering::SeqCst), 4);
    let told = whole.told(1);
    assert_eq!(told[0], "****");
    assert!(
        told[1].contains("this call of `fs_rm` was refused") && told[1].contains("not ") && told[1].ends_with("today"),
        "{told:?}"
    );
    assert_eq!(told[2], "Error: it was not called, for the check before it failed: no idea");
    assert_eq!(told[3], "Error: it was called, and the check of its result failed: cannot look");
    let made: Vec<ToolCall> = whole.seen.lock().unwrap().calls.iter().map(|(call, _)| call.clone()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0].arguments["n"].is_u64() && made[0].tool == "read");
    let answer = whole.answer().unwrap();

    // With a crash after every row: what the hooks said is in the journal, and they are not asked again.
    count.store(0, Ordering::SeqCst);
    let mut crashed = super::sim::Sim::new(script);
    crashed.run_crashing();
    assert_eq!((count.load(Ordering::SeqCst), crashed.answer().unwrap()), (4, answer));
    assert_eq!(crashed.told(1), whole.told(1));
    assert!(crashed.rows.iter().any(|row| row.contains(r#""session":"#) || row.contains("io.abide/session")));
}

#[test]
fn a_changed_call_is_what_a_person_approves() {
    let asks = calls(&[("fs_write", r#"{"path":"/etc/x"}"#)]);
    let mut script = Script::new(vec![spec("fs_write", Policy::Ask)], vec![asks, says("Done.")]);
    script.agent = script.agent.before_tool(|_| async { Ok::<_, Error>(Before::Change(json!({"path": "safe"}))) });
    script.approvals.insert("researcher/fs_write.approval", json!({"allow": true}));
    let sim = script.survives();
    assert!(sim.rows.iter().any(|row| row.contains(r#""wait":"approval""#) && row.contains(r#"{"path":"safe"}"#)));
    assert_eq!(sim.seen.lock().unwrap().calls[0].0.arguments, json!({"path": "safe"}));
}

#[test]
fn hooks_see_what_is_sent_and_write_no_secret() {
    let asks = calls(&[("fs_read", r#"{"key":"tok-0123456789"}"#)]);
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], vec![asks, says("Done.")]);
    script.results.insert("read", Ok(result("it is ${TOKEN}")));
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (before, after) = (seen.clone(), seen.clone());
    script.agent = script.agent.before_tool(move |call: ToolCall| {
        before.lock().unwrap().push(call.arguments.to_string());
        async move { Ok::<_, Error>(Before::Change(json!({"key": call.arguments["key"], "also": "tok-0123456789"}))) }
    });
    script.agent = script.agent.after_tool(move |_, result: Value| {
        after.lock().unwrap().push(result.to_string());
        async move { Ok::<_, Error>(result) }
    });
    let mut sim = super::sim::Sim::new(script);
    sim.resources().get::<AgentHost>().unwrap().redactor.learn("TOKEN", "tok-0123456789");
    while sim.advance() {}
    assert!(sim.rows.iter().all(|row| !row.contains("tok-0123456789")), "{:#?}", sim.rows);
    assert!(seen.lock().unwrap().iter().all(|given| given.contains("tok-0123456789")), "{seen:?}");
    let call = sim.seen.lock().unwrap().calls[0].0.clone();
    assert_eq!(call.arguments, json!({"key": "${TOKEN}", "also": "${TOKEN}"}), "in the written form");
}

#[test]
fn instructions_are_filled_in_from_the_input() {
    let mut script = Script::new(Vec::new(), vec![says("Yes.")]);
    script.input = r#"{"tone": "kind", "question": "Why?"}"#;
    script.agent = script.agent.instructions("Be {{ tone }}.").template();
    let sim = script.survives();
    let body = sim.seen.lock().unwrap().asked[0].1.clone();
    assert_eq!(
        (&body["messages"][0]["content"], &body["messages"][1]["content"]),
        (&json!("Be kind."), &json!(script.input))
    );
    script.input = r#"{"question": "Why?"}"#;
    let error = script.survives().answer().unwrap_err();
    assert!(error.message().contains("tone") && error.message().contains("the input gives input, question"), "{error}");
}

#[test]
fn what_was_said_before_stands_first_and_what_is_said_is_added_once() {
    let exchange = |input: &str, answer: &str| Exchange { input: input.into(), answer: answer.into() };
    let mut script =
        Script::new(vec![spec("fs_read", Policy::Allow)], vec![calls(&[("fs_read", "{}")]), says("Blue.")]);
    script.remembered = vec![exchange("One?", "1"), exchange("Two?", "2"), exchange("Colour?", "Red.")];
    script.agent = script.agent.memory("talk").max_turns(2);
    script.agent.memory.as_mut().unwrap().turns = 2;
    let sim = script.survives();
    let ran: Vec<&str> = sim.ran.iter().map(|id| id.strip_prefix("researcher/").unwrap()).collect();
    assert_eq!(ran, ["tools", "memory", "llm", "fs_read", "llm#2", "remember"]);
    let seen = sim.seen.lock().unwrap();
    let said: Vec<&Value> = seen.asked[0].1["messages"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
    assert_eq!(said, ["Be brief.", "Two?", "2", "Colour?", "Red.", "Question?"]);
    let key = sim.machine.seed().step_key("researcher/remember");
    assert_eq!(seen.added, [("talk".to_owned(), key, exchange("Question?", "Blue."))]);
    drop(seen);

    let once = Script { replies: vec![says("At once.")], ..script.clone() };
    let once = Script { agent: once.agent.clone().max_turns(1), ..once }.survives();
    let seen = once.seen.lock().unwrap();
    assert_eq!(
        seen.asked[0].1["messages"].as_array().unwrap().last().unwrap()["content"],
        "Question?",
        "nothing was used up"
    );
    drop(seen);
    let model = ModelConfig { context_tokens: Some(12), ..ModelConfig::new(crate::Provider::Openai, "m") };
    let small = Script { agent: script.agent.clone().model(model), replies: vec![says("Small.")], ..script.clone() };
    let seen = small.survives().seen;
    assert_eq!(
        seen.lock().unwrap().asked[0].1["messages"].as_array().unwrap().len(),
        4,
        "as much as leaves room for work"
    );
    script.replies = Vec::new();
    let failed = script.survives();
    assert!(failed.answer().is_err() && failed.seen.lock().unwrap().added.is_empty(), "only what was answered");
}

/// An agent with a window of so many tokens that reads long texts, turn by turn.
fn reader(window: u64, reads: usize, more: Vec<Value>) -> Script {
    let read = |n: usize| calls(&[("fs_read", &format!(r#"{{"page":{n}}}"#))]);
    let mut replies: Vec<Value> = (0..reads).map(read).collect();
    // What it says of its tokens is of no use here.
    replies.extend(more);
    for reply in &mut replies {
        reply["usage"] = json!({"prompt_tokens": 0, "completion_tokens": 2});
    }
    let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], replies);
    script.results.insert("read", Ok(result(&"word ".repeat(600))));
    let model = ModelConfig { context_tokens: Some(window), ..ModelConfig::new(crate::Provider::Openai, "m") };
    script.agent = script.agent.model(model).max_turns(20);
    script
}

#[test]
fn old_turns_give_way_to_a_summary_before_the_window_is_full() {
    // A page is about a thousand tokens: the fourth request would have more than 3,200 of 4,000.
    let mut script = reader(4_000, 4, vec![says("Read all.")]);
    let mut summary = says("Pages 0 to 2 say word.");
    summary["usage"] = json!({"prompt_tokens": 0, "completion_tokens": 9});
    script.replies.insert(3, summary);
    let sim = script.survives();
    let ran: Vec<&str> = sim.ran.iter().map(|id| id.strip_prefix("researcher/").unwrap()).collect();
    let expected = [
        "tools",
        "llm",
        "fs_read",
        "llm#2",
        "fs_read#2",
        "llm#3",
        "fs_read#3",
        "summary",
        "llm#4",
        "fs_read#4",
        "llm#5",
    ];
    assert_eq!(ran, expected);
    let answer = sim.answer().unwrap();
    assert_eq!(
        (answer.text(), answer.turns, answer.usage.output_tokens),
        ("Read all.", 5, 5 * 2 + 9),
        "it counts as used"
    );
    let seen = sim.seen.lock().unwrap();
    let messages = |n: usize| seen.asked[n].1["messages"].as_array().unwrap().clone();
    let (before, asked, after) = (messages(2), messages(3), messages(4));
    assert_eq!(asked[..before.len()], before[..], "the words of the request before, and what it is asked for");
    assert_eq!(asked.len(), before.len() + 1);
    assert!(asked.last().unwrap()["content"].as_str().unwrap().contains("Summarize the whole"), "{asked:?}");
    assert_eq!(seen.asked[3].1.get("tools"), None, "a summary calls no tools");
    let roles: Vec<&Value> = after.iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let input = after[1]["content"].to_string();
    assert!(input.contains("Question?") && input.contains("Pages 0 to 2 say word."), "{input}");
    assert_eq!(after[2]["tool_calls"][0]["function"]["arguments"], r#"{"page":2}"#);
    assert_eq!(messages(5)[..4], after[..], "it goes on from there");
    let bytes: usize = sim.rows.iter().map(String::len).sum();
    assert!(bytes < 4 * 3_000 * 12 / 10 + 9_000, "the journal holds each page once: {bytes}");
}

#[test]
fn nothing_is_summarized_without_need_or_window_and_without_a_summary_it_goes_on() {
    for window in [100_000, 0] {
        let mut script = reader(window, 4, vec![says("Read all.")]);
        if window == 0 {
            script.agent.model.as_mut().unwrap().context_tokens = None;
        }
        let sim = script.survives();
        assert!(sim.ran.iter().all(|id| !id.contains("summary")), "{:?}", sim.ran);
    }
    // Nothing but calls in the place of a summary: it is not asked for a second time.
    let mut script = reader(4_000, 5, vec![says("Read all.")]);
    script.replies.insert(3, calls(&[("fs_read", "{}")]));
    let sim = script.survives();
    assert_eq!(sim.ran.iter().filter(|id| id.contains("summary")).count(), 1);
    assert_eq!(sim.answer().unwrap().text, "Read all.");
    let seen = sim.seen.lock().unwrap();
    assert_eq!(seen.asked.last().unwrap().1["messages"].as_array().unwrap().len(), 2 + 2 * 5);
}
