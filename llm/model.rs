//! How a model is reached: plain data that is pinned in a run. It never holds a resolved secret and never opens a connection.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::address;
use crate::charge::OUTPUT;
use crate::price::{Price, Priced};
use crate::redact::Redactor;
use crate::secret::{SecretRef, Vars, expand};
use crate::wire::Usage;

/// Seconds that a call may take when nothing else is said.
const TIMEOUT_S: u64 = 600;

/// Seconds of waiting after which a fallback is asked when nothing else is said.
const FALLBACK_AFTER_S: u64 = 60;
/// Seconds of silence within a streamed answer when nothing else is said.
const IDLE_TIMEOUT_S: u64 = 120;

/// The wire that is spoken. (The vendor is a matter of `base_url`: many speak `openai`.)
///
/// Azure is `openai` or `openai-responses` with the deployment's address (`.../openai/deployments/NAME?api-version=DATE`, or
/// `.../openai/v1`); its key goes into the header `api-key` there. Bedrock and Vertex are reached through their endpoints that speak
/// `openai` or `anthropic` with a key or token in a header: abide does not sign requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Provider {
    /// `OpenAI` Chat Completions.
    Openai,
    /// `OpenAI` Responses.
    OpenaiResponses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// Ollama's own `/api/chat`.
    Ollama,
}

impl Provider {
    /// Its name in a config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::OpenaiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }
}

/// How a model is asked for an answer in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Structured {
    /// By the wire's own field for a JSON schema.
    Native,
    /// By a tool that it has to call with the answer.
    Tool,
    /// By words; the answer is then searched for the JSON.
    Text,
}

/// How much a model may say in one place of its JSON. A model that is too small to come to an end by itself needs it, and a server that holds it
/// to schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bounds {
    /// The most characters of a text (`maxLength`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<u32>,
    /// The most entries of a list (`maxItems`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
}

/// One entry of `[models]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The wire.
    pub provider: Provider,
    /// Where the API is: a template text, expanded at each call (see [`ModelConfig::base_url_template`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The model's name at its provider.
    pub model: String,
    /// The key; none is sent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
    /// The most tokens an answer may have. Anthropic's wire insists on a number, so there [`ModelConfig::new`] sets one: 8,192, or the 4,096
    /// that the oldest Claude models allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The most tokens that a request and its answer may have together, the model's window: a conversation that nearly fills it is
    /// summarized. Without it nobody watches that; [`ModelConfig::listed_context`] knows those of many models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The sampling temperature; the provider's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The model stops before it would say one of these; `openai-responses` knows no such thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How often one call is made before it has failed for good; without it as often as it takes, or three times where there is a fallback.
    /// Waiting as the provider asks uses up none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Seconds for a call from its start to the end of its answer; 600 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Seconds for which a streamed answer may fall silent once the model has begun to speak; 120 without it. Until it
    /// has, only `timeout_s` counts: it may be reading a long prompt, or reasoning without showing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_s: Option<u64>,
    /// Is the answer asked for as a stream? [`ModelConfig::new`] says yes; for endpoints that cannot, `false`. What was pinned
    /// without this was asked for whole, and still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Is the provider told what to keep in its cache? Only Anthropic wants to be: [`ModelConfig::new`] says yes there; for
    /// endpoints that refuse the marks, `false`. What was pinned without this has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// The most requests in any minute, over all runs; learnt from answers without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// The most tokens in any minute, over all runs; learnt from answers without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The most requests at the same time, over all runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What it costs; the table of `genai-prices` tells without it, as far as it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Models that are asked instead, in this order, when this one refuses for good, or when waiting for it would take longer
    /// than `fallback_after_s`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<ModelConfig>,
    /// Seconds of waiting after which a fallback is asked instead; 60 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_after_s: Option<u64>,
    /// How an answer in JSON is asked for; what the wire does best without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<Structured>,
    /// What is added to every schema that the model is given: of tools, and of answers in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Further headers; one of these replaces a header that abide would send itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretRef>,
}

/// Claude 3 Opus, Sonnet and Haiku allow no longer answers (Anthropic, "Models overview").
fn is_small(model: &str) -> bool {
    ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku"].iter().any(|name| model.contains(name))
}

impl ModelConfig {
    /// A model on this wire at the vendor's usual address, without a key.
    pub fn new(provider: Provider, model: impl Into<String>) -> Self {
        let model = model.into();
        Self {
            provider,
            base_url: None,
            max_tokens: (provider == Provider::Anthropic).then(|| if is_small(&model) { 4_096 } else { OUTPUT }),
            model,
            api_key: None,
            context_tokens: None,
            temperature: None,
            stop: Vec::new(),
            attempts: None,
            timeout_s: None,
            stream: Some(true),
            structured: None,
            bounds: None,
            cache: (provider == Provider::Anthropic).then_some(true),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: None,
            price: None,
            fallback: Vec::new(),
            fallback_after_s: None,
            idle_timeout_s: None,
            headers: BTreeMap::new(),
        }
    }

