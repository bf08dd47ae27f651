//! The MCP face of abide as a server: both versions of the protocol, over stdio and HTTP, in front of whatever is offered. It
//! keeps nothing that a client may rely on: what has to outlive the process is kept by whoever stands behind [`Offer`].
//!
//! - [`offer`](Offer): the seam to who answers; `caller` is what that one may know of and say to its client
//! - `message`: JSON-RPC, read and written; [`refusal`](Refusal) its errors
//! - `modern`: 2026-07-28, where each request says all by itself; `legacy` 2025-11-25, with `session`
//! - `rounds`: a call with what it asks on its way, as either version has it; `tasks` what goes on after an answer
//! - `news`: what is told to clients that did not ask for it just now
//! - [`seal`](Seal): what is given to clients and believed only if it comes back unchanged
//! - `stdio` and `http` are the ways in; `gate` is who may come, `headers` what they must say, `stream` how they are answered

mod caller;
mod gate;
mod headers;
mod http;
mod legacy;
mod message;
mod modern;
mod news;
mod offer;
mod refusal;
mod rounds;
mod seal;
mod session;
mod stdio;
mod stream;
mod tasks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use caller::Caller;
pub use gate::{Gate, Token};
pub use http::listen;
pub use offer::{About, Asks, Call, Lasts, Offer, Reply, Status, Task, Tool};
pub use refusal::Refusal;
pub use seal::Seal;
pub use stdio::serve_lines;

use session::Sessions;

/// The version that needs no session.
const MODERN: &str = "2026-07-28";

/// The versions that begin with `initialize`, the newest first.
const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// How the extension for what goes on after an answer is called.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// States that have come back, at most: more are not believed until some of them are too old anyway.
const MOST_USED: usize = 100_000;

/// A server of this offer. A clone is the same one.
#[derive(Clone)]
pub struct Server {
    offer: Arc<dyn Offer>,
    seal: Arc<Seal>,
    /// States that have come back already, and until when they would have been good.
    used: Arc<Mutex<HashMap<[u8; 32], i64>>>,
    sessions: Arc<Sessions>,
}

impl Server {
    /// `seal` must be the same after a restart if states and handles are to be.
    pub fn new(offer: Arc<dyn Offer>, seal: Arc<Seal>) -> Self {
        Self { offer, seal, used: Arc::default(), sessions: Arc::default() }
    }

    /// Notes that this state has come back. False if it had before.
    fn is_first_use(&self, state: [u8; 32], until_ms: i64) -> bool {
        let now = now_ms();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST_USED {
            used.retain(|_, until| *until > now);
        }
        used.len() < MOST_USED && used.insert(state, until_ms).is_none()
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
