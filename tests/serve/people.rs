//! What a run asks is put to the person at its client: in either version of the protocol, once, for what was shown.

use serde_json::{Value, json};

use super::{Serving, arguments, project, text};
use crate::support::client::{Legacy, Modern, TASKS};
use crate::support::model::{Model, Say};

fn writes() -> Model {
    let calls = vec![("fix_write", json!({"n": 1}))];
    Model::by_turn(vec![Say::Calls(calls), Say::Text("written")])
}

fn accept(allow: bool) -> Value {
    json!({"action": "accept", "content": {"allow": allow}})
}

#[test]
fn an_approval_is_asked_for_as_a_part_of_the_result() {
    let project = project(&writes(), "");
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address).with(json!({"elicitation": {}}));
    let params = json!({"name": "helper", "arguments": arguments("write", "r")});
    let asked = client.result("tools/call", &params);
    assert_eq!(asked["resultType"], "input_required");
    let (name, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create");
    let message = request["params"]["message"].as_str().unwrap();
    assert!(message.contains("`write`") && message.contains("{\"n\":1}"), "{message}");

    let state = asked["requestState"].as_str().unwrap();
    let answered = |state: &str, input: &str, response: Value| {
        let mut params = json!({"name": "helper", "arguments": arguments(input, "r")});
        params["inputResponses"] = json!({ name: response });
        params["requestState"] = state.into();
        client.ask("tools/call", &params)
    };
    for (state, input) in [(format!("{state}0"), "write"), ("x.y".to_owned(), "write"), (state.to_owned(), "other")] {
        let refused = answered(&state, input, accept(true));
        assert_eq!(refused["error"]["code"], -32602, "tampered with, or for another request: {refused}");
    }
    assert!(project.calls().is_empty());
    // Put aside: it is handed over, and the question stays.
    let aside = answered(state, "write", json!({"action": "cancel"}));
    assert_eq!(aside["result"]["structuredContent"]["status"], "input_required", "{aside}");
    assert!(text(&aside["result"]).contains("abide approve r --step helper/fix_write.approval --hash "), "{aside}");
    let replayed = answered(state, "write", accept(true));
    assert_eq!(replayed["error"]["code"], -32602, "it was used before: {replayed}");
    assert!(project.calls().is_empty());

    let again = client.result("tools/call", &params);
    let done = answered(again["requestState"].as_str().unwrap(), "write", accept(true));
    assert_eq!(text(&done["result"]), "written", "{done}");
    assert_eq!(project.calls(), [("write".to_owned(), json!({"n": 1}))]);
}

#[test]
fn who_cannot_show_forms_is_told_what_to_do_instead() {
    let project = project(&writes(), "");
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address);
    let handed = client.call("helper", arguments("write", "r"));
    assert_eq!(handed["structuredContent"]["status"], "input_required", "{handed}");
    assert_eq!(handed["structuredContent"]["questions"][0]["asks"], "approval");
    assert!(text(&handed).contains("abide approve r --step helper/fix_write.approval"), "{handed}");
    let run = handed["structuredContent"]["run"].clone();
    // A model must not approve its own calls: signals are no answers.
    client.call("runs_signal", json!({"run": run, "name": "helper/fix_write.approval", "value": {"allow": true}}));
    assert!(project.calls().is_empty());
    project.abide(&["approve", "r"]).is(0);
    assert_eq!(text(&client.call("runs_result", json!({ "run": run }))), "written");
}

#[test]
fn a_task_that_asks_is_answered_by_its_client() {
    let project = project(&writes(), "");
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address).with(json!({"elicitation": {}, "extensions": {TASKS: {}}}));
    let id = client.call("helper", arguments("write", "r"))["taskId"].as_str().unwrap().to_owned();
    let asks = client.task_until(&id, |task| task["status"] == "input_required");
    let name = asks["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let blind = Modern::new(&serving.address).with_tasks().result("tasks/get", &json!({ "taskId": id }));
    assert_eq!(blind["inputRequests"], json!({}), "not asked what it cannot show");
    assert!(blind["statusMessage"].as_str().unwrap().contains("abide approve r"), "{blind}");
    for response in [json!({"action": "accept", "content": {}}), json!("yes"), json!({"action": "cancel"})] {
        client
            .result("tasks/update", &json!({"taskId": id, "inputResponses": {&name: response, "other": accept(true)}}));
        assert_eq!(client.result("tasks/get", &json!({ "taskId": id }))["status"], "input_required");
    }
    let no = json!({"action": "accept", "content": {"allow": false, "reason": "not that"}});
    client.result("tasks/update", &json!({"taskId": id, "inputResponses": {&name: no}}));
    let done = client.task_until(&id, |task| task["status"] == "completed");
    assert_eq!(text(&done["result"]), "written");
    assert!(project.calls().is_empty(), "it was refused");
}

