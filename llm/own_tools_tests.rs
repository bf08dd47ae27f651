//! Tests of the tools that agents have of their own: functions and questions to people, crashed after every row.

use std::sync::Mutex;
use std::time::Duration;

use abide_engine::{Effect, Error, ErrorKind, terminal};
use serde_json::{Value, json};

use super::super::*;
use super::sim::{Script, Sim, calls, says, spec};
use crate::tools::Policy;
use crate::{ToolFunction, schemars};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Sum {
    /// The first one.
    a: i64,
    b: i64,
}

/// The arguments and the keys of calls.
type Called = Arc<Mutex<Vec<(i64, i64, String)>>>;

/// A function, and what it was called with.
fn sum() -> (ToolFunction, Called) {
    let seen = Called::default();
    let noted = seen.clone();
    let function = ToolFunction::new("sum", "Adds two numbers", move |Sum { a, b }: Sum| {
        let key = abide_engine::step_key().unwrap();
        noted.lock().unwrap().push((a, b, key.to_string()));
        async move { if a < 0 { Err(terminal("no ${KEY} for you")) } else { Ok(json!({"sum": a + b})) } }
    });
    (function, seen)
}

fn script(function: ToolFunction, replies: Vec<Value>) -> Script {
    let mut script = Script::new(Vec::new(), replies);
    script.agent = Agent::new("adder").function(function);
    script
}

