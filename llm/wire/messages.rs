//! Anthropic Messages. It never sends anything.

use abide_engine::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::history::{Step, Told, steps};
use super::offer::{Choice, Offer};
use super::parts::{self, Unread};
use super::{CallRequest, Part, Prompt, Reply, Source, Stop, ToolDecl, Usage};
use crate::model::{ModelConfig, Provider};

/// The API insists on a limit.
const MAX_TOKENS: u32 = 4096;

pub(super) fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let offer = Offer::of(model, prompt)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model.model));
    body.insert("max_tokens".to_owned(), json!(prompt.max_tokens.unwrap_or(MAX_TOKENS)));
    if let Some(system) = &offer.system {
        body.insert("system".to_owned(), json!(system));
    }
    body.insert("messages".to_owned(), messages(model, prompt)?);
    if !offer.tools.is_empty() {
        body.insert("tools".to_owned(), offer.tools.iter().map(|decl| tool(decl)).collect());
        let choice = match offer.choice {
            Choice::Auto => json!({"type": "auto"}),
            Choice::None => json!({"type": "none"}),
            Choice::Any => json!({"type": "any"}),
            Choice::Only(name) => json!({"type": "tool", "name": name}),
        };
        body.insert("tool_choice".to_owned(), choice);
    }
    if let Some(output) = &offer.format {
        let format = json!({"type": "json_schema", "schema": output.plain_schema()});
        body.insert("output_config".to_owned(), json!({"format": format}));
    }
    if let Some(temperature) = prompt.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if !prompt.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(prompt.stop));
    }
    if model.streams() {
        body.insert("stream".to_owned(), json!(true));
    }
    if model.caches() {
        mark(&mut body);
    }
    Ok(Value::Object(body))
}

/// What may be served from the cache: tools, system, and, by the field of the whole body, all up to the last message. No message has
/// a mark of its own: it would wander from one to the next, and what was sent before would not be sent again byte for byte.
fn mark(body: &mut Map<String, Value>) {
    let ephemeral = || json!({"type": "ephemeral"});
    if let Some(system) = body.remove("system") {
        let block = json!({"type": "text", "text": system, "cache_control": ephemeral()});
        body.insert("system".to_owned(), json!([block]));
    }
    let last = body.get_mut("tools").and_then(Value::as_array_mut).and_then(|tools| tools.last_mut());
    if let Some(tool) = last.and_then(Value::as_object_mut) {
        tool.insert("cache_control".to_owned(), ephemeral());
    }
    body.insert("cache_control".to_owned(), ephemeral());
}

fn tool(tool: &ToolDecl) -> Value {
    json!({"name": tool.name, "description": tool.description, "input_schema": tool.input_schema})
}

/// Neighbours of one role share a message: the results of a turn's calls, and what the user adds to them.
fn messages(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for step in steps(model, &prompt.turns) {
        let (role, blocks) = match step {
            Step::User(parts) => ("user", parts.iter().map(part).collect::<Result<_, _>>()?),
            Step::Verbatim(Value::Array(blocks)) => ("assistant", blocks.clone()),
            Step::Verbatim(other) => ("assistant", vec![other.clone()]),
            Step::Rebuilt { text, calls } => {
                let calls = calls
                    .into_iter()
                    .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
                let text = std::iter::once(json!({"type": "text", "text": text}));
                ("assistant", text.chain(calls).collect())
            }
            Step::Results(replies) => ("user", replies.iter().map(result).collect()),
        };
        // The API refuses a message without content and a text without characters, though models do answer them.
        let blocks = blocks.into_iter().filter(|block| !is_empty_text(block));
        match messages.last_mut() {
            Some((last, content)) if *last == role => content.extend(blocks),
            _ => messages.push((role, blocks.collect())),
        }
        messages.pop_if(|(_, content)| content.is_empty());
    }
    Ok(messages.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect())
}

