//! A model asked on behalf of an MCP server: what `sampling/createMessage` says as a prompt, and the reply as its result. The call
//! itself is a step like any other, with the budget and the places of the agent whose tool the server is.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde_json::{Value, json};

use crate::agent::{Agent, AgentHost};
use crate::agent_text::can_be_shown;
use crate::ask::Models;
use crate::model::ModelConfig;
use crate::wire::{Assistant, Origin, Part, Prompt, Reply, Source, Stop, Turn};

/// Asks the agent's model in the scope of `ctx`; the result is a `CreateMessageResult`.
pub(crate) async fn sample(agent: &Agent, host: Arc<AgentHost>, ctx: &Ctx, params: &Value) -> Result<Value> {
    let Some(model) = &agent.model else { return Err(terminal("the agent has no model to ask")) };
    let mut prompt = prompt(params, model)?;
    let model = limited(model, params);
    let (reply, by) = Models::new(&model, host, ctx).ask(ctx, agent, &mut prompt).await?;
    result(&reply, &by)
}

/// The model, and its fallbacks, with what the server says of the answer: never more than they are allowed anyway.
fn limited(model: &ModelConfig, params: &Value) -> ModelConfig {
    let most = params.get("maxTokens").and_then(Value::as_u64).map(|n| u32::try_from(n).unwrap_or(u32::MAX).max(1));
    let mut model = model.clone();
    model.max_tokens = match (model.max_tokens, most) {
        (Some(own), Some(most)) => Some(own.min(most)),
        (own, most) => own.or(most),
    };
    if let Some(stop) = params.get("stopSequences").and_then(Value::as_array) {
        model.stop = stop.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    model.temperature = params.get("temperature").and_then(Value::as_f64).or(model.temperature);
    model.fallback = model.fallback.iter().map(|fallback| limited(fallback, params)).collect();
    model
}

fn prompt(params: &Value, model: &ModelConfig) -> Result<Prompt> {
    let system = params.get("systemPrompt").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let messages = params.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let turns = turns(messages, model)?;
    if turns.is_empty() {
        return Err(terminal("the server asks a model without a message"));
    }
    Ok(Prompt { system: system.map(str::to_owned), turns, ..Prompt::default() })
}

/// Messages of MCP as turns of a conversation: those of one role that follow each other are one.
pub(crate) fn turns(messages: &[Value], model: &ModelConfig) -> Result<Vec<Turn>> {
    let mut turns: Vec<(bool, Vec<Part>)> = Vec::new();
    for message in messages {
        let by_model = message.get("role").and_then(Value::as_str) == Some("assistant");
        let content = message.get("content").unwrap_or(&Value::Null);
        let blocks = content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice);
        let parts = blocks.iter().map(part).collect::<Result<Vec<_>>>()?;
        match turns.last_mut() {
            Some((by, before)) if *by == by_model => before.extend(parts),
            _ => turns.push((by_model, parts)),
        }
    }
    let turn = |(by_model, parts): (bool, Vec<Part>)| if by_model { said(&parts, model) } else { Turn::User(parts) };
    Ok(turns.into_iter().map(turn).collect())
}

/// What a server says that a model has said: in words, as if by another model.
fn said(parts: &[Part], model: &ModelConfig) -> Turn {
    let origin = Origin { model: String::new(), ..Origin::of(model) };
    let text = parts.iter().map(Part::named).collect::<Vec<_>>().join("\n");
    Turn::Assistant(Assistant { origin, verbatim: Value::Null, text, calls: Vec::new() })
}

fn part(block: &Value) -> Result<Part> {
    let at = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    match (at("/type"), at("/mimeType"), at("/data")) {
        (Some("text"), ..) => Ok(Part::Text(at("/text").unwrap_or_default().to_owned())),
        (Some("image"), Some(mime), Some(data)) if can_be_shown(mime, data) => {
            Ok(Part::Image { mime: mime.to_owned(), source: Source::Base64(data.to_owned()) })
        }
        (Some("resource"), ..) if at("/resource/text").is_some() => {
            let uri = at("/resource/uri").unwrap_or("without an address");
            Ok(Part::Text(format!("[resource {uri}]\n{}", at("/resource/text").unwrap_or_default())))
        }
        (kind, ..) => {
            let kind = kind.unwrap_or("unknown");
            Err(terminal(format!("a message has content of the kind `{kind}`, which no model is shown here")))
        }
    }
}

/// The reply as the protocol has it.
fn result(reply: &Reply, by: &ModelConfig) -> Result<Value> {
    if reply.text.trim().is_empty() {
        return Err(terminal("the model answered nothing"));
    }
    let stop = match &reply.stop {
        Stop::Truncated => "maxTokens",
        _ => "endTurn",
    };
    let model = reply.model.as_deref().unwrap_or(&by.model);
    Ok(
        json!({"role": "assistant", "content": {"type": "text", "text": reply.text}, "model": model, "stopReason": stop}),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::model::Provider;

    fn model() -> ModelConfig {
        ModelConfig { max_tokens: Some(100), ..ModelConfig::new(Provider::Openai, "m") }
    }

    fn message(role: &str, content: &Value) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn a_servers_messages_become_a_conversation() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let params = json!({"systemPrompt": "Be brief.", "messages": [
            message("user", &text("one")), message("user", &json!([text("two"), text("three")])),
            message("assistant", &text("four")), message("user", &text("five"))]});
        let prompt = prompt(&params, &model()).unwrap();
        assert_eq!(prompt.system.as_deref(), Some("Be brief."));
        let [Turn::User(first), Turn::Assistant(second), Turn::User(third)] = prompt.turns.as_slice() else {
            panic!("{:?}", prompt.turns)
        };
        assert_eq!((first.len(), second.text.as_str(), third.len()), (3, "four", 1));
        let body = crate::wire::request(&model(), &prompt).unwrap();
        assert_eq!(body["messages"].as_array().unwrap().len(), 4, "{body}");
    }

    #[test]
    fn what_cannot_be_shown_is_refused_and_not_left_out() {
        let audio =
            json!({"messages": [message("user", &json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"}))]});
        for (params, part) in [(audio, "kind `audio`"), (json!({"messages": []}), "without a message")] {
            let error = prompt(&params, &model()).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn a_server_may_ask_for_less_and_never_for_more() {
        for (asked, expected) in [(json!(7), Some(7)), (json!(7_000), Some(100)), (json!(null), Some(100))] {
            assert_eq!(limited(&model(), &json!({ "maxTokens": asked })).max_tokens, expected);
        }
    }
}
