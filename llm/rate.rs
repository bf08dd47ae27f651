//! What an answer's headers say of its provider's limits. Pure: it asks no clock, and decides nothing.

use crate::errors::Headers;
use crate::wait;

/// The limits of an account as one answer tells them; what it does not tell, or gives as unknown (`-1`), is `None`.
///
/// Over which time a limit counts is not told. It is a minute nearly everywhere; Groq counts requests by the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests allowed.
    pub requests_limit: Option<u64>,
    /// Requests left.
    pub requests_remaining: Option<u64>,
    /// Milliseconds from now until all requests are allowed again.
    pub requests_reset_ms: Option<u64>,
    /// Tokens allowed. Where input and output are counted apart and nothing is said of both together, those of the input.
    pub tokens_limit: Option<u64>,
    /// Tokens left.
    pub tokens_remaining: Option<u64>,
    /// Milliseconds from now until all tokens are allowed again.
    pub tokens_reset_ms: Option<u64>,
}

/// Names of limit, remaining and reset; of several sets the first that tells anything is read.
type Names = [&'static str; 3];

const REQUESTS: [Names; 4] = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
];

const TOKENS: [Names; 3] = [
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"],
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
];

impl RateLimits {
    /// Reads them; `now_ms` is when the answer came, in Unix milliseconds.
    pub fn read(headers: &Headers, now_ms: u64) -> Self {
        let [requests_limit, requests_remaining, requests_reset_ms] = first(&REQUESTS, headers, now_ms);
        let [tokens_limit, tokens_remaining, tokens_reset_ms] = first(&TOKENS, headers, now_ms);
        Self { requests_limit, requests_remaining, requests_reset_ms, tokens_limit, tokens_remaining, tokens_reset_ms }
    }
}

fn first(sets: &[Names], headers: &Headers, now_ms: u64) -> [Option<u64>; 3] {
    let read = |[limit, remaining, reset]: &Names| {
        let count = |name| headers.get(name).and_then(wait::count);
        [count(limit), count(remaining), headers.get(reset).and_then(|text| wait::reset_at(text, now_ms))]
    };
    sets.iter().map(read).find(|[limit, remaining, _]| limit.is_some() || remaining.is_some()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000; // Fri, 15 Jan 2027 08:00:00 GMT

    fn read(pairs: &[(&str, &str)]) -> RateLimits {
        RateLimits::read(&pairs.iter().copied().collect(), NOW_MS)
    }

    #[test]
    fn every_vendors_spelling_is_read() {
        let openai = read(&[
            ("x-ratelimit-limit-requests", "60"),
            ("X-RateLimit-Remaining-Requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let all = RateLimits {
            requests_limit: Some(60),
            requests_remaining: Some(59),
            requests_reset_ms: Some(1_000),
            tokens_limit: Some(150_000),
            tokens_remaining: Some(149_984),
            tokens_reset_ms: Some(360_000),
        };
        assert_eq!(openai, all);
        let anthropic = [
            ("anthropic-ratelimit-requests-limit", "60"),
            ("anthropic-ratelimit-requests-remaining", "59"),
            ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "150000"),
            ("anthropic-ratelimit-tokens-remaining", "149984"),
            ("anthropic-ratelimit-tokens-reset", "2027-01-15T08:06:00Z"),
            ("anthropic-ratelimit-input-tokens-limit", "1"),
        ];
        assert_eq!(read(&anthropic), all);
        let input =
            [("anthropic-ratelimit-input-tokens-limit", "100"), ("anthropic-ratelimit-input-tokens-remaining", "7")];
        assert_eq!(
            read(&input),
            RateLimits { tokens_limit: Some(100), tokens_remaining: Some(7), ..RateLimits::default() }
        );
        let plain = read(&[
            ("x-ratelimit-limit", "20"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1800000060000"),
        ]);
        assert_eq!(
            (plain.requests_limit, plain.requests_remaining, plain.requests_reset_ms),
            (Some(20), Some(0), Some(60_000))
        );
        assert_eq!(read(&[("ratelimit-limit", "5")]).requests_limit, Some(5));
    }

    #[test]
    fn what_is_unknown_is_none() {
        for text in ["-1", "", "many", "NaN", "1e400", "0x5"] {
            let limits = read(&[("x-ratelimit-limit-tokens", text), ("x-ratelimit-reset-tokens", "1s")]);
            assert_eq!(limits, RateLimits::default(), "{text}");
        }
        // Azure's plain seconds, and its `unknown`.
        for (text, reset) in [("0", Some(0)), ("17", Some(17_000)), ("-1", None)] {
            let limits = read(&[("x-ratelimit-remaining-tokens", "12.0"), ("x-ratelimit-reset-tokens", text)]);
            assert_eq!((limits.tokens_remaining, limits.tokens_reset_ms), (Some(12), reset), "{text}");
        }
        assert_eq!(read(&[]), RateLimits::default());
    }
}
