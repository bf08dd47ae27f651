//! What a provider's refusal means for the call: wait, park, try again, or give up. Pure: it asks no clock, sends nothing, and
//! never waits or counts attempts itself; the engine does.

use abide_engine::{Error, ErrorKind, Parked};
use serde_json::Value;

use crate::model::Provider;
use crate::wait;
use crate::wire::quote;

/// The wait after a 429 that says nothing about it: the limits that are counted are mostly counted by the minute.
const UNHINTED_MS: u64 = 5_000;

/// The least wait after a 429. Such waits use up no attempt, so a hint of 0 must not become a busy loop.
const LEAST_MS: u64 = 1_000;

/// Error codes that say a quota is spent or a cap is reached, whatever the status.
const SPENT: [&str; 6] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// What messages with status 400 say when a cap is reached.
const SPENT_TEXTS: [&str; 2] = ["specified api usage limits", "credit balance is too low"];

/// What the words for errors that come within a stream mean as an HTTP status: Anthropic's types, `OpenAI`'s codes and
/// types, and Google's.
const STATUSES: [(&str, u16); 24] = [
    ("overloaded_error", 529),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_exceeded", 429),
    ("slow_down", 429),
    ("server_error", 500),
    ("server_is_overloaded", 503),
    ("invalid_api_key", 401),
    ("model_not_found", 404),
    ("context_length_exceeded", 400),
    ("unsupported_value", 400),
    ("RESOURCE_EXHAUSTED", 429),
    ("UNAVAILABLE", 503),
    ("DEADLINE_EXCEEDED", 504),
    ("UNAUTHENTICATED", 401),
    ("PERMISSION_DENIED", 403),
    ("NOT_FOUND", 404),
    ("FAILED_PRECONDITION", 400),
];

/// Response headers; names are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// An answer whose status is not 200, or an error within one whose status was.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The wire that was spoken.
    pub provider: Provider,
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: &'a Headers,
    /// The answer's body, whatever it is.
    pub body: &'a str,
    /// The time it came, in Unix milliseconds.
    pub now_ms: u64,
    /// Was it an event of a stream that began with status 200? Then `status` is what [`status_of`] makes of `body`.
    pub in_stream: bool,
}

/// What a refusal's body says, however its vendor spells it.
struct Said {
    message: String,
    /// Error types, codes and reasons.
    codes: Vec<String>,
    /// Gemini's `RetryInfo`.
    retry_delay: Option<String>,
    /// The code where it is the number of an HTTP status.
    number: Option<u16>,
}

