//! What differs between two requests, and the table of explanations that must hold for each. It never leaves a difference out.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::Asked;

/// One place in which two requests are not the same.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) wire: &'static str,
    pub(crate) model: &'static str,
    /// The conversation's name.
    pub(crate) during: String,
    /// A JSON pointer into the body; `line`, or `header NAME`.
    pub(crate) at: String,
    pub(crate) abide: Option<Value>,
    pub(crate) genai: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string);
        let Self { wire, model, during, at, .. } = self;
        write!(f, "{wire} {model} {during}: {at}\n    abide: {}\n    genai: {}", shown(&self.abide), shown(&self.genai))
    }
}

/// A place, and what abide and genai have there.
type Found = (String, Option<Value>, Option<Value>);

/// All places in which the requests differ.
pub(crate) fn between(abide: &Asked, genai: &Asked) -> Vec<Found> {
    let mut found = Vec::new();
    let text = |text: &String| Value::from(text.as_str());
    values("line", Some(&text(&abide.line)), Some(&text(&genai.line)), &mut found);
    let headers = |headers: &BTreeMap<String, String>| -> BTreeMap<String, Value> {
        // It follows from the body, which is compared itself.
        let sent = headers.iter().filter(|(name, _)| *name != "content-length");
        sent.map(|(name, value)| (format!("header {name}"), text(value))).collect()
    };
    let (ours, theirs) = (headers(&abide.headers), headers(&genai.headers));
    for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
        values(name, ours.get(name), theirs.get(name), &mut found);
    }
    values("", Some(&abide.body), Some(&genai.body), &mut found);
    found
}

fn values(at: &str, abide: Option<&Value>, genai: Option<&Value>, found: &mut Vec<Found>) {
    match (abide, genai) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            for key in ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key))) {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                values(&format!("{at}/{escaped}"), ours.get(key), theirs.get(key), found);
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            for n in 0..ours.len().max(theirs.len()) {
                values(&format!("{at}/{n}"), ours.get(n), theirs.get(n), found);
            }
        }
        (abide, genai) if abide == genai => {}
        (abide, genai) => found.push((at.to_owned(), abide.cloned(), genai.cloned())),
    }
}

/// The committed table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    difference: Vec<Explained>,
}

/// An explanation of differences that are alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    wires: Vec<String>,
    /// How the model's name begins; any without it.
    model: Option<String>,
    /// Names of conversations; all without it.
    during: Option<Vec<String>>,
    /// The place; `*` stands for one segment of the pointer.
    at: String,
    values: Values,
    /// Why both are right, or why abide is.
    why: String,
    /// Where that is written.
    source: String,
}

/// What must be there for an explanation to hold.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Values {
    /// Each `absent`, `present` for any value, or the value as JSON.
    Are { abide: String, genai: String },
    /// What abide has there, genai has at this other place: the same, but for `snake_case` keys. Explains both.
    GenaiHasItAt(String),
    /// genai has a text, and abide a list of one block with just that text. (Its value is what the block's type is.)
    GenaiHasTheTextOf(String),
}

impl Explained {
    fn holds(&self, one: &Difference, all: &[Difference]) -> bool {
        let here = self.wires.iter().any(|wire| wire == one.wire)
            && self.model.as_ref().is_none_or(|model| one.model.starts_with(model))
            && self.during.as_ref().is_none_or(|names| names.contains(&one.during));
        if !here {
            return false;
        }
        match &self.values {
            Values::Are { abide, genai } => {
                fits(&self.at, &one.at) && is(abide, one.abide.as_ref()) && is(genai, one.genai.as_ref())
            }
            Values::GenaiHasTheTextOf(kind) => {
                let block = one.genai.as_ref().map(|text| json!([{"type": kind, "text": text}]));
                fits(&self.at, &one.at) && block.is_some() && block == one.abide
            }
            Values::GenaiHasItAt(there) => {
                let is_pair = |ours: &Difference, theirs: &Difference| {
                    let same_request =
                        (ours.wire, ours.model, &ours.during) == (theirs.wire, theirs.model, &theirs.during);
                    let value = theirs.genai.as_ref().map(in_camel_case);
                    same_request
                        && fits(&self.at, &ours.at)
                        && theirs.at == filled(there, &ours.at)
                        && (ours.genai.is_none() && theirs.abide.is_none())
                        && (value.is_some() && value == ours.abide)
                };
                all.iter().any(|other| is_pair(one, other) || is_pair(other, one))
            }
        }
    }
}

fn fits(pattern: &str, at: &str) -> bool {
    let (pattern, at) = (pattern.split('/').collect::<Vec<_>>(), at.split('/').collect::<Vec<_>>());
    pattern.len() == at.len() && pattern.iter().zip(&at).all(|(pattern, at)| *pattern == "*" || pattern == at)
}

/// A pattern with what stands in `at` for its `*`.
fn filled(pattern: &str, at: &str) -> String {
    let segments = pattern.split('/').zip(at.split('/'));
    segments.map(|(pattern, at)| if pattern == "*" { at } else { pattern }).collect::<Vec<_>>().join("/")
}

fn is(expected: &str, value: Option<&Value>) -> bool {
    match (expected, value) {
        ("absent", value) => value.is_none(),
        ("present", value) => value.is_some(),
        (_, None) => false,
        (json, Some(value)) => serde_json::from_str::<Value>(json).is_ok_and(|json| json == *value),
    }
}

/// Protocol Buffers know each key in two spellings.
fn in_camel_case(value: &Value) -> Value {
    let Some(map) = value.as_object() else { return value.clone() };
    let camel = |key: &String| {
        let mut words = key.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |all, word| {
            let (head, tail) = word.split_at_checked(1).unwrap_or((word, ""));
            all + &head.to_uppercase() + tail
        })
    };
    map.iter().map(|(key, value)| (camel(key), in_camel_case(value))).collect()
}

impl Table {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(text).map_err(|why| format!("differences.toml: {why}"))?;
        for one in &table.difference {
            if one.why.trim().is_empty() || one.source.trim().is_empty() {
                return Err(format!("differences.toml: `{}` has no reason or no source for it", one.at));
            }
        }
        Ok(table)
    }

    /// What is wrong: differences that nothing explains, and explanations of nothing.
    pub(crate) fn judge(&self, differences: &[Difference]) -> Vec<String> {
        let explained = |one: &Difference| self.difference.iter().any(|entry| entry.holds(one, differences));
        let unexplained = differences.iter().filter(|one| !explained(one)).map(|one| format!("unexplained: {one}"));
        let is_idle = |entry: &&Explained| !differences.iter().any(|one| entry.holds(one, differences));
        let idle = self.difference.iter().filter(is_idle);
        let idle =
            idle.map(|entry| format!("explains nothing any more: {:?} {} ({:?})", entry.wires, entry.at, entry.values));
        unexplained.chain(idle).collect()
    }
}
