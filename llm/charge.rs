//! What a call of a model asks of its host before it may leave: a place at the provider's account, and the most that it can cost. Pure
//! functions of the request and the pinned agent; they never count and never wait.

use std::sync::Arc;

use abide_engine::{Admission, Budget, Ceiling, Ctx, Rates, Spent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Agent, scope_name};
use crate::model::{ModelConfig, Provider};
use crate::price::{Priced, nano_of_usd};
use crate::secret::{SecretRef, Vars, expand};
use crate::wire::{self, Usage};

/// Tokens of an answer that is reserved where neither model nor agent names a limit, though a budget does.
pub(crate) const OUTPUT: u32 = 8_192;
/// What an image or document counts as at least, whatever its bytes.
const MEDIA_TOKENS: u64 = 6_000;
/// A text without a space that is longer than this is data in base64, not something to read.
const DATA: usize = 4_096;

/// What may be spent, as users write it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// Tokens sent and received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Calls of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u64>,
    /// Seconds from the first call to the start of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time_s: Option<u64>,
}

impl Limit {
    /// True if nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn ceiling(&self) -> Ceiling {
        Ceiling {
            calls: self.max_calls,
            tokens: self.max_tokens,
            nano_usd: self.max_cost_usd.map(nano_of_usd),
            ms: self.max_time_s.map(|s| s.saturating_mul(1_000)),
        }
    }
}

/// What the last call has shown: how long its request was, and what that came to. The next request repeats it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
}

/// The most tokens that a request can come to: what the last one is known to have been, and of the rest a token for every two bytes, which no
/// tokenizer in use exceeds by much for any language.
pub(crate) fn input_tokens(body: &Value, shown: Shown) -> (u64, u64) {
    let bytes = weight(body);
    (bytes, shown.tokens.saturating_add(bytes.saturating_sub(shown.bytes).div_ceil(2)))
}

/// The tokens that a request probably comes to: of what is new, one for every three bytes.
pub(crate) fn likely_tokens(body: &Value, shown: Shown) -> u64 {
    shown.tokens.saturating_add(weight(body).saturating_sub(shown.bytes).div_ceil(3))
}

/// Bytes of what is said in it, with so many for what is not said in words as that comes to.
pub(crate) fn weight(body: &Value) -> u64 {
    let (mut bytes, mut media) = (0, 0);
    weigh(body, &mut bytes, &mut media);
    bytes + media * MEDIA_TOKENS * 2
}

fn weigh(value: &Value, bytes: &mut u64, media: &mut u64) {
    // Quotes, commas and braces come to tokens, too.
    *bytes += 2;
    match value {
        Value::String(text) if text.len() > DATA && !text.contains(char::is_whitespace) => {
            *media += 1;
            *bytes += text.len() as u64 / 50;
        }
        Value::String(text) => *bytes += text.len() as u64,
        Value::Array(items) => items.iter().for_each(|item| weigh(item, bytes, media)),
        Value::Object(fields) => {
            for (name, item) in fields {
                *bytes += name.len() as u64;
                weigh(item, bytes, media);
            }
        }
        Value::Number(_) => *bytes += 8,
        Value::Bool(_) | Value::Null => *bytes += 4,
    }
}

/// The name under which a provider's account and model are counted, for all runs that reach it alike: never a key's value.
pub(crate) fn service(model: &ModelConfig) -> String {
    let key = match &model.api_key {
        Some(SecretRef::Template(text)) if text.contains("${") => text.clone(),
        Some(SecretRef::Template(_)) => "(a key)".to_owned(),
        Some(SecretRef::File { file, key }) => format!("{file}:{key}"),
        None => "-".to_owned(),
    };
    // Whoever is named before the host, and what stands in a query, may be secret.
    let url = model.base_url_template();
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let url = url.rsplit_once('@').map_or(url, |(_, host)| host);
    format!("{} {url} {key} {}", model.provider.as_str(), model.model)
}

