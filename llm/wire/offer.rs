//! What a body offers besides the conversation: the tools, whether one must be called, and the way in which an answer in JSON is
//! asked for. It never looks at an answer.

use std::borrow::Cow;

use abide_engine::{Error, terminal};
use serde_json::{Map, Value};

use super::bounds;
use super::history::has_calls;
use super::{Output, Prompt, START, ToolChoice, ToolDecl, quote};
use crate::model::{ModelConfig, Provider, Structured};

/// What every wire has to spell.
pub(super) struct Offer<'p> {
    pub(super) system: Option<Cow<'p, str>>,
    /// Empty if the model is to see none.
    pub(super) tools: Vec<Cow<'p, ToolDecl>>,
    pub(super) choice: Choice<'p>,
    /// The wire's own way to have JSON.
    pub(super) format: Option<Cow<'p, Output>>,
}

/// Whether a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice<'p> {
    Auto,
    None,
    Any,
    Only(&'p str),
}

impl<'p> Offer<'p> {
    pub(super) fn of(model: &ModelConfig, prompt: &'p Prompt) -> Result<Self, Error> {
        let tools = if is_shown(model, prompt) { prompt.tools.as_slice() } else { &[] };
        let mut offer = Self {
            system: prompt.system.as_deref().filter(|system| !system.is_empty()).map(Cow::Borrowed),
            tools: tools.iter().map(|tool| bounds::tool(tool, model.bounds)).collect(),
            choice: match prompt.tool_choice {
                ToolChoice::Auto => Choice::Auto,
                ToolChoice::None => Choice::None,
                ToolChoice::Required => Choice::Any,
            },
            format: None,
        };
        if let Some(output) = &prompt.output {
            check(output)?;
            offer.ask(model, output);
        }
        Ok(offer)
    }

    fn ask(&mut self, model: &ModelConfig, asked: &'p Output) {
        let output = bounds::output(asked, model.bounds);
        let may_call = !self.tools.is_empty() && self.choice != Choice::None;
        match way(model, &output, may_call) {
            Structured::Native => self.format = Some(output),
            Structured::Tool => {
                // Beside other tools it may call those first, but has to call one.
                self.choice = if may_call { Choice::Any } else { Choice::Only(&asked.name) };
                self.tools.push(Cow::Owned(ToolDecl {
                    name: output.name.clone(),
                    description: "Gives the final answer. Call it once, when you know all of it.".to_owned(),
                    input_schema: output.plain_schema(),
                }));
            }
            Structured::Text => {
                let asked = format!(
                    "Give your final answer as one JSON value that fits this JSON schema, and write nothing else beside it:\n{}",
                    output.plain_schema()
                );
                self.system = Some(Cow::Owned(match &self.system {
                    Some(system) => format!("{system}\n\n{asked}"),
                    None => asked,
                }));
            }
        }
    }
}

/// To conclude, the tools are left out: small models call what they see, whatever the choice says. But these two want to have seen
/// the tools of a history of calls.
fn is_shown(model: &ModelConfig, prompt: &Prompt) -> bool {
    let keeps = matches!(model.provider, Provider::Anthropic | Provider::Gemini) && has_calls(&prompt.turns);
    prompt.tool_choice != ToolChoice::None || keeps
}

fn check(output: &Output) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=64).contains(&output.name.len()) || !output.name.bytes().all(fits) {
        return Err(terminal(format!(
            "`{}` cannot be the name of an output: use 1 to 64 letters, digits, `_` and `-`",
            output.name
        )));
    }
    if output.schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(terminal(format!(
            "the schema of the output `{}` has to be one of an object (\"type\": \"object\"), as no vendor takes another: put \
             the value into a property",
            output.name
        )));
    }
    Ok(())
}

/// What the model's entry says, or else what its wire does best.
fn way(model: &ModelConfig, output: &Output, may_call: bool) -> Structured {
    if let Some(way) = model.structured {
        return way;
    }
    match model.provider {
        Provider::Anthropic if !(knows_formats(&model.model) && output.fits_anthropic()) => Structured::Tool,
        // Before Gemini 3 it takes either tools or a format.
        Provider::Gemini if may_call && model.is_old_gemini() => Structured::Tool,
        // A format holds for all that it says, so it could call nothing any more; and no tool can be forced on it.
        Provider::Ollama if may_call => Structured::Text,
        _ => Structured::Native,
    }
}

/// Claude has `output_config.format` since 4.5. What else speaks this wire is not known to have it.
fn knows_formats(name: &str) -> bool {
    const OLD: [&str; 8] = [
        "claude-2",
        "claude-3",
        "claude-instant",
        "claude-opus-4-0",
        "claude-opus-4-1",
        "claude-opus-4-2025",
        "claude-sonnet-4-0",
        "claude-sonnet-4-2025",
    ];
    name.contains("claude") && !OLD.iter().any(|old| name.contains(old))
}

/// The keywords that `OpenAI`'s strict mode is documented to take.
const STRICT: [&str; 22] = [
    "$schema",
    "$ref",
    "$defs",
    "definitions",
    "title",
    "description",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "exclusiveMinimum",
];

/// The keywords that Anthropic's format is documented to take, without references, which must not be recursive.
const ANTHROPIC: [&str; 13] = [
    "$schema",
    "title",
    "description",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "format",
    "default",
];

impl Output {
    /// Why no model can be asked for it, if none can.
    pub fn fault(&self) -> Option<String> {
        if let Err(error) = check(self) {
            return Some(error.message().to_owned());
        }
        let broken = jsonschema::validator_for(&self.schema).err()?;
        Some(format!("the schema of the output `{}` cannot be used: {}", self.name, quote(&broken.to_string(), START)))
    }

    /// Without the words about the schema itself, which vendors refuse.
    pub(super) fn plain_schema(&self) -> Value {
        let mut schema = self.schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.retain(|key, _| key != "$schema" && key != "$id");
        }
        schema
    }

    /// `OpenAI` guarantees the schema only if every object names all its properties as required and allows no others.
    pub(super) fn is_strict(&self) -> bool {
        every(&self.schema, &|schema| {
            let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let has = |name: &String| required.iter().any(|required| required.as_str() == Some(name));
            let all = properties(schema).is_none_or(|properties| properties.keys().all(has));
            schema.keys().all(|key| STRICT.contains(&key.as_str())) && is_closed(schema) && all
        })
    }

    fn fits_anthropic(&self) -> bool {
        every(&self.schema, &|schema| schema.keys().all(|key| ANTHROPIC.contains(&key.as_str())) && is_closed(schema))
    }
}

fn properties(schema: &Map<String, Value>) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Is it no object, or one that allows no other properties?
fn is_closed(schema: &Map<String, Value>) -> bool {
    let is_object = match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => properties(schema).is_some(),
    };
    !is_object || schema.get("additionalProperties") == Some(&Value::Bool(false))
}

/// Does this hold for the schema and all within it? A schema that is `true` or `false` does not qualify.
fn every(schema: &Value, holds: &dyn Fn(&Map<String, Value>) -> bool) -> bool {
    let Some(map) = schema.as_object() else { return false };
    let inner = map.iter().flat_map(|(key, value)| -> Vec<&Value> {
        match key.as_str() {
            "properties" | "$defs" | "definitions" => value.as_object().into_iter().flat_map(Map::values).collect(),
            "anyOf" => value.as_array().into_iter().flatten().collect(),
            "items" => vec![value],
            _ => Vec::new(),
        }
    });
    holds(map) && inner.into_iter().all(|schema| every(schema, holds))
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
