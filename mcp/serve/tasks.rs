//! What goes on after it has been answered (MCP calls it a task), as either version has it. How it stands, and whose it is, is
//! known by whoever stands behind the offer.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::message::Request;
use super::offer::{Status, Task};
use super::rounds::ask_all;
use super::session::Session;
use super::{Caller, Refusal, Server, TASKS};

/// How often something is looked at that waits for somebody else.
const PAUSE: Duration = Duration::from_millis(500);

/// `tasks/get`, `tasks/update`, `tasks/cancel` of the version without sessions.
pub(super) async fn modern(server: &Server, request: &Request, caller: Caller) -> Result<Value, Refusal> {
    if !caller.tasks {
        return Err(Refusal::needs(&json!({ "extensions": { TASKS: {} } })));
    }
    let id = id_of(request)?;
    match request.method.as_str() {
        "tasks/get" => Ok(server.offer.task(id, caller).await?.modern_whole()),
        "tasks/update" => {
            let responses = request.call().responses;
            server.offer.answer(id, responses).await.map(|()| json!({}))
        }
        _ => server.offer.cancel(id).await.map(|()| json!({})),
    }
}

/// `tasks/get`, `tasks/result`, `tasks/cancel` of the version with sessions.
pub(super) async fn legacy(
    server: &Server,
    session: &Session,
    request: &Request,
    caller: Caller,
) -> Result<Value, Refusal> {
    let id = id_of(request)?;
    match request.method.as_str() {
        "tasks/get" => Ok(server.offer.task(id, caller).await?.legacy()),
        "tasks/cancel" => {
            let task = server.offer.task(id, caller.clone()).await?;
            if matches!(task.status, Status::Completed(_) | Status::Failed(_) | Status::Cancelled) {
                let message = format!("the task is {} already: it cannot be cancelled", task.word());
                return Err(Refusal::invalid(message));
            }
            server.offer.cancel(id).await?;
            // It may still clean up; for its client it is cancelled from now on.
            Ok(Task { status: Status::Cancelled, message: None, ..task }.legacy())
        }
        _ => result(server, session, id, caller).await,
    }
}

/// Waits for the end, and asks the client what has to be asked for it.
async fn result(server: &Server, session: &Session, id: &str, caller: Caller) -> Result<Value, Refusal> {
    loop {
        let task = server.offer.wait(id, caller.clone()).await?;
        let related = json!({"io.modelcontextprotocol/related-task": {"taskId": id}});
        match task.status {
            Status::Completed(mut result) => {
                let meta = result.get_mut("_meta").and_then(Value::as_object_mut);
                match (meta, related) {
                    (Some(meta), Value::Object(related)) => meta.extend(related),
                    (_, related) => result["_meta"] = related,
                }
                return Ok(result);
            }
            Status::Failed(refusal) => return Err(refusal),
            Status::Cancelled => return Err(Refusal::new(-32_800, "the task was cancelled")),
            Status::Asks(mut requests) if !requests.is_empty() => {
                for request in requests.values_mut() {
                    if let Some(params) = request.get_mut("params").and_then(Value::as_object_mut) {
                        params.insert("_meta".to_owned(), related.clone());
                    }
                }
                let responses = ask_all(session, &requests, &caller).await?;
                let undecided = responses.values().all(|response| response.get("action") == Some(&json!("cancel")));
                server.offer.answer(id, responses).await?;
                if undecided {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Status::Asks(_) | Status::Working => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn id_of(request: &Request) -> Result<&str, Refusal> {
    request
        .params
        .get("taskId")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("`taskId` must be there, as text"))
}

fn iso(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Task {
    fn word(&self) -> &'static str {
        match self.status {
            Status::Working => "working",
            Status::Asks(_) => "input_required",
            Status::Completed(_) => "completed",
            Status::Failed(_) => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    fn both(&self) -> Map<String, Value> {
        let mut task = Map::new();
        task.insert("taskId".to_owned(), self.id.clone().into());
        task.insert("status".to_owned(), self.word().into());
        task.insert("createdAt".to_owned(), iso(self.created_ms).into());
        task.insert("lastUpdatedAt".to_owned(), iso(self.updated_ms).into());
        if let Some(message) = &self.message {
            task.insert("statusMessage".to_owned(), message.clone().into());
        }
        task
    }

    /// Without what it came to. It is kept as long as its run: without a limit.
    pub(super) fn modern(&self) -> Value {
        let mut task = self.both();
        task.insert("ttlMs".to_owned(), Value::Null);
        task.insert("pollIntervalMs".to_owned(), self.poll_ms.into());
        Value::Object(task)
    }

    fn modern_whole(&self) -> Value {
        let mut task = self.modern();
        match &self.status {
            Status::Asks(requests) => task["inputRequests"] = json!(requests),
            Status::Completed(result) => {
                task["result"] = result.clone();
                if let Some(result) = task["result"].as_object_mut() {
                    result.entry("resultType").or_insert_with(|| "complete".into());
                }
            }
            Status::Failed(refusal) => task["error"] = refusal.to_json(),
            Status::Working | Status::Cancelled => {}
        }
        task
    }

    pub(super) fn legacy(&self) -> Value {
        let mut task = self.both();
        task.insert("ttl".to_owned(), Value::Null);
        task.insert("pollInterval".to_owned(), self.poll_ms.into());
        Value::Object(task)
    }
}
