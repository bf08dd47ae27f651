//! A model that refuses for good, or would be too long in coming, and the one that is asked instead: journaled, so that a replay takes the same way.

use serde_json::{Value, json};

use crate::support::model::{Asked, Model, Say};
use crate::support::project::{Project, out};

const RUN: [&str; 7] = ["run", "helper.md", "read a", "--id", "r", "--yes", "--trust"];

/// An answer in Anthropic's words.
fn message(content: Value, stop: &str) -> Say {
    Say::Body(json!({"id": "msg", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop, "usage": {"input_tokens": 7, "output_tokens": 3}}))
}

fn text(text: &str) -> Say {
    message(json!([{"type": "text", "text": text}]), "end_turn")
}

/// A project whose model `local` may be replaced by `other`, which speaks this wire at this address.
fn project(first: &Model, provider: &str, base_url: &str) -> Project {
    let project = Project::new(first);
    let more = format!(
        "fallback = [\"other\"]\nfallback_after_s = 30\n\
         [models.other]\nprovider = \"{provider}\"\nbase_url = \"{base_url}\"\nmodel = \"n\"\n"
    );
    project.settings(first, &more);
    project
}

/// Id, status and model of each question to a model.
fn questions(shown: &Value) -> Vec<(String, String, String)> {
    let steps = shown["steps"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let llm = steps.iter().filter(|step| step["kind"] == "llm");
    llm.map(|step| (word(&step["id"]), word(&step["status"]), word(&step["input"]["model"]))).collect()
}

/// A status, a body, headers, and what the error says of it.
type Refused = (u16, Value, Vec<(&'static str, &'static str)>, &'static str);

fn refusals() -> Vec<Refused> {
    let error = |message: &str, code: &str| json!({"error": {"message": message, "code": code, "type": code}});
    vec![
        (404, error("The model `m` does not exist", "model_not_found"), vec![], "does not exist"),
        (400, error("unknown field `x`", "invalid_request_error"), vec![], "unknown field"),
        (401, error("Incorrect API key provided", "invalid_api_key"), vec![], "Incorrect API key"),
        (429, error("You exceeded your current quota", "insufficient_quota"), vec![], "exceeded your current quota"),
        (402, error("Insufficient Balance", "invalid_request_error"), vec![], "Insufficient Balance"),
        (429, error("slow down", "rate_limit_exceeded"), vec![("Retry-After", "3600")], "slow down"),
    ]
}

/// Each reason for which another model is asked, in the middle of a conversation, and on another wire.
#[test]
fn another_model_answers_when_the_first_will_not() {
    for (status, body, headers, why) in refusals() {
        let first = Model::new(move |n, _| match n {
            0 => Say::Calls(vec![("fix_read", json!({"path": "a"})), ("fix_read", json!({"path": "b"}))]),
            _ => Say::Status(status, body.clone(), headers.clone()),
        });
        let other = Model::new(|n, _| match n {
            0 => message(
                json!([{"type": "tool_use", "id": "t1", "name": "fix_read", "input": {"path": "c"}}]),
                "tool_use",
            ),
            _ => text("all three"),
        });
        let project = project(&first, "anthropic", other.base_url.trim_end_matches("/v1"));
        let ended = project.abide(&RUN).is(0);
        assert_eq!(ended.stdout, "all three\n", "{status}");
        assert_eq!((first.count(), other.count(), project.calls().len()), (2, 2, 3), "{status} {why}");
        continues(&other.asked());

        let shown = project.show("r");
        let expected = [
            ("helper/llm", "completed", "m"),
            ("helper/llm#2", "failed", "m"),
            ("helper/llm#3", "completed", "n"),
            ("helper/llm#4", "completed", "n"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(id, s, m)| (id.to_string(), s.to_string(), m.to_string())).collect();
        assert_eq!(questions(&shown), expected, "{status}");
        let failed = shown["steps"].as_array().unwrap().iter().find(|step| step["id"] == "helper/llm#2").unwrap();
        assert!(failed["error"].as_str().unwrap().contains(why), "{failed}");
        assert_eq!(failed["attempts"], 1, "nobody waits where somebody else can be asked");
        let usage = &shown["run"]["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&json!(24), &json!(8)),
            "what was refused costs nothing"
        );
        let told = project.abide(&["show", "r"]).is(0).stdout;
        let line = told.lines().find(|line| line.starts_with("helper/llm#2 ")).unwrap();
        assert!(line.contains("failed") && line.contains(&format!("answered {status}")), "{told}");
        project.abide(&["replay", "r"]).is(0);
        project.abide(&["verify"]).is(0);
        assert_eq!((first.count(), other.count()), (2, 2));
    }
}

/// The other wire gets the conversation so far in its own words.
fn continues(asked: &[Asked]) {
    let messages = asked[0].body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let calls: Vec<&Value> =
        messages[1]["content"].as_array().unwrap().iter().filter(|b| b["type"] == "tool_use").collect();
    let results = messages[2]["content"].as_array().unwrap();
    assert_eq!((calls.len(), results.len()), (2, 2), "{messages:?}");
    for ((call, result), path) in calls.iter().zip(results).zip(["a", "b"]) {
        assert_eq!((&call["name"], &call["input"]), (&json!("fix_read"), &json!({"path": path})));
        assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &call["id"]));
        assert!(result["content"].as_str().unwrap().contains(&format!("{{\"path\":\"{path}\"}}")), "{result}");
    }
    let later = asked[1].body["messages"].as_array().unwrap();
    assert_eq!((&later[..3], later.len()), (&messages[..], 5), "what it has been sent once is sent again as it was");
}

/// Killed while the other one thinks, the run does not go back to the first.
#[test]
fn a_resumed_run_does_not_ask_the_first_model_again() {
    let first = Model::new(|_, _| Say::Status(404, json!({"error": {"message": "no such model"}}), vec![]));
    let other = Model::new(|n, asked| match asked.body["messages"].to_string().contains("\"tool\"") {
        true if n < 2 => Say::Held("never told"),
        true => Say::Text("it says a"),
        false => Say::Calls(vec![("fix_read", json!({"path": "a"}))]),
    });
    let project = project(&first, "openai", &other.base_url);
    let mut child = project.spawn(&RUN);
    other.wait_for(2);
    child.kill().unwrap();
    out(child);
    assert_eq!((first.count(), other.count()), (1, 2));
    let resumed = project.abide(&["resume", "r", "--yes", "--trust"]).is(0);
    assert_eq!(resumed.stdout, "it says a\n");
    assert_eq!((first.count(), other.count(), project.calls().len()), (1, 3, 1), "the first was asked once");
    let statuses: Vec<String> =
        questions(&project.show("r")).into_iter().map(|(_, status, model)| model + " " + &status).collect();
    assert_eq!(statuses, ["m failed", "n completed", "n completed"]);
    assert_eq!(other.asked()[1].body, other.asked()[2].body);
    project.abide(&["replay", "r"]).is(0);
}

/// The last one that can be asked is waited for as ever, and its refusal is the run's.
#[test]
fn the_last_model_has_nobody_behind_it() {
    let refuse =
        |words: &'static str| Model::new(move |_, _| Say::Status(401, json!({"error": {"message": words}}), vec![]));
    let (first, other) = (refuse("first key"), refuse("other key"));
    let project = project(&first, "openai", &other.base_url);
    project.abide(&RUN).is(3).says("waits for valid credentials").says("other key");
    assert_eq!((first.count(), other.count()), (1, 1));
    project.abide(&["resume", "r", "--yes", "--trust"]).is(3).says("other key");
    assert_eq!((first.count(), other.count()), (1, 2), "a new key is tried with the one that waits for it");
}