/// Who pays for a call, and within what.
pub(crate) struct Payer<'a> {
    pub(crate) name: Arc<str>,
    pub(crate) own: Limit,
    pub(crate) run: &'a Limit,
    pub(crate) priority: i32,
}

impl<'a> Payer<'a> {
    pub(crate) fn agent(agent: &'a Agent) -> Self {
        let (name, own) = (scope_name(&agent.name).into(), agent.budget);
        Self { name, own, run: &agent.run_budget, priority: agent.priority }
    }
}

/// The run's time, for prices that change.
pub(crate) fn now_ms(ctx: &Ctx) -> i64 {
    ctx.now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// What an answer says that it has used, and which model it came from.
type Used = (Usage, Option<String>);

/// What a chat's answer says.
pub(crate) fn of_reply(provider: Provider, body: &Value) -> Used {
    wire::parse(provider, body).map(|reply| (reply.usage, reply.model)).unwrap_or_default()
}

/// What an answer of vectors says.
pub(crate) fn of_vectors(provider: Provider, body: &Value) -> Used {
    (wire::embed::usage(provider, body), None)
}

/// What a reply has cost, in billionths of a US dollar; `None` if nobody knows.
pub(crate) fn cost(
    model: &ModelConfig,
    vars: &dyn Vars,
    usage: &Usage,
    served: Option<&str>,
    now_ms: i64,
) -> Option<u64> {
    model.nano_usd_at(usage, served, now_ms, vars)
}

/// What a call asks for that uses at most so many tokens; `read` tells what its answer says.
pub(crate) fn admission(
    payer: &Payer<'_>,
    model: &Arc<ModelConfig>,
    vars: &dyn Vars,
    (input, output): (u64, u64),
    read: fn(Provider, &Value) -> Used,
    now_ms: i64,
) -> Admission {
    let url = expand(model.base_url_template(), vars).unwrap_or_default();
    let priced = Priced { own: model.price, model: model.model.clone(), url };
    let most = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    let budget = |spender: Option<Arc<str>>, limit: &Limit| Budget { spender, ceiling: limit.ceiling() };
    let spender = payer.name.clone();
    let budgets = [(None, payer.run), (Some(spender.clone()), &payer.own)];
    let provider = model.provider;
    let most = Spent {
        input_tokens: input,
        output_tokens: output,
        nano_usd: priced.nano_usd(&most, None, now_ms),
        ..Spent::default()
    };
    let spent = move |answer: &str| {
        let (usage, served) = serde_json::from_str(answer).map(|body| read(provider, &body)).unwrap_or_default();
        Spent {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            nano_usd: priced.nano_usd(&usage, served.as_deref(), now_ms),
        }
    };
    Admission {
        service: service(model).into(),
        rates: Rates {
            requests: model.requests_per_minute,
            tokens: model.tokens_per_minute,
            concurrency: model.concurrency,
        },
        priority: payer.priority,
        most,
        spender,
        budgets: budgets
            .into_iter()
            .filter(|(_, limit)| !limit.is_none())
            .map(|(of, limit)| budget(of, limit))
            .collect(),
        patience_ms: model.patience_ms(),
        longest_ms: model.timeout_s().saturating_mul(1_000).saturating_add(60_000),
        spent: Arc::new(spent),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_weighed_from_above_and_what_is_known_is_not_weighed_again() {
        let short = json!({"messages": [{"role": "user", "content": "four words of text"}]});
        let (bytes, tokens) = input_tokens(&short, Shown::default());
        assert!((20..=60).contains(&tokens), "{tokens}");
        let longer = json!({"messages": [{"role": "user", "content": "four words of text"}, {"role": "user", "content": "x".repeat(1_000)}]});
        let (_, all) = input_tokens(&longer, Shown { bytes, tokens: 9 });
        assert!((509..609).contains(&all), "{all}");
        let image = json!({"messages": [{"content": [{"type": "image", "data": "A".repeat(1_000_000)}]}]});
        let (_, tokens) = input_tokens(&image, Shown::default());
        assert!((6_000..30_000).contains(&tokens), "{tokens}");
    }
}
