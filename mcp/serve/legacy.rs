//! The versions that begin with `initialize`: 2025-11-25 and those before it. What a client can do was said then; what it is asked
//! is a request of its own, on the stream of the call.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::caller::is_level;
use super::message::{Answer, Request};
use super::offer::{Lasts, Tool};
use super::session::Session;
use super::{Caller, LEGACY, Refusal, Server, rounds, tasks};

/// Answers a request. `out` takes what is said before the answer.
pub(super) async fn answer(server: &Server, session: &Session, request: &Request, out: mpsc::Sender<Value>) -> Answer {
    // Errors of this version are answers like any other: only what is no message at all has a status of its own.
    let outcome = dispatch(server, session, request, out).await.map_err(|refusal| refusal.status(200));
    Answer::of(&request.id, outcome)
}

async fn dispatch(
    server: &Server,
    session: &Session,
    request: &Request,
    out: mpsc::Sender<Value>,
) -> Result<Value, Refusal> {
    let known = session.known();
    let about = server.offer.about();
    let has_tasks = about.tasks && known.version == LEGACY[0];
    let mut caller = Caller::new(&known.version, known.capabilities, &request.call().meta, out);
    caller.level = Some(known.level);
    caller.tasks =
        has_tasks && request.method == "tools/call" && request.params.get("task").is_some_and(Value::is_object);
    match request.method.as_str() {
        "initialize" => Ok(initialize(server, session, request)),
        "ping" => Ok(json!({})),
        "logging/setLevel" if about.capabilities.contains_key("logging") => {
            let level = request.params.get("level").and_then(Value::as_str).unwrap_or_default();
            if !is_level(level) {
                return Err(Refusal::invalid("`level` must be one of the protocol's, as in \"info\""));
            }
            session.set_level(level);
            Ok(json!({}))
        }
        "tools/list" => {
            let listed = |tool: Tool| listed(tool, has_tasks);
            Ok(json!({ "tools": server.offer.tools().await.into_iter().map(listed).collect::<Vec<_>>() }))
        }
        "tasks/get" | "tasks/result" | "tasks/cancel" if has_tasks => {
            tasks::legacy(server, session, request, caller).await
        }
        method if method == "server/discover" || method.starts_with("tasks/") => Err(Refusal::no_method(method)),
        _ => Ok(match rounds::all(server, session, request, caller).await? {
            Ok(result) => result,
            Err(task) => json!({ "task": task.legacy() }),
        }),
    }
}

fn initialize(server: &Server, session: &Session, request: &Request) -> Value {
    let about = server.offer.about();
    let asked = request.params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    let version = LEGACY.into_iter().find(|known| *known == asked).unwrap_or(LEGACY[0]);
    let capabilities = request.params.get("capabilities").filter(|all| all.is_object()).cloned();
    session.begin(version, capabilities.unwrap_or_else(|| json!({})));
    let tools = about.of_tools();
    let mut offered = about.capabilities;
    offered.insert("tools".to_owned(), tools);
    if about.tasks && version == LEGACY[0] {
        offered.insert("tasks".to_owned(), json!({"cancel": {}, "requests": {"tools": {"call": {}}}}));
    }
    let mut result = json!({
        "protocolVersion": version,
        "capabilities": offered,
        "serverInfo": {"name": about.name, "version": about.version},
    });
    if let Some(instructions) = about.instructions {
        result["instructions"] = instructions.into();
    }
    result
}

/// A tool as this version lists it: it says itself whether calls of it go on.
fn listed(mut tool: Tool, has_tasks: bool) -> Value {
    if has_tasks && tool.definition.is_object() {
        let word = match tool.lasts {
            Lasts::No => "forbidden",
            Lasts::May => "optional",
            Lasts::Must => "required",
        };
        tool.definition["execution"] = json!({ "taskSupport": word });
    }
    tool.definition
}