impl Refusal<'_> {
    /// The error to end the attempt with.
    ///
    /// A hint becomes [`ErrorKind::RetryAfter`], and only a 429 counts as a rate limit: an overloaded server (503, 529)
    /// that asks to wait uses up an attempt. A 429 without a hint waits 5 s; other passing failures are
    /// [`ErrorKind::Plain`], and the engine backs off.
    pub fn error(&self) -> Error {
        let said = Said::read(self.body);
        let kind = self.kind(&said);
        let next = match (&kind, self.status) {
            (ErrorKind::Park(Parked::Quota), _) => {
                "; the quota or spend cap has to be raised at the provider: then `abide resume` the run"
            }
            (ErrorKind::Park(_), _) => "; check the model's api_key and what it may do, then `abide resume` the run",
            (_, 300..=399) => "; set the model's base_url to the address it redirects to",
            (_, 404) => "; check the model's name and its base_url",
            _ => "",
        };
        let code = said.codes.first().filter(|code| !code.trim().is_empty());
        let code = code.map(|code| format!(" {}", quote(code, 100))).unwrap_or_default();
        let provider = self.provider.as_str();
        let what = if self.in_stream {
            format!("broke off its answer with an error{code}")
        } else {
            format!("answered {}{code}", self.status)
        };
        Error::new(kind, format!("the {provider} endpoint {what}: {}{next}", quote(&said.message, 1_000)))
    }

    fn kind(&self, said: &Said) -> ErrorKind {
        if self.is_spent(said) {
            return ErrorKind::Park(Parked::Quota);
        }
        if matches!(self.status, 401..=403) || said.has("API_KEY_INVALID") {
            return ErrorKind::Park(Parked::Credentials);
        }
        let rate_limit = self.status == 429;
        let advice = self.headers.get("x-should-retry").map(str::trim);
        let passing = match advice {
            Some("true") => true,
            // Nothing is lost by parking, and a limit is something that somebody can raise.
            Some("false") if rate_limit => return ErrorKind::Park(Parked::Quota),
            Some("false") => false,
            _ => matches!(self.status, 408 | 409 | 425 | 429 | 500..),
        };
        if !passing {
            return ErrorKind::Terminal;
        }
        match self.hint_ms(said) {
            Some(ms) if rate_limit => ErrorKind::RetryAfter { ms: ms.max(LEAST_MS), rate_limit },
            Some(ms) => ErrorKind::RetryAfter { ms, rate_limit },
            None if rate_limit => ErrorKind::RetryAfter { ms: UNHINTED_MS, rate_limit },
            None => ErrorKind::Plain,
        }
    }

    fn is_spent(&self, said: &Said) -> bool {
        let message = said.message.to_ascii_lowercase();
        said.codes.iter().any(|code| SPENT.contains(&code.as_str()) || code.ends_with("_spend_limit_exceeded"))
            || (self.status == 400 && SPENT_TEXTS.iter().any(|text| message.contains(text)))
            || (self.status == 429 && says_limit_zero(&message))
    }

    fn hint_ms(&self, said: &Said) -> Option<u64> {
        wait::asked(self.headers, self.now_ms)
            .or_else(|| said.retry_delay.as_deref().and_then(wait::duration))
            .or_else(|| wait::in_prose(&said.message))
            .or_else(|| wait::reset(self.headers, self.now_ms))
    }
}

/// The HTTP status that an error has elsewhere which came as an event of a stream: by its number, or else by its words.
pub(crate) fn status_of(body: &str) -> u16 {
    let said = Said::read(body);
    let named = said.codes.iter().find_map(|code| STATUSES.iter().find(|(name, _)| code.eq_ignore_ascii_case(name)));
    match (said.number, named) {
        (Some(number), _) => number,
        (None, Some((_, status))) => *status,
        (None, None) if said.codes.iter().any(|code| code.to_ascii_lowercase().starts_with("invalid_")) => 400,
        (None, None) => 500,
    }
}

/// Gemini's way to say that the plan has nothing of this at all: `limit: 0`, but not `limit: 0.5` or `limit: 05`.
fn says_limit_zero(message: &str) -> bool {
    message.split("limit: 0").skip(1).any(|after| {
        let mut after = after.chars();
        match after.next() {
            Some('.') => !after.next().is_some_and(|c| c.is_ascii_digit()),
            next => !next.is_some_and(|c| c.is_ascii_digit()),
        }
    })
}

impl Said {
    /// `{"error": {..}}` (Anthropic, `OpenAI`, Gemini, the last also within a list), `{"error": ".."}` (Ollama),
    /// `{"message": ..}`, `{"detail": ..}`, or any text.
    fn read(body: &str) -> Self {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        let parsed = parsed.get(0).unwrap_or(&parsed);
        let error = parsed.get("error").unwrap_or(parsed);
        let texts = [error.as_str(), text(error, "/message"), text(error, "/detail"), text(parsed, "/message")];
        let message = texts.into_iter().flatten().find(|text| !text.trim().is_empty()).unwrap_or(body);
        let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let codes = ["/details/error_code", "/code", "/status", "/type"].iter().filter_map(|at| text(error, at));
        let reasons = details.iter().filter_map(|detail| text(detail, "/reason"));
        Self {
            message: message.to_owned(),
            codes: codes.chain(reasons).map(str::to_owned).collect(),
            retry_delay: details.iter().find_map(|detail| text(detail, "/retryDelay")).map(str::to_owned),
            number: error.get("code").and_then(status_number),
        }
    }

    fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }
}

/// A number, or digits, from 400 to 599.
fn status_number(code: &Value) -> Option<u16> {
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|number| (400..600).contains(number))
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
