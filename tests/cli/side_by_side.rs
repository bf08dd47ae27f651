//! Tool calls of one turn: side by side, each with its own time-out, and the same again after a kill in the middle.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::mcp::SLOW;
use crate::support::model::{Model, Say};
use crate::support::project::{Project, out};

const FREE: &str = "[tools.\"fix_*\"]\npolicy = \"allow\"\neffect = \"idempotent\"\ntimeout_s = 1\n";

fn five() -> (Model, Project) {
    let calls = (0..5).map(|n| ("fix_slow", json!({"n": n}))).collect();
    let model = Model::by_turn(vec![Say::Calls(calls), Say::Text("all five")]);
    let project = Project::new(&model);
    project.settings(&model, FREE);
    (model, project)
}

fn tools(document: &Value) -> Vec<&Value> {
    document["steps"].as_array().unwrap().iter().filter(|s| s["kind"] == "tool").collect()
}

#[test]
fn five_slow_calls_of_one_turn_run_side_by_side() {
    let (_model, project) = five();
    let document = project.abide(&["run", "helper.md", "go", "--trust", "--json"]).is(0).json();
    let tools = tools(&document);
    assert_eq!(tools.len(), 5);
    let ms = |key: &str| tools.iter().map(|t| t[key].as_i64().unwrap()).collect::<Vec<i64>>();
    let took = Duration::from_millis(
        (ms("ended_ms").into_iter().max().unwrap() - ms("started_ms").into_iter().min().unwrap()) as u64,
    );
    println!("five calls of {SLOW:?} took {took:?}");
    // One after the other they would take five times as long; no clock is compared with anything but their own sum.
    assert!(took < SLOW * 5, "{took:?}");
    assert!(
        ms("ended_ms").into_iter().min().unwrap() >= ms("started_ms").into_iter().max().unwrap(),
        "each began before any had ended"
    );
}

#[test]
fn killed_in_the_middle_they_are_taken_up_and_end_as_they_would_have() {
    let (_model, whole) = five();
    let wanted = whole.abide(&["run", "helper.md", "go", "--id", "r", "--trust", "--json"]).is(0).json();
    let (model, project) = five();
    let mut killed = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust", "--json"]);
    while project.calls().len() < 5 {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    out(killed);
    let resumed = project.abide(&["resume", "r", "--trust", "--json"]).is(0).json();
    assert_eq!(model.count(), 2, "no model call was made again");
    assert_eq!(resumed["run"]["output"], wanted["run"]["output"]);
    let facts = |document: &Value| -> Vec<Value> {
        tools(document).iter().map(|t| json!([t["id"], t["status"], t["input"], t["output"]["content"]])).collect()
    };
    assert_eq!(facts(&resumed), facts(&wanted));
}

#[test]
fn a_tool_that_hangs_and_may_be_repeated_is_tried_again_and_then_an_error_for_the_model() {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_hang", json!({}))]), Say::Text("it hung")]);
    let project = Project::new(&model);
    project.settings(&model, FREE);
    let mut run = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust"]);
    let retrying = project.wait_until("r", |d| tools(d).first().is_some_and(|t| t["status"] == "retrying"));
    assert!(tools(&retrying)[0]["error"].as_str().unwrap().contains("no sign of life within 1 s"), "{retrying}");
    run.kill().unwrap();
    out(run);
}
