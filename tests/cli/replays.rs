//! `abide replay`: recorded runs against the code of now, without calling anything.

use serde_json::{Value, json};

use crate::support::model::{Model, Say};
use crate::support::project::Project;

fn verdicts(document: &Value) -> Vec<(&str, &str)> {
    let runs = document["runs"].as_array().unwrap();
    runs.iter().map(|run| (run["id"].as_str().unwrap(), run["verdict"].as_str().unwrap())).collect()
}

/// A run of a program that is not this binary.
fn a_foreign_run(project: &Project) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let flow = |_: abide::Ctx, n: u32| async move { Ok::<_, abide::Error>(n) };
        let abide = abide::Abide::open(project.db()).workflow("rust", flow).start().await.unwrap();
        abide.run("rust", &1).id("foreign").await.unwrap().result::<u32>().await.unwrap();
        abide.shutdown().await;
    });
}

#[test]
fn agents_replay_in_the_binary_and_call_nothing() {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({"path": "a"}))]), Say::Text("it says a")]);
    let project = Project::new(&model);
    project.abide(&["run", "helper.md", "read a", "--id", "ended", "--yes", "--trust"]).is(0);
    project.abide(&["run", "helper.md", "read a", "--id", "waits", "--trust"]).is(3);
    let calls = (model.count(), project.calls().len());
    let out = project.abide(&["replay", "ended"]).is(0);
    assert!(out.stdout.starts_with("replayed 1 runs, ") && out.stdout.ends_with(" rows: 0 diverged\n"), "{out:?}");
    // What was edited since changes new runs, not these.
    project.write("helper.md", "---\nname: helper\nmodel: local\n---\nYou help otherwise.\n");
    let all = project.abide(&["replay", "--all", "--json"]).is(0).json();
    assert_eq!(verdicts(&all), [("waits", "same"), ("ended", "same")]);
    a_foreign_run(&project);
    let out = project.abide(&["replay", "--all"]).is(0).says("1 runs were not replayed");
    assert!(out.stdout.contains("unknown     foreign: this program has no workflow `rust`"), "{out:?}");
    project.abide(&["replay", "foreign"]).is(8).says("this program has no workflow `rust`");
    project.abide(&["replay", "nowhere"]).is(6);
    project.abide(&["replay"]).is(2);
    assert_eq!((model.count(), project.calls().len()), calls, "it called something");
}

#[test]
fn a_run_whose_definition_was_changed_diverges() {
    let model = Model::by_turn(vec![Say::Text("done")]);
    let project = Project::new(&model);
    project.abide(&["run", "helper.md", "help", "--id", "one", "--trust"]).is(0);
    let conn = rusqlite::Connection::open(project.db()).unwrap();
    let body: String = conn.query_row("SELECT body FROM definitions", [], |row| row.get(0)).unwrap();
    let body = body.replace("You help.", "You hinder.");
    let hash = blake3::hash(body.as_bytes());
    conn.execute("UPDATE definitions SET body = ?1, hash = ?2", (&body, hash.as_bytes())).unwrap();
    let out = project.abide(&["replay", "one"]).is(5).says("the code does not do what was recorded: one");
    assert!(out.stdout.contains("diverged    one: step `helper/llm`: the journal recorded"), "{out:?}");
    let out = project.abide(&["replay", "--all", "--json"]).is(5);
    let parts = &out.json()["runs"][0]["divergences"][0];
    assert_eq!((&parts["step"], &parts["generation"]), (&json!("helper/llm"), &json!(0)), "{out:?}");
    assert!(parts["recorded"].is_string() && parts["asked"].is_string() && out.error()["code"] == "diverged");
}
