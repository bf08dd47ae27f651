//! The servers of an agent's front matter: names of declared ones, or definitions in place. It starts none and expands
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use abide_mcp::ServerConfig;
use serde_json::{Value as Json, json};

use super::agent_file::split_list;
use super::error::{ConfigError, Place};
use super::node::{Node, Table, Value};

/// What `mcpServers` says.
pub(super) struct Inline {
    /// All names, in order, each once.
    pub(super) names: Vec<String>,
    defined: BTreeMap<String, (Place, Json)>,
}

const EXAMPLE: &str = "mcpServers: [filesystem, memory]";

/// Reads a list of names or definitions, text, or a mapping of names to definitions. A name without a definition is a
/// declared server.
pub(super) fn read(key: &str, node: &Node) -> Result<Inline, ConfigError> {
    let mut inline = Inline { names: Vec::new(), defined: BTreeMap::new() };
    let wanted = "a list of servers' names or definitions";
    match &node.value {
        Value::Str(text) => inline.names = split_list(text),
        Value::Table(table) => inline.take(key, table)?,
        Value::List(items) => {
            for item in items {
                match &item.value {
                    Value::Str(name) => inline.names.push(name.trim().to_owned()),
                    Value::Table(table) => inline.take(key, table)?,
                    other => return Err(item.wrong(key, wanted, other.kind(), EXAMPLE)),
                }
            }
        }
        other => return Err(node.wrong(key, wanted, other.kind(), EXAMPLE)),
    }
    let mut seen = BTreeSet::new();
    inline.names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    Ok(inline)
}

impl Inline {
    fn take(&mut self, key: &str, table: &Table) -> Result<(), ConfigError> {
        for (name, node) in table {
            match &node.value {
                Value::Null => {}
                Value::Table(_) => {
                    if self.defined.insert(name.clone(), (node.at.clone(), node.to_json())).is_some() {
                        let problem = format!("the server `{name}` is defined twice");
                        return Err(ConfigError::invalid(&node.at, problem, "remove one, or give it another name"));
                    }
                }
                other => {
                    let example = "- memory: { command: npx, args: [\"-y\", \"@modelcontextprotocol/server-memory\"] }";
                    return Err(node.wrong(&format!("{key}.{name}"), "a server's definition", other.kind(), example));
                }
            }
            self.names.push(name.clone());
        }
        Ok(())
    }

    /// The definitions as those of `.mcp.json` are read. `file` is what references to literals call the agent's file. A
    /// server that is switched off leaves the names, too.
    pub(super) fn configs(&mut self, file: &str) -> Result<Vec<ServerConfig>, ConfigError> {
        let mut configs = Vec::new();
        for (name, (at, definition)) in &self.defined {
            let text = json!({ "mcpServers": { name: definition } }).to_string();
            let parsed = abide_mcp::parse_servers(&text, file).map_err(|error| misplaced(error, at))?;
            if parsed.is_empty() {
                self.names.retain(|known| known != name);
            }
            configs.extend(parsed);
        }
        Ok(configs)
    }

    /// The literal at a dotted key that begins with `mcpServers`, as [`Inline::configs`] refers to it.
    pub(super) fn literal_at(&self, key: &str) -> Option<String> {
        let defined: serde_json::Map<String, Json> =
            self.defined.iter().map(|(name, (_, definition))| (name.clone(), definition.clone())).collect();
        abide_mcp::literal_at(&json!({ "mcpServers": defined }).to_string(), key)
    }
}

/// The error of a definition, at its line in the agent's file instead of that in the text made of it.
fn misplaced(error: abide_mcp::ConfigError, at: &Place) -> ConfigError {
    match error {
        abide_mcp::ConfigError::Wrong { at: path, what, fix, .. } => {
            ConfigError::invalid(at, format!("`{path}` {what}"), fix)
        }
        other => ConfigError::invalid(at, other.to_string(), EXAMPLE),
    }
}
