//! The keys of an agent's file: those that mean something here, and those of Claude Code that do not. It reads no value.

use super::agent_front::Front;
use super::error::{ConfigError, nearest};

/// Keys that mean something here, each with a line that sets it.
pub(super) const KEYS: &[(&str, &str)] = &[
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
    ("temperature", "temperature: 0.2"),
    ("stop", "stop: [\"###\"]"),
    ("max_result_chars", "max_result_chars: 20000"),
    ("output", "output: { type: object, properties: { title: { type: string } }, required: [title] }"),
    ("output_schema", "output_schema: answer.json"),
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
const IGNORED: &[&str] = &["color", "background", "isolation", "effort", "initialPrompt"];

/// Keys of Claude Code that someone may rely on, and that have no effect here.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("hooks", "abide runs no hooks of files"),
    ("permissionMode", "abide asks by the [tools] tables of abide.toml instead"),
];

impl Front {
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
}

fn fold(key: &str) -> String {
    key.to_lowercase().replace(['-', '_'], "")
}
