//! One question to a model, or to the next one when it refuses for good or would be too long in coming: each a step of the run. It decides
//! nothing about the answer.

use std::sync::Arc;

use abide_engine::{
    Ctx, Effect, Error, ErrorKind, Learn, Parked, Rates, Result, Retry, StepKind, Telling, step_key, step_teller,
    terminal,
};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tracing::Instrument as _;

use crate::agent::{Agent, AgentHost};
use crate::call::{CallOptions, Seen};
use crate::charge::{OUTPUT, Payer, Shown, admission, input_tokens, now_ms, of_reply, service};
use crate::context::Context;
use crate::model::ModelConfig;
use crate::observe;
use crate::stream::Delta;
use crate::wire::{self, Prompt, Reply, Usage};

/// Attempts at a model that has fallbacks; one that has none is asked for as long as it takes.
const ATTEMPTS: u32 = 3;

/// The models of a conversation: one that refused is not asked again.
pub(crate) struct Models {
    all: Vec<Arc<ModelConfig>>,
    at: usize,
    pub(crate) shown: Shown,
    pub(crate) context: Context,
    host: Arc<AgentHost>,
    learn: Option<Arc<Learn>>,
}

/// One question.
pub(crate) struct Question<'a> {
    /// The step's name.
    pub(crate) name: &'static str,
    pub(crate) model: &'a Arc<ModelConfig>,
    /// The most tokens that it comes to.
    pub(crate) input: u64,
    /// There is nobody else to ask.
    pub(crate) last: bool,
}

impl Models {
    pub(crate) fn new(model: &ModelConfig, host: Arc<AgentHost>, ctx: &Ctx) -> Self {
        let all = std::iter::once(model).chain(&model.fallback);
        let all = all.cloned().map(Arc::new).collect();
        Self { all, at: 0, shown: Shown::default(), context: Context::default(), host, learn: ctx.resource() }
    }

    /// The model that is asked now.
    fn current(&self) -> Result<Arc<ModelConfig>> {
        self.all.get(self.at).cloned().ok_or_else(|| terminal("there is no model to ask"))
    }

    /// Asks, and returns the reply and who gave it.
    pub(crate) async fn ask(
        &mut self,
        ctx: &Ctx,
        agent: &Agent,
        prompt: &mut Prompt,
    ) -> Result<(Reply, Arc<ModelConfig>)> {
        let mut beside = Usage::default();
        loop {
            let model = self.current()?;
            let last = self.at + 1 >= self.all.len();
            prompt.temperature = model.temperature;
            prompt.stop.clone_from(&model.stop);
            // A budget holds only over an answer that has an end.
            let bounded = !(agent.budget.is_none() && agent.run_budget.is_none());
            prompt.max_tokens = model.max_tokens.or_else(|| bounded.then_some(OUTPUT));
            let mut body = wire::request(&model, prompt)?;
            if let Some(usage) = self.make_room(ctx, agent, (&model, last), prompt, &body).await? {
                beside += usage;
                body = wire::request(&model, prompt)?;
            }
            let (bytes, input) = input_tokens(&body, self.shown);
            let question = Question { name: "llm", model: &model, input, last };
            match self.step(ctx, agent, &question, body).await {
                Ok(answer) => {
                    let mut reply = wire::parse(model.provider, &answer).map_err(terminal)?;
                    let tokens = reply.usage.input_tokens;
                    self.shown = if tokens == 0 { Shown::default() } else { Shown { bytes, tokens } };
                    reply.usage += beside;
                    return Ok((reply, model));
                }
                Err(error) if last || error.is_cancelled() => return Err(error),
                // The error is in the journal, so a replay takes the same way.
                Err(_) => (self.at, self.shown) = (self.at + 1, Shown::default()),
            }
        }
    }

    /// One question as a step: the answer's body.
    pub(crate) async fn step(&self, ctx: &Ctx, agent: &Agent, question: &Question<'_>, body: Value) -> Result<Value> {
        let Question { name, model, input, last } = *question;
        let (host, asked, learn) = (self.host.clone(), model.clone(), self.learn.clone());
        let (run, spender): (Arc<str>, Arc<str>) = (ctx.run_id().into(), agent.name.as_str().into());
        let call = move |body: Arc<RawValue>| {
            let (run, spender) = (run.clone(), spender.clone());
            let (host, model, learn) = (host.clone(), asked.clone(), learn.clone());
            let (key, teller) = (step_key().unwrap_or_default(), step_teller());
            async move {
                let on = |delta: Delta| teller.tell(told(delta));
                let seen = |seen: &Seen| {
                    if let Some(learn) = &learn {
                        learn.learn(&service(&model), rates(seen));
                    }
                };
                let options = CallOptions::new(&key, host.vars.as_ref(), &host.redactor).on(&on).seen(&seen);
                let span = observe::chat(&model, &spender, &run);
                let called = host.client.call(&model, &body, options).instrument(span.clone()).await;
                observe::chat_ended(&span, model.provider, &called);
                called.map_err(|error| if last { error } else { give_way(&model, error) })
            }
        };
        let output = body_limit(&body).unwrap_or_else(|| u64::from(OUTPUT));
        // Written once, for the journal and for every attempt.
        let body: Arc<RawValue> = to_raw_value(&body).map_err(terminal)?.into();
        let vars = self.host.vars.as_ref();
        let admission = admission(&Payer::agent(agent), model, vars, (input, output), of_reply, now_ms(ctx));
        let retry = match (model.attempts, last) {
            (Some(attempts), _) => Retry::attempts(attempts),
            (None, true) => Retry::forever(),
            (None, false) => Retry::attempts(ATTEMPTS),
        };
        let step = ctx.step(name, body, call).kind(StepKind::Llm).effect(Effect::Idempotent);
        step.retry(retry).admission(admission).await
    }
}

/// What a watcher is told of an answer as it comes.
fn told(delta: Delta) -> Telling {
    match delta {
        Delta::Text(text) => Telling::Text(text),
        Delta::Reasoning(text) => Telling::Reasoning(text),
        Delta::ToolCall { name } => Telling::Call(name),
    }
}

/// The limits that an answer has named. A limit that is counted by the day says nothing of a minute, so that it is never reached.
pub(crate) fn rates(seen: &Seen) -> Rates {
    let limits = &seen.limits;
    Rates {
        requests: limits.requests_limit.filter(|n| *n > 0).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        tokens: limits.tokens_limit.filter(|n| *n > 0),
        concurrency: None,
    }
}

/// The most tokens of an answer that the request itself allows, wherever its wire says so.
fn body_limit(body: &Value) -> Option<u64> {
    let places = [
        "/max_tokens",
        "/max_completion_tokens",
        "/max_output_tokens",
        "/generationConfig/maxOutputTokens",
        "/options/num_predict",
    ];
    places.iter().find_map(|place| body.pointer(place)?.as_u64())
}

/// Where there is somebody else to ask, nobody is waited for who has to be paid or mended, or for longer than that.
fn give_way(model: &ModelConfig, error: Error) -> Error {
    let too_long = match error.kind() {
        ErrorKind::Park(Parked::Quota | Parked::Credentials) => true,
        ErrorKind::RetryAfter { ms, .. } => model.patience_ms().is_some_and(|most| *ms > most),
        _ => false,
    };
    if too_long { Error::new(ErrorKind::Terminal, error.message()) } else { error }
}
