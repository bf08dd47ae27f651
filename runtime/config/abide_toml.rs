//! Reads `abide.toml` files and merges them key by key, the nearest first (DESIGN section 9). Each value remembers its
//! file and line; nothing is expanded, resolved or trusted here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use abide_engine::Effect;
use abide_llm::{Bounds, Limit, Policy, Price, Provider, Structured, ToolFilter};
use abide_mcp::Protocol;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::agent_file::AgentDef;
use super::discover::read_text;
use super::error::{ConfigError, Origin, Place};
use super::keys;
use super::limits::Limits;
use super::node::{At, KeyDoc, Node, Reader, Table, Value, as_text, join, merge};
use super::oauth::OAuthEntry;
use super::parse::toml_table;
use super::queues;
use super::workflows::{self, WorkflowDef};
use crate::Queue;

/// What all files say together. It has no `Debug`: literal keys are in it.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) models: BTreeMap<String, ModelEntry>,
    pub(super) servers: BTreeMap<String, ServerEntry>,
    pub(super) tools: BTreeMap<String, ToolEntry>,
    pub(super) default_model: Option<At<String>>,
    pub(super) budget: Limit,
    pub(super) limits: Limits,
    pub(super) workflows: BTreeMap<String, WorkflowDef>,
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) agents: BTreeMap<String, AgentDef>,
}

/// One `[models.NAME]`.
pub(super) struct ModelEntry {
    pub(super) at: Place,
    pub(super) provider: Option<At<Provider>>,
    pub(super) model: Option<At<String>>,
    pub(super) base_url: Option<At<String>>,
    pub(super) api_key: Option<At<String>>,
    pub(super) max_tokens: Option<At<u64>>,
    pub(super) context_tokens: Option<At<u64>>,
    pub(super) temperature: Option<At<f64>>,
    pub(super) stop: Option<At<Vec<String>>>,
    pub(super) attempts: Option<At<u32>>,
    pub(super) timeout_s: Option<At<u64>>,
    pub(super) idle_timeout_s: Option<At<u64>>,
    pub(super) stream: Option<At<bool>>,
    pub(super) cache: Option<At<bool>>,
    pub(super) headers: BTreeMap<String, At<String>>,
    pub(super) requests_per_minute: Option<At<u32>>,
    pub(super) tokens_per_minute: Option<At<u64>>,
    pub(super) concurrency: Option<At<u32>>,
    pub(super) price: Option<Price>,
    pub(super) speed: Option<At<u64>>,
    pub(super) intelligence: Option<At<u64>>,
    pub(super) structured: Option<At<Structured>>,
    pub(super) bounds: Option<Bounds>,
    pub(super) fallback: Option<At<Vec<String>>>,
    pub(super) fallback_after_s: Option<At<u64>>,
}

/// One `[servers.NAME]`.
pub(super) struct ServerEntry {
    pub(super) at: Place,
    pub(super) trust: Option<At<bool>>,
    pub(super) command: Option<At<String>>,
    pub(super) args: Option<At<Vec<String>>>,
    pub(super) env: BTreeMap<String, At<String>>,
    pub(super) cwd: Option<At<String>>,
    pub(super) url: Option<At<String>>,
    pub(super) headers: BTreeMap<String, At<String>>,
    pub(super) protocol: Option<At<Protocol>>,
    pub(super) description: Option<At<String>>,
    pub(super) roots: Option<At<bool>>,
    pub(super) sampling: Option<At<Policy>>,
    pub(super) oauth: Option<OAuthEntry>,
}

/// One `[tools."GLOB"]`.
pub(super) struct ToolEntry {
    pub(super) policy: Option<At<Policy>>,
    pub(super) effect: Option<At<Effect>>,
    pub(super) timeout_s: Option<At<u64>>,
    pub(super) max_timeout_s: Option<At<u64>>,
    pub(super) attempts: Option<At<u32>>,
    pub(super) reconcile: Option<At<String>>,
}

/// Reads and merges files, the nearest first. Every file is checked on its own, too: a mistake is an error wherever it
/// stands.
pub(super) fn load(files: &[(PathBuf, Origin)]) -> Result<Settings, ConfigError> {
    let mut merged = Table::new();
    for (path, origin) in files {
        let table = parse(&read_text(path)?, path, *origin)?;
        merge(&mut merged, table);
    }
    read(&merged)
}

