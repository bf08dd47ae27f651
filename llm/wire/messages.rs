//! Anthropic Messages. It never sends anything.

use serde_json::{Map, Value, json};

use super::{CallRequest, Prompt, Reply, Stop, ToolChoice, ToolReply, Turn, Usage, missing_stop, parts};

/// The API insists on a limit.
const MAX_TOKENS: u32 = 4096;

pub(super) fn request(model: &str, prompt: &Prompt) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("max_tokens".to_owned(), json!(prompt.max_tokens.unwrap_or(MAX_TOKENS)));
    if let Some(system) = &prompt.system {
        body.insert("system".to_owned(), json!(system));
    }
    body.insert("messages".to_owned(), messages(&prompt.turns));
    // A history of calls without the tools is refused, so they stay when the model is to conclude.
    let concluding = prompt.tool_choice == ToolChoice::None;
    if !prompt.tools.is_empty() && (!concluding || has_calls(&prompt.turns)) {
        let tools = prompt
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}));
        body.insert("tools".to_owned(), tools.collect());
        let choice = match prompt.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "any",
        };
        body.insert("tool_choice".to_owned(), json!({"type": choice}));
    }
    if let Some(temperature) = prompt.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    Value::Object(body)
}

/// Neighbours of one role share a message: the results of a turn's calls, and what the user adds to them.
fn messages(turns: &[Turn]) -> Value {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for turn in turns {
        let (role, blocks) = match turn {
            Turn::User(text) => ("user", vec![json!({"type": "text", "text": text})]),
            Turn::Assistant(Value::Array(blocks)) => ("assistant", blocks.clone()),
            Turn::Assistant(other) => ("assistant", vec![other.clone()]),
            Turn::ToolResults(replies) => ("user", replies.iter().map(result).collect()),
        };
        // The API refuses a message without content and a text without characters, though models do answer them.
        let blocks = blocks.into_iter().filter(|block| !is_empty_text(block));
        match messages.last_mut() {
            Some((last, content)) if *last == role => content.extend(blocks),
            _ => messages.push((role, blocks.collect())),
        }
        messages.pop_if(|(_, content)| content.is_empty());
    }
    messages.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn result(reply: &ToolReply) -> Value {
    json!({"type": "tool_result", "tool_use_id": reply.call_id, "content": reply.text, "is_error": reply.is_error})
}

fn has_calls(turns: &[Turn]) -> bool {
    turns.iter().any(|turn| match turn {
        Turn::User(_) => false,
        Turn::Assistant(blocks) => blocks.as_array().is_some_and(|blocks| blocks.iter().any(is_call)),
        Turn::ToolResults(_) => true,
    })
}

fn is_empty_text(block: &Value) -> bool {
    parts::text_at(block, "type") == "text" && parts::text_at(block, "text").is_empty()
}

fn is_call(block: &Value) -> bool {
    parts::text_at(block, "type") == "tool_use"
}

/// The error says what is missing.
pub(super) fn parse(body: &Value) -> Result<Reply, &'static str> {
    let mut blocks = body.get("content").and_then(Value::as_array).ok_or("content")?.clone();
    parts::mend_ids(blocks.iter_mut().filter(|block| is_call(block)));
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
        model: body.get("model").and_then(Value::as_str).map(str::to_owned),
    })
}

fn call(block: &mut Value) -> CallRequest {
    let arguments = parts::arguments(block.get("input"));
    let id = parts::text_at(block, "id").to_owned();
    let name = parts::text_at(block, "name").to_owned();
    // Sent back, an input has to be an object.
    if let Some(block) = block.as_object_mut()
        && !block.get("input").is_some_and(Value::is_object)
    {
        let given = block.remove("input");
        block.insert("input".to_owned(), arguments.clone().unwrap_or_else(|_| json!({"invalid_arguments": given})));
    }
    CallRequest { id, name, arguments }
}

fn stop(body: &Value) -> Stop {
    match parts::text_at(body, "stop_reason") {
        "end_turn" | "stop_sequence" => Stop::End,
        "tool_use" => Stop::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => Stop::Truncated,
        "refusal" => Stop::Refused,
        "" => missing_stop(),
        other => Stop::Other(other.to_owned()),
    }
}