    /// The entry for `anthropic/NAME`, `openai/NAME`, `gemini/NAME` or `ollama/NAME`, with the vendor's usual environment
    /// variables as references; `None` for any other name.
    pub fn from_vendor_name(name: &str) -> Option<Self> {
        let (vendor, model) = name.split_once('/')?;
        if model.is_empty() {
            return None;
        }
        let (provider, base_url, key) = match vendor {
            "anthropic" => {
                (Provider::Anthropic, "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}", Some("ANTHROPIC_API_KEY"))
            }
            "openai" => (Provider::Openai, "${OPENAI_BASE_URL:-https://api.openai.com/v1}", Some("OPENAI_API_KEY")),
            "gemini" => (
                Provider::Gemini,
                "${GEMINI_BASE_URL:-https://generativelanguage.googleapis.com/v1beta}",
                Some("GEMINI_API_KEY"),
            ),
            "ollama" => (Provider::Ollama, "${OLLAMA_HOST:-http://127.0.0.1:11434}", None),
            _ => return None,
        };
        Some(Self {
            base_url: Some(base_url.to_owned()),
            api_key: key.map(SecretRef::variable),
            ..Self::new(provider, model)
        })
    }

    /// Where the API is, as a template text: `base_url`, or else the address that the wire's own vendor documents.
    pub fn base_url_template(&self) -> &str {
        self.base_url.as_deref().unwrap_or(match self.provider {
            Provider::Openai | Provider::OpenaiResponses => "https://api.openai.com/v1",
            Provider::Anthropic => "https://api.anthropic.com",
            Provider::Gemini => "https://generativelanguage.googleapis.com/v1beta",
            Provider::Ollama => "http://127.0.0.1:11434",
        })
    }

    /// Seconds that a call may take, at least one.
    pub fn timeout_s(&self) -> u64 {
        self.timeout_s.unwrap_or(TIMEOUT_S).max(1)
    }

    /// Is its price known: its own, or in the table of `genai-prices`?
    pub fn has_price(&self, vars: &dyn Vars) -> bool {
        self.nano_usd(&Usage { input_tokens: 1, output_tokens: 1, ..Usage::default() }, vars).is_some()
    }

