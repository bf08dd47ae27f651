//! The version without sessions, 2026-07-28: each request says who asks and what that client can do. It never sends a client a
//! request: what it wants to know is part of a result.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::caller::declares_tasks;
use super::message::{Answer, Request};
use super::refusal::UNSUPPORTED_VERSION;
use super::{Caller, MODERN, Refusal, Server, TASKS, news, rounds, tasks};

/// The keys of `_meta` that are the protocol's.
pub(super) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// Methods of the version with sessions, whatever an offer makes of them there.
const GONE: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// What may be kept for a while, and by whom.
const CACHED: [&str; 6] =
    ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

/// What a request says of its client.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) version: String,
    capabilities: Value,
    level: Option<String>,
}

/// The version that a message says it is in.
pub(super) fn version_in(params: &Map<String, Value>) -> Option<&str> {
    params.get("_meta")?.get(VERSION)?.as_str()
}

impl Spoken {
    /// Reads it.
    pub(super) fn read(request: &Request) -> Result<Self, Refusal> {
        let missing = |key: &str| Refusal::invalid(format!("`_meta` must have `{key}`")).status(400);
        let meta = request.params.get("_meta").unwrap_or(&Value::Null);
        let version = meta.get(VERSION).and_then(Value::as_str).ok_or_else(|| missing(VERSION))?.to_owned();
        let capabilities = meta.get(CAPABILITIES).filter(|all| all.is_object()).ok_or_else(|| missing(CAPABILITIES))?;
        let level = meta.get(LEVEL).and_then(Value::as_str).map(str::to_owned);
        Ok(Self { version, capabilities: capabilities.clone(), level })
    }

    /// Is it spoken here?
    pub(super) fn check_version(&self) -> Result<(), Refusal> {
        if self.version == MODERN {
            return Ok(());
        }
        let message = format!("this server does not speak version `{}` of the protocol", self.version);
        let data = json!({"supported": [MODERN], "requested": self.version});
        Err(Refusal::new(UNSUPPORTED_VERSION, message).data(data).status(400))
    }
}

/// Answers a request. `out` takes what is said before the answer.
pub(super) async fn answer(server: &Server, request: &Request, spoken: Spoken, out: mpsc::Sender<Value>) -> Answer {
    let outcome = match spoken.check_version() {
        Ok(()) => dispatch(server, request, spoken, out).await,
        Err(refusal) => Err(refusal),
    };
    Answer::of(&request.id, outcome.map(|result| finished(server, &request.method, result)))
}

async fn dispatch(
    server: &Server,
    request: &Request,
    spoken: Spoken,
    out: mpsc::Sender<Value>,
) -> Result<Value, Refusal> {
    let about = server.offer.about();
    let meta = request.call().meta;
    let mut caller = Caller::new(&spoken.version, spoken.capabilities, &meta, out);
    caller.level = spoken.level;
    caller.tasks = about.tasks && declares_tasks(&caller.capabilities);
    match request.method.as_str() {
        "server/discover" => Ok(discover(server)),
        "tools/list" => {
            let tools: Vec<Value> = server.offer.tools().await.into_iter().map(|tool| tool.definition).collect();
            Ok(json!({ "tools": tools }))
        }
        news::LISTEN => Err(news::modern(server, request, &caller.out).await),
        "tasks/get" | "tasks/update" | "tasks/cancel" if about.tasks => tasks::modern(server, request, caller).await,
        gone if GONE.contains(&gone) || gone.starts_with("tasks/") => Err(Refusal::no_method(gone)),
        _ => rounds::once(server, request, caller).await,
    }
}

fn discover(server: &Server) -> Value {
    let about = server.offer.about();
    let tools = about.of_tools();
    let mut capabilities = about.capabilities;
    capabilities.insert("tools".to_owned(), tools);
    if about.tasks {
        capabilities.insert("extensions".to_owned(), json!({ TASKS: {} }));
    }
    let mut found = json!({"supportedVersions": [MODERN], "capabilities": capabilities});
    if let Some(instructions) = about.instructions {
        found["instructions"] = instructions.into();
    }
    found
}

/// A result with what each of them says: its kind, how long it may be kept, and whose it is.
fn finished(server: &Server, method: &str, mut result: Value) -> Value {
    let about = server.offer.about();
    let Some(members) = result.as_object_mut() else { return result };
    members.entry("resultType").or_insert_with(|| "complete".into());
    if CACHED.contains(&method) {
        members.entry("ttlMs").or_insert_with(|| 0.into());
        members.entry("cacheScope").or_insert_with(|| "private".into());
    }
    if let Some(meta) = members.entry("_meta").or_insert_with(|| json!({})).as_object_mut() {
        meta.insert(SERVER.to_owned(), json!({"name": about.name, "version": about.version}));
    }
    result
}
