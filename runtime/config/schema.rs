//! The JSON schema of `abide.toml`, for editors: made from the tables of `keys`, so that it says what the reader takes. It reads no files.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::error::{Origin, Place};
use super::keys;
use super::node::{KeyDoc, Node, Value};
use super::parse::toml_table;

/// Where only some words are taken: section, key and the words.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("models", "provider", &["openai", "openai-responses", "anthropic", "gemini", "ollama"]),
    ("models", "structured", &["native", "tool", "text"]),
    ("servers", "protocol", &["2025-11-25", "2026-07-28"]),
    (
        "workflows",
        "pattern",
        &[
            "chain",
            "parallel",
            "orchestrator",
            "deep-orchestrator",
            "evaluator-optimizer",
            "router",
            "classifier",
            "swarm",
            "map",
        ],
    ),
    ("workflows", "plan", &["full", "iterative"]),
    ("agents", "tool_choice", &["auto", "required", "none"]),
    ("tools", "policy", &["allow", "ask", "deny"]),
    ("tools", "effect", &["pure", "idempotent", "once"]),
];

/// The schema (draft 2020-12) of a whole file. Tables of users' own names are described entry by entry.
pub fn schema() -> Json {
    let mut properties = Map::new();
    for section in keys::SECTIONS {
        let mut described = match section.key {
            "models" => entries(section.key, keys::MODEL),
            "servers" => entries(section.key, keys::SERVER),
            "tools" => entries(section.key, keys::TOOL),
            "workflows" => entries(section.key, keys::WORKFLOW),
            "queues" => entries(section.key, keys::QUEUE),
            "agents" => entries(section.key, keys::AGENT),
            "defaults" => table(section.key, keys::DEFAULTS),
            "budget" => table(section.key, keys::BUDGET),
            "limits" => table(section.key, keys::LIMITS),
            _ => json!({"type": "object"}),
        };
        described["description"] = section.about.into();
        properties.insert(section.key.to_owned(), described);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "abide.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// A table of tables with names of the user's own.
fn entries(section: &str, known: &[KeyDoc]) -> Json {
    json!({"type": "object", "additionalProperties": table(section, known)})
}

fn table(section: &str, known: &[KeyDoc]) -> Json {
    let properties: Map<String, Json> = known.iter().map(|doc| (doc.key.to_owned(), property(section, doc))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn property(section: &str, doc: &KeyDoc) -> Json {
    let mut described = match doc.key {
        "price" => table("price", keys::PRICE),
        "output" if section == "agents" => json!({"type": "object"}),
        "bounds" => table("bounds", keys::BOUNDS),
        "priority" => json!({"type": "integer"}),
        "at_least" => json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 10},
            {"enum": ["poor", "fair", "good", "excellent"]},
        ]}),
        key => of_example(key, doc.example),
    };
    if let Some((_, _, words)) = WORDS.iter().find(|(of, key, _)| (*of, *key) == (section, doc.key)) {
        described["enum"] = json!(words);
    }
    described["description"] = doc.about.into();
    described
}

/// What a line that sets the key says of its type.
fn of_example(key: &str, example: &str) -> Json {
    let place = Place::file(Path::new("keys"), Origin::User);
    let table = toml_table(example, &place).unwrap_or_default();
    table.get(key).map_or_else(|| json!({}), of_node)
}

fn of_node(node: &Node) -> Json {
    match &node.value {
        Value::Str(_) => json!({"type": "string"}),
        Value::Int(_) => json!({"type": "integer", "minimum": 0}),
        Value::Float(_) => json!({"type": "number", "minimum": 0}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::List(items) => json!({"type": "array", "items": items.first().map_or_else(|| json!({}), of_node)}),
        Value::Table(table) => {
            json!({"type": "object", "additionalProperties": table.values().next().map_or_else(|| json!({}), of_node)})
        }
        Value::Null => json!({}),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// What a line in a section comes to as a JSON document.
    fn document(section: &str, entry: Option<&str>, line: &str) -> Json {
        let place = Place::file(Path::new("test"), Origin::User);
        let table = toml_table(line, &place).unwrap();
        let table = super::super::node::table_to_json(&table);
        match entry {
            Some(name) => json!({section: {name: table}}),
            None => json!({section: table}),
        }
    }

    #[test]
    fn it_takes_every_line_that_the_documentation_shows_and_nothing_unknown() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for (section, entry, known) in [
            ("models", Some("x"), keys::MODEL),
            ("servers", Some("x"), keys::SERVER),
            ("tools", Some("x_*"), keys::TOOL),
            ("workflows", Some("x"), keys::WORKFLOW),
            ("queues", Some("x"), keys::QUEUE),
            ("agents", Some("x"), keys::AGENT),
            ("defaults", None, keys::DEFAULTS),
            ("budget", None, keys::BUDGET),
            ("limits", None, keys::LIMITS),
        ] {
            for doc in known {
                let shown = document(section, entry, doc.example);
                assert!(validator.is_valid(&shown), "{shown}");
                let described = schema();
                let place = described.pointer(&format!("/properties/{section}")).unwrap();
                let place = if entry.is_some() { &place["additionalProperties"] } else { place };
                let ty = &place["properties"][doc.key]["type"];
                let several = &place["properties"][doc.key]["anyOf"];
                assert!(ty.is_string() || several.is_array(), "{section}.{} has no type: {ty}", doc.key);
            }
            let unknown = document(section, entry, "never_heard_of = 1");
            assert!(!validator.is_valid(&unknown), "{unknown}");
        }
        for wrong in [
            json!({"models": {"x": {"provider": "openia"}}}),
            json!({"tools": {"x": {"policy": "maybe"}}}),
            json!({"budget": {"max_tokens": "many"}}),
            json!({"agents": {"x": {"instructions": "Do.", "tool_choice": "any"}}}),
            json!({"models": {"x": {"price": {"inptu": 1.0}}}}),
            json!({"colour": {}}),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }
}
