//! abide served to abide: an agent whose tool is another abide's agent, both killed in the middle, and one effect.

#![cfg(unix)]

use serde_json::{Value, json};

use super::{ALLOWED, project};
use crate::support::model::{Model, Say};
use crate::support::{mcp, project::Project};

/// The run that the inner database holds.
fn inner_run(inner: &Project) -> Value {
    let runs = inner.abide(&["ls", "--json"]).is(0).json()["runs"].as_array().unwrap().clone();
    assert_eq!(runs.len(), 1, "one call is one run: {runs:?}");
    runs[0].clone()
}

#[test]
fn both_ends_are_killed_and_there_is_one_effect() {
    let inner_model = super::runs::writes_then_waits();
    let inner = project(&inner_model, ALLOWED);
    let calls = vec![("inner_helper", json!({"input": "write"}))];
    let outer_model = Model::by_turn(vec![Say::Calls(calls), Say::Text("all done")]);
    let outer = Project::new(&outer_model);
    outer.settings(&outer_model, "[tools.\"inner_*\"]\npolicy = \"allow\"\neffect = \"idempotent\"\n");
    let config = inner.dir.path().join("config");
    let declared = json!({"command": env!("CARGO_BIN_EXE_abide"), "args": ["serve", "--stdio", "--trust"], "cwd": inner.root,
        "env": {"ABIDE_CONFIG_DIR": config, "TEST_KEY": inner.key, mcp::GIVEN: inner.log()}});
    outer.write(".mcp.json", &json!({"mcpServers": {"inner": declared}}).to_string());

    let mut child = outer.spawn(&["run", "helper.md", "go", "--id", "o", "--trust"]);
    inner_model.wait_for(2);
    let run = inner_run(&inner);
    assert!(run["id"].as_str().unwrap().starts_with("call-"), "it has the key of the outer step: {run}");
    let pid = run["owner_pid"].as_u64().expect("somebody works on it").to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(inner.calls().len(), 1, "written, and the answer to it was under way");

    let resumed = outer.spawn(&["resume", "o", "--trust", "--json"]);
    inner_model.wait_for(3);
    inner_model.open_gate();
    let out = crate::support::project::out(resumed).is(0);
    assert_eq!(out.json()["run"]["output"], "all done");
    assert_eq!(inner_run(&inner)["status"], "completed");
    assert_eq!(inner.calls(), [("write".to_owned(), json!({"n": "write"}))], "one effect");
    // The turn that was cut off was asked again, and nothing else.
    assert_eq!((outer_model.count(), inner_model.count()), (2, 3));
    let told = outer_model.asked()[1].body["messages"].to_string();
    assert!(told.contains("written"), "{told}");
}