/// Parses and checks one file.
pub(super) fn parse(text: &str, path: &Path, origin: Origin) -> Result<Table, ConfigError> {
    let table = toml_table(text, &Place::file(path, origin))?;
    read(&table)?;
    Ok(table)
}

fn read(table: &Table) -> Result<Settings, ConfigError> {
    let top = Reader::new("", table, keys::SECTIONS)?;
    let single = |key: &str, known: &'static [KeyDoc]| match top.node(key) {
        Some(node) => Ok(Some(Reader::new(key, node.table(key, &format!("[{key}]"))?, known)?)),
        None => Ok(None),
    };
    let mut settings = Settings {
        models: section(&top, "models", model)?,
        servers: section(&top, "servers", server)?,
        tools: section(&top, "tools", tool)?,
        workflows: section(&top, "workflows", workflows::read)?,
        queues: section(&top, "queues", queues::read)?,
        agents: section(&top, "agents", AgentDef::read_table)?,
        ..Settings::default()
    };
    if let Some(defaults) = single("defaults", keys::DEFAULTS)? {
        settings.default_model = defaults.text("model")?;
    }
    if let Some(budget) = single("budget", keys::BUDGET)? {
        settings.budget = Limit {
            max_cost_usd: budget.amount("max_cost_usd")?.map(|x| x.value),
            max_tokens: budget.count("max_tokens")?.map(|n| n.value),
            max_calls: budget.count("max_turns")?.map(|n| n.value),
            max_time_s: budget.count("max_time_s")?.map(|n| n.value),
        };
    }
    if let Some(table) = single("limits", keys::LIMITS)? {
        settings.limits = Limits::read(&table)?;
    }
    Ok(settings)
}

/// The named tables of a section.
fn section<T>(
    top: &Reader<'_>,
    key: &str,
    read: impl Fn(&str, &str, &Node, &Table) -> Result<T, ConfigError>,
) -> Result<BTreeMap<String, T>, ConfigError> {
    let Some(node) = top.node(key) else { return Ok(BTreeMap::new()) };
    let example = keys::SECTIONS.iter().find(|section| section.key == key).map_or("", |section| section.example);
    let entries = node.table(key, example)?.iter().map(|(name, node)| {
        let path = join(key, name);
        if name.trim().is_empty() {
            let problem = format!("an entry of `{key}` has an empty name");
            return Err(ConfigError::invalid(&node.at, problem, format!("give it one, as in {example}")));
        }
        Ok((name.clone(), read(name, &path, node, node.table(&path, example)?)?))
    });
    entries.collect()
}

fn model(_name: &str, path: &str, node: &Node, table: &Table) -> Result<ModelEntry, ConfigError> {
    let keys = Reader::new(path, table, keys::MODEL)?;
    Ok(ModelEntry {
        at: node.at.clone(),
        provider: word(&keys, "provider", "one of openai, openai-responses, anthropic, gemini, ollama")?,
        model: keys.text("model")?,
        base_url: keys.text("base_url")?,
        api_key: keys.text("api_key")?,
        max_tokens: keys.get("max_tokens", "a whole number from 1 to 4294967295", |value| match value {
            Value::Int(n) => u32::try_from(*n).ok().filter(|n| *n > 0).map(u64::from),
            _ => None,
        })?,
        context_tokens: keys.count("context_tokens")?,
        temperature: keys.amount("temperature")?,
        stop: keys.texts("stop")?,
        attempts: small(&keys, "attempts")?,
        timeout_s: keys.count("timeout_s")?,
        idle_timeout_s: keys.count("idle_timeout_s")?,
        stream: keys.flag("stream")?,
        cache: keys.flag("cache")?,
        headers: keys.map("headers")?,
        requests_per_minute: small(&keys, "requests_per_minute")?,
        tokens_per_minute: keys.count("tokens_per_minute")?,
        concurrency: small(&keys, "concurrency")?,
        price: price(&keys)?,
        speed: keys.count("speed")?,
        intelligence: keys.count("intelligence")?,
        structured: word(&keys, "structured", "one of native, tool, text")?,
        bounds: bounds(&keys)?,
        fallback: keys.get("fallback", "a model's name, or a list of them", |value| match value {
            Value::Str(name) => Some(vec![name.clone()]),
            Value::List(items) => items.iter().map(as_text).collect(),
            _ => None,
        })?,
        fallback_after_s: keys.count("fallback_after_s")?,
    })
}

