//! Tests of what a server works on after its answer: polled, asked, kept, taken up again and cancelled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use abide_llm::{BoxFuture, Tools as _};
use serde_json::json;

use super::*;
use crate::driver::{Driver, Handles};
use crate::fixture_talk::{Talker, error, next, result, servers, tool};

fn call() -> ToolCall {
    ToolCall { server: "fix".into(), tool: "long".into(), arguments: json!({}) }
}

fn task(status: &str) -> Value {
    json!({"taskId": "t-1", "status": status, "createdAt": "2026-11-01T00:00:00Z", "lastUpdatedAt": "2026-11-01T00:00:00Z",
        "ttlMs": null, "pollIntervalMs": 200, "resultType": "complete"})
}

fn begun() -> Value {
    let mut begun = task("working");
    begun["resultType"] = "task".into();
    begun
}

/// Asks for input at its second look, and is done at its fourth.
fn worker(ends: Value) -> Arc<Talker> {
    let looks = Mutex::new(0);
    Talker::new(true, json!([tool("long")]), move |message| {
        let answer = match message["method"].as_str() {
            Some("tools/call") => begun(),
            Some("tasks/get") => {
                let mut looks = looks.lock().unwrap();
                *looks += 1;
                match *looks {
                    2 | 3 => {
                        let mut asks = task("input_required");
                        asks["inputRequests"] = json!({"where": {"method": "roots/list", "params": {}}});
                        asks
                    }
                    1 => task("working"),
                    _ => ends.clone(),
                }
            }
            Some("tasks/update" | "tasks/cancel") => json!({"resultType": "complete"}),
            _ => return Vec::new(),
        };
        vec![result(message, &answer)]
    })
}

fn completed() -> Value {
    let mut done = task("completed");
    done["result"] = json!({"content": [{"type": "text", "text": "at last"}]});
    done
}

/// Keeps handles, or says that it cannot.
struct Book {
    durable: bool,
    kept: Mutex<Vec<TaskHandle>>,
}

impl Handles for Book {
    fn keep(&self, _call: &ToolCall, handle: &TaskHandle) -> BoxFuture<Result<bool, Error>> {
        self.kept.lock().unwrap().push(handle.clone());
        Box::pin(std::future::ready(Ok(self.durable)))
    }
}

fn book(durable: bool) -> (Driver, Arc<Book>) {
    let book = Arc::new(Book { durable, kept: Mutex::default() });
    (Driver { handles: book.clone(), ..Driver::default() }, book)
}

#[tokio::test(start_paused = true)]
async fn a_task_is_polled_to_its_result_and_asked_once() {
    let talker = worker(completed());
    let (driver, book) = book(false);
    let mut heard = talker.heard();
    let done = servers(&talker, None).on_behalf_of(driver).call(call(), BTreeMap::new()).await.unwrap();
    assert_eq!(done["content"][0]["text"], "at last");
    assert_eq!(book.kept.lock().unwrap()[0], TaskHandle { id: "t-1".into(), poll_ms: Some(200), ttl_ms: None });
    let mut methods = Vec::new();
    while let Ok(message) = heard.try_recv() {
        let method = message["method"].as_str().unwrap_or_default();
        methods.extend(method.starts_with("tasks/").then(|| method.to_owned()));
    }
    assert_eq!(methods, ["tasks/get", "tasks/get", "tasks/update", "tasks/get", "tasks/get"]);
}

#[tokio::test(start_paused = true)]
async fn what_went_wrong_at_the_server_is_an_answer() {
    let mut failed = task("failed");
    failed["error"] = json!({"code": -32_000, "message": "no disk"});
    for (ends, expected) in [(failed, "no disk"), (task("cancelled"), "cancelled")] {
        let done = servers(&worker(ends), None).call(call(), BTreeMap::new()).await.unwrap();
        let text = done["content"][0]["text"].as_str().unwrap();
        assert!(done["isError"] == true && text.contains(expected), "{done}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_cancels_its_task_unless_the_handle_is_durable() {
    for durable in [false, true] {
        let talker = worker(task("working"));
        let (driver, _) = book(durable);
        let servers = servers(&talker, None).on_behalf_of(driver);
        let mut heard = talker.heard();
        let called = tokio::spawn(servers.call(call(), BTreeMap::new()));
        next(&mut heard, "tasks/get").await;
        called.abort();
        assert!(called.await.unwrap_err().is_cancelled());
        if durable {
            let handle = TaskHandle { id: "t-1".into(), poll_ms: None, ttl_ms: None };
            servers.cancel_task(&call(), &handle).await.unwrap();
        }
        assert_eq!(next(&mut heard, "tasks/cancel").await["params"]["taskId"], "t-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_handle_is_taken_up_without_another_call() {
    let talker = worker(completed());
    let mut heard = talker.heard();
    let handle = TaskHandle { id: "t-1".into(), poll_ms: Some(50), ttl_ms: None };
    let done = servers(&talker, None).take_up(&call(), &handle).await.unwrap();
    assert_eq!(done["content"][0]["text"], "at last");
    while let Ok(message) = heard.try_recv() {
        assert_ne!(message["method"], "tools/call");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_its_server_has_forgotten_is_in_doubt() {
    let talker = Talker::new(true, json!([tool("long")]), |message| match message["method"].as_str() {
        Some("tasks/get") => vec![error(message, -32_602, "no such task")],
        _ => Vec::new(),
    });
    let handle = TaskHandle { id: "gone".into(), poll_ms: None, ttl_ms: None };
    let error = servers(&talker, None).take_up(&call(), &handle).await.unwrap_err();
    assert!(*error.kind() == ErrorKind::InDoubt && error.message().contains("no such task"), "{error}");
}
