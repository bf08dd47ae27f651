//! Texts to vectors as a step of a run. It compares nothing and keeps nothing beside the journal.

use std::sync::Arc;

use abide_engine::{Ctx, Effect, Error, Result, Retry, StepKind, step_key, terminal};
use serde_json::Value;

use crate::agent::AgentHost;
use crate::call::CallOptions;
use crate::model::ModelConfig;
use crate::wire::embed;

impl ModelConfig {
    /// Vectors of these texts, one for each in their order, as durable steps: a request holds as many texts as its wire allows.
    ///
    /// Errors: no [`AgentHost`], a wire without embeddings, no text, a call that failed for good, and the cancellation of the run.
    pub async fn embed(&self, ctx: &Ctx, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let host: Arc<AgentHost> = ctx.resource().ok_or_else(|| {
            terminal("this host lends no AgentHost, so it reaches no models: start it with agents, or add one to its resources")
        })?;
        let model = Arc::new(self.clone());
        let mut vectors = Vec::with_capacity(texts.len());
        for some in texts.chunks(embed::most_inputs(self.provider)) {
            let body = embed::request(self, some)?;
            let (host, model) = (host.clone(), model.clone());
            let call = move |body: Value| {
                let (host, model) = (host.clone(), model.clone());
                let key = step_key().unwrap_or_default();
                async move {
                    let options = CallOptions::new(&key, host.vars.as_ref(), &host.redactor);
                    host.client.embed(&model, &body, options).await
                }
            };
            let step = ctx.step("embed", body, call).kind(StepKind::Llm).effect(Effect::Pure).retry(Retry::forever());
            let answer: Value = step.await?;
            let read =
                embed::parse(self.provider, &answer, some.len()).map_err(|error| -> Error { terminal(error) })?;
            vectors.extend(read.vectors);
        }
        Ok(vectors)
    }
}
