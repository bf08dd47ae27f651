//! `OpenAI` Chat Completions, as `OpenAI` and the many servers that speak it spell it. It never sends anything.

use serde_json::{Map, Value, json};

use super::{CallRequest, Prompt, Reply, Stop, ToolChoice, ToolDecl, Turn, Usage, missing_stop, parts};

pub(super) fn request(model: &str, prompt: &Prompt) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &prompt.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    for turn in &prompt.turns {
        match turn {
            Turn::User(text) => messages.push(json!({"role": "user", "content": text})),
            Turn::Assistant(message) => messages.push(message.clone()),
            Turn::ToolResults(replies) => messages.extend(
                replies
                    .iter()
                    .map(|reply| json!({"role": "tool", "tool_call_id": reply.call_id, "content": reply.text})),
            ),
        }
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), Value::Array(messages));
    // To conclude, the tools are left out: small models call what they see, whatever `tool_choice` says.
    if !prompt.tools.is_empty() && prompt.tool_choice != ToolChoice::None {
        body.insert("tools".to_owned(), prompt.tools.iter().map(tool).collect());
        let choice = if prompt.tool_choice == ToolChoice::Required { "required" } else { "auto" };
        body.insert("tool_choice".to_owned(), json!(choice));
    }
    if let Some(most) = prompt.max_tokens {
        body.insert(most_tokens_key(model).to_owned(), json!(most));
    }
    if let Some(temperature) = prompt.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    Value::Object(body)
}

fn tool(tool: &ToolDecl) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.input_schema});
    json!({"type": "function", "function": function})
}

/// `OpenAI`'s reasoning models refuse `max_tokens`; most other servers know nothing else.
fn most_tokens_key(model: &str) -> &'static str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let version = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.chars().next()?.to_digit(10));
    if version("o").is_some() || version("gpt-").is_some_and(|major| major >= 5) {
        "max_completion_tokens"
    } else {
        "max_tokens"
    }
}

/// The error says what is missing.
pub(super) fn parse(body: &Value) -> Result<Reply, &'static str> {
    let choice = body.pointer("/choices/0").ok_or("choices[0]")?;
    let mut assistant = choice.get("message").filter(|message| message.is_object()).ok_or("message")?.clone();
    let refusal = parts::text_at(&assistant, "refusal").to_owned();
    let mut text = content(&assistant);
    let mut stop = stop(choice);
    if text.is_empty() && !refusal.is_empty() {
        text = refusal;
        stop = Stop::Refused;
    }
    let tool_calls = match assistant.get_mut("tool_calls").and_then(Value::as_array_mut) {
        Some(calls) => {
            parts::mend_ids(calls.iter_mut());
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
        stop,
        usage: Usage {
            input_tokens: parts::count_at(body, "/usage/prompt_tokens"),
            output_tokens: parts::count_at(body, "/usage/completion_tokens"),
            cache_read_tokens: parts::count_at(body, "/usage/prompt_tokens_details/cached_tokens"),
            cache_write_tokens: 0,
        },
        assistant,
        model: body.get("model").and_then(Value::as_str).map(str::to_owned),
    })
}

/// The message's content: a text, or a list of parts of which some are text.
fn content(message: &Value) -> String {
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
        "length" => Stop::Truncated,
        "content_filter" => Stop::Refused,
        "" => missing_stop(),
        other => Stop::Other(other.to_owned()),
    }
}

fn call(call: &mut Value) -> Result<CallRequest, &'static str> {
    let id = parts::text_at(call, "id").to_owned();
    let function = call.get_mut("function").and_then(Value::as_object_mut).ok_or("tool_calls[].function")?;
    let name = function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let given = function.get("arguments");
    let arguments = parts::arguments(given);
    // Servers that fill arguments into a chat template parse them when they come back, and fail for good on these.
    let unfit = match given {
        Some(Value::String(text)) if arguments.is_err() => Some(json!({"invalid_arguments": text}).to_string()),
        Some(Value::String(text)) if text.trim().is_empty() => Some("{}".to_owned()),
        _ => None,
    };
    if let Some(text) = unfit {
        function.insert("arguments".to_owned(), Value::String(text));
    }
    Ok(CallRequest { id, name, arguments })
}
