//! What is said of an agent by keys, be it the front matter of a file or a table of `abide.toml`: values by type, and errors that show how
//! a key is written there. It gives no key a meaning.

use std::collections::BTreeMap;
use std::path::Path;

use super::agent_file::split_list;
use super::error::{ConfigError, Origin, Place, nearest};
use super::front_matter;
use super::keys;
use super::node::{Node, Table, Value};

/// Keys that mean something here, each with a line that sets it.
const KEYS: [(&str, &str); 24] = [
    ("name", "name: researcher"),
    ("description", "description: Finds facts"),
    ("model", "model: sonnet"),
    ("tools", "tools: memory_*, mcp__filesystem__read_file"),
    ("disallowedTools", "disallowedTools: memory_delete_*"),
    ("mcpServers", "mcpServers: [filesystem, memory]"),
    ("servers", "servers: [filesystem, memory]"),
    ("maxTurns", "maxTurns: 10"),
    ("max_turns", "max_turns: 10"),
    ("max_cost_usd", "max_cost_usd: 0.50"),
    ("max_tokens", "max_tokens: 100000"),
    ("max_time_s", "max_time_s: 600"),
    ("priority", "priority: 5"),
    ("queue", "queue: reports"),
    ("tool_choice", "tool_choice: required"),
    ("toolChoice", "toolChoice: required"),
    ("resources", "resources: [\"docs:file:///notes.md\"]"),
    ("skills", "skills: [review]"),
    ("ask_person", "ask_person: true"),
    ("ask_timeout_s", "ask_timeout_s: 3600"),
    ("template", "template: true"),
    ("memory", "memory: support"),
    ("memory_turns", "memory_turns: 20"),
    ("memory_chars", "memory_chars: 40000"),
];

/// Keys of Claude Code that change nothing here.
const IGNORED: [&str; 5] = ["color", "background", "isolation", "effort", "initialPrompt"];

/// Keys of Claude Code that someone may rely on, and that have no effect here.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("hooks", "abide runs no hooks of files"),
    ("permissionMode", "abide asks by the [tools] tables of abide.toml instead"),
];

/// The keys of one agent on their way to an [`AgentDef`](super::AgentDef).
pub(super) struct Front {
    keys: Table,
    /// True for a table of `abide.toml`.
    is_toml: bool,
    pub(super) file: Place,
    pub(super) warnings: Vec<String>,
}

impl Front {
    /// The front matter of a file and what follows it.
    pub(super) fn read<'a>(text: &'a str, path: &Path, origin: Origin) -> Result<(Self, &'a str), ConfigError> {
        let file = Place::file(path, origin);
        let (keys, body) = front_matter::split(text, &file)?;
        Ok((Self { keys: keys.unwrap_or_default(), is_toml: false, file, warnings: Vec::new() }, body))
    }

    /// A table of `abide.toml` that stands there.
    pub(super) fn of_table(keys: Table, at: Place) -> Self {
        Self { keys, is_toml: true, file: at, warnings: Vec::new() }
    }

    /// The lines of its keys. (Of a table that several files make up, those of the nearest.)
    pub(super) fn lines(&self) -> BTreeMap<String, usize> {
        let here = self.keys.iter().filter(|(_, node)| node.at.file == self.file.file);
        here.map(|(key, node)| (key.clone(), node.at.line)).collect()
    }

    /// Warns of keys without effect. One that is nearly a known key is an error: a misspelt `tools` would allow
    /// everything.
    pub(super) fn check_keys(&mut self) -> Result<(), ConfigError> {
        let known = || KEYS.iter().map(|(key, _)| *key);
        for (key, node) in &self.keys {
            if known().any(|name| name == key) || IGNORED.contains(&key.as_str()) {
                continue;
            }
            if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(name, _)| name == key) {
                self.warnings.push(format!("{}: `{key}` has no effect: {why}", node.at));
                continue;
            }
            let meant = if fold(key) == "allowedtools" { Some("tools") } else { nearest(key, known()) };
            match meant.filter(|near| fold(key) == "allowedtools" || strsim::osa_distance(&fold(key), &fold(near)) <= 2)
            {
                Some(near) => {
                    let help = format!("did you mean `{near}`? Write it like this: {}", self.example(near));
                    return Err(ConfigError::invalid(&node.at, format!("unknown key `{key}`"), help));
                }
                None => self.warnings.push(format!("{}: the key `{key}` is not known and has no effect", node.at)),
            }
        }
        Ok(())
    }

    /// The value of a key; an empty one counts as absent.
    pub(super) fn node(&self, key: &str) -> Option<&Node> {
        self.keys.get(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// How the tools that it may not see are called: `abide.toml` has no capitals in its keys.
    pub(super) fn key_of_denied(&self) -> &'static str {
        if self.is_toml { "disallowed_tools" } else { "disallowedTools" }
    }

    /// A line that sets the key, as it is written here.
    pub(super) fn example(&self, key: &str) -> &'static str {
        if self.is_toml {
            return keys::AGENT.iter().find(|doc| doc.key == key).map_or("", |doc| doc.example);
        }
        KEYS.iter().find(|(name, _)| *name == key).map_or("", |(_, example)| example)
    }

    pub(super) fn wrong(&self, key: &str, node: &Node, wanted: &str) -> ConfigError {
        node.wrong(key, wanted, node.value.kind(), self.example(key))
    }

    /// The error that the value of `key` is not what it may be.
    pub(super) fn refuse(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let at = self.node(key).map_or(&self.file, |node| &node.at);
        ConfigError::invalid(at, problem, format!("write it like this: {}", self.example(key)))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.node(key) {
            None => Ok(None),
            Some(Node { value: Value::Str(text), .. }) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            Some(node) => Err(self.wrong(key, node, "text")),
        }
    }

    /// A list, or comma-separated text.
    pub(super) fn list(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::Str(text) => Ok(Some(split_list(text))),
            Value::List(items) => {
                let texts = items.iter().map(|item| match &item.value {
                    Value::Str(text) => Ok(text.trim().to_owned()),
                    _ => Err(self.wrong(key, item, "a list of texts")),
                });
                texts.filter(|text| !matches!(text, Ok(text) if text.is_empty())).collect::<Result<_, _>>().map(Some)
            }
            _ => Err(self.wrong(key, node, "a list, or text separated by commas")),
        }
    }

    /// The one of two spellings that is used; both at once are an error unless `same`.
    pub(super) fn either<'a>(&self, one: &'a str, other: &'a str) -> Result<&'a str, ConfigError> {
        match (self.node(one), self.node(other)) {
            (Some(_), Some(node)) => {
                let problem = format!("`{one}` and `{other}` say the same thing, and both are set");
                Err(ConfigError::invalid(&node.at, problem, format!("remove `{other}`")))
            }
            (None, Some(_)) => Ok(other),
            _ => Ok(one),
        }
    }
}

fn fold(key: &str) -> String {
    key.to_lowercase().replace(['-', '_'], "")
}
