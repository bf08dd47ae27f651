//! How an agent's model is asked beside the conversation: how it samples, where it stops, and instructions that a function writes. It asks
//! no model.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use abide_engine::Result;

use crate::agent::Agent;
use crate::input::Input;
use crate::model::ModelConfig;

type Write = dyn Fn(&Input) -> Result<String> + Send + Sync;

/// A function that writes instructions. It is code: nothing of it is pinned, and two are equal if both are there.
#[derive(Clone, Default)]
pub(crate) struct Written(Option<Arc<Write>>);

impl Written {
    /// What it says for this input, before the agent's own instructions.
    pub(crate) fn before<'a>(&self, own: Cow<'a, str>, input: &Input) -> Result<Cow<'a, str>> {
        let Some(write) = &self.0 else { return Ok(own) };
        let said = write(input)?;
        Ok(Cow::Owned(if own.trim().is_empty() { said } else { format!("{said}\n\n{own}") }))
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Written").field(&self.0.is_some()).finish()
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_some() == other.0.is_some()
    }
}

impl Agent {
    /// The sampling temperature, in the place of its model's.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        Self { temperature: Some(temperature), ..self }
    }

    /// The model stops before it would say one of these, in the place of what its own entry says.
    #[must_use]
    pub fn stop<S: Into<String>>(self, texts: impl IntoIterator<Item = S>) -> Self {
        Self { stop: texts.into_iter().map(Into::into).collect(), ..self }
    }

    /// What the model is told it is depends on the input: this says it, before whatever [`Agent::instructions`] says. Pure code, which runs
    /// again on replay: the same input, the same words. An error ends the agent's run.
    #[must_use]
    pub fn instructions_by(self, write: impl Fn(&Input) -> Result<String> + Send + Sync + 'static) -> Self {
        Self { written: Written(Some(Arc::new(write))), ..self }
    }

    /// A model with what the agent says of it, its fallbacks too.
    pub(crate) fn in_its_manner(&self, model: &ModelConfig) -> ModelConfig {
        let mut model = model.clone();
        model.temperature = self.temperature.or(model.temperature);
        if !self.stop.is_empty() {
            model.stop.clone_from(&self.stop);
        }
        model.fallback = model.fallback.iter().map(|fallback| self.in_its_manner(fallback)).collect();
        model
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::model::Provider;
    use crate::template::filled;

    #[test]
    fn what_an_agent_says_of_its_model_holds_for_the_fallbacks_too() {
        let mut model = ModelConfig { temperature: Some(0.9), ..ModelConfig::new(Provider::Openai, "a") };
        model.fallback.push(ModelConfig { stop: vec!["END".into()], ..ModelConfig::new(Provider::Anthropic, "b") });
        let agent = Agent::new("x").temperature(0.1).stop(["###"]);
        let asked = agent.in_its_manner(&model);
        assert_eq!((asked.temperature, asked.stop.as_slice()), (Some(0.1), ["###".to_owned()].as_slice()));
        assert_eq!((asked.fallback[0].temperature, &asked.fallback[0].stop), (Some(0.1), &vec!["###".to_owned()]));
        assert_eq!(Agent::new("x").in_its_manner(&model), model, "an agent that says nothing changes nothing");
    }

    #[test]
    fn a_function_writes_before_the_agents_own_instructions() {
        let agent = Agent::new("x").instructions_by(|input| Ok(format!("You know {}.", input.text)));
        let bees: Input = "bees".into();
        assert_eq!(filled(&agent, &bees).unwrap(), "You know bees.");
        assert_eq!(filled(&agent.instructions("Be brief."), &bees).unwrap(), "You know bees.\n\nBe brief.");
        let fails = Agent::new("x").instructions_by(|_| Err(abide_engine::terminal("no")));
        assert_eq!(filled(&fails, &bees).unwrap_err().message(), "no");
    }
}
