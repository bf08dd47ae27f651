//! What survives: kills, moved files, revoked keys, rate limits, Ctrl-C.

use std::process::Command;

use serde_json::json;

use crate::support::model::{Model, Say};
use crate::support::project::{Project, out};

const ALLOW: &str = "[tools.\"fix_*\"]\npolicy = \"allow\"\n";

fn read(n: u32) -> Say {
    Say::Calls(vec![("fix_read", json!({"n": n}))])
}

#[test]
fn a_revoked_key_parks_and_a_new_one_makes_that_one_call() {
    let model = Model::new(|_, asked| {
        let turn = asked.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
        let revoked = asked.headers["authorization"] == "Bearer sk-test-0123456789";
        match turn {
            0 | 1 => read(turn as u32),
            2 if revoked => Say::Status(401, json!({"error": {"message": "this key was revoked"}}), vec![]),
            _ => Say::Text("with the new key"),
        }
    });
    let mut project = Project::new(&model);
    project.settings(&model, ALLOW);
    let parked = project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    parked.says("waits for valid credentials").says("this key was revoked").says("abide resume r");
    assert_eq!(project.show("r")["run"]["waiting_for"], "credentials");
    assert_eq!((model.count(), project.calls().len()), (3, 2));
    project.key = "sk-new-9876543210".to_owned();
    assert_eq!(project.abide(&["resume", "r", "--trust"]).is(0).stdout, "with the new key\n");
    assert_eq!((model.count(), project.calls().len()), (4, 2), "one call more, and none repeated");
}

#[test]
fn a_run_needs_nothing_but_its_database() {
    let model = Model::by_turn(vec![
        Say::Calls(vec![("fix_read", json!({"n": 1}))]),
        Say::Calls(vec![("fix_write", json!({"n": 2}))]),
        Say::Text("as it began"),
    ]);
    let project = Project::new(&model);
    let parked = project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    parked.says("fix read {\"n\":1}");
    // Moved, edited and broken; called from another folder, by a beginning of its id.
    std::fs::remove_file(project.root.join("helper.md")).unwrap();
    project.write(".mcp.json", "{\"mcpServers\": {}}");
    project.write("abide.toml", "this is not toml");
    let db = project.db().to_str().unwrap().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let parked = project.abide_in(elsewhere.path(), &["approve", "r", "--resume", "--trust", "--db", &db]).is(3);
    parked.says("fix write {\"n\":2}").says("--db").says(&db);
    project.abide_in(elsewhere.path(), &["approve", "r", "--db", &db]).is(0);
    let out = project.abide_in(elsewhere.path(), &["resume", "r", "--trust", "--db", &db]).is(0);
    assert_eq!(out.stdout, "as it began\n");
    assert_eq!((model.count(), project.calls().len()), (3, 2));
    assert_eq!(model.asked()[2].body["messages"][0]["content"], "You help.");
}

#[test]
fn a_killed_process_loses_nothing() {
    let model = Model::new(|n, asked| {
        let turn = asked.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
        match (turn, n) {
            (0, _) => read(1),
            (_, 1) => Say::Held("never delivered"),
            _ => Say::Text("resumed"),
        }
    });
    let project = Project::new(&model);
    project.settings(&model, ALLOW);
    let mut killed = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust", "--json"]);
    model.wait_for(2);
    killed.kill().unwrap();
    out(killed);
    assert_eq!(project.show("r")["run"]["status"], "interrupted");
    let resumed = project.abide(&["resume", "--trust"]).is(0);
    resumed.says("replayed").says("run `r` is completed");
    assert_eq!((model.count(), project.calls().len()), (3, 1), "only the call in flight was made again");
    let asked = model.asked();
    assert_eq!(asked[1].body, asked[2].body);
    assert_eq!(asked[1].headers["idempotency-key"], asked[2].headers["idempotency-key"]);
    project.abide(&["resume"]).is(0).says("no run is interrupted or due");
}

