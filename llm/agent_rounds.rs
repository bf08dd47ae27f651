//! One call of a tool from its first request to its result, over as many rounds as its server asks for, each of them a step: questions
//! to people are waits of the run, questions to models its own calls of them, and what a server works on by itself is looked after by
//! timers. It decides nothing about the result.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use abide_engine::{Ctx, Effect, Error, Result, Retry, StepKind, Wait, in_doubt, step_attempt, step_key, terminal};
use futures_util::future::{Either, join_all, select};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::agent::{Agent, AgentHost, Approval};
use crate::agent_text::foreign;
use crate::observe;
use crate::rounds::{Answers, Asks, Came, Given, Left, Look, Onward, Sampling, Underway};
use crate::sampling;
use crate::tools::{BoxFuture, Policy, ToolCall, ToolSpec};

/// How often a server may ask, or hand out a further work, before it has to come to a result.
const MOST_ROUNDS: usize = 20;

/// How often a work is looked at whose server does not say, and an open call.
const POLL: Duration = Duration::from_secs(1);

/// Within these it may say.
const POLLS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// How long a server may take to hear that nobody wants a result any more.
const CALL_OFF: Duration = Duration::from_secs(30);

/// The key of a call's `_meta` under which a server finds the idempotency key.
const IDEMPOTENCY_KEY: &str = "io.abide/idempotency-key";

/// A call and where it stands in its turn.
pub(crate) struct Calling<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) agent: &'a Agent,
    pub(crate) host: &'a Arc<AgentHost>,
    pub(crate) spec: &'a ToolSpec,
    /// Tells it from equal ones of the same turn.
    pub(crate) index: usize,
}

/// The input of a request that is not the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Again {
    #[serde(flatten)]
    call: ToolCall,
    answers: Answers,
}

/// The input of a step about what a server has of a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    server: String,
    tool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Answers::is_empty")]
    answers: Answers,
}

/// What becomes of a work.
enum Followed {
    Done(Value),
    /// Its server does not know it any more.
    Lost(String),
}