pub(super) fn small(keys: &Reader<'_>, key: &str) -> Result<Option<At<u32>>, ConfigError> {
    keys.get(key, "a whole number from 1 to 4294967295", |value| match value {
        Value::Int(n) => u32::try_from(*n).ok().filter(|n| *n > 0),
        _ => None,
    })
}

fn price(keys: &Reader<'_>) -> Result<Option<Price>, ConfigError> {
    let Some(node) = keys.node("price") else { return Ok(None) };
    let path = keys.path_of("price");
    let price = Reader::new(&path, node.table(&path, "price = { input = 3.0, output = 15.0 }")?, keys::PRICE)?;
    let amount = |key: &str| Ok::<_, ConfigError>(price.amount(key)?.map(|x| x.value));
    let (Some(input), Some(output)) = (amount("input")?, amount("output")?) else {
        let help = "write it like this: price = { input = 3.0, output = 15.0 }";
        return Err(ConfigError::invalid(&node.at, format!("`{path}` needs `input` and `output`"), help));
    };
    Ok(Some(Price { input, output, cache_read: amount("cache_read")?, cache_write: amount("cache_write")? }))
}

fn bounds(keys: &Reader<'_>) -> Result<Option<Bounds>, ConfigError> {
    let Some(node) = keys.node("bounds") else { return Ok(None) };
    let path = keys.path_of("bounds");
    let bounds = Reader::new(&path, node.table(&path, "bounds = { text = 200, items = 3 }")?, keys::BOUNDS)?;
    let most = |key: &str| Ok::<_, ConfigError>(small(&bounds, key)?.map(|n| n.value));
    Ok(Some(Bounds { text: most("text")?, items: most("items")? }))
}

fn server(_name: &str, path: &str, node: &Node, table: &Table) -> Result<ServerEntry, ConfigError> {
    let keys = Reader::new(path, table, keys::SERVER)?;
    Ok(ServerEntry {
        at: node.at.clone(),
        trust: keys.flag("trust")?,
        command: keys.text("command")?,
        args: keys.texts("args")?,
        env: keys.map("env")?,
        cwd: keys.text("cwd")?,
        url: keys.text("url")?,
        headers: keys.map("headers")?,
        description: keys.text("description")?,
        roots: keys.flag("roots")?,
        sampling: word(&keys, "sampling", "one of allow, ask, deny")?,
        oauth: OAuthEntry::read(&keys)?,
        protocol: word(&keys, "protocol", "\"2025-11-25\" or \"2026-07-28\"")?,
    })
}

fn tool(name: &str, path: &str, node: &Node, table: &Table) -> Result<ToolEntry, ConfigError> {
    if let Err(why) = ToolFilter::check(name) {
        let help = "write names with `*` for any characters, as in [tools.\"memory_*\"]";
        return Err(ConfigError::invalid(&node.at, format!("`{name}` is not a pattern: {why}"), help));
    }
    let keys = Reader::new(path, table, keys::TOOL)?;
    Ok(ToolEntry {
        policy: word(&keys, "policy", "one of allow, ask, deny")?,
        effect: word(&keys, "effect", "one of pure, idempotent, once")?,
        timeout_s: keys.count("timeout_s")?,
        max_timeout_s: keys.count("max_timeout_s")?,
        attempts: small(&keys, "attempts")?,
        reconcile: keys.text("reconcile")?,
    })
}

/// One of a few words, as serde knows them.
pub(super) fn word<T: DeserializeOwned>(
    keys: &Reader<'_>,
    key: &str,
    wanted: &str,
) -> Result<Option<At<T>>, ConfigError> {
    keys.get(key, wanted, |value| match value {
        Value::Str(word) => serde_json::from_value(Json::String(word.clone())).ok(),
        _ => None,
    })
}
