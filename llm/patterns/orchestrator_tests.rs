//! Tests of orchestrators, with a scripted model, crashed after every event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::testing::{Asked, Played, agent, crash_everywhere, gives, says};
use super::*;

fn orchestrator() -> Orchestrator {
    let workers = ["researcher", "writer"].map(|name| agent(name).instructions(name).description(format!("a {name}")));
    Orchestrator::new(agent("planner")).named("report").workers(workers)
}

fn step(assignments: &[(&str, &str)]) -> Value {
    let one = |(agent, instruction): &(&str, &str)| json!({"agent": agent, "instruction": instruction});
    json!({"assignments": assignments.iter().map(one).collect::<Vec<_>>()})
}

fn plan(steps: &[Value]) -> Value {
    json!({"complete": false, "steps": steps})
}

fn complete() -> Value {
    json!({"complete": true, "steps": []})
}

/// Plans as `plans` says, from what the planner was told; workers say what they were asked for.
fn play(work: Orchestrator, plans: fn(&Asked) -> Value) -> Played {
    crash_everywhere(work, "the goal", move |asked| {
        if asked.system.contains("You plan how") {
            return gives(&plans(asked));
        }
        if asked.system.contains("You make one answer") {
            return says(&format!("synthesis of {}", asked.said.matches("done: ").count()));
        }
        let part = asked.said.rsplit("\n\n").next().unwrap();
        if part == "fail" { Err("it cannot".to_owned()) } else { says(&format!("done: {part}")) }
    })
}

#[test]
fn steps_are_carried_out_in_order_and_their_assignments_side_by_side() {
    let played = play(orchestrator(), |asked| match asked.said.matches("done: ").count() {
        0 => plan(&[step(&[("researcher", "find a"), ("researcher", "find b")]), step(&[("writer", "write")])]),
        _ => complete(),
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 3");
    let steps = [
        "planner/llm",
        "step[0]/researcher/llm",
        "step[1]/researcher/llm",
        "step#2[0]/writer/llm",
        "planner#2/llm",
        "synthesizer/llm",
    ];
    assert_eq!(played.ran, steps.map(|step| format!("report/{step}")));
    let writer = &played.asked[3];
    for part in ["The objective:\n\nthe goal", "done: find a", "done: find b", "nothing else:\n\nwrite"] {
        assert!(writer.said.contains(part), "{part:?} in {}", writer.said);
    }
    assert!(played.asked[0].system.contains("- researcher: a researcher\n- writer: a writer"));
    let agents =
        "/response_format/json_schema/schema/properties/steps/items/properties/assignments/items/properties/agent/enum";
    assert_eq!(played.asked[0].body.pointer(agents), Some(&json!(["researcher", "writer"])), "it cannot invent one");
}

#[test]
fn one_step_is_planned_at_a_time_if_told_so() {
    let played = play(orchestrator().plan(Planning::Iterative), |asked| match asked.said.matches("done: ").count() {
        0 => plan(&[step(&[("researcher", "one")]), step(&[("researcher", "too early")])]),
        1 => plan(&[step(&[("writer", "two")])]),
        _ => complete(),
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 2");
    assert_eq!(played.asked.len(), 6);
}

#[test]
fn a_plan_that_is_complete_already_makes_one_synthesis_call_and_no_steps() {
    let played = play(orchestrator(), |_| complete());
    assert_eq!(played.answer.unwrap().text, "synthesis of 0");
    assert_eq!(played.ran, ["report/planner/llm", "report/synthesizer/llm"]);
}

#[test]
fn an_unknown_agent_is_fed_back_once_and_then_fails_quoting_it() {
    let played = play(orchestrator(), |asked| match asked.said.contains("cannot be used") {
        false => plan(&[step(&[("reseacher", "find")])]),
        true if asked.said.matches("done: ").count() == 0 => plan(&[step(&[("researcher", "find")])]),
        true => complete(),
    });
    let said = &played.asked[1].said;
    assert!(said.contains("there is no agent `reseacher`; there are: `researcher`, `writer`"), "{said}");
    assert!(said.contains(r#"{"agent":"reseacher","instruction":"find"}"#), "{said}");

    let played = play(orchestrator(), |_| plan(&[step(&[("nobody", "find")])]));
    let error = played.answer.unwrap_err();
    assert!(error.message().contains("there is no agent `nobody`"), "{error}");
    assert_eq!(played.asked.len(), 2);
}

#[test]
fn a_plan_that_is_never_complete_is_an_error_that_states_the_iterations() {
    let played = play(orchestrator().max_iterations(3), |_| plan(&[step(&[("researcher", "more")])]));
    let error = played.answer.unwrap_err();
    assert!(error.message().contains("`report` did not come to an end in 3 iterations"), "{error}");
    assert_eq!(played.asked.len(), 6);
}

#[test]
fn a_worker_that_fails_is_told_to_the_planner() {
    let played = play(orchestrator(), |asked| {
        if asked.said.contains("(failed: ") {
            return complete();
        }
        plan(&[step(&[("researcher", "fail")]), step(&[("writer", "never")])])
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 0");
    assert!(!played.ran.iter().any(|id| id.contains("writer")), "nothing follows a step that failed whole");
    assert!(played.asked[2].said.contains("it cannot"), "{}", played.asked[2].said);
}

#[test]
fn what_was_said_is_in_the_journal_once_however_often_it_is_told() {
    let played = crash_everywhere(orchestrator(), "the goal", |asked| {
        let told = asked.said.matches("long words").count();
        if asked.system.contains("You plan how") {
            let again = plan(&[step(&[("researcher", "go on")])]);
            return gives(&if told < 300 { again } else { complete() });
        }
        says(&format!("heard {told} {}", "long words ".repeat(100)))
    });
    let journal = played.rows.concat();
    let said = |n: usize| journal.matches(&format!("heard {n} {}", "long words ".repeat(100))).count();
    assert_eq!([said(0), said(100), said(200)], [1, 1, 1], "the answer itself, and nothing of those who were told");
}

#[test]
fn an_orchestrator_without_workers_is_a_configuration_error() {
    let error = play(Orchestrator::new(agent("planner")), |_| complete()).answer.unwrap_err();
    assert!(error.message().contains("`orchestrator` has no workers"), "{error}");
}

#[test]
fn a_first_plan_with_steps_is_carried_out_though_it_calls_itself_complete() {
    let played = play(orchestrator(), |asked| match asked.said.matches("done: ").count() {
        0 => json!({"complete": true, "steps": [step(&[("researcher", "one")])]}),
        _ => json!({"complete": true, "steps": [step(&[("researcher", "two")])]}),
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 1", "once something is done, its word counts");
}
