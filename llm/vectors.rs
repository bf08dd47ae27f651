//! Texts to vectors as a step of a run. It compares nothing and keeps nothing beside the journal.

use std::sync::Arc;

use abide_engine::{Ctx, Effect, Error, Learn, Result, Retry, StepKind, step_key, terminal};
use serde_json::Value;

use crate::agent::AgentHost;
use crate::ask::rates;
use crate::call::{CallOptions, Seen};
use crate::charge::{Limit, Payer, Shown, admission, input_tokens, now_ms, of_vectors, service};
use crate::model::ModelConfig;
use crate::wire::embed;

impl ModelConfig {
    /// Vectors of these texts, one for each in their order, as durable steps: a request holds as many texts as its wire allows. They stand in
    /// the line of the model's account, and count for the budgets of the run.
    ///
    /// Errors: no [`AgentHost`], a wire without embeddings, no text, a call that failed for good, and the cancellation of the run.
    pub async fn embed(&self, ctx: &Ctx, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.embed_within(ctx, texts, &Limit::default()).await
    }

    /// The same, where the run may spend no more than this in all.
    ///
    /// Errors: as [`ModelConfig::embed`]; a run over its limit parks.
    pub async fn embed_within(&self, ctx: &Ctx, texts: &[String], run: &Limit) -> Result<Vec<Vec<f32>>> {
        let host: Arc<AgentHost> = ctx.resource().ok_or_else(|| {
            terminal("this host lends no AgentHost, so it reaches no models: start it with agents, or add one to its resources")
        })?;
        let (model, learn): (_, Option<Arc<Learn>>) = (Arc::new(self.clone()), ctx.resource());
        let payer = Payer { name: "embed".into(), own: Limit::default(), run, priority: 0 };
        let mut vectors = Vec::with_capacity(texts.len());
        for some in texts.chunks(embed::most_inputs(self.provider)) {
            let body = embed::request(self, some)?;
            let (_, most) = input_tokens(&body, Shown::default());
            let admission = admission(&payer, &model, host.vars.as_ref(), (most, 0), of_vectors, now_ms(ctx));
            let (host, model, learn) = (host.clone(), model.clone(), learn.clone());
            let call = move |body: Value| {
                let (host, model, learn) = (host.clone(), model.clone(), learn.clone());
                let key = step_key().unwrap_or_default();
                async move {
                    let seen = |seen: &Seen| {
                        if let Some(learn) = &learn {
                            learn.learn(&service(&model), rates(seen));
                        }
                    };
                    let options = CallOptions::new(&key, host.vars.as_ref(), &host.redactor).seen(&seen);
                    host.client.embed(&model, &body, options).await
                }
            };
            let step = ctx.step("embed", body, call).kind(StepKind::Llm).effect(Effect::Pure).retry(Retry::forever());
            let answer: Value = step.admission(admission).await?;
            let read =
                embed::parse(self.provider, &answer, some.len()).map_err(|error| -> Error { terminal(error) })?;
            vectors.extend(read.vectors);
        }
        Ok(vectors)
    }
}