fn part(part: &Part) -> Result<Value, Error> {
    let base64 = |mime: &str, data: &str| json!({"type": "base64", "media_type": mime, "data": data});
    let document = |name: &str, source: Value| json!({"type": "document", "title": name, "source": source});
    let pdf = |mime: &str| mime == "application/pdf";
    Ok(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { mime, source: Source::Base64(data) } => json!({"type": "image", "source": base64(mime, data)}),
        Part::Image { source: Source::Url(url), .. } => json!({"type": "image", "source": {"type": "url", "url": url}}),
        Part::Document { mime, name, source: Source::Base64(data) } if pdf(mime) => document(name, base64(mime, data)),
        Part::Document { mime, name, source: Source::Url(url) } if pdf(mime) => {
            document(name, json!({"type": "url", "url": url}))
        }
        Part::Document { mime, name, source: Source::Base64(data) } if mime == "text/plain" => {
            let text = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let broken = "what it holds is not UTF-8 text in base64";
            let text = text.ok_or_else(|| parts::cannot(Provider::Anthropic, part, broken))?;
            document(name, json!({"type": "text", "media_type": mime, "data": text}))
        }
        Part::Document { .. } => {
            let instead = "give it a PDF, plain text in base64, or the document's text";
            return Err(parts::cannot(Provider::Anthropic, part, instead));
        }
    })
}

/// The result of a failed call may hold nothing but text.
fn result(told: &Told<'_>) -> Value {
    let reply = told.reply;
    let content = if reply.is_error || reply.is_text() {
        json!(reply.in_words())
    } else {
        let or_named = |what| part(what).unwrap_or_else(|_| json!({"type": "text", "text": what.named()}));
        reply.content.iter().map(or_named).filter(|block| !is_empty_text(block)).collect()
    };
    json!({"type": "tool_result", "tool_use_id": told.id, "content": content, "is_error": reply.is_error})
}

fn is_empty_text(block: &Value) -> bool {
    parts::text_at(block, "type") == "text" && parts::text_at(block, "text").is_empty()
}

fn is_call(block: &Value) -> bool {
    parts::text_at(block, "type") == "tool_use"
}

pub(super) fn parse(body: &Value) -> Result<Reply, Unread> {
    let mut blocks = body.get("content").and_then(Value::as_array).ok_or("content")?.clone();
    parts::mend_ids("id", blocks.iter_mut().filter(|block| is_call(block)));
    let text = blocks.iter().filter(|block| parts::text_at(block, "type") == "text");
    let text: String = text.map(|block| parts::text_at(block, "text")).collect();
    let tool_calls = blocks.iter_mut().filter(|block| is_call(block)).map(call).collect();
    let cached = parts::count_at(body, "/usage/cache_read_input_tokens");
    let caching = parts::count_at(body, "/usage/cache_creation_input_tokens");
    Ok(Reply {
        text,
        tool_calls,
        stop: stop(body),
        usage: Usage {
            // Anthropic counts what the cache served or stored apart from the rest.
            input_tokens: parts::count_at(body, "/usage/input_tokens").saturating_add(cached).saturating_add(caching),
            output_tokens: parts::count_at(body, "/usage/output_tokens"),
            cache_read_tokens: cached,
            cache_write_tokens: caching,
        },
        assistant: Value::Array(blocks),
        model: parts::model_at(body, "model"),
    })
}

fn call(block: &mut Value) -> CallRequest {
    let id = parts::text_at(block, "id").to_owned();
    let name = parts::text_at(block, "name").to_owned();
    CallRequest { id, name, arguments: parts::take_object(block, "input") }
}

fn stop(body: &Value) -> Stop {
    match parts::text_at(body, "stop_reason") {
        "end_turn" | "stop_sequence" => Stop::End,
        "tool_use" => Stop::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => Stop::Truncated,
        "refusal" => Stop::Refused,
        "pause_turn" => Stop::Paused,
        other => Stop::other(other),
    }
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
