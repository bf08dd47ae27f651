//! `OpenAI` Chat Completions, as `OpenAI`, Azure and the many servers that speak it spell it. It never sends anything.

use abide_engine::Error;
use serde_json::{Map, Value, json};

use super::history::{Call, Step, steps};
use super::offer::{Choice, Offer};
use super::parts::{self, Unread};
use super::{CallRequest, Part, Prompt, Reply, Source, Stop, ToolDecl, Usage};
use crate::model::{ModelConfig, Provider};

pub(super) fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let offer = Offer::of(model, prompt)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model.model));
    body.insert("messages".to_owned(), messages(model, prompt, offer.system.as_deref())?);
    if !offer.tools.is_empty() {
        body.insert("tools".to_owned(), offer.tools.iter().map(|decl| tool(decl)).collect());
        let choice = match offer.choice {
            Choice::Auto => json!("auto"),
            Choice::None => json!("none"),
            Choice::Any => json!("required"),
            Choice::Only(name) => json!({"type": "function", "function": {"name": name}}),
        };
        body.insert("tool_choice".to_owned(), choice);
    }
    if let Some(output) = &offer.format {
        let mut schema = json!({"name": output.name, "schema": output.plain_schema()});
        if let Some(schema) = schema.as_object_mut().filter(|_| output.is_strict()) {
            schema.insert("strict".to_owned(), json!(true));
        }
        body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": schema}));
    }
    if let Some(most) = prompt.max_tokens {
        body.insert(most_tokens_key(model).to_owned(), json!(most));
    }
    if let Some(temperature) = prompt.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if !prompt.stop.is_empty() {
        body.insert("stop".to_owned(), json!(prompt.stop));
    }
    if model.streams() {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    Ok(Value::Object(body))
}

fn messages(model: &ModelConfig, prompt: &Prompt, system: Option<&str>) -> Result<Value, Error> {
    let mut messages = Vec::new();
    if let Some(system) = system {
        messages.push(json!({"role": "system", "content": system}));
    }
    for step in steps(model, &prompt.turns) {
        match step {
            Step::User(parts) => messages.push(json!({"role": "user", "content": content(parts)?})),
            Step::Verbatim(message) => messages.push(message.clone()),
            Step::Rebuilt { text, calls } => messages.push(rebuilt(text, &calls)),
            // A tool's message holds nothing but text.
            Step::Results(replies) => messages.extend(
                replies
                    .iter()
                    .map(|told| json!({"role": "tool", "tool_call_id": told.id, "content": told.reply.in_words()})),
            ),
        }
    }
    Ok(Value::Array(messages))
}

fn rebuilt(text: &str, calls: &[Call<'_>]) -> Value {
    if calls.is_empty() {
        return json!({"role": "assistant", "content": text});
    }
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    let calls = calls.iter().map(|call| {
        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
        json!({"id": call.id, "type": "function", "function": function})
    });
    json!({"role": "assistant", "content": content, "tool_calls": calls.collect::<Vec<_>>()})
}

/// A text as it is, which every server knows; anything else in parts.
fn content(parts: &[Part]) -> Result<Value, Error> {
    match parts {
        [] => Ok(json!("")),
        [Part::Text(text)] => Ok(json!(text)),
        parts => parts.iter().map(part).collect(),
    }
}

fn part(part: &Part) -> Result<Value, Error> {
    Ok(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { mime, source } => {
            let url = match source {
                Source::Base64(data) => parts::data_url(mime, data),
                Source::Url(url) => url.clone(),
            };
            json!({"type": "image_url", "image_url": {"url": url}})
        }
        Part::Document { mime, name, source: Source::Base64(data) } if mime == "application/pdf" => {
            json!({"type": "file", "file": {"filename": name, "file_data": parts::data_url(mime, data)}})
        }
        Part::Document { .. } => {
            let instead = "give it a PDF in base64, or the document's text";
            return Err(parts::cannot(Provider::Openai, part, instead));
        }
    })
}

fn tool(tool: &ToolDecl) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.input_schema});
    json!({"type": "function", "function": function})
}

/// `OpenAI`'s reasoning models refuse `max_tokens`; most other servers know nothing else. On Azure the name is the deployment's and
/// tells nothing, and all its models of today take the new key.
fn most_tokens_key(model: &ModelConfig) -> &'static str {
    let name = model.model.rsplit('/').next().unwrap_or_default();
    let version = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.chars().next()?.to_digit(10));
    if model.is_azure() || version("o").is_some() || version("gpt-").is_some_and(|major| major >= 5) {
        "max_completion_tokens"
    } else {
        "max_tokens"
    }
}

pub(super) fn parse(body: &Value) -> Result<Reply, Unread> {
    let choice = body.pointer("/choices/0").ok_or("choices[0]")?;
    let mut assistant = choice.get("message").filter(|message| message.is_object()).ok_or("message")?.clone();
    let refusal = parts::text_at(&assistant, "refusal").to_owned();
    let mut text = text(&assistant);
    let mut stop = stop(choice);
    if text.is_empty() && !refusal.is_empty() {
        text = refusal;
        stop = Stop::Refused;
    }
    let tool_calls = match assistant.get_mut("tool_calls").and_then(Value::as_array_mut) {
        Some(calls) => {
            parts::mend_ids("id", calls.iter_mut());
            calls.iter_mut().map(call).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    if let Some(message) = assistant.as_object_mut() {
        message.entry("role").or_insert_with(|| json!("assistant"));
    }
    Ok(Reply { text, tool_calls, stop, usage: usage(body), assistant, model: parts::model_at(body, "model") })
}

/// `OpenAI`'s `prompt_tokens` includes what the cache served. `DeepSeek` has names of its own for that, `OpenRouter` one
/// for what was stored.
fn usage(body: &Value) -> Usage {
    let count = |pointer| parts::count_at(body, pointer);
    Usage {
        input_tokens: count("/usage/prompt_tokens"),
        output_tokens: count("/usage/completion_tokens"),
        cache_read_tokens: count("/usage/prompt_tokens_details/cached_tokens")
            .max(count("/usage/prompt_cache_hit_tokens")),
        cache_write_tokens: count("/usage/prompt_tokens_details/cache_write_tokens"),
    }
}

/// The message's content: a text, or a list of parts of which some are text.
fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| parts::text_at(item, "text")).collect(),
        _ => String::new(),
    }
}

fn stop(choice: &Value) -> Stop {
    match parts::text_at(choice, "finish_reason") {
        "stop" => Stop::End,
        "tool_calls" | "function_call" => Stop::ToolUse,
        // The second is Mistral's word for a full context.
        "length" | "model_length" => Stop::Truncated,
        "content_filter" => Stop::Refused,
        other => Stop::other(other),
    }
}

fn call(call: &mut Value) -> Result<CallRequest, &'static str> {
    let id = parts::text_at(call, "id").to_owned();
    let function = call.get_mut("function").filter(|function| function.is_object()).ok_or("tool_calls[].function")?;
    let name = parts::text_at(function, "name").to_owned();
    Ok(CallRequest { id, name, arguments: parts::take_text(function, "arguments") })
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
