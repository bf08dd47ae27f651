//! Gemini `generateContent`. The model's name and whether it streams stand in the address. It never sends anything.

use std::collections::BTreeSet;

use abide_engine::Error;
use serde_json::{Map, Value, json};

use super::history::{Call, Step, Told, steps};
use super::offer::{Choice, Offer};
use super::parts::{self, Unread};
use super::{CallRequest, Part, Prompt, Reply, Source, Stop, ToolDecl, Usage};
use crate::model::ModelConfig;

/// What Google documents for calls in a history that Gemini did not write: since Gemini 3 it refuses those without a signature.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

pub(super) fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let offer = Offer::of(model, prompt)?;
    let mut body = Map::new();
    body.insert("contents".to_owned(), contents(model, prompt));
    if let Some(system) = &offer.system {
        body.insert("systemInstruction".to_owned(), json!({"parts": [{"text": system}]}));
    }
    if !offer.tools.is_empty() {
        let tools: Vec<Value> = offer.tools.iter().map(|decl| tool(decl)).collect();
        body.insert("tools".to_owned(), json!([{"functionDeclarations": tools}]));
        let config = match offer.choice {
            Choice::Auto => json!({"mode": "AUTO"}),
            Choice::None => json!({"mode": "NONE"}),
            Choice::Any => json!({"mode": "ANY"}),
            Choice::Only(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        };
        body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
    }
    let mut generation = Map::new();
    if let Some(most) = prompt.max_tokens {
        generation.insert("maxOutputTokens".to_owned(), json!(most));
    }
    if let Some(temperature) = prompt.temperature {
        generation.insert("temperature".to_owned(), json!(temperature));
    }
    if !prompt.stop.is_empty() {
        generation.insert("stopSequences".to_owned(), json!(prompt.stop));
    }
    if let Some(output) = &offer.format {
        generation.insert("responseMimeType".to_owned(), json!("application/json"));
        generation.insert("responseJsonSchema".to_owned(), output.plain_schema());
    }
    if !generation.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(generation));
    }
    Ok(Value::Object(body))
}

/// Neighbours of one role share a content.
fn contents(model: &ModelConfig, prompt: &Prompt) -> Value {
    let old = model.is_old_gemini();
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut ids = BTreeSet::new();
    for step in steps(model, &prompt.turns) {
        let (role, parts) = match step {
            Step::User(parts) => ("user", parts.iter().map(part).collect()),
            Step::Verbatim(content) => {
                let parts = parts::items_at(content, "parts");
                ids.extend(parts.iter().map(|part| call_id(part).to_owned()).filter(|id| !id.is_empty()));
                ("model", parts.to_vec())
            }
            Step::Rebuilt { text, calls } => {
                ids.extend(calls.iter().map(|call| call.id.clone()));
                ("model", rebuilt(text, calls, old))
            }
            Step::Results(replies) => ("user", replies.iter().map(|told| response(told, &ids, old)).collect()),
        };
        match contents.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => contents.push((role, parts)),
        }
        // A blocked answer has none.
        contents.pop_if(|(_, parts)| parts.is_empty());
    }
    contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect()
}

fn rebuilt(text: &str, calls: Vec<Call<'_>>, old: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(json!({"text": text}));
    }
    for (at, call) in calls.into_iter().enumerate() {
        let mut part = json!({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}});
        // Only the first of a message's calls has one.
        if let Some(part) = part.as_object_mut().filter(|_| at == 0 && !old) {
            part.insert("thoughtSignature".to_owned(), json!(NO_SIGNATURE));
        }
        parts.push(part);
    }
    parts
}

fn part(part: &Part) -> Value {
    let (mime, source) = match part {
        Part::Text(text) => return json!({"text": text}),
        Part::Image { mime, source } | Part::Document { mime, source, .. } => (mime, source),
    };
    match source {
        Source::Base64(data) => json!({"inlineData": {"mimeType": mime, "data": data}}),
        Source::Url(url) => json!({"fileData": {"mimeType": mime, "fileUri": url}}),
    }
}

