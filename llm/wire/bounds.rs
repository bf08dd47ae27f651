//! The bounds of a small model, laid over the schemas that it is given. It never changes what a schema says itself.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Output, ToolDecl};
use crate::model::Bounds;

/// The tool as this model sees it.
pub(super) fn tool(tool: &ToolDecl, bounds: Option<Bounds>) -> Cow<'_, ToolDecl> {
    let Some(bounds) = bounds else { return Cow::Borrowed(tool) };
    let mut tool = tool.clone();
    lay(&mut tool.input_schema, bounds);
    Cow::Owned(tool)
}

/// The answer as this model is asked for it.
pub(super) fn output(output: &Output, bounds: Option<Bounds>) -> Cow<'_, Output> {
    let Some(bounds) = bounds else { return Cow::Borrowed(output) };
    let mut output = output.clone();
    lay(&mut output.schema, bounds);
    Cow::Owned(output)
}

/// Lays them over a schema and all within it.
fn lay(schema: &mut Value, bounds: Bounds) {
    let Some(schema) = schema.as_object_mut() else { return };
    let kind = schema.get("type").and_then(Value::as_str).map(str::to_owned);
    // A text that is one of a few, or of a form, has its length already.
    let is_free = !["enum", "const", "pattern", "format"].iter().any(|key| schema.contains_key(*key));
    match kind.as_deref() {
        Some("string") if is_free => add(schema, "maxLength", bounds.text),
        Some("array") => add(schema, "maxItems", bounds.items),
        _ => (),
    }
    for (key, inner) in schema.iter_mut() {
        let all: Vec<&mut Value> = match (key.as_str(), inner) {
            ("properties" | "$defs" | "definitions", Value::Object(all)) => all.values_mut().collect(),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => all.iter_mut().collect(),
            ("items" | "additionalProperties", inner) => vec![inner],
            _ => continue,
        };
        for inner in all {
            lay(inner, bounds);
        }
    }
}

fn add(schema: &mut Map<String, Value>, key: &str, most: Option<u32>) {
    if let Some(most) = most {
        schema.entry(key).or_insert_with(|| json!(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_reach_every_text_and_list_and_leave_what_is_said() {
        let schema = json!({"type": "object", "properties": {
            "plain": {"type": "string"}, "short": {"type": "string", "maxLength": 3}, "one": {"type": "string", "enum": ["a"]},
            "when": {"type": "string", "format": "date"},
            "many": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "type": {"type": "string"}, "few": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/x"}}},
            "$defs": {"x": {"type": "object", "additionalProperties": {"type": "string"}}}});
        let asked = Output { name: "x".to_owned(), schema: schema.clone() };
        let bounded = output(&asked, Some(Bounds { text: Some(9), items: Some(2) })).into_owned().schema;
        let wanted = json!({"type": "object", "properties": {
            "plain": {"type": "string", "maxLength": 9}, "short": {"type": "string", "maxLength": 3},
            "one": {"type": "string", "enum": ["a"]}, "when": {"type": "string", "format": "date"},
            "many": {"type": "array", "maxItems": 2, "items": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "integer"}]}},
            "type": {"type": "string", "maxLength": 9}, "few": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/x"}}},
            "$defs": {"x": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 9}}}});
        assert_eq!(bounded, wanted);
        assert_eq!(output(&asked, Some(Bounds { text: None, items: None })).schema, schema);
        assert!(matches!(output(&asked, None), Cow::Borrowed(_)));
    }
}