impl Calling<'_> {
    /// Makes the call. An `Err` that is no cancellation says why the tool has no result.
    pub(crate) async fn carry_out(&self, call: ToolCall) -> Result<Value> {
        let host = self.host.clone();
        let first = move |call: ToolCall| host.tools.round(call, Onward::Begin, meta(step_key()));
        let mut came = self.request(call.clone(), None, first).await?;
        for _ in 0..MOST_ROUNDS {
            came = match came {
                Came::Done(result) => return Ok(result),
                Came::Asks(asks) => self.answer(&call, Arc::new(asks)).await?,
                Came::Works(work) => match self.follow(&call, &work).await? {
                    Followed::Done(result) => return Ok(result),
                    Followed::Lost(why) => self.lost(&call, work, why).await?,
                },
            };
        }
        match came {
            Came::Done(result) => return Ok(result),
            Came::Asks(asks) if asks.open => self.call_off(&call, Left::Open(Arc::new(asks))).await,
            Came::Works(work) => self.call_off(&call, Left::Work(work)).await,
            Came::Asks(_) => {}
        }
        Err(terminal(format!("it asked {MOST_ROUNDS} times and did not come to a result: it was given up")))
    }

    /// One request as a step, under the key of the call's first one.
    async fn request<I>(
        &self,
        input: I,
        key: Option<Arc<str>>,
        ask: impl Fn(I) -> BoxFuture<Result<Came>> + Send + Sync + 'static,
    ) -> Result<Came>
    where
        I: Serialize + Clone + Send + Sync + 'static,
    {
        let spec = self.spec;
        let (run, agent): (Arc<str>, Arc<str>) = (self.ctx.run_id().into(), self.agent.name.as_str().into());
        let tool: Arc<str> = spec.tool.as_str().into();
        let run = move |input: I| {
            let span = observe::execute_tool(&tool, &agent, &run);
            let key = key.clone().or_else(step_key).unwrap_or_default();
            let asked = ask(input).instrument(span.clone());
            async move {
                let came = asked.await.map(|came| came.under(&key).write());
                observe::tool_ended(&span, &came);
                came
            }
        };
        let timeout = Duration::from_secs(spec.max_timeout_s.unwrap_or(spec.timeout_s).max(1));
        let step = self.ctx.step(spec.name.clone(), input, run).kind(StepKind::Tool).effect(spec.effect);
        let retry = spec.attempts.map_or_else(Retry::default, Retry::attempts);
        let step = step.timeout(timeout).retry(retry).key(self.index);
        let Some(probe) = spec.reconcile.clone() else { return step.await.map(Came::read) };
        let (host, limit) = (self.host.clone(), Duration::from_secs(probe.timeout_s.max(1)));
        let ask = move |call: ToolCall, key: Arc<str>| {
            let question =
                ToolCall { server: probe.server.clone(), tool: probe.tool.clone(), arguments: call.arguments };
            let (answer, probe) = (host.tools.call(question, meta(Some(key))), probe.clone());
            async move { probe.judge(&answer.await?).map_err(terminal) }
        };
        step.reconcile_within(limit, ask).await.map(Came::read)
    }

    /// The request that brings answers.
    async fn answer(&self, call: &ToolCall, asks: Arc<Asks>) -> Result<Came> {
        let answers = match self.answers(&asks).await {
            Ok(answers) => answers,
            Err(error) => {
                if asks.open {
                    self.call_off(call, Left::Open(asks)).await;
                }
                return Err(error);
            }
        };
        if !asks.open {
            self.all_given(&answers)?;
        }
        let (host, key): (_, Arc<str>) = (self.host.clone(), asks.key.as_str().into());
        let its = key.clone();
        let again = move |Again { call, answers }: Again| {
            // What was open ended with an earlier attempt, and somebody has said that it did not happen.
            let is_gone = asks.open && step_attempt().is_some_and(|attempt| attempt > 1);
            let onward = if is_gone { Onward::Begin } else { Onward::Answer(asks.clone(), answers) };
            host.tools.round(call, onward, meta(Some(its.clone())))
        };
        self.request(Again { call: call.clone(), answers }, Some(key), again).await
    }

    /// Where the server waits for nobody, there is no way to tell it that a model may not be asked.
    fn all_given(&self, answers: &Answers) -> Result<()> {
        let refused = answers.values().find_map(|given| match given {
            Given::Refused(why) => Some(why),
            Given::Result(_) => None,
        });
        let refuse = |why| Err(terminal(format!("`{}` asks for what it cannot be given: {why}", self.spec.name)));
        refused.map_or(Ok(()), refuse)
    }

    /// The request after a work was lost: in doubt, until somebody says that the call may be made again.
    async fn lost(&self, call: &ToolCall, work: Underway, why: String) -> Result<Came> {
        let (host, key): (_, Arc<str>) = (self.host.clone(), work.key.into());
        let its = key.clone();
        let again = move |Again { call, .. }: Again| -> BoxFuture<Result<Came>> {
            if step_attempt().is_none_or(|attempt| attempt <= 1) {
                return Box::pin(std::future::ready(Err(in_doubt(why.clone()))));
            }
            host.tools.round(call, Onward::Begin, meta(Some(its.clone())))
        };
        self.request(Again { call: call.clone(), answers: Answers::new() }, Some(key), again).await
    }

    /// The answers to all questions; none for those of an open call that has ended meanwhile.
    async fn answers(&self, asks: &Arc<Asks>) -> Result<Answers> {
        let answered = pin!(self.ask_all(asks));
        if !asks.open {
            return answered.await;
        }
        match select(answered, pin!(self.until_over(asks))).await {
            Either::Left((answers, _)) => answers,
            Either::Right((over, _)) => over.map(|()| Answers::new()),
        }
    }

    async fn ask_all(&self, asks: &Asks) -> Result<Answers> {
        let people = asks.people.iter().map(|(name, question)| Either::Left(self.ask_person(name, question)));
        let models = asks.models.iter().map(|(name, sampling)| Either::Right(self.ask_model(name, sampling)));
        join_all(people.chain(models)).await.into_iter().collect()
    }

    async fn ask_person(&self, name: &str, question: &Value) -> Result<(String, Given)> {
        loop {
            let asked = self.ctx.signal::<Value>(format!("{}.answer", self.spec.name));
            let said = asked.ask(Wait::Answer, question).key(format!("{}.{name}", self.index)).await?;
            // Anybody may send anything: what is no answer is not taken for one.
            if matches!(said.get("action").and_then(Value::as_str), Some("accept" | "decline" | "cancel")) {
                return Ok((name.to_owned(), Given::Result(said)));
            }
        }
    }

    async fn ask_model(&self, name: &str, asked: &Sampling) -> Result<(String, Given)> {
        let (key, scope) = (format!("{}.{name}", self.index), format!("{}.sampling", self.spec.name));
        let refused = |why: String| Ok((name.to_owned(), Given::Refused(why)));
        if asked.policy == Policy::Deny {
            return refused("the user's policy does not let this server ask a model".to_owned());
        }
        if asked.policy == Policy::Ask {
            let about = json!({"server": self.spec.server, "tool": self.spec.tool, "sampling": asked.params});
            let approval = self.ctx.signal::<Approval>(scope.clone()).ask(Wait::Approval, &about).key(&key).await?;
            if !approval.allow {
                let why = approval.reason.as_deref().unwrap_or("no reason was given");
                return refused(format!("the user did not let this server ask a model: {}", foreign(why)));
            }
        }
        let (agent, host, params) = (self.agent.clone(), self.host.clone(), asked.params.clone());
        let sampled =
            self.ctx.scope(scope, move |ctx| async move { sampling::sample(&agent, host, &ctx, &params).await });
        match sampled.key(key).await {
            Ok(result) => Ok((name.to_owned(), Given::Result(result))),
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => refused(error.message().to_owned()),
        }
    }

    /// Comes back when an open call is open no more: it has ended, or the process that made it has.
    async fn until_over(&self, asks: &Arc<Asks>) -> Result<()> {
        let since = self.ctx.now();
        loop {
            self.pause(since, POLL).await?;
            let (host, asks) = (self.host.clone(), asks.clone());
            let is_open = move |_: About| {
                let is_open = host.tools.is_open(&asks);
                async move { Ok::<_, Error>(is_open) }
            };
            let step = self.ctx.step(format!("{}.open", self.spec.name), self.about(None), is_open);
            if !step.pure().key(self.index).await? {
                return Ok(());
            }
        }
    }

    /// From a work to its result.
    async fn follow(&self, call: &ToolCall, work: &Underway) -> Result<Followed> {
        let followed = self.watch(call, work).await;
        if followed.is_err() {
            self.call_off(call, Left::Work(work.clone())).await;
        }
        followed
    }

    async fn watch(&self, call: &ToolCall, work: &Underway) -> Result<Followed> {
        let (since, mut poll, mut answered) = (self.ctx.now(), work.poll_ms, BTreeSet::new());
        loop {
            self.pause(since, poll.map_or(POLL, Duration::from_millis)).await?;
            let (host, made, at) = (self.host.clone(), call.clone(), work.clone());
            let look = move |_: About| host.tools.look(made.clone(), at.clone());
            let step = self.ctx.step(format!("{}.look", self.spec.name), self.about(Some(work)), look);
            match step.pure().retry(Retry::forever()).key(self.index).await? {
                Look::Over(result) => return Ok(Followed::Done(result)),
                Look::Lost(why) => return Ok(Followed::Lost(why)),
                Look::Works(interval) => poll = interval.or(poll),
                Look::Asks(asks) => {
                    // Each is answered once, however long it is still listed.
                    let asks = asks.without(&answered);
                    answered.extend(asks.names().cloned());
                    if asks.names().next().is_some() {
                        let answers = self.ask_all(&asks).await?;
                        self.all_given(&answers)?;
                        self.update(call, work, asks, answers).await?;
                    }
                }
            }
        }
    }

    async fn update(&self, call: &ToolCall, work: &Underway, asks: Asks, answers: Answers) -> Result<()> {
        let (host, made, at, asks) = (self.host.clone(), call.clone(), work.clone(), Arc::new(asks));
        let update = move |about: About| host.tools.update(made.clone(), at.clone(), asks.clone(), about.answers);
        let about = About { answers, ..self.about(Some(work)) };
        self.ctx.step(format!("{}.update", self.spec.name), about, update).key(self.index).await
    }

    /// Waits before the next look: the longer, the longer it has taken so far, so that hours cost no more than some hundred looks.
    async fn pause(&self, since: std::time::SystemTime, poll: Duration) -> Result<()> {
        let so_far = self.ctx.now().duration_since(since).unwrap_or_default();
        let pause = poll.clamp(POLLS.0, POLLS.1).max(so_far / 10).min(POLLS.1);
        self.ctx.sleep(pause).key(self.index).await
    }

    /// Tells the server that nobody wants the result any more. Whether it hears that changes nothing here.
    async fn call_off(&self, call: &ToolCall, left: Left) {
        let work = if let Left::Work(work) = &left { Some(work) } else { None };
        let about = self.about(work);
        let (host, made) = (self.host.clone(), call.clone());
        let tell = move |_: About| host.tools.call_off(made.clone(), left.clone());
        let step = self.ctx.step(format!("{}.cancel", self.spec.name), about, tell).effect(Effect::Idempotent);
        let _ = step.retry(Retry::attempts(2)).timeout(CALL_OFF).key(self.index).await;
    }

    fn about(&self, work: Option<&Underway>) -> About {
        let ToolSpec { server, tool, .. } = self.spec;
        let id = work.map(|work| work.id.clone());
        About { server: server.clone(), tool: tool.clone(), id, answers: Answers::new() }
    }
}

/// What goes into a call's `_meta`.
fn meta(key: Option<Arc<str>>) -> BTreeMap<String, Value> {
    key.map(|key| (IDEMPOTENCY_KEY.to_owned(), Value::from(&*key))).into_iter().collect()
}
