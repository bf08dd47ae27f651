//! What goes with a call of a model beside its body, and who hears of it while it is under way. It never calls anything.

use std::fmt;

use crate::rate::RateLimits;
use crate::redact::Redactor;
use crate::secret::Vars;
use crate::stream::Delta;

/// What an answer's status and headers tell, before its body is there.
///
/// A call is told of once if it was answered at all, and once more if its stream held an error: then `status` is the one
/// that such an error has elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The HTTP status.
    pub status: u16,
    /// What the headers say of the account's limits.
    pub limits: RateLimits,
    /// Milliseconds that the refusal asks to wait (from now), or that it is to be waited where a 429 does not say.
    pub wait_ms: Option<u64>,
    /// Is the provider at work, or was it? False for a refusal. The last word of a call counts; one that was never
    /// told of may have been billed if it ended as [`abide_engine::ErrorKind::InDoubt`].
    pub may_be_billed: bool,
}

/// What goes with a call, and who hears of it.
#[derive(Clone, Copy)]
pub struct CallOptions<'a> {
    /// The step's idempotency key, sent as `Idempotency-Key`.
    pub key: &'a str,
    /// Where references to secrets are looked up.
    pub vars: &'a dyn Vars,
    /// Puts secrets in on the way out and hides them on the way in.
    pub redactor: &'a Redactor,
    /// Is shown the answer as it comes. What it was shown of a call that fails is void: the next attempt begins anew.
    /// Must not block.
    pub on: &'a (dyn Fn(Delta) + Send + Sync),
    /// Hears of status and headers as soon as they are there. Must not block.
    pub seen: &'a (dyn Fn(&Seen) + Send + Sync),
}

impl<'a> CallOptions<'a> {
    /// A call that nobody watches.
    pub fn new(key: &'a str, vars: &'a dyn Vars, redactor: &'a Redactor) -> Self {
        Self { key, vars, redactor, on: &|_| {}, seen: &|_| {} }
    }

    /// The same with somebody who is shown the answer as it comes.
    #[must_use]
    pub fn on(self, on: &'a (dyn Fn(Delta) + Send + Sync)) -> Self {
        Self { on, ..self }
    }

    /// The same with somebody who hears of status and headers.
    #[must_use]
    pub fn seen(self, seen: &'a (dyn Fn(&Seen) + Send + Sync)) -> Self {
        Self { seen, ..self }
    }
}

impl fmt::Debug for CallOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions").field("key", &self.key).finish_non_exhaustive()
    }
}
