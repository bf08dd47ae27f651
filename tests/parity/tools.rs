//! Tools as a model calls them, rightly and wrongly: by which name, with which arguments, and what it is told when nothing comes of it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abide::prelude::*;
use abide_llm::{Before, ToolCall, ToolFunction};
use serde_json::{Value, json};

use super::{agents, heard, offered, outcome};
use crate::support::mcp;
use crate::support::model::{Model, Say};
use crate::support::project::Project;

const ALLOW: &str = "[tools.\"*\"]\npolicy = \"allow\"\n";
/// Makes [`fail`] a server that fails to start.
const FAIL: &str = "ABIDE_TEST_SERVER_FAILS";

/// A project with these servers, all of whose tools may be called.
fn project(model: &Model, servers: &Value, front: &str) -> Project {
    let project = Project::new(model);
    project.settings(model, ALLOW);
    project.write(".mcp.json", &json!({ "mcpServers": servers }).to_string());
    project.write("helper.md", &format!("---\nname: helper\nmodel: local\n{front}---\nYou help.\n"));
    project
}

const RUN: [&str; 6] = ["run", "helper.md", "go", "--id", "r", "--trust"];

/// What the model is told of one call of a tool that it makes in its first turn.
fn told(call: Say) -> String {
    let model = Model::new(move |n, _| if n == 0 { call.clone() } else { Say::Text("over") });
    let project = project(&model, &json!({"fix": mcp::declaration()}), "");
    assert_eq!(project.abide(&RUN).is(0).stdout, "over\n", "the loop goes on");
    assert!(project.calls().is_empty(), "{:?}", project.calls());
    heard(&model.asked()[1], "tool")
}

#[test]
fn of_two_servers_the_longest_name_in_a_tools_name_is_meant() {
    let calls = vec![("a_b_read", json!({"n": 1})), ("a_read", json!({"n": 2})), ("read", json!({"n": 3}))];
    let model = Model::by_turn(vec![Say::Calls(calls), Say::Text("over")]);
    let project = project(&model, &json!({"a": mcp::declaration(), "a_b": mcp::declaration()}), "");
    project.abide(&RUN).is(0);
    let shown = project.show("r");
    let steps = shown["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == "tool");
    let mut called: Vec<(u64, String, String)> = steps
        .map(|step| {
            let word = |key: &str| step["input"][key].as_str().unwrap().to_owned();
            (step["input"]["arguments"]["n"].as_u64().unwrap(), word("server"), word("tool"))
        })
        .collect();
    called.sort();
    let expected = [(1, "a_b"), (2, "a"), (3, "a")].map(|(n, server)| (n, server.to_owned(), "read".to_owned()));
    assert_eq!(called, expected, "a bare name is the first server's that has it");
}

#[test]
fn an_empty_list_of_tools_allows_none_and_no_list_allows_all() {
    for (front, count) in [("tools: []\n", 0), ("", 9), ("tools: [\"fix_p*\"]\ndisallowedTools: fix_pay\n", 2)] {
        let model = Model::by_turn(vec![Say::Text("over")]);
        let project = project(&model, &json!({"fix": mcp::declaration()}), front);
        project.abide(&RUN).is(0);
        assert_eq!(offered(&model.asked()[0]).len(), count, "{front:?}: {:?}", offered(&model.asked()[0]));
    }
}

#[test]
fn tools_are_filtered_server_by_server() {
    let model = Model::by_turn(vec![Say::Text("over")]);
    let servers = json!({"one": mcp::declaration(), "two": mcp::declaration()});
    let project = project(&model, &servers, "tools: [\"mcp__one__read\", \"two_p*\"]\n");
    project.abide(&RUN).is(0);
    assert_eq!(offered(&model.asked()[0]), ["one_read", "two_pay", "two_peek", "two_put"]);
}

#[test]
fn an_unknown_tool_is_an_error_for_the_model_and_the_loop_goes_on() {
    let told = told(Say::Calls(vec![("fix_fly", json!({}))]));
    assert!(told.starts_with("Error: tool `fix_fly` not found"), "{told}");
}

#[test]
fn malformed_arguments_are_an_error_for_the_model_that_names_what_is_wrong() {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "fix_read", "arguments": "{\"path\": oops"}}]});
    let told = told(Say::Body(json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})));
    assert!(told.starts_with("Error: ") && told.contains("not valid JSON") && told.contains("column"), "{told}");
}

#[test]
fn a_hook_that_refuses_a_call_is_an_error_for_the_model_and_the_tool_is_not_called() {
    let model = Model::by_turn(vec![Say::Calls(vec![("delete", json!({"n": 1}))]), Say::Text("as you like")]);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let delete = ToolFunction::with_schema("delete", "Deletes", json!({"type": "object"}), move |_: Value| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Error>("deleted") }
    });
    let clerk = agents(&model)("clerk").function(delete).before_tool(|call: ToolCall| async move {
        Ok::<_, Error>(if call.tool == "delete" { Before::Refuse("not on a Sunday".into()) } else { Before::Call })
    });
    assert_eq!(outcome(clerk, "clear up").unwrap(), "as you like");
    let told = heard(&model.asked()[1], "tool");
    assert!(told.starts_with("Error: ") && told.contains("not on a Sunday"), "{told}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn in_its_last_turn_after_a_tool_the_model_is_asked_to_conclude_without_tools() {
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({"n": 1}))]), Say::Text("concluded")]);
    let project = project(&model, &json!({"fix": mcp::declaration()}), "maxTurns: 2\n");
    assert_eq!(project.abide(&RUN).is(0).stdout, "concluded\n");
    let asked = model.asked();
    assert_eq!((offered(&asked[0]).len(), offered(&asked[1]).len(), asked.len()), (9, 0, 2));
    assert!(heard(&asked[1], "user").contains("give your final answer now"), "{:?}", asked[1].body);
}

/// Is started as a server, says why it cannot be one, and ends.
#[test]
fn fail() {
    if std::env::var_os(FAIL).is_some() {
        eprintln!("reading the settings\nno database at db.example:5432");
        std::process::exit(3);
    }
}

#[test]
fn what_a_server_prints_beside_its_messages_is_ignored() {
    // The fixture is a test of this binary, whose harness prints to stdout before anything else.
    let declared = mcp::declaration();
    let args: Vec<&str> = declared["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let mut server = Command::new(declared["command"].as_str().unwrap());
    server.args(args).env(mcp::LOG, "unused").stdin(Stdio::null());
    let printed = String::from_utf8(server.output().unwrap().stdout).unwrap();
    assert!(printed.contains("running 1 test"), "{printed}");
    let model = Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({"n": 1}))]), Say::Text("over")]);
    let project = project(&model, &json!({"fix": declared}), "");
    project.abide(&RUN).is(0);
    assert_eq!(project.calls(), [("read".to_owned(), json!({"n": 1}))]);
}

#[test]
fn a_server_that_fails_to_start_is_an_error_with_its_command_and_its_last_words() {
    let model = Model::by_turn(vec![Say::Text("never")]);
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "parity::tools::fail", "--nocapture"];
    let servers = json!({"broken": {"command": program, "args": args, "env": {FAIL: "1"}}});
    let failed = project(&model, &servers, "").abide(&RUN).is(8);
    let name = program.file_name().unwrap().to_str().unwrap();
    failed.says("broken").says(name).says("no database at db.example:5432");
    assert_eq!(model.count(), 0);
}
