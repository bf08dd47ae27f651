//! Tests of chains, of work side by side, and of drafts that are rated: with a scripted model, crashed after every event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use abide_engine::terminal;
use serde_json::{Value, json};

use super::testing::{Asked, agent, crash_everywhere, gives, says};
use super::*;
use crate::input::Input;

/// Says who it is and what it was asked.
fn echo(asked: &Asked) -> Result<Value, String> {
    if asked.system.contains("broken") {
        return Err("it is broken".to_owned());
    }
    says(&format!("{}({})", asked.system, asked.said))
}

fn echoing(name: &str) -> crate::Agent {
    agent(name).instructions(name)
}

#[test]
fn a_chain_asks_one_after_the_other() {
    let chain = Chain::new()
        .then(echoing("a"))
        .all([echoing("b"), echoing("c")])
        .check(|answer| if answer.text.contains("bad") { Err(terminal("it is bad")) } else { Ok(()) });
    let played = crash_everywhere(chain.clone(), "x", echo);
    let answer = played.answer.unwrap();
    assert_eq!((answer.text(), answer.turns, answer.usage.input_tokens), ("c(b(a(x)))", 3, 30));
    assert_eq!(played.ran, ["chain/a/llm", "chain/b/llm", "chain/c/llm"]);
    let error = crash_everywhere(chain, "bad", echo).answer.unwrap_err();
    assert_eq!(error.message(), "it is bad");
    let error = crash_everywhere(Chain::new(), "x", echo).answer.unwrap_err();
    assert!(error.message().contains("has nobody in it"), "{error}");
}

#[test]
fn a_fan_out_without_targets_is_a_configuration_error() {
    let error = crash_everywhere(Parallel::new().named("review"), "x", echo).answer.unwrap_err();
    assert!(error.message().contains("`review` has no branches"), "{error}");
}

#[test]
fn one_failing_branch_is_a_value_in_the_fan_in_and_not_a_failed_run() {
    let branches = || Parallel::new().named("review").branches(["a", "broken", "b"].map(echoing));
    let played = crash_everywhere(branches().fan_in(echoing("editor")), "x", echo);
    let last = played.asked.last().unwrap();
    for part in ["asked this:\n\nx", "## a\n\na(x)", "## broken\n\n(failed: ", "it is broken", "## b\n\nb(x)"] {
        assert!(last.said.contains(part), "{part:?} in {}", last.said);
    }
    let mut ran = played.ran.clone();
    ran.sort();
    let steps = ["branch[0]/a/llm", "branch[1]/broken/llm", "branch[2]/b/llm", "editor/llm"];
    assert_eq!(ran, steps.map(|step| format!("review/{step}")));
    assert_eq!(played.answer.unwrap().turns, 3);

    let sections = crash_everywhere(branches().at_once(1), "x", echo).answer.unwrap().text;
    assert!(sections.starts_with("## a\n\na(x)\n\n## broken\n\n(failed:"), "{sections}");

    let by_function = branches().fan_in_with(|branches| {
        let failed = branches.iter().filter(|branch| branch.result.is_err()).count();
        Ok(format!("{failed} of {} failed", branches.len()).into())
    });
    assert_eq!(crash_everywhere(by_function, "x", echo).answer.unwrap().text, "1 of 3 failed");

    let all = Parallel::new().branches(["broken", "broken 2"].map(echoing));
    let error = crash_everywhere(all, "x", echo).answer.unwrap_err();
    assert!(error.message().contains("all 2 branches of `parallel` failed: broken: "), "{error}");
}

#[test]
fn most_branches_win_a_vote_and_the_same_agent_may_vote_often() {
    let vote = Parallel::new().branches(vec![agent("voter"); 3]).branch(agent("other").instructions("contrary")).vote();
    let played = crash_everywhere(vote, "x", |asked| says(if asked.system == "contrary" { "No" } else { " Yes" }));
    assert_eq!(played.answer.unwrap().text, " Yes");
    assert_eq!(played.asked.len(), 4);
}

#[test]
fn functions_and_patterns_are_work_like_agents() {
    let shout = Function::new("shout", |ctx, input: Input| async move {
        let loud = |text: String| async move { Ok::<_, abide_engine::Error>(text.to_uppercase()) };
        ctx.step("loud", input.text, loud).await
    });
    let both = Parallel::new().named("both").branch(shout).branch(Chain::new().then(echoing("a")).then(echoing("b")));
    let deep = Chain::new().then(both).then(echoing("end"));
    let played = crash_everywhere(deep, "x", echo);
    assert_eq!(played.answer.unwrap().text, "end(## shout\n\nX\n\n## chain\n\nb(a(x)))");
    let mut ran = played.ran.clone();
    ran.sort();
    let steps = ["both/branch[0]/shout/loud", "both/branch[1]/chain/a/llm", "both/branch[1]/chain/b/llm", "end/llm"];
    assert_eq!(ran, steps.map(|step| format!("chain/{step}")));
}

/// A writer that counts its drafts, and an evaluator that rates them so.
fn rated(ratings: &'static [Value]) -> impl Fn(&Asked) -> Result<Value, String> + Send + Sync {
    move |asked| {
        let drafts = asked.said.matches("draft ").count();
        if asked.system.contains("You rate") {
            let n: usize = asked.said.split("draft ").nth(1).unwrap()[..1].parse().unwrap();
            return gives(&json!({"rating": ratings[n - 1], "feedback": format!("feedback {n}")}));
        }
        let n = if drafts == 0 { 0 } else { asked.said.split("draft ").nth(1).unwrap()[..1].parse::<usize>().unwrap() };
        assert_eq!(asked.said.contains(&format!("feedback {n}")), n > 0, "{}", asked.said);
        says(&format!("draft {}", n + 1))
    }
}

#[test]
fn evaluator_says_poor_then_good_and_the_second_draft_is_returned() {
    static RATINGS: std::sync::LazyLock<[Value; 2]> = std::sync::LazyLock::new(|| [json!("poor"), json!("good")]);
    let draft = EvaluatorOptimizer::new(agent("writer"), agent("reviewer")).at_least(Grade::Good);
    let played = crash_everywhere(draft.named("draft"), "x", rated(&*RATINGS));
    assert_eq!(played.answer.unwrap().text, "draft 2");
    let steps = ["writer/llm", "reviewer/llm", "writer#2/llm", "reviewer#2/llm"];
    assert_eq!(played.ran, steps.map(|step| format!("draft/{step}")));
    let grades = &played.asked[1].body["response_format"]["json_schema"]["schema"]["properties"]["rating"]["enum"];
    assert_eq!(*grades, json!(["poor", "fair", "good", "excellent"]));
}

#[test]
fn evaluator_never_satisfied_gives_four_drafts_and_the_best_rated_is_returned() {
    static RATINGS: std::sync::LazyLock<[Value; 4]> =
        std::sync::LazyLock::new(|| [json!(3), json!(7), json!(5), json!(6)]);
    let draft = EvaluatorOptimizer::new(Chain::new().then(agent("writer")), agent("reviewer")).refinements(3);
    let played = crash_everywhere(draft, "x", rated(&*RATINGS));
    let answer = played.answer.unwrap();
    assert_eq!((answer.text(), answer.turns), ("draft 2", 8));
    assert_eq!(played.ran.iter().filter(|id| id.contains("chain")).count(), 4);
    assert_eq!(played.ran[2], "evaluator-optimizer/chain#2/writer/llm");
}
