//! What is said of an agent by keys, be it the front matter of a file or a table of `abide.toml`: values by type, and errors that show how
//! a key is written there. It gives no key a meaning.

use std::collections::BTreeMap;
use std::path::Path;

use super::agent_file::split_list;
use super::agent_keys::KEYS;
use super::error::{ConfigError, Origin, Place};
use super::front_matter;
use super::keys;
use super::node::{Node, Table, Value};
use super::parse::yaml_table;

/// How an agent's file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Markdown below a front matter.
    Markdown,
    /// YAML, or JSON, which is YAML too.
    Table,
}

/// The form of a file by its name; none for what is no agent's.
pub(super) fn form_of(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "md" => Some(Form::Markdown),
        "yaml" | "yml" | "json" => Some(Form::Table),
        _ => None,
    }
}

/// Where a table has the instructions; the others are the words of other programs.
pub(super) const INSTRUCTIONS: [&str; 3] = ["instructions", "instruction", "prompt"];

/// The keys of one agent on their way to an [`AgentDef`](super::AgentDef).
pub(super) struct Front {
    pub(super) keys: Table,
    /// True for a table of `abide.toml`.
    is_toml: bool,
    pub(super) file: Place,
    pub(super) warnings: Vec<String>,
}

impl Front {
    /// What a file says, and its instructions.
    pub(super) fn read(text: &str, path: &Path, origin: Origin) -> Result<(Self, String), ConfigError> {
        let file = Place::file(path, origin);
        let (keys, body) = match form_of(path) {
            Some(Form::Table) => {
                let mut keys = yaml_table(text, &file)?;
                let said = INSTRUCTIONS.iter().find_map(|key| Some((*key, keys.remove(*key)?)));
                let body = match said {
                    None => String::new(),
                    Some((_, Node { value: Value::Str(text), .. })) => text,
                    Some((key, node)) => {
                        return Err(node.wrong(key, "text", node.value.kind(), "instructions: You find facts."));
                    }
                };
                (keys, body)
            }
            _ => {
                let (keys, body) = front_matter::split(text, &file)?;
                (keys.unwrap_or_default(), body.to_owned())
            }
        };
        Ok((Self { keys, is_toml: false, file, warnings: Vec::new() }, body))
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
