//! What a call costs: the user's own price, or else the table of `genai-prices` by model and time. An unknown price is unknown, never
//! invented. Pure but for that table; it never looks anything up elsewhere.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use genai_prices::{Calculator, ErrorKind, PriceRequest, UsageKey};
use serde::{Deserialize, Serialize};

use crate::wire::Usage;

/// Who serves a model at an address, as the table has it; `None` if it does not know. Finding out matches the address and the name with every
/// pattern of the table, and each call asks several times.
type Providers = HashMap<(String, String), Option<String>>;

static PROVIDERS: LazyLock<Mutex<Providers>> = LazyLock::new(Mutex::default);

/// More pairs of a model and an address are not remembered: they come from outside.
const MOST_REMEMBERED: usize = 1_000;

/// A price of the user's own, in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Tokens sent.
    pub input: f64,
    /// Tokens received.
    pub output: f64,
    /// Tokens read from the provider's cache; those of the input without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Tokens written to the provider's cache; those of the input without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

/// Which entry of the table a call is priced by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Priced {
    /// The user's own price beats the table.
    pub(crate) own: Option<Price>,
    /// The model's name at its provider.
    pub(crate) model: String,
    /// The address that is called: it tells the provider.
    pub(crate) url: String,
}

impl Price {
    /// Billionths of a US dollar for this usage, rounded up.
    pub fn nano_usd(&self, usage: &Usage) -> u64 {
        let cached = usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
        let plain = usage.input_tokens.saturating_sub(cached);
        // A dollar for a million tokens is a thousand billionths for one.
        let parts = [
            (plain, self.input),
            (usage.cache_read_tokens, self.cache_read.unwrap_or(self.input)),
            (usage.cache_write_tokens, self.cache_write.unwrap_or(self.input)),
            (usage.output_tokens, self.output),
        ];
        nano(parts.iter().map(|(tokens, price)| *tokens as f64 * price * 1_000.0).sum())
    }
}

impl Priced {
    /// Billionths of a US dollar for this usage at this time (Unix milliseconds); `None` if nobody knows. `served` is the model that has
    /// answered, as the provider names it.
    pub(crate) fn nano_usd(&self, usage: &Usage, served: Option<&str>, at_ms: i64) -> Option<u64> {
        if let Some(own) = &self.own {
            return Some(own.nano_usd(usage));
        }
        served.and_then(|model| self.listed(model, usage, at_ms)).or_else(|| self.listed(&self.model, usage, at_ms))
    }

    /// The model's window, as far as the table knows it.
    pub(crate) fn context_tokens(&self) -> Option<u64> {
        let mut usage = genai_prices::Usage::new();
        usage.insert(UsageKey::INPUT_TOKENS, 1.0);
        let request = PriceRequest::new(&self.model, &usage).with_provider_api_url(&self.url);
        let found = genai_prices::calculate(&request).ok()?;
        let provider = Calculator::bundled().find_provider(Some(&found.provider_id), None).ok()??;
        let model = provider.models().find(|model| model.id() == found.model_id)?;
        model.context_window().filter(|tokens| *tokens > 0)
    }

    fn listed(&self, model: &str, usage: &Usage, at_ms: i64) -> Option<u64> {
        let counts = [
            (UsageKey::INPUT_TOKENS, usage.input_tokens),
            (UsageKey::OUTPUT_TOKENS, usage.output_tokens),
            (UsageKey::CACHE_READ_TOKENS, usage.cache_read_tokens),
            (UsageKey::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        ];
        let mut all = genai_prices::Usage::new();
        for (key, tokens) in counts.into_iter().filter(|(_, tokens)| *tokens > 0) {
            all.insert(key, tokens as f64);
        }
        let at: SystemTime = UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
        let request = PriceRequest::new(model, &all).with_timestamp(at);
        let pair = (model.to_owned(), self.url.clone());
        let remembered = PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner).get(&pair).cloned();
        let found = match &remembered {
            Some(None) => return None,
            Some(Some(provider)) => genai_prices::calculate(&request.with_provider_id(provider)),
            None => genai_prices::calculate(&request.with_provider_api_url(&self.url)),
        };
        let provider = match &found {
            Ok(price) => Some(price.provider_id.clone()),
            Err(error) if matches!(error.kind(), ErrorKind::ProviderNotFound | ErrorKind::ModelNotFound) => None,
            Err(_) => return None,
        };
        if remembered.is_none() {
            let mut providers = PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner);
            if providers.len() < MOST_REMEMBERED {
                providers.insert(pair, provider);
            }
        }
        found.ok().map(|price| nano(price.total_price * 1e9))
    }
}

