//! Ollama's own `/api/chat`. It has no word for a required tool, and no place for documents. It never sends anything.

use abide_engine::Error;
use serde_json::{Map, Value, json};

use super::history::{Step, steps};
use super::offer::Offer;
use super::parts::{self, Unread};
use super::{CallRequest, Part, Prompt, Reply, Source, Stop, ToolDecl, Usage};
use crate::model::{ModelConfig, Provider};

pub(super) fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let offer = Offer::of(model, prompt)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model.model));
    body.insert("messages".to_owned(), messages(model, prompt, offer.system.as_deref())?);
    // It streams unless it is told not to.
    body.insert("stream".to_owned(), json!(model.streams()));
    if !offer.tools.is_empty() {
        body.insert("tools".to_owned(), offer.tools.iter().map(|decl| tool(decl)).collect());
    }
    if let Some(output) = &offer.format {
        body.insert("format".to_owned(), output.plain_schema());
    }
    let mut options = Map::new();
    if let Some(most) = prompt.max_tokens {
        options.insert("num_predict".to_owned(), json!(most));
    }
    if let Some(temperature) = prompt.temperature {
        options.insert("temperature".to_owned(), json!(temperature));
    }
    if !prompt.stop.is_empty() {
        options.insert("stop".to_owned(), json!(prompt.stop));
    }
    if !options.is_empty() {
        body.insert("options".to_owned(), Value::Object(options));
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
            Step::User(parts) => messages.push(user(parts)?),
            Step::Verbatim(message) => messages.push(message.clone()),
            Step::Rebuilt { text, calls } => {
                let mut message = json!({"role": "assistant", "content": text});
                if let Some(message) = message.as_object_mut().filter(|_| !calls.is_empty()) {
                    let calls = calls.into_iter().map(
                        |call| json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}),
                    );
                    message.insert("tool_calls".to_owned(), calls.collect());
                }
                messages.push(message);
            }
            Step::Results(replies) => messages.extend(replies.iter().map(|told| {
                let content = told.reply.in_words();
                json!({"role": "tool", "tool_name": told.name, "tool_call_id": told.id, "content": content})
            })),
        }
    }
    Ok(Value::Array(messages))
}

/// Texts together, images beside them.
fn user(parts: &[Part]) -> Result<Value, Error> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(text) => texts.push(text.as_str()),
            Part::Image { source: Source::Base64(data), .. } => images.push(data.as_str()),
            Part::Image { source: Source::Url(_), .. } => {
                return Err(parts::cannot(Provider::Ollama, part, "give it the image in base64"));
            }
            Part::Document { .. } => {
                return Err(parts::cannot(Provider::Ollama, part, "give it the document's text"));
            }
        }
    }
    let mut message = json!({"role": "user", "content": texts.join("\n")});
    if let Some(message) = message.as_object_mut().filter(|_| !images.is_empty()) {
        message.insert("images".to_owned(), json!(images));
    }
    Ok(message)
}

fn tool(tool: &ToolDecl) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.input_schema});
    json!({"type": "function", "function": function})
}

pub(super) fn parse(body: &Value) -> Result<Reply, Unread> {
    let mut assistant = body.get("message").filter(|message| message.is_object()).ok_or("message")?.clone();
    if body.get("done").and_then(Value::as_bool) == Some(false) {
        return Err(Unread::Missing("the end of the answer"));
    }
    let text = parts::text_at(&assistant, "content").to_owned();
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
    Ok(Reply {
        text,
        tool_calls,
        stop: match parts::text_at(body, "done_reason") {
            "stop" => Stop::End,
            "length" => Stop::Truncated,
            other => Stop::other(other),
        },
        usage: Usage {
            input_tokens: parts::count_at(body, "/prompt_eval_count"),
            output_tokens: parts::count_at(body, "/eval_count"),
            ..Usage::default()
        },
        assistant,
        model: parts::model_at(body, "model"),
    })
}

fn call(call: &mut Value) -> Result<CallRequest, &'static str> {
    let id = parts::text_at(call, "id").to_owned();
    let function = call.get_mut("function").filter(|function| function.is_object()).ok_or("tool_calls[].function")?;
    let name = parts::text_at(function, "name").to_owned();
    Ok(CallRequest { id, name, arguments: parts::take_object(function, "arguments") })
}

#[cfg(test)]
#[path = "ollama_tests.rs"]
mod tests;
