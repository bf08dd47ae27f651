//! Steps in doubt: what a person can say about them, and what may not be said.

use serde_json::json;

use crate::support::mcp;
use crate::support::model::{Model, Say};
use crate::support::project::{Project, out};

const RULES: &str = "[tools.\"fix_*\"]\npolicy = \"allow\"\ntimeout_s = 1\n";

fn hangs() -> (Model, Project) {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_hang", json!({"n": 1}))]), Say::Text("over")]);
    let project = Project::new(&model);
    project.settings(&model, RULES);
    (model, project)
}

#[test]
fn a_once_tool_that_hangs_is_in_doubt_until_somebody_says_what_became_of_it() {
    let (model, project) = hangs();
    let parked = project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    let parked =
        parked.says("step in doubt").says("abide resolve r --retry --resume").says("--result JSON").says("--fail MSG");
    assert!(parked.stdout.is_empty());
    assert_eq!(project.show("r")["run"]["waiting_for"], "in_doubt");
    project.abide(&["resume", "r", "--trust"]).is(3);
    assert_eq!(project.calls().len(), 1, "never again by itself");

    for (words, says) in [
        (&["resolve", "r"][..], "required"),
        (&["resolve", "r", "--retry", "--step", "helper/llm"], "is not in doubt: it is completed"),
        (&["resolve", "r", "--retry", "--step", "x"], "has no step `x`"),
        (&["resolve", "r", "--result", "\"text\""], "must be a CallToolResult"),
        (&["resolve", "r", "--result", "{oops"], "not JSON"),
        (&["approve", "r"], "waits for approval"),
    ] {
        project.abide(words).is(2).says(says);
    }
    let result = json!({"content": [{"type": "text", "text": "it had happened"}]}).to_string();
    let out = project.abide(&["resolve", "r", "--result", &result, "--resume", "--trust"]).is(0);
    assert_eq!(out.stdout, "over\n");
    assert_eq!((project.calls().len(), model.count()), (1, 2));
    assert!(model.asked()[1].body["messages"].to_string().contains("it had happened"));
}

#[test]
fn it_may_be_tried_again_or_let_fail() {
    let (model, project) = hangs();
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    project.abide(&["resolve", "r", "--retry", "--resume", "--trust"]).is(3);
    assert_eq!(project.calls().len(), 2, "a person said that it did not happen");
    project.abide(&["resolve", "r", "--fail", "give up", "--json"]).is(0);
    project.abide(&["resume", "r", "--trust"]).is(0);
    assert_eq!(project.calls().len(), 2);
    assert!(model.asked()[1].body["messages"].to_string().contains("give up"));
}

#[test]
fn a_run_that_a_living_process_works_on_is_left_to_it() {
    let model = Model::by_turn(vec![
        Say::Calls(vec![("fix_read", json!({}))]),
        Say::Calls(vec![("fix_hang", json!({}))]),
        Say::Text("over"),
    ]);
    let project = Project::new(&model);
    project.settings(&model, "[tools.\"fix_*\"]\npolicy = \"allow\"\ntimeout_s = 20\n");
    let mut living = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust", "--json"]);
    model.wait_for(2);
    project.wait_until("r", |shown| shown["steps"].as_array().unwrap().iter().any(|s| s["name"] == "fix_hang"));
    let refused = project.abide(&["resume", "r", "--json"]).is(7);
    let message = refused.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&living.id().to_string()), "{message}");
    assert!(refused.error()["help"].as_str().unwrap().contains("--steal"), "{refused:?}");
    let refused = project.abide(&["resolve", "r", "--retry"]).is(2);
    refused.says("no step of run `r` is in doubt");
    let refused = project.abide(&["resolve", "r", "--retry", "--step", "helper/fix_hang"]).is(2);
    refused.says("is not in doubt: it is running");
    assert!(living.try_wait().unwrap().is_none(), "it goes on undisturbed");
    assert_eq!(project.calls().len(), 2);

    living.kill().unwrap();
    out(living);
    let shown = project.show("r");
    assert_eq!(shown["run"]["status"], "interrupted");
    assert_eq!(shown["steps"][4]["status"], "in_doubt", "{}", shown["steps"]);
    // What a dead process left in mid-call can be decided at once, before anybody resumes.
    let result = json!({"content": [{"type": "text", "text": "it had happened"}]}).to_string();
    project.abide(&["resolve", "r", "--result", &result]).is(0);
    assert_eq!(project.abide(&["resume", "r", "--trust"]).is(0).stdout, "over\n");
    assert_eq!((project.calls().len(), model.count()), (2, 3), "nothing was called again");
    let step = &project.show("r")["steps"][4];
    assert_eq!(
        (&step["status"], &step["resolved"], &step["resolved_by"]),
        (&json!("completed"), &json!("landed"), &json!("person"))
    );
}

/// A call that hangs, of which `fix_find` answers this.
fn probed(find: serde_json::Value, rules: &str) -> (Model, Project) {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_hang", json!({"find": find}))]), Say::Text("over")]);
    let project = Project::new(&model);
    project.settings(&model, &format!("{RULES}{rules}"));
    (model, project)
}