    /// What this usage costs today, in billionths of a US dollar; `None` if nobody knows.
    pub fn nano_usd(&self, usage: &Usage, vars: &dyn Vars) -> Option<u64> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        self.nano_usd_at(usage, None, now_ms, vars)
    }

    /// What it has cost at this time (Unix milliseconds) if `served` is the model that has answered, as the provider names it.
    pub fn nano_usd_at(&self, usage: &Usage, served: Option<&str>, at_ms: i64, vars: &dyn Vars) -> Option<u64> {
        let url = expand(self.base_url_template(), vars).unwrap_or_default();
        Priced { own: self.price, model: self.model.clone(), url }.nano_usd(usage, served, at_ms)
    }

    /// The model's window in tokens as the table of `genai-prices` has it; `None` if it has none. A run that pins it is not concerned
    /// with what a later table says.
    pub fn listed_context(&self, vars: &dyn Vars) -> Option<u64> {
        let url = expand(self.base_url_template(), vars).unwrap_or_default();
        Priced { own: None, model: self.model.clone(), url }.context_tokens()
    }

    /// Milliseconds that a call waits at most before a fallback is asked; `None` if there is none.
    pub(crate) fn patience_ms(&self) -> Option<u64> {
        let seconds = self.fallback_after_s.unwrap_or(FALLBACK_AFTER_S);
        (!self.fallback.is_empty()).then(|| seconds.saturating_mul(1_000))
    }

    /// Seconds for which a streamed answer may fall silent, at least one.
    pub fn idle_timeout_s(&self) -> u64 {
        self.idle_timeout_s.unwrap_or(IDLE_TIMEOUT_S).max(1)
    }

    /// Is the answer asked for as a stream?
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Is the provider told what to keep in its cache?
    pub fn caches(&self) -> bool {
        self.provider == Provider::Anthropic && self.cache.unwrap_or(false)
    }

    /// Is it a deployment on Azure? Then the model's name says nothing of what it is.
    pub(crate) fn is_azure(&self) -> bool {
        let url = self.base_url_template();
        [".azure.com", "api-version=", "AZURE"].iter().any(|mark| url.contains(mark))
    }

    /// Before Gemini 3: either tools or a format, no signatures of calls, no images in results. An unknown name is taken for a
    /// new one.
    pub(crate) fn is_old_gemini(&self) -> bool {
        let name = self.model.rsplit('/').next().unwrap_or_default();
        let version = name.strip_prefix("gemini-").and_then(|rest| rest.chars().next()?.to_digit(10));
        version.is_some_and(|major| major < 3)
    }

    /// Tells the redactor the values of the key and the headers, as far as they are set. Best done before anything is
    /// written: what is written earlier cannot be hidden any more.
    pub fn teach(&self, vars: &dyn Vars, redactor: &Redactor) {
        for reference in self.api_key.iter().chain(self.headers.values()) {
            reference.teach(vars, redactor);
        }
        address::teach(self.base_url_template(), vars, redactor);
        self.fallback.iter().for_each(|model| model.teach(vars, redactor));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn where_the_wire_insists_on_a_limit_there_is_one() {
        let limit = |provider, name: &str| ModelConfig::new(provider, name).max_tokens;
        assert_eq!(limit(Provider::Anthropic, "claude-sonnet-5-5"), Some(8_192));
        assert_eq!(limit(Provider::Anthropic, "anthropic/claude-3-opus-20240229"), Some(4_096));
        assert_eq!(limit(Provider::Openai, "gpt-5"), None);
    }

    #[test]
    fn a_config_entry_reads_and_pins_without_values() {
        let entry = json!({
            "provider": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "smollm2",
            "api_key": "${LOCAL_KEY:-none}", "headers": {"x-team": {"file": "abide.toml", "key": "models.local.headers.x-team"}},
        });
        let model: ModelConfig = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!((model.timeout_s(), model.streams(), model.caches()), (600, false, false));
        assert_eq!(serde_json::to_value(&model).unwrap(), entry);
    }

    #[test]
    fn new_entries_stream_and_anthropic_caches() {
        let of = |provider| ModelConfig::new(provider, "m");
        assert!(of(Provider::Openai).streams() && !of(Provider::Openai).caches());
        assert!(of(Provider::Anthropic).streams() && of(Provider::Anthropic).caches());
        let off = ModelConfig { stream: Some(false), cache: Some(false), ..of(Provider::Anthropic) };
        assert!(!off.streams() && !off.caches());
    }

    #[test]
    fn azure_is_known_by_its_address() {
        for (base_url, azure) in [
            ("https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21", true),
            ("https://gateway.example/d?api-version=2024-10-21", true),
            ("${AZURE_OPENAI_ENDPOINT}/openai/v1", true),
            ("https://api.openai.com/v1", false),
        ] {
            let model = ModelConfig { base_url: Some(base_url.into()), ..ModelConfig::new(Provider::Openai, "d") };
            assert_eq!(model.is_azure(), azure, "{base_url}");
        }
    }

    #[test]
    fn every_wire_has_its_name() {
        for provider in
            [Provider::Openai, Provider::OpenaiResponses, Provider::Anthropic, Provider::Gemini, Provider::Ollama]
        {
            assert_eq!(serde_json::to_value(provider).unwrap(), json!(provider.as_str()));
            assert!(ModelConfig::new(provider, "m").base_url_template().starts_with("http"));
        }
    }

    #[test]
    fn vendor_names_bring_their_variables() {
        let model = ModelConfig::from_vendor_name("anthropic/claude-x").unwrap();
        assert_eq!((model.provider, model.model.as_str()), (Provider::Anthropic, "claude-x"));
        assert_eq!(model.api_key, Some(SecretRef::variable("ANTHROPIC_API_KEY")));

        let model = ModelConfig::from_vendor_name("openai/org/name").unwrap();
        assert_eq!((model.provider, model.model.as_str()), (Provider::Openai, "org/name"));
        assert_eq!(model.base_url_template(), "${OPENAI_BASE_URL:-https://api.openai.com/v1}");

        let model = ModelConfig::from_vendor_name("ollama/m").unwrap();
        assert_eq!((model.provider, model.api_key), (Provider::Ollama, None));
        let model = ModelConfig::from_vendor_name("gemini/m").unwrap();
        assert_eq!((model.provider, model.api_key), (Provider::Gemini, Some(SecretRef::variable("GEMINI_API_KEY"))));
        for name in ["local", "openai/", "/m", "other/m", ""] {
            assert_eq!(ModelConfig::from_vendor_name(name), None, "{name}");
        }
    }
}
