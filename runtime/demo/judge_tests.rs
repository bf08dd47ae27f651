//! Tests of `judge` and `tell`: every way in which a journal and the records of those who were called can disagree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::demo::tell::{Outcome, Style};
use crate::report::{RunReport, UsageReport};

fn run(status: &'static str) -> RunReport {
    RunReport {
        id: "demo".into(),
        workflow: "agent".into(),
        status,
        waiting_for: None,
        queue: None,
        until_ms: None,
        input: None,
        output: None,
        error: None,
        created_ms: 1_000,
        updated_ms: 2_000,
        epoch: 1,
        owner_pid: None,
        usage: UsageReport::default(),
        progress: None,
        generation: 0,
    }
}

fn step(kind: &'static str, id: &str, status: &'static str, input: &Value) -> StepReport {
    let raw = serde_json::value::RawValue::from_string(input.to_string()).unwrap();
    StepReport {
        id: id.into(),
        kind,
        name: id.into(),
        status,
        effect: None,
        attempts: 1,
        started_ms: 1_500,
        ended_ms: None,
        input: Some(raw),
        output: None,
        error: None,
        resolved: None,
        resolved_by: None,
        resolved_ms: None,
        refused: 0,
        asks: None,
        hash: None,
    }
}

fn tool(id: &str, status: &'static str) -> StepReport {
    step("tool", id, status, &json!({"server": "demo", "tool": id, "arguments": {"text": "t"}}))
}

fn llm(id: &str, status: &'static str) -> StepReport {
    step("llm", id, status, &json!({"messages": [id]}))
}

fn called(tool: &str) -> ToolCalled {
    ToolCalled { at_ms: 0, tool: tool.into(), arguments: json!({"text": "t"}), key: None }
}

fn asked(id: &str) -> ModelAsked {
    ModelAsked { at_ms: 0, body: fingerprint(&json!({"messages": [id]})), key: None }
}

/// One call of each sort before the kill, a request in flight at it, and one call of a tool after.
fn all_well() -> Evidence {
    let discovery = || step("step", "tools", "completed", &json!(["demo"]));
    Evidence {
        at_kill: Report {
            run: run("interrupted"),
            steps: vec![discovery(), llm("llm", "completed"), tool("add_note", "completed"), llm("llm#2", "running")],
        },
        end: Report {
            run: run("completed"),
            steps: vec![
                discovery(),
                llm("llm", "completed"),
                tool("add_note", "completed"),
                llm("llm#2", "completed"),
                tool("list_notes", "completed"),
            ],
        },
        requests: Ledgers { all: vec![asked("llm"), asked("llm#2"), asked("llm#2")], at_kill: 2 },
        calls: Ledgers { all: vec![called("add_note"), called("list_notes")], at_kill: 1 },
    }
}

fn outcome(evidence: &Evidence) -> Outcome {
    Outcome {
        judgment: judge(evidence),
        killed: (42, "signal: 9 (SIGKILL)".into()),
        killed_ms: 600,
        resumed: 43,
        status: "completed",
        answer: Some("[scripted reply, no AI] I read 2 files. ".repeat(4)),
        chain: (7, None),
        took_ms: 1_000,
    }
}

#[test]
fn what_went_well_is_told_so() {
    let outcome = outcome(&all_well());
    assert!(outcome.is_good(), "{:?}", outcome.judgment.wrong);
    let text = outcome.text(Style { colour: false });
    for part in [
        "Completed: 2 model calls and 2 tool calls",
        "After the kill: 2 replayed from the journal, 2 called live;\n0 completed calls repeated.",
        "1 model call was in flight",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}') && outcome.text(Style { colour: true }).contains('\u{1b}'));
    let json = outcome.json();
    assert_eq!((&json["ok"], &json["repeated"], &json["in_flight"]), (&json!(true), &json!(0), &json!(1)));
    assert_eq!(json["calls"][2]["at_kill"], "in_flight");
}

/// Changes the evidence; judged must be a repetition or not, and the sentence must name this.
fn bad(change: impl FnOnce(&mut Evidence), repeated: usize, named: &str) {
    let mut evidence = all_well();
    change(&mut evidence);
    let outcome = outcome(&evidence);
    assert!(!outcome.is_good());
    assert_eq!(outcome.judgment.repeated, repeated, "{:?}", outcome.judgment.wrong);
    let text = outcome.text(Style { colour: false });
    let (_, wrong) = text.split_once("\nwrong: ").unwrap();
    assert!(wrong.replace('\n', " ").contains(named), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_completed_call_that_was_made_again_is_named() {
    bad(|all| all.calls.all.push(called("add_note")), 1, "`add_note` (add_note \"t\") was called once before");
    bad(|all| all.requests.all.push(asked("llm")), 1, "`llm` (gives its answer)");
    // A server that counts twice, before the kill and after it.
    bad(|all| (all.calls.all.insert(0, called("add_note")), all.calls.at_kill = 2).1, 1, "called 2 times before");
    bad(|all| all.calls.all.push(called("list_notes")), 1, "`list_notes`");
}

#[test]
fn records_that_disagree_are_named() {
    bad(|all| all.requests.all.push(asked("llm#2")), 0, "`llm#2`");
    bad(
        |all| drop(all.calls.all.pop()),
        0,
        "`list_notes` (list_notes \"t\") is in the journal, and who was called knows",
    );
    bad(|all| all.calls.all.push(called("rm")), 0, "no step of the journal asked for");
    bad(|all| all.calls.at_kill = 2, 0, "`list_notes`");
}

#[test]
fn a_run_that_did_not_complete_is_not_good() {
    let mut outcome = outcome(&all_well());
    outcome.status = "failed";
    assert!(!outcome.is_good());
    assert!(outcome.text(Style { colour: false }).contains("The run is failed"));
    outcome.status = "completed";
    outcome.chain.1 = Some("row 3 is missing".into());
    assert!(!outcome.is_good());
}