#[test]
fn a_function_is_called_as_a_step_like_any_tool() {
    let (function, seen) = sum();
    let asks = calls(&[
        ("sum", r#"{"a": 1, "b": 2}"#),
        ("sum", r#"{"a": -1, "b": 2}"#),
        ("sum", r#"{"a": "x"}"#),
        ("sum", r#"{"a": 1, "b": 2}"#),
    ]);
    let sim = script(function, vec![asks, says("3.")]).survives();
    assert_eq!(sim.answer().unwrap().text, "3.");
    let ids = ["adder/llm", "adder/sum", "adder/sum#2", "adder/sum#3", "adder/sum#4", "adder/llm#2"];
    let mut ran = sim.ran.clone();
    ran[1..5].sort();
    assert_eq!(ran, ids);
    let told = sim.told(1);
    assert_eq!((told[0].as_str(), told[3].as_str()), (r#"{"sum":3}"#, r#"{"sum":3}"#));
    assert_eq!(told[1], "Error: the tool failed: no $ {KEY} for you");
    assert!(told[2].starts_with("Error: it was not called") && told[2].contains("invalid type"), "{}", told[2]);
    let shown = r#"{"server":"function","tool":"sum","arguments":{"a":1,"b":2}}"#;
    let row = sim.rows.iter().find(|row| row.contains(shown)).unwrap();
    assert!(row.contains(r#""kind":"tool""#) && !row.contains(r#""effect""#), "idempotent without more: {row}");
    let tools = &sim.seen.lock().unwrap().asked[0].1["tools"][0]["function"];
    assert_eq!(tools["name"], "sum");
    let schema = &tools["parameters"];
    assert_eq!(schema["properties"]["a"]["description"], "The first one.");
    assert_eq!((&schema["required"], schema.get("$schema"), schema.get("title")), (&json!(["a", "b"]), None, None));
    // Once without crashes, once with them: no call was made again.
    let called = seen.lock().unwrap().clone();
    assert_eq!(called.len(), 6, "{called:?}");
    assert_eq!(called[0].2, sim.machine.seed().step_key("adder/sum"));
}

#[test]
fn a_function_may_be_once_and_ask_first() {
    let (function, seen) = sum();
    let asks = calls(&[("sum", r#"{"a": 1, "b": 2}"#)]);
    let mut script = script(function.once().policy(Policy::Ask), vec![asks.clone(), says("Not allowed.")]);
    script.approvals.insert("adder/sum.approval", json!({"allow": false, "reason": "never"}));
    let sim = script.survives();
    assert!(sim.told(1)[0].contains("never") && seen.lock().unwrap().is_empty());
    script.approvals.insert("adder/sum.approval", json!({"allow": true}));
    let sim = script.survives();
    assert_eq!(sim.told(1), [r#"{"sum":3}"#]);
    assert!(sim.rows.iter().any(|row| row.contains(r#""effect":"once""#) && row.contains("adder/sum")));
}

#[test]
fn what_functions_return_and_take_is_told_as_results_are() {
    let unit = ToolFunction::new("now", "", |(): ()| async { Ok::<_, Error>("noon") }).pure();
    assert_eq!(unit.spec.input_schema, json!({"type": "object", "properties": {}}));
    let raw = ToolFunction::with_schema("raw", "", json!({"type": "object"}), |given: Value| async move {
        if given["fail"] == true { Err(Error::new(ErrorKind::Terminal, "failed")) } else { Ok(()) }
    });
    let mut script = script(unit, vec![calls(&[("now", "{}"), ("raw", "{}"), ("raw", r#"{"fail":true}"#)]), says("x")]);
    script.agent = script.agent.function(raw);
    let sim = script.survives();
    assert_eq!(sim.told(1), ["noon", "(the tool gave no output)", "Error: the tool failed: failed"]);
    assert_eq!(script.agent.functions[0].spec.effect, Effect::Pure);
}

#[test]
fn secrets_reach_functions_and_never_the_journal() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    let echo = ToolFunction::with_schema("echo", "", json!({"type": "object"}), move |given: Value| {
        noted.lock().unwrap().push(given.to_string());
        async move { if given["fail"] == true { Err(terminal(given)) } else { Ok(given) } }
    });
    let asks = calls(&[("echo", r#"{"a":"tok-0123456789"}"#), ("echo", r#"{"a":"tok-0123456789","fail":true}"#)]);
    let mut sim = Sim::new(script(echo, vec![asks, says("x")]));
    sim.resources().get::<AgentHost>().unwrap().redactor.learn("TOKEN", "tok-0123456789");
    while sim.advance() {}
    assert!(sim.rows.iter().all(|row| !row.contains("tok-0123456789")), "{:#?}", sim.rows);
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|given| given.contains("tok-0123456789")), "{seen:?}");
}

#[test]
fn names_of_own_tools_are_checked() {
    let named = |name: &str| ToolFunction::new(name, "", |(): ()| async { Ok::<_, Error>(()) });
    let many = "x".repeat(65);
    for (name, says) in
        [("", "cannot be called"), ("a b", "cannot be called"), (&many, "cannot be called"), ("fs_read", "two tools")]
    {
        let mut script = Script::new(vec![spec("fs_read", Policy::Allow)], vec![super::sim::says("x")]);
        script.agent = script.agent.function(named(name));
        let error = script.survives().answer().unwrap_err();
        assert!(error.message().contains(says), "{name}: {error}");
        script.agent = script.agent.deny(["fs_*"]);
        assert_eq!(script.survives().answer().is_ok(), name == "fs_read", "what is denied is not in the way");
    }
    assert_eq!(named("a"), named("a"));
    assert_ne!(named("a"), named("b"));
}

fn asking(timeout: Option<Duration>, arguments: &[&str]) -> Script {
    let asks: Vec<_> = arguments.iter().map(|arguments| ("ask_person", *arguments)).collect();
    let mut script = Script::new(Vec::new(), vec![calls(&asks), says("Thank you.")]);
    script.agent = Agent::new("asker").ask_person(timeout);
    script
}

#[test]
fn a_person_is_asked_and_answers() {
    let mut script = asking(None, &[r#"{"question":"Which one?","options":["a","b"]}"#]);
    for (said, told) in [
        (json!("the ${KEY} one"), "the $ {KEY} one"),
        (json!({"n": 1}), r#"{"n":1}"#),
        (json!(" "), "(the answer is empty)"),
    ] {
        script.approvals.insert("asker/ask_person", said);
        let sim = script.survives();
        assert_eq!((sim.answer().unwrap().text.as_str(), sim.told(1)), ("Thank you.", vec![told.to_owned()]));
        let asked = r#"{"agent":"asker","question":"Which one?","options":["a","b"]}"#;
        assert!(
            sim.rows.iter().any(|row| row.contains(r#""wait":"answer""#) && row.contains(asked)),
            "{:#?}",
            sim.rows
        );
    }
}

#[test]
fn a_question_that_nobody_answers_is_an_error_to_the_model() {
    let two = &[r#"{"question":"One?"}"#, r#"{"question":"Two?"}"#];
    let mut script = asking(Some(Duration::from_millis(89_500)), two);
    script.approvals.insert("asker/ask_person#2", json!("yes"));
    let sim = script.survives();
    let told = sim.told(1);
    let mut late: Vec<&String> =
        told.iter().filter(|text| text.starts_with("Error: nobody answered within 90 s")).collect();
    assert_eq!((late.len(), told.iter().filter(|text| *text == "yes").count()), (1, 1), "{told:?}");
    assert_eq!(sim.answer().unwrap().text, "Thank you.");

    let sim = asking(None, &["{}", r#"{"question":" "}"#]).survives();
    let told = sim.told(1);
    late = told.iter().filter(|text| text.starts_with("Error: nobody was asked")).collect();
    assert_eq!(late.len(), 2, "{told:?}");
    let mut script = asking(None, &[r#"{"question":"Anybody?"}"#]);
    script.cancel = true;
    assert!(script.survives().answer().unwrap_err().is_cancelled());
}

#[test]
fn an_answer_may_have_to_fit_a_type() {
    let mut script = Script::new(Vec::new(), vec![says(r#"{"a": 1}"#), says(r#"{"a": 1, "b": 2}"#)]);
    script.agent = Agent::new("adder").output_as::<Sum>("sum");
    let sim = script.survives();
    let answer = sim.answer().unwrap();
    let sum: Sum = answer.read().unwrap();
    assert_eq!((sum.a, sum.b, answer.turns), (1, 2, 2), "what does not fit is sent back");
    assert_eq!(script.agent.output.unwrap().schema["required"], json!(["a", "b"]));
}
