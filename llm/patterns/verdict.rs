//! An agent's answer in JSON, as patterns ask for it: a plan, a choice, a rating. It never judges what the answer says.

use abide_engine::{Ctx, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::work::Tally;
use crate::agent::Agent;
use crate::input::Input;

/// The form of a verdict.
pub(crate) struct Shape {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What the model is given.
    pub(crate) schema: Value,
    /// What its answer is checked against, where that is less: what else is wrong is for the pattern to say.
    pub(crate) checked: Value,
}

/// Asks `agent`, whose own instructions stand before its `duty`.
pub(crate) async fn verdict<T: DeserializeOwned>(
    agent: &Agent,
    ctx: &Ctx,
    duty: &str,
    shape: Shape,
    input: Input,
    tally: &mut Tally,
) -> Result<T> {
    let agent = on_duty(agent, duty).output_checked(shape.name, shape.schema, shape.checked);
    let answer = agent.run(ctx, input).await?;
    tally.add(&answer);
    answer.read()
}

/// The agent with a duty below its own instructions.
pub(crate) fn on_duty(agent: &Agent, duty: &str) -> Agent {
    let own = agent.instructions.trim();
    let instructions = if own.is_empty() { duty.to_owned() } else { format!("{own}\n\n{duty}") };
    agent.clone().instructions(instructions)
}

/// A closed object with all these properties: what every vendor takes.
pub(crate) fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let required = properties.each_ref().map(|(name, _)| *name).to_vec();
    let all: Map<String, Value> = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "properties": all, "required": required, "additionalProperties": false})
}

/// A list of these.
pub(crate) fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// A text that says this.
pub(crate) fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

/// One of these names; without them any text.
pub(crate) fn name_of<'a>(names: Option<impl IntoIterator<Item = &'a str>>) -> Value {
    match names {
        Some(names) => json!({"type": "string", "enum": names.into_iter().collect::<Vec<_>>()}),
        None => json!({"type": "string"}),
    }
}
