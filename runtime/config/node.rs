//! A value from a TOML or YAML file that knows its file and line, and how to read it strictly. It knows no key's
//! meaning.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use super::error::{ConfigError, Place, nearest};

/// A key of a table, for checking and for the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDoc {
    /// The key.
    pub key: &'static str,
    /// A line that sets it, as errors show it.
    pub example: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// A table: its keys in order. A value's place is that of its key.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was read. It has no `Debug`: it may be a literal key.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What both formats can say. Dates are kept as text.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Table(Table),
}

/// A value read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was read.
    pub at: Place,
}

impl Value {
    /// What it is, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Str(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The text of a setting: of `env`, of `headers`, a key. Numbers and booleans are taken as they are written.
    pub(super) fn as_setting(&self) -> Option<String> {
        match self {
            Self::Str(text) => Some(text.clone()),
            Self::Int(n) => Some(n.to_string()),
            Self::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }
}

impl Node {
    /// The value as JSON; numbers that JSON has not (infinities) become null.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::Number((*n).into()),
            Value::Float(x) => Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Value::Str(s) => Json::String(s.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Table(table) => Json::Object(table_to_json(table)),
        }
    }

    /// The table in it, or an error: `path` names it (`models`), `example` shows what is meant.
    pub(super) fn table(&self, path: &str, example: &str) -> Result<&Table, ConfigError> {
        match &self.value {
            Value::Table(table) => Ok(table),
            other => Err(self.wrong(path, "a table", other.kind(), example)),
        }
    }

    /// The error that this value is of the wrong type.
    pub(super) fn wrong(&self, path: &str, wanted: &str, found: &str, example: &str) -> ConfigError {
        ConfigError::invalid(
            &self.at,
            format!("`{path}` must be {wanted}, and it is {found}"),
            format!("write it like this: {example}"),
        )
    }

    fn read<T>(self, value: T) -> At<T> {
        At { value, at: self.at }
    }
}

/// A table as a JSON object.
pub(super) fn table_to_json(table: &Table) -> Map<String, Json> {
    table.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
}

/// Adds to `near` what only `far` says; tables merge key by key, any other value of `near` stands.
pub(super) fn merge(near: &mut Table, far: Table) {
    for (key, node) in far {
        match near.get_mut(&key) {
            None => {
                near.insert(key, node);
            }
            Some(Node { value: Value::Table(inner), .. }) => {
                if let Value::Table(theirs) = node.value {
                    merge(inner, theirs);
                }
            }
            Some(_) => {}
        }
    }
}

/// Takes the known keys out of a table one by one, each with its type checked.
pub(super) struct Reader<'a> {
    /// The table's own name, `models.local`; empty for the whole file.
    path: String,
    table: &'a Table,
    keys: &'a [KeyDoc],
}

impl<'a> Reader<'a> {
    /// Refuses keys that are not among `keys`, naming the nearest that is.
    pub(super) fn new(path: &str, table: &'a Table, keys: &'a [KeyDoc]) -> Result<Self, ConfigError> {
        for (key, node) in table {
            if keys.iter().all(|known| known.key != key) {
                return Err(unknown(path, key, node, keys));
            }
        }
        Ok(Self { path: path.to_owned(), table, keys })
    }

    /// The value of `key`, whatever it is.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.table.get(key)
    }

    /// The full name of a key.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn example(&self, key: &str) -> &'static str {
        self.keys.iter().find(|known| known.key == key).map_or("", |known| known.example)
    }

    /// The value of `key` as `pick` understands it; `wanted` says what that is.
    pub(super) fn get<T>(
        &self,
        key: &str,
        wanted: &str,
        pick: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<At<T>>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match pick(&node.value) {
            Some(value) => Ok(Some(node.clone().read(value))),
            None => Err(self.refuse(key, node, wanted)),
        }
    }

    /// The error that the value of `key` is not what is wanted. It quotes short text, never a value that may be secret.
    pub(super) fn refuse(&self, key: &str, node: &Node, wanted: &str) -> ConfigError {
        let found = match &node.value {
            Value::Str(text) if text.len() <= 40 && !is_secret(key) => format!("\"{text}\""),
            Value::Int(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            other => other.kind().to_owned(),
        };
        node.wrong(&self.path_of(key), wanted, &found, self.example(key))
    }

    /// Text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<At<String>>, ConfigError> {
        self.get(key, "text that is not empty", |value| match value {
            Value::Str(text) if !text.trim().is_empty() => Some(text.clone()),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<Option<At<bool>>, ConfigError> {
        self.get(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, key: &str) -> Result<Option<At<u64>>, ConfigError> {
        self.get(key, "a whole number above 0", |value| match value {
            Value::Int(n) => u64::try_from(*n).ok().filter(|n| *n > 0),
            _ => None,
        })
    }

    /// A finite number that is not negative.
    pub(super) fn amount(&self, key: &str) -> Result<Option<At<f64>>, ConfigError> {
        let number = |value: &Value| match value {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        };
        self.get(key, "a number that is not negative", |value| number(value).filter(|x| x.is_finite() && *x >= 0.0))
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<At<Vec<String>>>, ConfigError> {
        self.get(key, "a list of texts", |value| match value {
            Value::List(items) => items.iter().map(as_text).collect(),
            _ => None,
        })
    }

    /// A table of texts; numbers and booleans are taken as they are written.
    pub(super) fn map(&self, key: &str) -> Result<BTreeMap<String, At<String>>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(BTreeMap::new()) };
        let path = self.path_of(key);
        let example = self.example(key);
        let mut read = BTreeMap::new();
        for (name, item) in node.table(&path, example)? {
            let Some(text) = item.value.as_setting() else {
                return Err(item.wrong(&join(&path, name), "text", item.value.kind(), example));
            };
            read.insert(name.clone(), item.clone().read(text));
        }
        Ok(read)
    }
}

/// Keys whose values no message may show.
fn is_secret(key: &str) -> bool {
    matches!(key, "api_key" | "env" | "headers")
}

pub(super) fn as_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Str(text) => Some(text.clone()),
        _ => None,
    }
}

/// `path.key`, with the key in quotes where TOML needs them.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("\"{key}\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn unknown(path: &str, key: &str, node: &Node, keys: &[KeyDoc]) -> ConfigError {
    let scope = if path.is_empty() { "abide.toml".to_owned() } else { format!("[{path}]") };
    let names = || keys.iter().map(|known| known.key);
    let all = names().collect::<Vec<_>>().join(", ");
    let help = match nearest(key, names()).and_then(|near| keys.iter().find(|known| known.key == near)) {
        Some(near) => format!("did you mean `{}`? Write it like this: {} (known keys: {all})", near.key, near.example),
        None => format!("remove it; the known keys are {all}"),
    };
    ConfigError::invalid(&node.at, format!("unknown key `{key}` in {scope}"), help)
}
