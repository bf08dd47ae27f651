//! Tests of deep orchestrators, with a scripted model, crashed after every event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::testing::{Asked, Played, agent, crash_everywhere, gives, model, says};
use super::*;
use crate::charge::Limit;
use crate::price::Price;

fn deep() -> DeepOrchestrator {
    let workers = ["researcher", "writer"].map(|name| agent(name).instructions(name).description(format!("a {name}")));
    DeepOrchestrator::new(agent("planner")).named("study").workers(workers)
}

fn step(assignments: &[(&str, &str, &[&str])]) -> Value {
    let one = |(name, instruction, needs): &(&str, &str, &[&str])| {
        let agent = if instruction.starts_with("write") { "writer" } else { "researcher" };
        json!({"name": name, "agent": agent, "instruction": instruction, "needs": needs})
    };
    json!({"assignments": assignments.iter().map(one).collect::<Vec<_>>()})
}

fn plan(steps: &[Value]) -> Value {
    json!({"complete": false, "steps": steps})
}

fn complete() -> Value {
    json!({"complete": true, "steps": []})
}

/// How many of the assignments are told as done.
fn done(asked: &Asked) -> usize {
    asked.said.matches("## ").count()
}

fn play(work: DeepOrchestrator, plans: fn(&Asked) -> Result<Value, String>) -> Played {
    crash_everywhere(work, "the goal", move |asked| {
        if asked.system.contains("You plan how") {
            return plans(asked).and_then(|plan| gives(&plan));
        }
        if asked.system.contains("You keep what") {
            let learned = asked.said.matches("did: ").count();
            return gives(&json!({"facts": [{"topic": "work", "fact": format!("fact {learned}"), "confidence": 0.9}]}));
        }
        if asked.system.contains("You make one answer") {
            return says(&format!("synthesis of {}", done(asked)));
        }
        if asked.system.contains("had to stop") {
            return says("what there is");
        }
        let part = asked.said.rsplit("\n\n").next().unwrap();
        if part.contains("fail") { Err("it cannot".to_owned()) } else { says(&format!("did: {part}")) }
    })
}

