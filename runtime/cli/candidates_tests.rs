//! Tests of which step is meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::value::RawValue;

use super::*;
use crate::report::{RunReport, UsageReport};

/// A run with these steps: id, status, what is asked.
pub(crate) fn report(status: &'static str, steps: &[(&str, &'static str, Option<&'static str>)]) -> Report {
    let step = |(id, status, asks): &(&str, &'static str, Option<&'static str>)| StepReport {
        id: (*id).to_owned(),
        kind: if asks.is_some() { "signal" } else { "tool" },
        name: (*id).to_owned(),
        status,
        effect: None,
        attempts: 1,
        started_ms: 0,
        ended_ms: None,
        input: RawValue::from_string(r#"{"server":"fs","tool":"write","arguments":{"path":"a"}}"#.to_owned()).ok(),
        output: None,
        error: None,
        resolved: None,
        resolved_by: None,
        resolved_ms: None,
        refused: 0,
        asks: *asks,
        hash: asks.map(|_| "0123456789abcdef0123456789abcdef".to_owned()),
    };
    let run = RunReport {
        id: "r1".to_owned(),
        workflow: "agent:a".to_owned(),
        status,
        waiting_for: None,
        queue: None,
        until_ms: None,
        input: None,
        output: None,
        error: None,
        created_ms: 0,
        updated_ms: 0,
        epoch: 1,
        owner_pid: None,
        usage: UsageReport::default(),
        progress: None,
        generation: 0,
    };
    Report { run, steps: steps.iter().map(step).collect() }
}

const APPROVAL: Option<&str> = Some("approval");

#[test]
fn the_only_one_is_meant_and_of_several_the_named_one() {
    let one = report("waiting", &[("a", "scheduled", APPROVAL), ("b", "completed", APPROVAL), ("c", "in_doubt", None)]);
    let ids = |found: Result<Vec<&StepReport>, Failure>| -> Vec<String> {
        found.unwrap().iter().map(|step| step.id.clone()).collect()
    };
    assert_eq!(ids(choose(&one, Wants::Approval, None, false)), ["a"]);
    assert_eq!(ids(choose(&one, Wants::Verdict, None, false)), ["c"]);
    let two = report("waiting", &[("a", "scheduled", APPROVAL), ("b", "scheduled", APPROVAL)]);
    assert_eq!(ids(choose(&two, Wants::Approval, Some("b"), false)), ["b"]);
    assert_eq!(ids(choose(&two, Wants::Approval, None, true)), ["a", "b"]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_could() {
    let two = report("waiting", &[("a", "scheduled", APPROVAL), ("b", "scheduled", APPROVAL), ("c", "running", None)]);
    for (wants, step, message, help) in [
        (Wants::Approval, None, "2 steps of run `r1` wait for approval", "a: fs write {\"path\":\"a\"}"),
        (Wants::Verdict, Some("c"), "step `c` of run `r1` is not in doubt: it is running", "`abide show r1`"),
        (Wants::Approval, Some("x"), "has no step `x`", "these wait for approval:\n  a: fs write"),
        (Wants::Answer, None, "no step of run `r1` waits for an answer", "`abide show r1`"),
    ] {
        let failure = choose(&two, wants, step, false).unwrap_err();
        assert!(failure.message.contains(message) && failure.help.contains(help), "{failure:?}");
        assert_eq!(failure.exit, 2);
    }
}

#[test]
fn an_ended_run_takes_nothing() {
    for status in ["completed", "failed", "cancelled"] {
        let failure = choose(&report(status, &[]), Wants::Approval, None, false).unwrap_err();
        assert_eq!((failure.exit, failure.code), (2, "ended"));
    }
}
