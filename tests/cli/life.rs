//! The life of a run from its start to its end, and every verb that looks at it.

use serde_json::json;

use crate::support::model::{Model, Say};
use crate::support::project::{KEY, Project};

fn reads_once() -> Model {
    Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({"path": "a"}))]), Say::Text("it says a")])
}

#[test]
fn a_run_starts_ends_and_is_told() {
    let model = reads_once();
    let project = Project::new(&model);
    let out = project.abide(&["run", "helper.md", "read a", "--id", "one", "--yes", "--trust"]).is(0);
    assert_eq!(out.stdout, "it says a\n");
    for line in ["run one", "ok     helper/tools", "ok     helper/llm", "ok     helper/fix_read", "ok     helper/llm#2"]
    {
        assert!(out.stderr.contains(line), "{line:?} in\n{}", out.stderr);
    }
    assert!(!out.stderr.contains('\u{1b}') && !out.stdout.contains('\u{1b}'), "{out:?}");
    assert_eq!((model.count(), project.calls().len()), (2, 1));

    let shown = project.show("one");
    let run = &shown["run"];
    for (key, value) in [
        ("id", json!("one")),
        ("workflow", json!("agent:helper")),
        ("status", json!("completed")),
        ("waiting_for", json!(null)),
        ("until_ms", json!(null)),
        ("input", json!("read a")),
        ("output", json!("it says a")),
        ("error", json!(null)),
        ("owner_pid", json!(null)),
        ("usage", json!({"input_tokens": 20, "output_tokens": 4, "cost_usd": null})),
    ] {
        assert_eq!(run[key], value, "{key}");
    }
    let steps: Vec<_> =
        shown["steps"].as_array().unwrap().iter().map(|s| (&s["id"], &s["kind"], &s["status"])).collect();
    let step = |id, kind| (json!(id), json!(kind), json!("completed"));
    let expected = [
        step("helper/tools", "step"),
        step("helper/llm", "llm"),
        step("helper/fix_read.approval", "signal"),
        step("helper/fix_read", "tool"),
        step("helper/llm#2", "llm"),
    ];
    assert_eq!(steps, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    let tool = &shown["steps"][3];
    assert_eq!(tool["input"], json!({"server": "fix", "tool": "read", "arguments": {"path": "a"}}));
    assert_eq!((&tool["attempts"], &tool["effect"]), (&json!(1), &json!("once")));
    assert_eq!(tool["output"]["content"][0]["text"], "read of {\"path\":\"a\"}");

    let listed = project.abide(&["ls", "--json"]).is(0).json();
    assert_eq!(listed["runs"], json!([run]));
    assert!(project.abide(&["ls"]).is(0).stdout.contains("one  agent:helper  completed"));
    assert!(project.abide(&["show", "one"]).is(0).stdout.contains("helper/fix_read"));
    let verified = project.abide(&["verify", "--json"]).is(0).json();
    assert_eq!((&verified["runs"], &verified["broken"]), (&json!(1), &json!([])));
}

#[test]
fn the_same_id_is_the_same_run_and_an_ended_run_repeats_itself() {
    let model = reads_once();
    let project = Project::new(&model);
    let run = ["run", "helper.md", "read a", "--id", "one-and-only", "--yes", "--trust"];
    project.abide(&run).is(0);
    let asked = model.count();
    assert_eq!(project.abide(&run).is(0).stdout, "it says a\n");
    assert_eq!(project.abide(&["resume", "one-and"]).is(0).stdout, "it says a\n");
    let document = project.abide(&["resume", "one-and-only", "--json"]).is(0);
    assert_eq!(document.json()["run"]["output"], "it says a");
    assert!(document.stderr.is_empty(), "{document:?}");
    let other = project.abide(&["run", "helper.md", "read b", "--id", "one-and-only", "--json"]).is(2);
    assert_eq!(other.error()["code"], "id_taken");
    assert_eq!((model.count(), project.calls().len()), (asked, 1), "nothing was called again");
}

#[test]
fn nothing_secret_is_written_and_the_folder_is_private() {
    let model = Model::by_turn(vec![
        Say::Calls(vec![("fix_write", json!({"text": KEY}))]),
        Say::Text("the key was sk-test-0123456789"),
    ]);
    let project = Project::new(&model);
    let input = format!("use {KEY}");
    let out = project.abide(&["run", "helper.md", &input, "--id", "s", "--yes", "--trust", "--json"]).is(0);
    let asked = model.asked();
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(asked[0].body["messages"][1]["content"], input, "the model gets what the user wrote");
    assert_eq!(project.calls(), [("write".to_owned(), json!({"text": KEY}))], "and so does the tool");
    assert!(!out.stdout.contains(KEY) && !out.stderr.contains(KEY), "{out:?}");
    let folder = project.db().parent().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(folder.join(".gitignore")).unwrap(), "*\n");
    for file in std::fs::read_dir(folder).unwrap().flatten().filter(|f| f.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes()), "{:?}", file.path());
    }
}

#[test]
fn a_run_may_be_left_to_the_background() {
    let model = Model::by_turn(vec![Say::Held("done in the background")]);
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    let out = project.abide(&["run", "helper.md", "go", "--id", "bg", "--detach", "--json"]).is(0);
    assert_eq!(out.json()["run"]["id"], "bg");
    model.wait_for(1);
    let pid = project.show("bg")["run"]["owner_pid"].clone();
    let owned = project.abide(&["resume", "bg", "--json"]).is(7);
    assert!(owned.error()["message"].as_str().unwrap().contains(&pid.to_string()), "{owned:?}");
    model.open_gate();
    let ended = project.wait_until("bg", |shown| shown["run"]["status"] == "completed");
    assert_eq!(ended["run"]["output"], "done in the background");
    assert_eq!(model.count(), 1);
}

#[test]
fn another_model_may_be_named_and_input_comes_from_anywhere() {
    let model = Model::new(|_, _| Say::Text("hello"));
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    project.settings(
        &model,
        &format!("[models.second]\nprovider = \"openai\"\nbase_url = \"{}\"\nmodel = \"n\"\n", model.base_url),
    );
    project.write("in.txt", "{\"not\": \"parsed\"}\n");
    project.abide(&["run", "helper.md", "@in.txt", "--model", "second"]).is(0);
    let asked = model.asked();
    assert_eq!((&asked[0].body["model"], asked[0].headers.get("authorization")), (&json!("n"), None));
    assert_eq!(asked[0].body["messages"][1]["content"], "{\"not\": \"parsed\"}\n");
}

#[test]
fn the_doctor_finds_what_is_missing() {
    let model = reads_once();
    let mut project = Project::new(&model);
    let text = project.abide(&["doctor"]).is(0).stdout;
    assert!(text.contains("ok       model local") && text.contains("note     server fix: not started"), "{text}");
    project.abide(&["trust"]).is(0);
    let healthy = project.abide(&["doctor", "--json"]).is(0).json();
    assert!(
        healthy["checks"].as_array().unwrap().iter().any(|c| c["name"] == "server fix" && c["detail"] == "9 tools")
    );
    project.key = String::new();
    project.settings(&model, "[models.keyless]\nprovider = \"openai\"\nmodel = \"x\"\napi_key = \"${NO_SUCH_KEY}\"\n");
    let ill = project.abide(&["doctor", "--json"]).is(8);
    assert!(ill.json()["checks"].as_array().unwrap().iter().any(|c| c["status"] == "problem"));
    assert_eq!(ill.error()["code"], "doctor");
}