/// Rounded up: a budget holds rather too early. A float's own noise is not a further billionth.
fn nano(amount: f64) -> u64 {
    if amount.is_finite() && amount > 0.0 { (amount - 1e-6).ceil() as u64 } else { 0 }
}

/// Billionths of a US dollar of an amount in dollars, rounded down.
pub fn nano_of_usd(usd: f64) -> u64 {
    if usd.is_finite() && usd > 0.0 { (usd * 1e9 + 1e-3) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const AT_MS: i64 = 1_790_000_000_000; // September 2026

    fn usage(input: u64, output: u64, read: u64, write: u64) -> Usage {
        Usage { input_tokens: input, output_tokens: output, cache_read_tokens: read, cache_write_tokens: write }
    }

    #[test]
    fn the_users_own_price_counts_what_the_cache_served_apart() {
        let price = Price { input: 3.0, output: 15.0, cache_read: Some(0.3), cache_write: None };
        assert_eq!(price.nano_usd(&usage(1_000_000, 0, 0, 0)), 3_000_000_000);
        assert_eq!(price.nano_usd(&usage(10, 2, 4, 3)), 3 * 3_000 + 4 * 300 + 3 * 3_000 + 2 * 15_000);
        assert_eq!(price.nano_usd(&Usage::default()), 0);
        assert_eq!((nano_of_usd(2.0), nano_of_usd(0.000_000_01), nano_of_usd(-1.0)), (2_000_000_000, 10, 0));
    }

    #[test]
    fn known_models_are_priced_by_their_address_and_others_are_not() {
        let priced = |url: &str, model: &str| Priced { own: None, model: model.into(), url: url.into() };
        let million = usage(1_000_000, 0, 0, 0);
        let known = priced("https://api.anthropic.com", "claude-sonnet-4-5");
        assert_eq!(known.nano_usd(&usage(100_000, 0, 0, 0), None, AT_MS), Some(300_000_000));
        assert_eq!(
            known.nano_usd(&usage(100_000, 10_000, 50_000, 0), Some("claude-sonnet-4-5-20250929"), AT_MS),
            Some(50_000 * 3_000 + 50_000 * 300 + 10_000 * 15_000)
        );
        for unknown in [
            priced("https://api.anthropic.com", "no-such-model-1"),
            priced("http://127.0.0.1:9/v1", "gpt-5"),
            priced("https://models.example.com/v1", "claude-sonnet-4-5"),
        ] {
            // The second time it is remembered.
            for _ in 0..2 {
                assert_eq!(unknown.nano_usd(&million, None, AT_MS), None, "{unknown:?}");
            }
        }
        assert_eq!(known.nano_usd(&usage(100_000, 0, 0, 0), None, AT_MS), Some(300_000_000));
        let window = known.context_tokens();
        assert!(window.is_some_and(|tokens| tokens >= 200_000), "{window:?}");
        assert_eq!(priced("http://127.0.0.1:9/v1", "gpt-5").context_tokens(), None);
        let own = Priced { own: Some(Price { input: 1.0, output: 1.0, cache_read: None, cache_write: None }), ..known };
        assert_eq!(own.nano_usd(&million, None, AT_MS), Some(1_000_000_000));
    }
}
