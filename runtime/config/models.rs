//! Finds the model that a name means (DESIGN section 9). It reads no key's value: a literal is kept as its place.

use std::collections::BTreeMap;
use std::path::Path;

use abide_llm::{ModelConfig, SecretRef, Vars, secret_in_address};

use super::abide_toml::{ModelEntry, Settings};
use super::error::{ConfigError, nearest};
use super::node::{At, join};
use super::preference::preferred;
use super::secrets::label;

/// What Claude Code's short names mean without an entry in `[models]`: the newest of each kind in the price table of
/// genai-prices 0.2.1.
const SHORT: [(&str, &str); 3] = [
    ("sonnet", "anthropic/claude-sonnet-5-5"),
    ("opus", "anthropic/claude-opus-5-5"),
    ("haiku", "anthropic/claude-haiku-5-5"),
];

/// The model of this name; none and `inherit` mean `[defaults].model`.
pub(super) fn named(
    settings: &Settings,
    root: &Path,
    name: Option<&str>,
    vars: &dyn Vars,
) -> Result<ModelConfig, ConfigError> {
    let find =
        |settings: &Settings, root: &Path, name: &str| find(settings, root, preferred(settings, root, name, vars)?);
    match name.filter(|name| *name != "inherit") {
        Some(name) => find(settings, root, name)?.ok_or_else(|| unknown(settings, name, "")),
        None => match settings.default_model.as_ref().filter(|default| default.value != "inherit") {
            Some(default) => find(settings, root, &default.value)?
                .ok_or_else(|| unknown(settings, &default.value, "").asked_at(&default.at)),
            None => Err(ConfigError::Model {
                problem: "no model is named: neither the agent nor [defaults] in abide.toml says which to use"
                    .to_owned(),
                help: format!(
                    "name one with --model, as `model:` in the agent's file, or in {}: [defaults] and below it model = \"{}\"",
                    root.join("abide.toml").display(),
                    SHORT.first().map_or("", |(_, model)| model)
                ),
            }),
        },
    }
}

/// The names of a model and of those that are asked in its place.
pub(super) fn with_fallbacks<'s>(settings: &'s Settings, name: &'s str) -> Vec<&'s str> {
    let fallback = settings.models.get(name).and_then(|entry| entry.fallback.as_ref());
    let others = fallback.into_iter().flat_map(|names| names.value.iter().map(String::as_str));
    std::iter::once(name).chain(others).collect()
}

fn find(settings: &Settings, root: &Path, name: &str) -> Result<Option<ModelConfig>, ConfigError> {
    if let Some(entry) = settings.models.get(name) {
        let mut model = from_entry(name, entry, root)?;
        let others = entry.fallback.iter().flat_map(|names| names.value.iter().map(|other| (other, &names.at)));
        for (other, at) in others {
            let by = || format!(" ([{}].fallback names it)", join("models", name));
            let found = match settings.models.get(other) {
                Some(entry) => Some(from_entry(other, entry, root)?),
                None => find(settings, root, other)?,
            };
            model.fallback.push(found.ok_or_else(|| unknown(settings, other, &by()).asked_at(at))?);
        }
        return Ok(Some(model));
    }
    let short = SHORT.iter().find(|(short, _)| *short == name).map(|(_, model)| *model);
    // Claude Code takes a model's full name, too.
    let full = name.starts_with("claude-").then(|| format!("anthropic/{name}"));
    Ok(ModelConfig::from_vendor_name(short.or(full.as_deref()).unwrap_or(name)))
}

pub(super) fn from_entry(name: &str, entry: &ModelEntry, root: &Path) -> Result<ModelConfig, ConfigError> {
    let path = join("models", name);
    let lacks = |key: &str, example: &str| {
        ConfigError::invalid(&entry.at, format!("[{path}] has no `{key}`"), format!("add a line: {example}"))
    };
    let Some(provider) = &entry.provider else { return Err(lacks("provider", "provider = \"openai\"")) };
    let Some(model) = &entry.model else { return Err(lacks("model", "model = \"the provider's name of it\"")) };
    if let Some(url) = &entry.base_url
        && let Some(what) = secret_in_address(&url.value)
    {
        return Err(ConfigError::invalid(
            &url.at,
            format!("{what} stands in [{path}].base_url, which is kept with every run"),
            "put it into a variable, and write `${NAME}` in its place",
        ));
    }
    let usual = ModelConfig::new(provider.value, model.value.clone());
    let secret = |key: &str, value: &At<String>| reference(value, &format!("models.{name}.{key}"), root);
    Ok(ModelConfig {
        base_url: entry.base_url.as_ref().map(|url| url.value.clone()),
        api_key: entry.api_key.as_ref().map(|value| secret("api_key", value)),
        max_tokens: entry.max_tokens.as_ref().and_then(|n| u32::try_from(n.value).ok()).or(usual.max_tokens),
        context_tokens: entry.context_tokens.as_ref().map(|n| n.value),
        temperature: entry.temperature.as_ref().map(|x| x.value),
        stop: entry.stop.as_ref().map(|texts| texts.value.clone()).unwrap_or_default(),
        attempts: entry.attempts.as_ref().map(|n| n.value),
        timeout_s: entry.timeout_s.as_ref().map(|n| n.value),
        idle_timeout_s: entry.idle_timeout_s.as_ref().map(|n| n.value),
        stream: entry.stream.as_ref().map(|flag| flag.value).or(usual.stream),
        headers: references(&entry.headers, &format!("models.{name}.headers"), root),
        cache: entry.cache.as_ref().map(|flag| flag.value).or(usual.cache),
        requests_per_minute: entry.requests_per_minute.as_ref().map(|n| n.value),
        tokens_per_minute: entry.tokens_per_minute.as_ref().map(|n| n.value),
        concurrency: entry.concurrency.as_ref().map(|n| n.value),
        structured: entry.structured.as_ref().map(|how| how.value),
        bounds: entry.bounds,
        price: entry.price,
        fallback_after_s: entry.fallback_after_s.as_ref().map(|n| n.value),
        ..usual
    })
}

/// A text with `${...}` as it is; of a literal only the place.
pub(super) fn reference(value: &At<String>, key: &str, root: &Path) -> SecretRef {
    if value.value.contains("${") {
        SecretRef::Template(value.value.clone())
    } else {
        SecretRef::File { file: label(&value.at.file, root), key: key.to_owned() }
    }
}

/// A table of such values; `key` is the table's own.
pub(super) fn references(values: &BTreeMap<String, At<String>>, key: &str, root: &Path) -> BTreeMap<String, SecretRef> {
    values.iter().map(|(name, value)| (name.clone(), reference(value, &format!("{key}.{name}"), root))).collect()
}

fn unknown(settings: &Settings, name: &str, by: &str) -> ConfigError {
    let known: Vec<&str> = settings.models.keys().map(String::as_str).collect();
    let near = nearest(name, known.iter().copied().chain(SHORT.iter().map(|(short, _)| *short)));
    let there = if known.is_empty() {
        "there are no [models] yet".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    ConfigError::Model {
        problem: format!("there is no model `{name}`{by}"),
        help: format!(
            "{near}{there}; add {} with provider and model to abide.toml, or name a vendor's: anthropic/NAME, openai/NAME, \
             gemini/NAME, ollama/NAME",
            format_args!("[{}]", join("models", name))
        ),
    }
}
