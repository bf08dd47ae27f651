//! Turns the text of a TOML file or of a YAML front matter into nodes that know their lines. It reads no files and
//! follows no links.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::node::{Node, Table, Value};

/// Parses a TOML document. The parser itself limits how deep it nests.
pub(super) fn toml_table(text: &str, file: &Place) -> Result<Table, ConfigError> {
    let parsed = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(text, &span));
        let problem = format!("this is not TOML: {}", error.message());
        ConfigError::invalid(&file.at(line), problem, "mend that line; text stands in quotes, as in key = \"text\"")
    })?;
    table_from_toml(text, file, parsed.get_ref())
}

fn table_from_toml(text: &str, file: &Place, table: &DeTable<'_>) -> Result<Table, ConfigError> {
    let mut read = Table::new();
    for (key, value) in table {
        let at = file.at(line_of(text, &key.span()));
        read.insert(key.get_ref().to_string(), node_from_toml(text, file, at, value.get_ref())?);
    }
    Ok(read)
}

fn node_from_toml(text: &str, file: &Place, at: Place, value: &DeValue<'_>) -> Result<Node, ConfigError> {
    let number =
        |problem: &str| ConfigError::invalid(&at, problem, "write a number that fits into 64 bits, or text in quotes");
    let value = match value {
        DeValue::String(text) => Value::Str(text.to_string()),
        DeValue::Integer(n) => Value::Int(
            i64::from_str_radix(n.as_str(), n.radix()).map_err(|_| number(&format!("the number {n} is too large")))?,
        ),
        DeValue::Float(x) => Value::Float(x.as_str().parse().map_err(|_| number(&format!("{x} is not a number")))?),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => Value::Str(date.to_string()),
        DeValue::Array(items) => {
            let read = |item: &toml::Spanned<DeValue<'_>>| {
                node_from_toml(text, file, file.at(line_of(text, &item.span())), item.get_ref())
            };
            Value::List(items.iter().map(read).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(table_from_toml(text, file, table)?),
    };
    Ok(Node { at, value })
}

/// The line, from 1, in which `span` begins.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

/// Parses one YAML mapping, whose lines are those of the file. Nesting, aliases and size are limited by the parser's
/// budget, so that a hostile file is an error and never a full stack or memory.
pub(super) fn yaml_table(text: &str, file: &Place) -> Result<Table, ConfigError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // Only `true` and `false`: an argument `y` or `on` is text.
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: 32, max_events: 50_000, max_nodes: 20_000, max_aliases: 100, max_documents: 1 },
    };
    let parsed: Result<Spanned<Yaml>, _> = serde_saphyr::from_str_with_options(text, options);
    let root = parsed.map_err(|error| {
        let line = error.location().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        let problem = format!("this is not YAML: {}", error.without_snippet());
        ConfigError::invalid(&file.at(line), problem, "mend that line; put text that contains `: ` or `#` in quotes")
    })?;
    let at = file.at(usize::try_from(root.referenced.line()).unwrap_or(0));
    match root.value.place(file, &root.referenced).value {
        Value::Table(table) => Ok(table),
        Value::Null => Ok(Table::new()),
        other => Err(ConfigError::invalid(
            &at,
            format!("the front matter must be `key: value` lines, and it is {}", other.kind()),
            "write it like this: name: researcher",
        )),
    }
}

/// A YAML value with its parts' places, before the file's name is known to it.
enum Yaml {
    Leaf(Value),
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Yaml)>),
}

impl Yaml {
    fn place(self, file: &Place, at: &serde_saphyr::Location) -> Node {
        let line = |at: &serde_saphyr::Location| file.at(usize::try_from(at.line()).unwrap_or(0));
        let value = match self {
            Self::Leaf(value) => value,
            Self::List(items) => {
                Value::List(items.into_iter().map(|item| item.value.place(file, &item.referenced)).collect())
            }
            Self::Map(pairs) => Value::Table(
                pairs
                    .into_iter()
                    .map(|(key, value)| {
                        let node = value.place(file, &key.referenced);
                        (key.value, node)
                    })
                    .collect(),
            ),
        };
        Node { at: line(at), value }
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false, a list or a mapping")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Bool(flag)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Int(n)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(i64::try_from(n).map_or_else(|_| Value::Str(n.to_string()), Value::Int)))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Float(x)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Str(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Yaml::Map(pairs))
    }
}
