//! Calls for whoever keeps each request in a journal: what a server asks is handed out as plain data and its answer taken back later,
//! whether the server waits for it in an open call (2025-11-25) or has forgotten the call until then (2026-07-28). It asks nobody.

use std::collections::BTreeMap;

use abide_engine::{Error, Teller, in_doubt, step_teller};
use abide_llm::{Answers, Asks, BoxFuture, Came, Given, Look, Policy, Sampling, ToolCall, Underway};
use rmcp::model::InputRequest;
use serde_json::{Value, json};

use crate::asked::{question, replied, roots};
use crate::calls::{Answers as Responses, Asked, Outcome};
use crate::driver::{Driver, Question, Reply, TaskHandle};
use crate::open::{News, Next, OpenCall};
use crate::servers::Servers;
use crate::tasks::Found;
use crate::{answer, visits};

/// Where the name of an open call stands in what goes back and forth.
const OPEN: &str = "open";

/// Where a server's own state stands there.
const STATE: &str = "state";

impl Servers {
    /// The first request.
    pub(crate) fn begin(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Came, Error>> {
        let (this, open) = (self.clone(), self.opened(call.clone(), meta, None, step_teller()));
        Box::pin(async move { this.to_its_next(&call, open).await })
    }

    /// The request that brings answers, or the answers to one that is open.
    pub(crate) fn go_on(
        &self,
        call: ToolCall,
        asks: &Asks,
        answers: Answers,
        meta: BTreeMap<String, Value>,
    ) -> BoxFuture<Result<Came, Error>> {
        let open = if asks.open { self.answered(&call, asks, answers) } else { self.again(&call, asks, answers, meta) };
        let this = self.clone();
        Box::pin(async move { this.to_its_next(&call, open?).await })
    }

    /// Calls off what is open.
    pub(crate) fn let_go(&self, asks: &Asks) {
        drop(asks.back.get(OPEN).and_then(Value::as_str).and_then(|name| self.pool.aside.take(name)));
    }

    pub(crate) fn is_set_aside(&self, asks: &Asks) -> bool {
        asks.back.get(OPEN).and_then(Value::as_str).is_some_and(|name| self.pool.aside.is_open(name))
    }

    fn opened(
        &self,
        call: ToolCall,
        meta: BTreeMap<String, Value>,
        responses: Option<Responses>,
        teller: Teller,
    ) -> OpenCall {
        OpenCall::new(teller, |line| {
            let driver = Driver {
                watch: line.clone(),
                elicit: line.clone(),
                sample: line,
                whose: Some(self.identity()),
                ..Driver::default()
            };
            let servers = self.on_behalf_of(driver);
            Box::pin(async move { servers.call_once(&call, meta, responses.as_ref()).await })
        })
    }

    async fn to_its_next(&self, call: &ToolCall, mut open: OpenCall) -> Result<Came, Error> {
        match open.next().await {
            Next::Outcome(Ok(Outcome::Done(result))) => Ok(Came::Done(result)),
            Next::Outcome(Ok(Outcome::Task(task))) => {
                Ok(Came::Works(Underway { id: task.id, poll_ms: task.poll_ms, key: String::new() }))
            }
            Next::Outcome(Ok(Outcome::Asks(asked))) => Ok(match self.asks(call, asked) {
                Ok(asks) => Came::Asks(asks),
                Err(why) => Came::Done(answer::error(&why)),
            }),
            Next::Outcome(Err(error)) => Err(error),
            Next::Asks(names) => {
                let mut asks = Asks { open: true, ..Asks::default() };
                for name in names {
                    match open.asked(&name) {
                        Some(News::Question(question, _)) => drop(asks.people.insert(name, self.shown(question))),
                        Some(News::Sample(request, _)) => {
                            let sampling = self.sampling(&call.server, request.params.clone());
                            asks.models.insert(name, sampling);
                        }
                        None => {}
                    }
                }
                let name = crate::connection::random_id();
                asks.back = json!({ OPEN: name });
                if self.pool.aside.keep(name, open) {
                    return Ok(Came::Asks(asks));
                }
                Err(in_doubt("too many calls wait for answers in this process: the call was called off"))
            }
        }
    }

    /// What a server wants to know before it is called again.
    fn asks(&self, call: &ToolCall, asked: Asked) -> Result<Asks, String> {
        let unknown = |name: &str| format!("The tool asks for what it cannot be given here: `{name}`.");
        let redactor = &self.pool.host.redactor;
        let mut asks = Asks::default();
        for (name, request) in asked.requests {
            match serde_json::from_value(request).map_err(|_| unknown(&name))? {
                InputRequest::Elicitation(request) => match question(call, request.params, redactor) {
                    Some(question) => drop(asks.people.insert(name, self.shown(&question))),
                    None => drop(asks.ready.insert(name, json!({"action": "decline"}))),
                },
                InputRequest::ListRoots(_) => {
                    let server = self.project.servers.iter().find(|server| server.name == call.server);
                    let root = server.filter(|server| server.roots).map(|_| self.project.root.as_path());
                    asks.ready.insert(name, serde_json::to_value(roots(root)).unwrap_or_default());
                }
                InputRequest::CreateMessage(request) => {
                    let params = serde_json::to_value(&request.params).unwrap_or_default();
                    asks.models.insert(name, self.sampling(&call.server, params));
                }
                _ => return Err(unknown(&name)),
            }
        }
        if let Some(state) = asked.state {
            asks.back = json!({ STATE: redactor.hide(&state) });
        }
        Ok(asks)
    }

    /// A question in its written form.
    fn shown(&self, question: &Question) -> Value {
        let mut shown = serde_json::to_value(question).unwrap_or_default();
        if let Some(wants) = shown.get_mut("wants") {
            self.pool.host.redactor.hide_value(wants);
        }
        shown
    }

    fn sampling(&self, server: &str, mut params: Value) -> Sampling {
        self.pool.host.redactor.hide_value(&mut params);
        let policy = self.project.sampling.get(server).copied().unwrap_or(Policy::Ask);
        Sampling { policy, params }
    }

    /// An open call whose questions are answered.
    fn answered(&self, call: &ToolCall, asks: &Asks, answers: Answers) -> Result<OpenCall, Error> {
        let name = asks.back.get(OPEN).and_then(Value::as_str).unwrap_or_default();
        let Some(mut open) = self.pool.aside.take(name) else {
            return Err(in_doubt(format!(
                "the server `{}` asked in the middle of a call of `{}`, and that call ended with the process that made it: \
                 whether it has happened is not known",
                call.server, call.tool
            )));
        };
        open.tell(step_teller());
        for (name, given) in answers {
            // Whoever waits for it may be gone by now.
            match (open.take(&name), given) {
                (Some(News::Question(_, waits)), given) => drop(waits.send(self.reply(given))),
                (Some(News::Sample(_, waits)), Given::Result(mut result)) => {
                    self.pool.host.redactor.restore_value(&mut result);
                    drop(waits.send(Ok(result)));
                }
                (Some(News::Sample(_, waits)), Given::Refused(why)) => drop(waits.send(Err(why))),
                (None, _) => {}
            }
        }
        Ok(open)
    }

    /// The call made again, with answers and the state that the server wants back.
    fn again(
        &self,
        call: &ToolCall,
        asks: &Asks,
        answers: Answers,
        meta: BTreeMap<String, Value>,
    ) -> Result<OpenCall, Error> {
        let state = asks.back.get(STATE).and_then(Value::as_str);
        let state = state.map(|state| self.pool.host.redactor.restore(state).into_owned());
        let asked = Asked { requests: BTreeMap::new(), state };
        let given = Responses { responses: self.responses(asks, answers), state: asked.state.clone() };
        Ok(self.opened(call.clone(), meta, visits::onward(&asked, given)?, step_teller()))
    }

    /// Answers as the protocol has them.
    fn responses(&self, asks: &Asks, answers: Answers) -> BTreeMap<String, Value> {
        let mut responses = asks.ready.clone();
        for (name, given) in answers {
            let question = asks.people.get(&name).and_then(|question| serde_json::from_value(question.clone()).ok());
            let response = match (question, given) {
                (Some(mut question), given) => {
                    self.restore_form(&mut question);
                    serde_json::to_value(replied(&question, self.reply(given))).unwrap_or_default()
                }
                (None, Given::Result(mut result)) => {
                    self.pool.host.redactor.restore_value(&mut result);
                    result
                }
                (None, Given::Refused(_)) => continue,
            };
            responses.insert(name, response);
        }
        responses
    }

    fn restore_form(&self, question: &mut Question) {
        if let crate::driver::Wants::Form(form) = &mut question.wants {
            self.pool.host.redactor.restore_value(form);
        }
    }

    /// A person's answer as it goes to the server.
    fn reply(&self, given: Given) -> Reply {
        let Given::Result(mut said) = given else { return Reply::Cancel };
        self.pool.host.redactor.restore_value(&mut said);
        match said.get("action").and_then(Value::as_str) {
            Some("accept") => Reply::Accept(said.get("content").cloned().unwrap_or_default()),
            Some("decline") => Reply::Decline,
            _ => Reply::Cancel,
        }
    }

    /// How a task stands.
    pub(crate) async fn look_at(&self, call: ToolCall, work: Underway, teller: Teller) -> Result<Look, Error> {
        let handle = TaskHandle { id: work.id, poll_ms: work.poll_ms, ttl_ms: None };
        Ok(match self.look_once(&call, &handle, &teller).await? {
            Err(why) => Look::Lost(why),
            Ok(Found::Over(result)) => Look::Over(result),
            Ok(Found::Working(_, interval)) => Look::Works(interval),
            Ok(Found::Asks(requests)) => match self.asks(&call, Asked { requests, state: None }) {
                Ok(asks) => Look::Asks(asks),
                Err(why) => {
                    self.cancel_task(&call, &handle).await?;
                    Look::Over(answer::error(&why))
                }
            },
        })
    }

    /// Brings answers to a task.
    pub(crate) async fn bring(
        &self,
        call: ToolCall,
        work: Underway,
        asks: &Asks,
        answers: Answers,
    ) -> Result<(), Error> {
        let responses = self.responses(asks, answers);
        self.update_task(&call, &work.id, responses).await
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
