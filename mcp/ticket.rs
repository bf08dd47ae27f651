//! How far a request got on its way to a server: nowhere, out, or back with a refusal that says that nothing was done. It
//! decides nothing from that.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use rmcp::model::{ClientJsonRpcMessage, GetExtensions, JsonRpcMessage};

/// Rides along with a request (in its extensions, which are not sent).
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<Way>);

#[derive(Debug, Default)]
struct Way {
    state: AtomicU8,
    rejection: OnceLock<Rejection>,
}

/// A server's refusal at its door: the request was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It wants to know who asks (401), or does not let this one in (403).
    Credentials(String),
    /// The same, and a person can help: by logging in.
    Login(String),
    /// It is busy (429, 503) and says, perhaps, for how long.
    Busy(String),
    /// Anything else below 500.
    Other(String),
}

const WAITING: u8 = 0;
const WRITING: u8 = 1;
const UNSENT: u8 = 2;

impl Ticket {
    /// The ticket of a message, if it is a request that has one.
    pub(crate) fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        match message {
            JsonRpcMessage::Request(request) => request.request.extensions().get::<Self>().cloned(),
            _ => None,
        }
    }

    /// Claims the right to write. False if the caller has given up: then not a byte may be written.
    pub(crate) fn begin(&self) -> bool {
        self.0.state.compare_exchange(WAITING, WRITING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Not one byte was taken, or the server has told that it took none.
    pub(crate) fn refused(&self) {
        self.0.state.store(UNSENT, Ordering::SeqCst);
    }

    /// The server has sent the request away.
    pub(crate) fn rejected(&self, rejection: Rejection) {
        let _ = self.0.rejection.set(rejection);
        self.refused();
    }

    /// What the server said when it sent the request away.
    pub(crate) fn rejection(&self) -> Option<Rejection> {
        self.0.rejection.get().cloned()
    }

    /// Gives the request up. True if it is certain that no byte of it was sent, nor ever will be.
    pub(crate) fn give_up(&self) -> bool {
        match self.0.state.compare_exchange(WAITING, UNSENT, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(state) => state == UNSENT,
        }
    }
}
