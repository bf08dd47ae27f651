//! What a step needs of its host before an attempt may start: a place at a service whose use is limited, and what it may cost. Plain data: it
//! is neither journaled nor compared, and nothing here queues, counts or prices.

use std::sync::Arc;

/// What each attempt of a step needs before it may start (DESIGN rule 11).
#[derive(Clone)]
pub struct Admission {
    /// The service that counts: one name for all runs and processes that share its limits.
    pub service: Arc<str>,
    /// Its limits as far as the user has named them; others are learnt.
    pub rates: Rates,
    /// Who of those that wait goes first: the higher number.
    pub priority: i32,
    /// The most that one attempt can use.
    pub most: Spent,
    /// Who spends it, within the run.
    pub spender: Arc<str>,
    /// The budgets that hold, besides those of the runs above this one.
    pub budgets: Vec<Budget>,
    /// An attempt that would have to wait longer than this fails instead, in milliseconds.
    pub patience_ms: Option<u64>,
    /// The longest that an attempt can take, in milliseconds.
    pub longest_ms: u64,
    /// Reads from a result what it has used.
    pub spent: Arc<dyn Fn(&str) -> Spent + Send + Sync>,
}

/// The limits of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Requests in any minute.
    pub requests: Option<u32>,
    /// Tokens in any minute.
    pub tokens: Option<u64>,
    /// Requests at the same time.
    pub concurrency: Option<u32>,
}

/// What a call has used, or may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Tokens sent, those of the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Of the tokens sent, those read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Of the tokens sent, those written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Billionths of a US dollar; `None` if nobody knows the price.
    pub nano_usd: Option<u64>,
}

/// A budget and whom it binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The spender it binds; `None` for the run with all runs that it starts.
    pub spender: Option<Arc<str>>,
    /// What may be spent.
    pub ceiling: Ceiling,
}

/// What may be spent; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ceiling {
    /// Calls.
    pub calls: Option<u64>,
    /// Tokens sent and received.
    pub tokens: Option<u64>,
    /// Billionths of a US dollar.
    pub nano_usd: Option<u64>,
    /// Milliseconds from the first call to the start of the last.
    pub ms: Option<u64>,
}

impl Spent {
    /// Tokens sent and received.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl Ceiling {
    /// True if nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("service", &self.service)
            .field("spender", &self.spender)
            .finish_non_exhaustive()
    }
}

/// A handle that a host lends (as a resource): whoever calls a service tells it the limits that an answer has named.
#[derive(Clone)]
pub struct Learn(Arc<LearnFn>);

type LearnFn = dyn Fn(&str, Rates) + Send + Sync;

impl Learn {
    /// One that hands them to this function.
    pub fn new(learn: impl Fn(&str, Rates) + Send + Sync + 'static) -> Self {
        Self(Arc::new(learn))
    }

    /// The service of this name has these limits.
    pub fn learn(&self, service: &str, rates: Rates) {
        (self.0)(service, rates);
    }
}
