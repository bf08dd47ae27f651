//! What an agent is told first: its input, a prompt of a server's and the resources that its file attaches, each read once in a step of
//! the run. It asks no model.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use futures_util::future::join_all;
use serde_json::Value;

use crate::agent::{Agent, AgentHost};
use crate::agent_text::{Told, text_of};
use crate::input::Input;
use crate::model::ModelConfig;
use crate::rounds::ResourceRef;
use crate::sampling;
use crate::wire::{Part, Turn};

/// The first turns of the conversation; the first and the last are the user's.
pub(crate) async fn turns(
    ctx: &Ctx,
    agent: &Agent,
    host: &Arc<AgentHost>,
    model: &ModelConfig,
    mut input: Input,
) -> Result<Vec<Turn>> {
    let attached = agent.resources.iter().enumerate().map(|(index, one)| read(ctx, agent, host, index, one));
    let attached: Vec<Vec<Part>> = join_all(attached).await.into_iter().collect::<Result<_>>()?;
    let mut turns = Vec::new();
    if let Some(prompt) = input.prompt.take() {
        let (host, name) = (host.clone(), format!("{} of `{}`", prompt.name, prompt.server));
        let got: Value = ctx.step("prompt", prompt, move |prompt| host.tools.prompt(prompt)).pure().await?;
        let messages = got.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        turns = sampling::turns(messages, model)?;
        if !matches!(turns.first(), Some(Turn::User(_))) {
            return Err(terminal(format!("the prompt {name} does not begin with a message of the user's")));
        }
    }
    let is_said = !input.text.is_empty() || !input.attachments.is_empty() || !input.context.is_empty();
    match turns.last_mut() {
        Some(Turn::User(parts)) if is_said => parts.extend(input.parts()),
        Some(Turn::User(_)) => {}
        None => turns.push(Turn::User(input.parts())),
        Some(_) if is_said => turns.push(Turn::User(input.parts())),
        Some(_) => return Err(terminal("the prompt ends with what a model says: give an input with it")),
    }
    if let Some(Turn::User(parts)) = turns.first_mut() {
        parts.splice(0..0, attached.into_iter().flatten());
    }
    Ok(turns)
}

async fn read(
    ctx: &Ctx,
    agent: &Agent,
    host: &Arc<AgentHost>,
    index: usize,
    resource: &ResourceRef,
) -> Result<Vec<Part>> {
    let host = host.clone();
    let step = ctx.step("resource", resource.clone(), move |resource| host.tools.read(resource));
    let read: Value = step.pure().key(index).await?;
    let told = Told::of_result(&resource.server, &read, agent.max_result_chars);
    if told.is_error {
        let ResourceRef { server, uri } = resource;
        return Err(terminal(format!(
            "the resource {uri} of `{server}`, which the agent's file attaches, cannot be read: {}",
            text_of(&read)
        )));
    }
    Ok(told.content)
}