/// `ids` are those that the model knows: one that abide made up is not told.
fn response(told: &Told<'_>, ids: &BTreeSet<String>, old: bool) -> Value {
    let in_place = |part: &&Part| matches!(part, Part::Image { source: Source::Base64(_), .. }) && !old;
    let media: Vec<Value> = told.reply.content.iter().filter(in_place).map(part).collect();
    let words = if media.is_empty() {
        told.reply.in_words()
    } else {
        told.reply.content.iter().filter(|part| !in_place(part)).map(Part::named).collect::<Vec<_>>().join("\n")
    };
    let key = if told.reply.is_error { "error" } else { "output" };
    let mut response = json!({"name": told.name, "response": {key: words}});
    if let Some(response) = response.as_object_mut() {
        if ids.contains(&told.id) {
            response.insert("id".to_owned(), json!(told.id));
        }
        if !media.is_empty() {
            response.insert("parts".to_owned(), Value::Array(media));
        }
    }
    json!({"functionResponse": response})
}

/// A schema without properties is refused.
fn tool(tool: &ToolDecl) -> Value {
    let mut declaration = json!({"name": tool.name, "description": tool.description});
    let has_properties =
        tool.input_schema.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    if let Some(declaration) = declaration.as_object_mut().filter(|_| has_properties) {
        declaration.insert("parametersJsonSchema".to_owned(), tool.input_schema.clone());
    }
    declaration
}

fn call_id(part: &Value) -> &str {
    part.pointer("/functionCall/id").and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn parse(body: &Value) -> Result<Reply, Unread> {
    let candidate = body.pointer("/candidates/0");
    let blocked = body.pointer("/promptFeedback/blockReason").is_some();
    let stop = match candidate {
        Some(candidate) => stop(candidate)?,
        None if blocked => Stop::Refused,
        None => return Err(Unread::Missing("candidates[0]")),
    };
    // A blocked or cut off answer may lack its content, or the content its parts.
    let content = candidate.and_then(|candidate| candidate.get("content")).filter(|content| content.is_object());
    if content.is_none() && matches!(stop, Stop::End | Stop::ToolUse) {
        return Err(Unread::Missing("content"));
    }
    let mut content = content.cloned().unwrap_or_else(|| json!({}));
    if let Some(content) = content.as_object_mut() {
        content.entry("role").or_insert_with(|| json!("model"));
        if !content.get("parts").is_some_and(Value::is_array) {
            content.insert("parts".to_owned(), json!([]));
        }
    }
    let parts = content.get_mut("parts").and_then(Value::as_array_mut).ok_or("parts")?;
    let is_thought = |part: &&Value| part.get("thought").and_then(Value::as_bool) == Some(true);
    let text = parts.iter().filter(|part| !is_thought(part)).map(|part| parts::text_at(part, "text")).collect();
    let calls = || parts.iter().filter(|part| part.get("functionCall").is_some());
    let ids = parts::own_ids(&calls().map(|part| call_id(part).to_owned()).collect::<Vec<_>>());
    let called = parts.iter_mut().filter_map(|part| part.get_mut("functionCall"));
    let tool_calls = called.zip(ids).map(|(called, id)| call(called, id)).collect();
    Ok(Reply {
        text,
        tool_calls,
        stop,
        usage: usage(body),
        assistant: content,
        model: parts::model_at(body, "modelVersion"),
    })
}

/// The prompt's count includes what the cache served; thoughts and the prompts of Google's own tools are counted apart.
fn usage(body: &Value) -> Usage {
    let count = |key: &str| parts::count_at(body, &format!("/usageMetadata/{key}"));
    Usage {
        input_tokens: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        output_tokens: count("candidatesTokenCount").saturating_add(count("thoughtsTokenCount")),
        cache_read_tokens: count("cachedContentTokenCount"),
        cache_write_tokens: 0,
    }
}

fn call(called: &mut Value, id: String) -> CallRequest {
    let name = parts::text_at(called, "name").to_owned();
    CallRequest { id, name, arguments: parts::take_object(called, "args") }
}

fn stop(candidate: &Value) -> Result<Stop, Unread> {
    Ok(match parts::text_at(candidate, "finishReason") {
        "STOP" => Stop::End,
        "MAX_TOKENS" => Stop::Truncated,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Stop::Refused,
        reason @ ("MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE") => {
            return Err(Unread::BadCall(reason.to_owned()));
        }
        other => Stop::other(other),
    })
}

#[cfg(test)]
#[path = "gemini_tests.rs"]
mod tests;
