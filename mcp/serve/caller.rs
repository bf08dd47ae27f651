//! The client of one request: what it can do, and what may be said to it until it is answered. Nothing that is said here is
//! kept: a client that is gone, or reads too slowly, misses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::message::notification;
use super::{MODERN, TASKS};

/// The severities of the protocol, from the least.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Messages that wait to be sent, at most.
pub(super) const WAITING: usize = 64;

/// The client of one request. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) version: String,
    pub(super) capabilities: Value,
    pub(super) tasks: bool,
    pub(super) progress: Option<Value>,
    pub(super) level: Option<String>,
    /// Messages of progress so far, over all rounds.
    pub(super) told: Arc<AtomicU32>,
    pub(super) out: mpsc::Sender<Value>,
}

impl Caller {
    /// Of a request whose `_meta` this is.
    pub(super) fn new(version: &str, capabilities: Value, meta: &Map<String, Value>, out: mpsc::Sender<Value>) -> Self {
        let known = |token: &&Value| token.is_string() || token.is_number();
        let progress = meta.get("progressToken").filter(known).cloned();
        Self {
            version: version.to_owned(),
            capabilities,
            tasks: false,
            progress,
            level: None,
            told: Arc::default(),
            out,
        }
    }

    /// Does the client declare this capability (`elicitation`, `sampling`, `roots`)?
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some_and(Value::is_object)
    }

    /// Can it show a form to a person? (A client may be able to open addresses alone.)
    pub fn can_show_forms(&self) -> bool {
        let Some(elicitation) = self.capabilities.get("elicitation").and_then(Value::as_object) else { return false };
        elicitation.is_empty() || elicitation.contains_key("form")
    }

    /// Can it have a person open an address?
    pub fn can_open_addresses(&self) -> bool {
        self.capabilities
            .get("elicitation")
            .and_then(|elicitation| elicitation.get("url"))
            .is_some_and(Value::is_object)
    }

    /// Will it come back for the result of a call that goes on?
    pub fn knows_tasks(&self) -> bool {
        self.tasks
    }

    /// Says how far the call is, if the client wants to know. `done` must grow.
    pub fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let Some(token) = &self.progress else { return };
        let mut params = json!({"progressToken": token, "progress": done});
        for (key, value) in [("total", total.map(Value::from)), ("message", message.map(Value::from))] {
            if let Some(value) = value {
                params[key] = value;
            }
        }
        let _ = self.out.try_send(notification("notifications/progress", &params));
    }

    /// Says that something has happened, where nobody knows how far that is: it counts.
    pub fn happened(&self, message: &str) {
        let told = self.told.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.progress(f64::from(told), None, Some(message));
    }

    /// Writes into the client's log, if it wants that.
    pub fn log(&self, level: &str, data: &Value) {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        if self.level.as_deref().and_then(rank).is_some_and(|least| rank(level).is_some_and(|rank| rank >= least)) {
            let params = json!({"level": level, "data": data});
            let _ = self.out.try_send(notification("notifications/message", &params));
        }
    }

    pub(super) fn is_modern(&self) -> bool {
        self.version == MODERN
    }
}

/// Is this a severity?
pub(super) fn is_level(level: &str) -> bool {
    LEVELS.contains(&level)
}

/// Does a client with these capabilities declare the extension?
pub(super) fn declares_tasks(capabilities: &Value) -> bool {
    capabilities.get("extensions").and_then(|all| all.get(TASKS)).is_some_and(Value::is_object)
}
