//! What runs and their spenders have spent, as kept with each commit. It prices nothing: whoever called a model did.

use serde::Serialize;

/// What a run with all runs below it, or one spender of it, has spent. Calls under way are not in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spending {
    /// Who: an agent, or null for the run with all runs below it.
    pub spender: Option<String>,
    /// Calls that were answered, are under way, or were lost.
    pub calls: u64,
    /// Tokens sent, those of the provider's cache among them.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Of the tokens sent, those read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Of the tokens sent, those written to the provider's cache.
    pub cache_write_tokens: u64,
    /// US dollars; null if the price of any call is not known.
    pub cost_usd: Option<f64>,
    /// Calls whose reply was lost: they count as all that they could have used.
    pub lost: u64,
}