#[test]
fn a_rate_limit_is_not_waited_for_if_told_so() {
    let model = Model::new(|n, _| match n {
        0 => Say::Status(429, json!({"error": {"message": "slow down"}}), vec![("Retry-After", "120")]),
        _ => Say::Text("later"),
    });
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    let left = project.abide(&["run", "helper.md", "go", "--id", "r", "--no-wait", "--json"]).is(3);
    let run = left.json()["run"].clone();
    assert_eq!((&run["status"], &run["waiting_for"]), (&json!("waiting"), &json!("rate_limit")));
    let wait = run["until_ms"].as_i64().unwrap() - run["updated_ms"].as_i64().unwrap();
    assert!((110_000..=125_000).contains(&wait), "{wait}");
    assert_eq!(left.error()["code"], "parked");
    project.abide(&["resume", "r", "--no-wait"]).is(3).says("waits out a rate limit until");
    assert_eq!(model.count(), 1, "it is not asked before its time");
    project.abide(&["resume"]).is(0).says("no run is interrupted or due");
}

/// Whatever status and body a provider wraps it in: nobody waits for money to come, and one call is enough to know.
#[test]
fn a_spent_quota_parks_at_once_with_the_providers_words() {
    let openai = json!({"error": {"message": "You exceeded your current quota, please check your plan.",
        "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}});
    let anthropic = json!({"type": "error", "error": {"type": "rate_limit_error",
        "message": "This workspace has reached its spend limit for November.",
        "details": {"error_code": "enforced_spend_limit_reached"}}});
    for (provider, refusal, words) in [
        ("openai", openai, "You exceeded your current quota, please check your plan."),
        ("anthropic", anthropic, "This workspace has reached its spend limit for November."),
    ] {
        let model = Model::new(move |_, _| Say::Status(429, refusal.clone(), vec![("Retry-After", "1")]));
        let project = Project::new(&model);
        project.write(".mcp.json", "{}");
        let settings =
            format!("[models.local]\nprovider = \"{provider}\"\nbase_url = \"{}\"\nmodel = \"m\"\n", model.base_url);
        project.write("abide.toml", &settings);
        project.abide(&["run", "helper.md", "go", "--id", "r"]).is(3).says(words);
        let run = project.show("r")["run"].clone();
        assert_eq!(
            (&run["status"], &run["waiting_for"], &run["until_ms"]),
            (&json!("waiting"), &json!("quota"), &json!(null))
        );
        assert!(run["error"].as_str().unwrap().contains(words), "{run}");
        assert_eq!(model.count(), 1, "{provider}: it is asked once");
        project.abide(&["resume", "r"]).is(3).says(words);
        assert_eq!(model.count(), 2, "{provider}: whoever resumes it has it asked once more");
    }
}

#[test]
fn ctrl_c_lets_go_of_a_run_that_can_be_resumed() {
    let model = Model::new(|n, _| if n == 0 { Say::Held("too late") } else { Say::Text("resumed") });
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    let interrupted = project.spawn(&["run", "helper.md", "go", "--id", "r"]);
    model.wait_for(1);
    let sent = Command::new("kill").args(["-INT", &interrupted.id().to_string()]).status();
    if !sent.is_ok_and(|status| status.success()) {
        // A system without that command has another way to interrupt.
        return drop(out(interrupted));
    }
    out(interrupted).is(130).says("abide resume r");
    assert_eq!(project.show("r")["run"]["status"], "interrupted");
    assert_eq!(project.abide(&["resume", "r"]).is(0).stdout, "resumed\n");
}

#[test]
fn a_changed_definition_diverges_and_is_kept() {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({}))]), Say::Text("over")]);
    let project = Project::new(&model);
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"]).is(3);
    let db = rusqlite::Connection::open(project.db()).unwrap();
    let pinned: String = db.query_row("SELECT body FROM definitions", [], |row| row.get(0)).unwrap();
    let changed = pinned.replace("You help.", "You hinder.");
    // What does not match its hash is damage, and not used.
    db.execute("UPDATE definitions SET body = ?1", [&changed]).unwrap();
    project.abide(&["resume", "r", "--trust"]).is(8).says("its definition does not match its hash");
    assert!(project.abide(&["verify"]).is(8).stdout.contains("its definition does not match its hash"));
    let pin = |body: &str| {
        let hash = blake3::hash(body.as_bytes());
        db.execute("UPDATE definitions SET body = ?1, hash = ?2", (body, hash.as_bytes())).unwrap();
    };
    pin(&changed);
    let diverged = project.abide(&["resume", "r", "--trust", "--json"]).is(5);
    assert!(diverged.error()["message"].as_str().unwrap().contains("helper/llm"), "{diverged:?}");
    assert_eq!(project.show("r")["run"]["status"], "diverged");
    pin(&pinned);
    project.abide(&["resume", "r", "--trust", "--yes"]).is(0);
    assert_eq!(model.count(), 2);
}