#[test]
fn a_session_is_asked_on_the_stream_of_its_call() {
    let project = project(&writes(), "");
    let serving = Serving::start(&project, &[]);
    let client = Legacy::new(&serving.address, &json!({"elicitation": {}}));
    let params = json!({"name": "helper", "arguments": arguments("write", "r"), "_meta": {"progressToken": "p"}});
    let mut stream = client.send("tools/call", &params);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let mut progress = Vec::new();
    let result = loop {
        let message = stream.next().expect("the stream goes on");
        match message["method"].as_str() {
            Some("notifications/progress") => progress.push(message["params"].clone()),
            Some("elicitation/create") => {
                assert!(message["params"]["message"].as_str().unwrap().contains("`write`"), "{message}");
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": accept(true)});
                assert_eq!(client.post(&answer).status, 202);
            }
            _ => break message["result"].clone(),
        }
    };
    assert_eq!(text(&result), "written");
    assert_eq!(project.calls().len(), 1);
    assert!(progress.iter().all(|said| said["progressToken"] == "p"), "{progress:?}");
    let counts: Vec<f64> = progress.iter().map(|said| said["progress"].as_f64().unwrap()).collect();
    assert!(!counts.is_empty() && counts.is_sorted(), "{counts:?}");
}

#[test]
fn a_session_that_waits_for_a_task_is_asked_meanwhile() {
    let project = project(&writes(), "");
    let serving = Serving::start(&project, &[]);
    let client = Legacy::new(&serving.address, &json!({"elicitation": {"form": {}}}));
    let task =
        client.result("tools/call", &json!({"name": "helper", "arguments": arguments("write", "r"), "task": {}}));
    let id = task["task"]["taskId"].clone();
    let mut stream = client.send("tasks/result", &json!({ "taskId": id }));
    let asked = stream.next().unwrap();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert_eq!(asked["params"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], id);
    assert_eq!(client.result("tasks/get", &json!({ "taskId": id }))["status"], "input_required");
    client.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}));
    assert_eq!(text(&stream.next().unwrap()["result"]), "written");
    assert!(project.calls().is_empty(), "it was declined");
    let late = client.send("tasks/cancel", &json!({ "taskId": id })).all().pop().unwrap();
    assert_eq!(late["error"]["code"], -32602, "it is over: {late}");
}

#[test]
fn a_question_is_put_while_the_rest_of_the_run_is_at_work() {
    let calls = vec![("fix_hang", json!({})), ("fix_write", json!({"n": 1}))];
    let model = Model::by_turn(vec![Say::Calls(calls), Say::Text("never")]);
    let project = project(&model, "[tools.\"fix_hang\"]\npolicy = \"allow\"\n");
    let serving = Serving::start(&project, &[]);
    let client = Modern::new(&serving.address).with(json!({"elicitation": {}, "extensions": {TASKS: {}}}));
    let id = client.call("helper", arguments("write", "r"))["taskId"].as_str().unwrap().to_owned();
    let asks = client.task_until(&id, |task| task["status"] == "input_required");
    let name = asks["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    client.result("tasks/update", &json!({"taskId": id, "inputResponses": {name: accept(true)}}));
    client.task_until(&id, |_| project.calls().iter().any(|(tool, _)| tool == "write"));
    assert_eq!(
        client.result("tasks/get", &json!({ "taskId": id }))["status"],
        "working",
        "the other call is under way"
    );
}

#[test]
fn without_consent_a_run_waits_and_says_for_what() {
    let project = project(&writes(), "");
    let child = project.spawn(&["serve", "--http", "127.0.0.1:0", "--json"]);
    let serving = Serving::of(child);
    let client = Modern::new(&serving.address);
    let handed = client.call("helper", arguments("write", "r"));
    assert!(text(&handed).contains("abide trust r, then abide resume r"), "{handed}");
    assert_eq!(handed["structuredContent"]["status"], "input_required");
}