#[test]
fn an_assignment_is_told_what_it_needs_and_what_is_known_and_no_more() {
    let played = play(deep(), |asked| {
        let steps = [step(&[("a", "find a", &[]), ("b", "find b", &[])]), step(&[("c", "write c", &["a"])])];
        Ok(if done(asked) == 0 { plan(&steps) } else { complete() })
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 3");
    let steps = [
        "planner/llm",
        "step[0]/researcher/llm",
        "step[1]/researcher/llm",
        "keeper/llm",
        "step#2[0]/writer/llm",
        "keeper#2/llm",
        "planner#2/llm",
        "synthesizer/llm",
    ];
    assert_eq!(played.ran, steps.map(|step| format!("study/{step}")));
    let writer = &played.asked[4].said;
    for part in ["The objective:\n\nthe goal", "did: find a", "Known so far:\n- work: fact 2"] {
        assert!(writer.contains(part), "{part:?} in {writer}");
    }
    assert!(!writer.contains("did: find b"), "{writer}");
    assert!(played.asked[5].said.contains("- work: fact 2"), "what is known is not asked for again");
}

#[test]
fn a_plan_that_depends_on_a_later_step_is_rejected_and_the_errors_fed_back() {
    let played = play(deep(), |asked| {
        let bad = plan(&[step(&[("a", "find a", &["b"])]), step(&[("b", "find b", &[])])]);
        let good = plan(&[step(&[("b", "find b", &[])]), step(&[("a", "find a", &["b"])])]);
        Ok(match (done(asked), asked.said.contains("cannot be used")) {
            (0, false) => bad,
            (0, true) => good,
            _ => complete(),
        })
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 2");
    let said = &played.asked[1].said;
    assert!(said.contains("`a` of step 1 needs `b`, which comes later, in step 2"), "{said}");

    let played = play(deep(), |_| Ok(plan(&[step(&[("a", "find a", &["b"]), ("b", "find b", &["a"])])])));
    let error = played.answer.unwrap_err();
    for part in ["the planner of `study` gave 3 plans that cannot be used", "in a circle: a -> b -> a"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(played.asked.len(), 3);
}

#[test]
fn duplicates_on_replan_are_skipped() {
    let played = play(deep(), |asked| {
        Ok(match done(asked) {
            0 => plan(&[step(&[("a", "find a", &[])])]),
            1 => plan(&[step(&[("again", "Find a.", &[])]), step(&[("b", "write b", &["again"])])]),
            _ => plan(&[step(&[("once more", "find a", &[])])]),
        })
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 2");
    let did: Vec<&String> = played.ran.iter().filter(|id| id.contains("step")).collect();
    assert_eq!(did, ["study/step[0]/researcher/llm", "study/step#2[0]/writer/llm"]);
    let writer = played.asked.iter().find(|asked| asked.system == "writer").unwrap();
    assert!(
        writer.said.contains("## a (researcher)\n\ndid: find a"),
        "its need is known by its first name: {}",
        writer.said
    );
}

#[test]
fn at_nine_tenths_of_a_budget_the_answer_is_made_of_what_there_is() {
    let endless = |asked: &Asked| {
        let n = done(asked);
        let names = ["a", "b", "c", "d", "e", "f"];
        Ok(plan(&[step(&[(names[n], &format!("find {}", names[n]), &[])])]))
    };
    // A call is 12 tokens, and those of workers cost a thousandth of a dollar each.
    let price = Price { input: 1_000.0, output: 1_000.0, cache_read: None, cache_write: None };
    let dear = agent("researcher").model(crate::ModelConfig { price: Some(price), ..model() });
    let dear = DeepOrchestrator::new(agent("planner")).named("study").worker(dear);
    for (work, did) in [
        (deep().budget(Limit { max_calls: Some(7), ..Limit::default() }), 2),
        (deep().budget(Limit { max_tokens: Some(80), ..Limit::default() }), 2),
        (dear.budget(Limit { max_cost_usd: Some(0.013), ..Limit::default() }), 1),
    ] {
        let played = play(work.max_replans(4), endless);
        let steps = played.ran.iter().filter(|id| id.contains("step")).count();
        assert_eq!(steps, did, "{:?}", played.ran);
        let last = played.asked.last().unwrap();
        assert!(last.said.contains(" are used.)"), "{}", last.said);
        assert!(played.answer.unwrap().text.starts_with("synthesis of"));
    }
}

#[test]
fn replans_are_bounded() {
    let played = play(deep().max_replans(1), |asked| {
        let n = done(asked);
        let name = ["a", "b", "c"][n];
        Ok(plan(&[step(&[(name, &format!("find {name}"), &[])])]))
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 2");
    assert!(played.asked.last().unwrap().said.contains("it was planned anew 1 times"));
}

#[test]
fn what_failed_is_told_and_what_needs_it_is_not_begun() {
    let played = play(deep(), |asked| {
        Ok(match done(asked) {
            0 => plan(&[
                step(&[("a", "fail", &[]), ("b", "find b", &[])]),
                step(&[("c", "write c", &["a"]), ("d", "write d", &["b"])]),
            ]),
            _ => complete(),
        })
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 4");
    let last = &played.asked.last().unwrap().said;
    assert!(last.contains("## a (researcher)\n\n(failed: ") && last.contains("it needs `a`, which failed"), "{last}");
    assert!(last.contains("did: write d"), "{last}");
}

#[test]
fn an_emergency_answer_is_made_of_results_when_the_planner_fails() {
    let played = play(deep(), |asked| match done(asked) {
        0 => Ok(plan(&[step(&[("a", "find a", &[])])])),
        _ => Err("the planner is gone".to_owned()),
    });
    assert_eq!(played.answer.unwrap().text, "what there is");
    let last = &played.asked.last().unwrap().said;
    assert!(last.contains("did: find a") && last.contains("the planner is gone"), "{last}");

    let error = play(deep(), |_| Err("the planner is gone".to_owned())).answer.unwrap_err();
    assert!(error.message().contains("the planner is gone"), "nothing was found yet: {error}");
}

#[test]
fn a_planner_that_needs_what_there_is_nowhere_is_told_twice_and_then_goes_on_without() {
    let played = play(deep(), |asked| {
        let first = json!({"complete": true, "steps": plan(&[step(&[("a", "find a", &["nowhere", "a"])])])["steps"]});
        Ok(if done(asked) == 0 { first } else { complete() })
    });
    assert_eq!(played.answer.unwrap().text, "synthesis of 1");
    let plans = played.ran.iter().filter(|id| id.starts_with("study/planner")).count();
    assert_eq!(plans, 4, "three for the first step, and one that is complete: {:?}", played.ran);
    assert!(played.asked[2].said.contains("needs `nowhere`, which does not exist"), "{}", played.asked[2].said);
}