const PROBE: &str = "reconcile = \"fix_find\"\n[servers.fix]\ntrust = true\n";

#[test]
fn a_probe_named_in_the_settings_answers_first() {
    let happened = json!({"content": [{"type": "text", "text": "it was sent"}]});
    let (model, project) = probed(json!({"status": "landed", "result": happened}), PROBE);
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(0);
    let calls: Vec<String> = project.calls().into_iter().map(|(name, _)| name).collect();
    assert_eq!(calls, ["hang", "find"]);
    let keys = mcp::keys(&project.log());
    assert_eq!(keys[0], keys[1], "the probe is told the key of the call");
    assert!(model.asked()[1].body["messages"].to_string().contains("it was sent"));
    let shown = project.show("r");
    let step = shown["steps"].as_array().unwrap().iter().find(|s| s["name"] == "fix_hang").unwrap();
    assert_eq!(
        (&step["status"], &step["resolved"], &step["resolved_by"]),
        (&json!("completed"), &json!("landed"), &json!("probe"))
    );
    assert!(step["resolved_ms"].is_i64());
    let text = project.abide(&["show", "r"]).is(0).stdout;
    assert!(text.contains("completed (its probe: happened)"), "{text}");

    let (_model, project) = probed(json!({"sent": true}), &PROBE.replace("fix_find", "fix_find#/sent"));
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(0);
    assert_eq!(project.calls().len(), 2, "a part of its answer may decide");
}

#[test]
fn a_probe_that_cannot_tell_is_asked_once_and_then_a_person() {
    for (find, why) in [
        (json!({"status": "unknown"}), "its probe cannot tell"),
        (json!({"status": "perhaps"}), "`fix_find` gave no answer that tells"),
    ] {
        let (_model, project) = probed(find, PROBE);
        project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3).says("step in doubt");
        project.abide(&["resume", "r", "--trust"]).is(3);
        assert_eq!(project.calls().len(), 2);
        let shown = project.show("r");
        let step = shown["steps"].as_array().unwrap().iter().find(|s| s["name"] == "fix_hang").unwrap();
        assert!(step["error"].as_str().unwrap().contains(why), "{step}");
        let said = project.abide(&["resolve", "r", "--fail", "no", "--json"]).is(0).json();
        assert_eq!(said["recorded"], json!([{"kind": "fail", "for": "helper/fix_hang", "new": true}]));
        let again = project.abide(&["resolve", "r", "--retry"]).is(0);
        again.says("said before, and the first one counts");
        project.abide(&["resume", "r", "--trust"]).is(0);
        assert_eq!(project.calls().len(), 2);
        let text = project.abide(&["show", "r"]).is(0).stdout;
        assert!(text.contains("failed (a person: let it fail)"), "{text}");
    }
}

#[test]
fn a_probe_that_may_not_be_called_freely_is_a_mistake_in_the_settings() {
    for (rules, why) in [
        ("reconcile = \"fix_gone\"\n", "no server of this agent has a tool `fix_gone`"),
        ("reconcile = \"fix_write\"\n", "`fix_write` is not known to be read-only"),
        (
            "reconcile = \"fix_find\"\n[servers.fix]\ntrust = true\n[tools.\"fix_find\"]\npolicy = \"ask\"\n",
            "`fix_find` may not be called without asking",
        ),
    ] {
        let (_model, project) = probed(json!(null), rules);
        let refused = project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(8);
        refused.says(why).says("as the probe (`reconcile`) of `fix_").says("start a new run");
        assert!(project.calls().is_empty());
    }
}

#[test]
fn several_in_doubt_are_named_and_resolved_one_by_one() {
    let calls = vec![("fix_hang", json!({"n": 1})), ("fix_hang", json!({"n": 2})), ("fix_hang", json!({"n": 3}))];
    let model = Model::by_turn(vec![Say::Calls(calls), Say::Text("over")]);
    let project = Project::new(&model);
    project.settings(&model, RULES);
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    let which = project.abide(&["resolve", "r", "--fail", "no"]).is(2);
    which.says("3 steps of run `r` are in doubt: say which").says("helper/fix_hang#3: fix hang {");
    project.abide(&["resolve", "r", "--step", "helper/fix_hang#3", "--fail", "third"]).is(0);
    // Heard at once or later, it is the same.
    project.abide(&["resume", "r", "--trust"]).is(3);
    let gone = project.abide(&["resolve", "r", "--step", "helper/fix_hang#3", "--retry"]).is(2);
    gone.says("is not in doubt: it is failed");
    let result = json!({"content": [{"type": "text", "text": "the first was sent"}]}).to_string();
    project.abide(&["resolve", "r", "--step", "helper/fix_hang", "--result", &result]).is(0);
    project.abide(&["resolve", "r", "--step", "helper/fix_hang#2", "--fail", "second", "--resume", "--trust"]).is(0);
    assert_eq!(project.calls().len(), 3, "none was called again");
    let told = model.asked()[1].body["messages"].to_string();
    assert!(["the first was sent", "second", "third"].iter().all(|said| told.contains(said)), "{told}");
}
