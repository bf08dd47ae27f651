//! What providers refuse, and what becomes of the run: failed for good, parked until somebody has mended it, or tried again.

use serde_json::{Value, json};

use super::says;
use crate::support::model::{Model, Say};
use crate::support::project::Project;

fn refusing(status: u16, message: &'static str) -> Model {
    Model::new(move |n, _| match n {
        0 => Say::Status(status, json!({"error": {"message": message}}), vec![]),
        _ => says("answered"),
    })
}

fn project(model: &Model) -> Project {
    let project = Project::new(model);
    project.write(".mcp.json", "{}");
    project
}

/// What became of the only call.
fn llm(shown: &Value) -> &Value {
    let mut steps = shown["steps"].as_array().unwrap().iter().filter(|step| step["id"] == "helper/llm");
    &steps.next().unwrap()["status"]
}

#[test]
fn what_a_provider_refuses_for_good_fails_at_once_with_its_words() {
    for status in [400, 404, 422] {
        let model = refusing(status, "the field `x` is unknown");
        let project = project(&model);
        let failed = project.abide(&["run", "helper.md", "go", "--id", "r", "--json"]).is(1);
        assert!(failed.error()["message"].as_str().unwrap().contains("the field `x` is unknown"), "{failed:?}");
        assert_eq!(failed.json()["run"]["status"], "failed");
        assert_eq!(model.count(), 1, "{status}: it is asked once");
    }
}

#[test]
fn what_only_a_person_can_mend_parks_and_resume_makes_that_one_call() {
    for (status, what) in [(401, "credentials"), (402, "quota"), (403, "credentials")] {
        let model = refusing(status, "this account cannot do that");
        let mut project = project(&model);
        let parked = project.abide(&["run", "helper.md", "go", "--id", "r"]).is(3);
        parked.says("this account cannot do that").says("abide resume r");
        let shown = project.show("r");
        assert!([what, "credentials"].contains(&shown["run"]["waiting_for"].as_str().unwrap()), "{status}: {shown}");
        assert!(shown["run"]["error"].as_str().unwrap().contains("this account cannot do that"), "{shown}");
        assert_eq!(model.count(), 1, "{status}");
        project.key = "sk-new-9876543210".to_owned();
        assert_eq!(project.abide(&["resume", "r"]).is(0).stdout, "answered\n");
        assert_eq!(model.count(), 2, "{status}: that one call");
        assert_eq!(model.asked()[1].headers["authorization"], "Bearer sk-new-9876543210");
    }
}

#[test]
fn what_passes_by_itself_is_tried_again_by_a_wait_that_outlives_the_process() {
    for status in [408, 429, 500, 502, 503, 504, 529] {
        let model = refusing(status, "too much to do");
        let project = project(&model);
        project.abide(&["run", "helper.md", "go", "--id", "r", "--no-wait"]).is(3);
        let shown = project.show("r");
        assert!(["timer", "rate_limit"].contains(&shown["run"]["waiting_for"].as_str().unwrap()), "{status}: {shown}");
        assert!(shown["run"]["until_ms"].is_number(), "{status}: {shown}");
        assert_eq!(llm(&shown), "retrying", "{status}");
        assert_eq!(project.abide(&["resume", "r"]).is(0).stdout, "answered\n");
        assert_eq!((model.count(), llm(&project.show("r"))), (2, &json!("completed")), "{status}");
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_tried_again_and_never_an_empty_answer() {
    let model = refusing(500, "never asked");
    let project = project(&model);
    for url in ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"] {
        let entry = format!("[models.local]\nprovider = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\n");
        project.write("abide.toml", &entry);
        let id = if url.contains("invalid") { "dns" } else { "refused" };
        let left = project.abide(&["run", "helper.md", "go", "--id", id, "--no-wait", "--trust"]).is(3);
        assert_eq!(left.stdout, "");
        let shown = project.show(id);
        assert_eq!((&shown["run"]["status"], llm(&shown)), (&json!("waiting"), &json!("retrying")), "{shown}");
    }
    assert_eq!(model.count(), 0);
}

#[test]
fn how_often_a_model_is_asked_can_be_limited() {
    let model =
        Model::new(|_, _| Say::Status(503, json!({"error": {"message": "overloaded"}}), vec![("Retry-After", "0")]));
    let project = project(&model);
    project.settings(&model, "attempts = 1\n");
    project.abide(&["run", "helper.md", "go", "--id", "r"]).is(1).says("overloaded");
    assert_eq!(model.count(), 1);
}
