//! Patterns where something goes wrong or is odd: names that do not exist, branches that fail, plans that cannot be carried out, drafts
//! that are never good.

use abide::prelude::*;
use abide_llm::{Branch, Grade};
use serde_json::{Value, json};

use super::{agents, gives, heard, outcome, run, says};
use crate::support::model::{Asked, Model, Say};
use crate::support::project::Project;

fn choices(names: &[&str]) -> Value {
    let choice = |name: &&str| json!({"name": name, "confidence": 0.9, "reason": "so"});
    json!({"choices": names.iter().map(choice).collect::<Vec<_>>()})
}

/// A desk that names these; whoever is asked says who it is.
fn desk(names: &'static [&'static str]) -> Model {
    Model::new(move |_, asked| match heard(asked, "system") {
        system if system.contains("You decide who") => gives(&choices(names)),
        system => says(&system),
    })
}

#[test]
fn a_router_drops_names_that_nobody_has_and_choosing_nobody_is_an_error_of_the_whole() {
    for (names, chosen, whole) in [
        (&["billing", "nobody"][..], &["billing"][..], Ok("You are billing.")),
        (&["nobody"], &[], Err("`nobody`, which do not exist")),
        (&[], &[], Err("found nobody for this input: there are `billing`, `technical`")),
    ] {
        let model = desk(names);
        let agent = agents(&model);
        let router = Router::new(agent("desk")).routes([agent("billing"), agent("technical")]).top(3);
        let choosing = router.clone();
        let dir = tempfile::tempdir().unwrap();
        let app =
            Abide::open(dir.path().join("runs.db")).agents().workflow("choose", move |ctx: Ctx, text: String| {
                let router = choosing.clone();
                async move {
                    Ok::<_, Error>(router.choose(&ctx, text).await?.into_iter().map(|c| c.name).collect::<Vec<_>>())
                }
            });
        assert_eq!(run(app, "choose", "x").unwrap(), json!(chosen), "an empty list is no error of choosing");
        match (outcome(router, "x"), whole) {
            (Ok(said), Ok(expected)) => assert_eq!(said, expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_router_sends_to_agents_functions_and_other_patterns() {
    for (name, said) in [("agent", "You are agent."), ("function", "x at once"), ("pattern", "You are inner.")] {
        let model = Model::new(move |_, asked| match heard(asked, "system") {
            system if system.contains("You decide who") => gives(&choices(&[name])),
            system => says(&system),
        });
        let agent = agents(&model);
        let function =
            Function::new("function", |_, input: Input| async move { Ok(format!("{} at once", input.text)) });
        let pattern = Chain::new().named("pattern").then(agent("inner"));
        let router = Router::new(agent("desk")).route(agent("agent")).route(function).route(pattern);
        assert_eq!(outcome(router, "x").unwrap(), said);
    }
}

#[test]
fn a_fan_out_without_targets_is_an_error_of_the_configuration() {
    let error = outcome(Parallel::new(), "x").unwrap_err();
    assert!(error.contains("has no branches to ask: name at least one agent"), "{error}");
    let model = Model::new(|_, _| says("never"));
    let project = Project::new(&model);
    project.settings(&model, "[workflows.all]\npattern = \"parallel\"\nagents = []\n");
    let refused = project.abide(&["run", "all", "x", "--json"]).is(8).error();
    assert!(refused["message"].as_str().unwrap().contains("abide.toml:"), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("takes at least one agent"), "{refused}");
    assert_eq!(model.count(), 0);
}

#[test]
fn a_branch_that_fails_is_a_value_in_the_fan_in_and_fails_nothing_else() {
    let model = Model::new(|_, asked| match heard(asked, "system").as_str() {
        "You are bad." => Say::Status(400, json!({"error": {"message": "no such model"}}), vec![]),
        "You are editor." => says(&heard(asked, "user")),
        other => says(other),
    });
    let agent = agents(&model);
    let double = Function::new("double", |_, input: Input| async move { Ok(input.text.repeat(2)) });
    let branches = || Parallel::new().branch(agent("good")).branch(agent("bad")).branch(double.clone());
    let told = outcome(branches().fan_in(agent("editor")), "x").unwrap();
    let told = told.as_str().unwrap();
    assert!(told.contains("You are good.") && told.contains("xx") && told.contains("(failed: "), "{told}");
    assert!(told.contains("no such model"), "{told}");
    let counted = branches().fan_in_with(|branches: Vec<Branch>| {
        let all = branches.iter().map(|branch| format!("{} {}", branch.name, branch.result.is_ok()));
        Ok(all.collect::<Vec<_>>().join(", ").into())
    });
    assert_eq!(outcome(counted, "x").unwrap(), "good true, bad false, double true");
}

/// A writer who numbers its drafts, and a reviewer who rates the n-th so.
fn rated(ratings: &'static [&'static str]) -> Model {
    let number_after = |text: &str, word: &str| {
        let rest = text.split(word).nth(1)?;
        rest.split_whitespace().next()?.parse::<usize>().ok()
    };
    Model::new(move |_, asked| {
        let said = heard(asked, "user");
        if heard(asked, "system").contains("You rate") {
            let n = number_after(&said, "draft ").unwrap();
            return gives(&json!({"rating": ratings[n - 1], "feedback": format!("more than {n} please")}));
        }
        says(&format!("draft {} ", number_after(&said, "more than ").unwrap_or(0) + 1))
    })
}

#[test]
fn a_draft_that_is_good_enough_is_the_last_one() {
    let model = rated(&["poor", "good", "excellent"]);
    let agent = agents(&model);
    let draft = EvaluatorOptimizer::new(agent("writer"), agent("reviewer")).at_least(Grade::Good).refinements(5);
    assert_eq!(outcome(draft, "write").unwrap(), "draft 2 ");
    assert_eq!(model.count(), 4, "two drafts and two evaluations");
}

#[test]
fn drafts_that_are_never_good_enough_end_after_the_last_refinement_with_the_best_of_them() {
    let model = rated(&["poor", "good", "fair", "poor"]);
    let agent = agents(&model);
    let draft = EvaluatorOptimizer::new(agent("writer"), agent("reviewer")).at_least(Grade::Excellent).refinements(3);
    assert_eq!(outcome(draft, "write").unwrap(), "draft 2 ");
    assert_eq!(model.count(), 8, "four drafts and four evaluations");
}

fn is_planner(asked: &Asked) -> bool {
    heard(asked, "system").contains("You plan how")
}

/// What an orchestrator comes to whose planner says these, one after the other.
fn planned(plans: Vec<Value>, workers: &[&str], iterations: u32) -> (std::result::Result<Value, String>, Model) {
    let model = Model::new(move |_, asked| match heard(asked, "system") {
        _ if is_planner(asked) => {
            let said = heard(asked, "user");
            // How often it has been asked is told by what is done and by what was wrong.
            let done = said.matches("was asked: ").count() + said.matches("cannot be used").count();
            gives(plans.get(done).or(plans.last()).unwrap())
        }
        system if system.contains("You make one answer") => says("the answer"),
        system => says(&system),
    });
    let agent = agents(&model);
    let orchestrator = Orchestrator::new(agent("planner")).workers(workers.iter().map(|name| agent(name)));
    (outcome(orchestrator.max_iterations(iterations), "x"), model)
}

fn give(agent: &str) -> Value {
    json!({"complete": false, "steps": [{"assignments": [{"agent": agent, "instruction": format!("work for {agent}")}]}]})
}

#[test]
fn a_plan_that_is_complete_at_once_takes_one_synthesis_and_no_step() {
    let (answer, model) = planned(vec![json!({"complete": true, "steps": []})], &["worker"], 5);
    assert_eq!((answer.unwrap(), model.count()), (json!("the answer"), 2));
}

#[test]
fn a_planner_that_invents_an_agent_is_told_once_and_then_it_fails_quoting_that() {
    let complete = json!({"complete": true, "steps": []});
    let (answer, model) = planned(vec![give("ghost"), give("worker"), complete], &["worker"], 5);
    assert_eq!(answer.unwrap(), "the answer");
    let corrected = model.asked().into_iter().filter(is_planner).nth(1).unwrap();
    assert!(heard(&corrected, "user").contains("there is no agent `ghost`; there are: `worker`"), "{corrected:?}");
    let (failed, model) = planned(vec![give("ghost")], &["worker"], 5);
    let error = failed.unwrap_err();
    assert!(error.contains("twice") && error.contains("there is no agent `ghost`"), "{error}");
    assert_eq!(model.count(), 2);
}

#[test]
fn an_objective_that_is_never_reached_is_an_error_that_states_the_iterations() {
    let (failed, _) = planned(vec![give("worker")], &["worker"], 3);
    let error = failed.unwrap_err();
    assert!(error.contains("did not come to an end in 3 iterations"), "{error}");
}

#[test]
fn a_plan_that_needs_what_comes_later_is_rejected_and_what_is_done_is_not_done_again() {
    let part = |name: &str, what: &str, needs: &[&str]| json!({"name": name, "agent": "worker", "instruction": what, "needs": needs});
    let (first, second) = (part("first", "do first", &[]), part("second", "do second", &["first"]));
    // The same work under another name.
    let (again, third) = (part("again", "do first", &[]), part("third", "do third", &["second", "again"]));
    let plan = |steps: Vec<Value>| {
        let steps: Vec<Value> = steps.into_iter().map(|one| json!({"assignments": [one]})).collect();
        json!({"complete": false, "steps": steps})
    };
    let model = Model::new(move |_, asked| {
        let said = heard(asked, "user");
        match heard(asked, "system") {
            _ if is_planner(asked) && said.contains("cannot be used") => {
                gives(&plan(vec![first.clone(), second.clone()]))
            }
            // Once something is done, the same again and one that is new.
            _ if is_planner(asked) && said.contains("third") => gives(&json!({"complete": true, "steps": []})),
            _ if is_planner(asked) && said.contains("What is done already") => {
                gives(&plan(vec![again.clone(), third.clone()]))
            }
            _ if is_planner(asked) => gives(&plan(vec![second.clone(), first.clone()])),
            system if system.contains("You keep what") => gives(&json!({"facts": []})),
            system if system.contains("You make one answer") => says("the answer"),
            _ => says("done"),
        }
    });
    let agent = agents(&model);
    assert_eq!(outcome(DeepOrchestrator::new(agent("planner")).workers([agent("worker")]), "x").unwrap(), "the answer");
    let asked = model.asked();
    let corrected = asked.iter().find(|asked| is_planner(asked) && heard(asked, "user").contains("cannot be used"));
    let corrected = heard(corrected.unwrap(), "user");
    assert!(corrected.contains("`second`") && corrected.contains("`first`"), "{corrected}");
    let done: Vec<String> = asked
        .iter()
        .filter(|asked| heard(asked, "system") == "You are worker.")
        .map(|asked| heard(asked, "user").rsplit("\n\n").next().unwrap().to_owned())
        .collect();
    assert_eq!(done, ["do first", "do second", "do third"], "what was done is skipped when it is planned again");
}
