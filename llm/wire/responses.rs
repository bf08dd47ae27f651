//! `OpenAI` Responses, without any state at the provider: nothing is stored there, and the items of each answer go back verbatim, the
//! encrypted reasoning among them. It never sends anything.

use abide_engine::{Error, terminal};
use serde_json::{Map, Value, json};

use super::history::{Step, steps};
use super::offer::{Choice, Offer};
use super::parts::{self, Unread};
use super::{CallRequest, Part, Prompt, Reply, Source, Stop, ToolDecl, ToolReply, Usage};
use crate::model::ModelConfig;

pub(super) fn request(model: &ModelConfig, prompt: &Prompt) -> Result<Value, Error> {
    let offer = Offer::of(model, prompt)?;
    if !prompt.stop.is_empty() {
        return Err(terminal(format!(
            "`{}` is asked over the wire `openai-responses`, which has no `stop`: remove it, or use provider = \"openai\"",
            model.model
        )));
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model.model));
    body.insert("input".to_owned(), input(model, prompt));
    body.insert("store".to_owned(), json!(false));
    if may_reason(&model.model) {
        body.insert("include".to_owned(), json!(["reasoning.encrypted_content"]));
    }
    if let Some(system) = &offer.system {
        body.insert("instructions".to_owned(), json!(system));
    }
    if !offer.tools.is_empty() {
        body.insert("tools".to_owned(), offer.tools.iter().map(|decl| tool(decl)).collect());
        let choice = match offer.choice {
            Choice::Auto => json!("auto"),
            Choice::None => json!("none"),
            Choice::Any => json!("required"),
            Choice::Only(name) => json!({"type": "function", "name": name}),
        };
        body.insert("tool_choice".to_owned(), choice);
    }
    if let Some(output) = &offer.format {
        let (schema, strict) = (output.plain_schema(), output.is_strict());
        let format = json!({"type": "json_schema", "name": output.name, "schema": schema, "strict": strict});
        body.insert("text".to_owned(), json!({"format": format}));
    }
    if let Some(most) = prompt.max_tokens {
        body.insert("max_output_tokens".to_owned(), json!(most));
    }
    if let Some(temperature) = prompt.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if model.streams() {
        body.insert("stream".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}

/// The models that do not reason refuse to include what they have not. An unknown name may be a deployment's.
fn may_reason(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    !(["gpt-3", "gpt-4", "chatgpt-"].iter().any(|old| name.starts_with(old)) || name.contains("-chat"))
}

fn input(model: &ModelConfig, prompt: &Prompt) -> Value {
    let mut input = Vec::new();
    for step in steps(model, &prompt.turns) {
        match step {
            Step::User(parts) => input.push(json!({"type": "message", "role": "user", "content": content(parts)})),
            Step::Verbatim(items) => input.extend(items.as_array().into_iter().flatten().cloned()),
            Step::Rebuilt { text, calls } => {
                if !text.is_empty() {
                    input.push(json!({"type": "message", "role": "assistant", "content": text}));
                }
                input.extend(calls.iter().map(|call| {
                    let arguments = call.arguments.to_string();
                    json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
                }));
            }
            Step::Results(replies) => {
                input.extend(replies.iter().map(
                    |told| json!({"type": "function_call_output", "call_id": told.id, "output": output(told.reply)}),
                ));
            }
        }
    }
    Value::Array(input)
}

fn content(parts: &[Part]) -> Value {
    match parts {
        [Part::Text(text)] => json!(text),
        parts => parts.iter().map(part).collect(),
    }
}

fn output(reply: &ToolReply) -> Value {
    if reply.is_text() { json!(reply.in_words()) } else { reply.content.iter().map(part).collect() }
}

fn part(part: &Part) -> Value {
    // `auto` is the default, but `OpenAI`'s types demand the field, and servers that check by them (vLLM) refuse an image without it.
    let image = |url: &str| json!({"type": "input_image", "image_url": url, "detail": "auto"});
    match part {
        Part::Text(text) => json!({"type": "input_text", "text": text}),
        Part::Image { mime, source: Source::Base64(data) } => image(&parts::data_url(mime, data)),
        Part::Image { source: Source::Url(url), .. } => image(url),
        Part::Document { mime, name, source: Source::Base64(data) } => {
            json!({"type": "input_file", "filename": name, "file_data": parts::data_url(mime, data)})
        }
        Part::Document { source: Source::Url(url), .. } => json!({"type": "input_file", "file_url": url}),
    }
}

/// `strict` is the default of this wire, and the schemas of tools seldom qualify.
fn tool(tool: &ToolDecl) -> Value {
    json!({"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.input_schema,
           "strict": false})
}

pub(super) fn parse(body: &Value) -> Result<Reply, Unread> {
    let status = parts::text_at(body, "status");
    if status == "failed" {
        return Err(failed(body));
    }
    let mut items = body.get("output").and_then(Value::as_array).ok_or("output")?.clone();
    parts::mend_ids("call_id", items.iter_mut().filter(|item| is(item, "function_call")));
    let said = || items.iter().filter(|item| is(item, "message")).flat_map(|item| parts::items_at(item, "content"));
    let mut text: String =
        said().filter(|part| is(part, "output_text")).map(|part| parts::text_at(part, "text")).collect();
    let refusal: String =
        said().filter(|part| is(part, "refusal")).map(|part| parts::text_at(part, "refusal")).collect();
    let mut stop = stop(body, status)?;
    if text.is_empty() && !refusal.is_empty() {
        text = refusal;
        stop = Stop::Refused;
    }
    let tool_calls = items.iter_mut().filter(|item| is(item, "function_call")).map(call).collect();
    let count = |pointer| parts::count_at(body, pointer);
    Ok(Reply {
        text,
        tool_calls,
        stop,
        usage: Usage {
            // Includes what the cache served; the output includes reasoning.
            input_tokens: count("/usage/input_tokens"),
            output_tokens: count("/usage/output_tokens"),
            cache_read_tokens: count("/usage/input_tokens_details/cached_tokens"),
            cache_write_tokens: count("/usage/input_tokens_details/cache_write_tokens"),
        },
        assistant: Value::Array(items),
        model: parts::model_at(body, "model"),
    })
}

fn is(item: &Value, kind: &str) -> bool {
    parts::text_at(item, "type") == kind
}

fn failed(body: &Value) -> Unread {
    let at = |pointer| body.pointer(pointer).and_then(Value::as_str);
    let code = at("/error/code").unwrap_or("unknown").to_owned();
    Unread::Failed { code, message: at("/error/message").unwrap_or("it gave no reason").to_owned() }
}

fn stop(body: &Value, status: &str) -> Result<Stop, Unread> {
    let reason = body.pointer("/incomplete_details/reason").and_then(Value::as_str).unwrap_or_default();
    match (status, reason) {
        ("completed", _) => Ok(Stop::End),
        ("incomplete", "max_output_tokens") => Ok(Stop::Truncated),
        ("incomplete", "content_filter") => Ok(Stop::Refused),
        ("incomplete", other) => Ok(Stop::other(if other.is_empty() { "incomplete" } else { other })),
        // It still works on it, or was told to stop: no answer.
        ("queued" | "in_progress", _) => Err(Unread::Missing("the end of the answer")),
        (other, _) => Ok(Stop::other(other)),
    }
}

fn call(item: &mut Value) -> CallRequest {
    let id = parts::text_at(item, "call_id").to_owned();
    let name = parts::text_at(item, "name").to_owned();
    CallRequest { id, name, arguments: parts::take_text(item, "arguments") }
}

#[cfg(test)]
#[path = "responses_tests.rs"]
mod tests;
