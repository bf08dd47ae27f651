//! What waits for people: approvals, consent, signals, pause and cancel.

use serde_json::{Value, json};

use crate::support::model::{Model, Say};
use crate::support::project::Project;

fn writes_twice() -> Model {
    let calls = vec![("fix_write", json!({"n": 1})), ("fix_write", json!({"n": 2}))];
    Model::by_turn(vec![Say::Calls(calls), Say::Text("written")])
}

fn statuses(shown: &Value, name: &str) -> Vec<String> {
    let steps = shown["steps"].as_array().unwrap();
    steps.iter().filter(|s| s["name"] == name).map(|s| s["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn calls_wait_for_approval_one_by_one() {
    let model = writes_twice();
    let project = Project::new(&model);
    let out = project.abide(&["run", "helper.md", "write", "--id", "r", "--trust"]).is(3);
    assert!(out.stdout.is_empty(), "{out:?}");
    out.says("run `r` waits for approval")
        .says("abide approve r --step helper/fix_write.approval --hash ")
        .says("{\"n\":1}");
    assert_eq!(project.show("r")["run"]["waiting_for"], "approval");

    let which = project.abide(&["approve", "r", "--json"]).is(2);
    let help = which.error()["help"].as_str().unwrap().to_owned();
    assert!(help.contains("helper/fix_write.approval: fix write {\"n\":1}") && help.contains("--all"), "{help}");
    let first = project.abide(&["approve", "r", "--step", "helper/fix_write.approval", "--json"]).is(0).json();
    assert_eq!(first["next"], "abide resume r");
    assert_eq!(first["recorded"][0]["new"], true);
    let again = project.abide(&["deny", "r", "--step", "helper/fix_write.approval", "--json"]).is(0).json();
    assert_eq!(again["recorded"][0]["new"], false, "the first answer counts");
    let denied = ["deny", "r", "--step", "helper/fix_write.approval#2", "--reason", "not that", "--resume", "--trust"];
    let out = project.abide(&denied).is(0);
    assert_eq!(out.stdout, "written\n");
    assert_eq!(project.calls(), [("write".to_owned(), json!({"n": 1}))]);
    let told = model.asked()[1].body["messages"].to_string();
    assert!(told.contains("the user refused this call") && told.contains("not that"), "{told}");
    project.abide(&["approve", "r"]).is(2).says("has already ended");
}

#[test]
fn an_approval_counts_for_what_was_shown_and_for_nothing_else() {
    let project = Project::new(&writes_twice());
    project.abide(&["run", "helper.md", "write", "--id", "r", "--trust"]).is(3);
    let shown = project.show("r");
    let hash = |id: &str| {
        let step = shown["steps"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap();
        step["hash"].as_str().unwrap()[..16].to_owned()
    };
    let (first, second) = ("helper/fix_write.approval", "helper/fix_write.approval#2");
    assert_ne!(hash(first), hash(second));
    for wrong in [&hash(second), "0", ""] {
        let refused = project.abide(&["approve", "r", "--step", first, "--hash", wrong]).is(2);
        refused.says("asks something else than was shown").says("{\"n\":1}");
    }
    project.abide(&["approve", "r", "--all", "--hash", &hash(first)]).is(2);
    for id in [first, second] {
        project.abide(&["approve", "r", "--step", id, "--hash", &hash(id)]).is(0);
    }
    project.abide(&["resume", "r", "--trust"]).is(0);
    assert_eq!(project.calls().len(), 2);
}

#[test]
fn all_may_be_approved_at_once() {
    let project = Project::new(&writes_twice());
    project.abide(&["run", "helper.md", "write", "--id", "r", "--trust"]).is(3);
    project.abide(&["approve", "r", "--all"]).is(0).says("abide resume r");
    project.abide(&["approve", "r", "--step", "nonsense"]).is(2).says("has no step `nonsense`");
    project.abide(&["resume", "r", "--trust"]).is(0);
    assert_eq!(project.calls().len(), 2);
    assert_eq!(statuses(&project.show("r"), "fix_write"), ["completed", "completed"]);
}

#[test]
fn nothing_starts_without_consent() {
    let project = Project::new(&writes_twice());
    let out = project.abide(&["run", "helper.md", "write", "--id", "r", "--yes"]).is(3);
    out.says("waits for your consent").says("abide trust r").says("abide resume r --trust");
    assert_eq!(project.show("r")["run"]["waiting_for"], "trust");
    assert!(!project.log().exists());
    project.abide(&["resume", "r", "--yes"]).is(3);
    let granted = project.abide(&["trust", "--json"]).is(0).json();
    assert_eq!(granted["granted"][0]["kind"], "start_server");
    project.abide(&["resume", "r", "--yes"]).is(0);
    assert_eq!(project.calls().len(), 2);
    assert_eq!(project.abide(&["trust", "--json"]).is(0).json()["granted"], json!([]), "once is enough");
    // A changed line asks again, for new runs; the old one has pinned what it began with.
    let changed =
        std::fs::read_to_string(project.root.join(".mcp.json")).unwrap().replace("--nocapture", "--no-capture");
    project.write(".mcp.json", &changed);
    project.abide(&["run", "helper.md", "write", "--id", "s", "--yes"]).is(3).says("abide trust s");
    project.abide(&["trust", "s"]).is(0);
    project.abide(&["resume", "s", "--yes"]).is(0);
}

#[test]
fn rules_hold_only_with_consent_and_consent_may_come_later() {
    let model = writes_twice();
    let project = Project::new(&model);
    project.settings(&model, "[tools.\"fix_*\"]\npolicy = \"allow\"\n");
    project.abide(&["run", "helper.md", "write", "--id", "r"]).is(3);
    project.abide(&["trust", "r"]).is(0);
    project.abide(&["resume", "r"]).is(0);
    assert_eq!(statuses(&project.show("r"), "fix_write.approval"), Vec::<String>::new(), "allowed: nobody was asked");
}

#[test]
fn a_run_can_be_paused_and_cancelled() {
    let project = Project::new(&writes_twice());
    project.abide(&["run", "helper.md", "write", "--id", "r", "--trust"]).is(3);
    project.abide(&["pause", "r"]).is(0).says("abide resume r");
    assert_eq!(project.show("r")["run"]["status"], "paused");
    project.abide(&["resume", "--trust"]).is(0);
    assert_eq!(project.show("r")["run"]["status"], "paused", "a paused run is not due");
    project.abide(&["resume", "r", "--trust"]).is(3);
    let cancelled = project.abide(&["cancel", "r"]).is(0);
    cancelled.says("nobody works on the run now").says("abide resume r");
    project.abide(&["resume", "r", "--trust", "--json"]).is(4);
    assert_eq!(project.show("r")["run"]["status"], "cancelled");
    project.abide(&["resume", "r"]).is(4);
    for words in
        [&["signal", "r", "x"][..], &["cancel", "r"], &["pause", "r"], &["resolve", "r", "--retry"], &["deny", "r"]]
    {
        project.abide(words).is(2).says("has already ended");
    }
    assert!(project.calls().is_empty());
}

#[test]
fn a_signal_is_kept_and_the_same_id_is_taken_once() {
    let project = Project::new(&writes_twice());
    project.abide(&["run", "helper.md", "write", "--id", "r", "--trust"]).is(3);
    for new in [true, false] {
        let sent = project.abide(&["signal", "r", "go", "{\"a\":1}", "--id", "m1", "--json"]).is(0).json();
        assert_eq!(sent["recorded"], json!([{"kind": "signal", "for": "go", "new": new}]));
    }
}
