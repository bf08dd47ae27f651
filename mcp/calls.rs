//! One call of a tool from its request to its result: the rounds in which a server asks for input, the time it may take, and
//! what is known when it does not come back. It repeats nothing that may have happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use abide_engine::{Error, ErrorKind, Parked, did_not_happen, in_doubt};
use abide_llm::{ToolCall, ToolSpec};
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, RequestMetaObject, ServerResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::connection::{Connection, Failure, Patience};
use crate::discover::Listed;
use crate::driver::TaskHandle;
use crate::names::typed;
use crate::servers::{Servers, all_names};
use crate::slot::{quote, wants_login};
use crate::ticket::Rejection;
use crate::underway::Entry;
use crate::{answer, asked, changed, resources, trace, visits};

/// How often a server may ask for input before it answers.
const MOST_ROUNDS: usize = 10;

/// What one request of a call came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The result: a `CallToolResult`.
    Done(Value),
    /// The server wants input first, and has forgotten the call until it gets it: nothing is under way meanwhile.
    Asks(Asked),
    /// The server works on it, and wants to be asked for the result.
    Task(TaskHandle),
}

/// What a server wants to know before it goes on. Plain data, for the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its requests (`elicitation/create`, `sampling/createMessage`, `roots/list`) by names of its own.
    pub requests: BTreeMap<String, Value>,
    /// What it wants back unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The answers to an [`Asked`], under its names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Results of the requests, as the protocol has them.
    pub responses: BTreeMap<String, Value>,
    /// [`Asked::state`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A call with its connection, from its first request to its result.
pub(crate) struct Open {
    pub(crate) call: ToolCall,
    pub(crate) connection: Arc<Connection>,
    pub(crate) entry: Entry,
    pub(crate) patience: Patience,
    meta: BTreeMap<String, Value>,
}

impl Servers {
    /// One request of a call and no more: for whoever keeps each of them in a journal. What it asks for is answered by
    /// [`Servers::answers`] or otherwise, and the next request takes the answers along; a task is [taken up](Servers::take_up).
    ///
    /// # Errors
    /// As [`abide_llm::Tools::call`].
    pub async fn call_once(
        &self,
        call: &ToolCall,
        meta: BTreeMap<String, Value>,
        answers: Option<&Answers>,
    ) -> Result<Outcome, Error> {
        let open = self.open(call.clone(), meta).await?;
        self.once(&open, answers).await
    }

    /// Answers what a server asks, by the driver of this view; `Err` says why it cannot be answered.
    ///
    /// # Errors
    /// What could not be answered.
    pub async fn answers(&self, call: &ToolCall, asked: &Asked) -> Result<Answers, String> {
        let entry = Arc::<crate::underway::Underway>::default().enter(call.clone(), self.driver.clone());
        self.answer(&entry, asked).await
    }

    pub(crate) async fn answer(&self, entry: &Entry, asked: &Asked) -> Result<Answers, String> {
        let server = self.project.servers.iter().find(|server| server.name == entry.call.made.server);
        let root = server.filter(|server| server.roots).map(|_| self.project.root.as_path());
        let redactor = &self.pool.host.redactor;
        let responses = asked::answer(&entry.call, &asked.requests, root, redactor).await?;
        Ok(Answers { responses, state: asked.state.clone() })
    }

    pub(crate) async fn call_now(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> Result<Value, Error> {
        let open = self.open(call, meta).await?;
        let mut answers = None;
        for _ in 0..MOST_ROUNDS {
            match self.once(&open, answers.as_ref()).await? {
                Outcome::Done(result) => return Ok(result),
                Outcome::Task(handle) => return self.follow(&open, handle).await,
                Outcome::Asks(asked) => match self.answer(&open.entry, &asked).await {
                    Ok(given) => answers = visits::onward(&asked, given)?,
                    Err(why) => {
                        return Ok(answer::error(&format!("The tool asks for what it cannot be given here: {why}")));
                    }
                },
            }
        }
        let text =
            format!("The tool asked for input {MOST_ROUNDS} times and did not come to a result: it was given up.");
        Ok(answer::error(&text))
    }

    /// The connection of a call, with its time running from now on.
    pub(crate) async fn open(&self, call: ToolCall, mut meta: BTreeMap<String, Value>) -> Result<Open, Error> {
        let connection = self.slot(&call.server)?.connection(&self.pool.host).await?;
        let decision = self.decision(&call);
        let most = Duration::from_secs(decision.max_timeout_s);
        let patience = Patience { idle: Duration::from_secs(decision.timeout_s), until: Instant::now() + most, most };
        let entry = connection.underway().enter(call.clone(), self.driver.clone());
        trace::add(&mut meta);
        Ok(Open { call, connection, entry, patience, meta })
    }

    fn decision(&self, call: &ToolCall) -> crate::policy::Decision {
        let shown = resources::shown(&call.tool);
        let name = self.pinned(call).map_or_else(|| format!("{}_{shown}", call.server), |spec| spec.name);
        let names = all_names(&name, &call.server, shown);
        self.project.rules.decide(&names.each_ref().map(String::as_str), None)
    }

    async fn once(&self, open: &Open, answers: Option<&Answers>) -> Result<Outcome, Error> {
        let Open { call, connection, entry, patience, .. } = open;
        let host = &self.pool.host;
        let listed = self.listing(connection, &call.server, false).await?;
        let tool = listed.iter().find(|listed| listed.tool == call.tool);
        if let (Some(pinned), Some(tool)) = (self.pinned(call), tool) {
            self.unchanged(&pinned, tool)?;
        }
        let mut arguments = call.arguments.clone();
        // Only now: starting the server has taught the redactor what to restore.
        host.redactor.restore_value(&mut arguments);
        let meta = RequestMetaObject::from(open.meta.clone().into_iter().collect::<Map<_, _>>());
        let (at, with_session) = ((entry, *patience), |result| answer::with_session(result, connection.session()));
        let done = |result| Ok(Outcome::Done(with_session(result)));
        if resources::is_list(&call.tool) {
            return match resources::list(connection, &meta, at).await {
                Ok(listed) => done(answer::kept(listed, None, host.limits.result_bytes, &host.redactor)),
                Err(failure) => self.failed(open, failure).await,
            };
        }
        let request = match request(&call.tool, arguments, answers) {
            Ok(request) => request,
            Err(why) => return Ok(Outcome::Done(answer::error(&why))),
        };
        match connection.request(request, meta, Some(at)).await {
            Ok(ServerResult::InputRequiredResult(asked)) => Ok(Outcome::Asks(Asked {
                requests: asked.input_requests.map(by_name).unwrap_or_default(),
                state: asked.request_state,
            })),
            Ok(ServerResult::CreateTaskResult(created)) => Ok(Outcome::Task(TaskHandle {
                id: created.task.task_id,
                poll_ms: created.task.poll_interval_ms,
                ttl_ms: created.task.ttl_ms,
            })),
            Ok(result) => {
                let schema = tool.and_then(|tool| tool.output_schema.as_ref());
                done(answer::result(result, schema, host.limits.result_bytes, &host.redactor))
            }
            Err(failure) => self.failed(open, failure).await,
        }
    }

    /// What a request that has no result comes to.
    pub(crate) async fn failed(&self, open: &Open, failure: Failure) -> Result<Outcome, Error> {
        let ToolCall { server, tool, .. } = &open.call;
        let host = &self.pool.host;
        let done = |result| Ok(Outcome::Done(answer::with_session(result, open.connection.session())));
        match failure {
            Failure::Refused(error) => match visits::asked(&error) {
                Some(asked) => Ok(Outcome::Asks(asked)),
                None => done(answer::refusal(&error, &host.redactor)),
            },
            Failure::Rejected(Rejection::Credentials(said)) => {
                let message = format!(
                    "the MCP server `{server}` does not let abide in ({said}): set the `headers` by which it knows you, or \
                     correct them where it is declared"
                );
                Err(Error::new(ErrorKind::Park(Parked::Credentials), host.redactor.mask(&message)))
            }
            Failure::Rejected(Rejection::Login(said)) => {
                let message = wants_login(server, &said);
                Err(Error::new(ErrorKind::Park(Parked::Credentials), host.redactor.mask(&message)))
            }
            Failure::Rejected(Rejection::Busy(said)) => Err(did_not_happen(
                host.redactor.mask(&format!("the MCP server `{server}` took no call of `{tool}` ({said})")),
            )),
            Failure::Rejected(Rejection::Other(said)) => {
                done(answer::error(&host.redactor.hide(&format!("The server did not take the call: {said}"))))
            }
            Failure::NotSent => Err(did_not_happen(format!(
                "the MCP server `{server}` had ended before the call of `{tool}` was sent: it is started anew"
            ))),
            Failure::InFlight => Err(self.lost(&open.connection, server, tool).await),
            Failure::TimedOut(limit) => {
                let said = if limit == open.patience.most { "was not done" } else { "gave no sign of life" };
                let message = format!(
                    "the MCP server `{server}` {said} within {} s while it was working on `{tool}`, and was told to stop: \
                     whether that has happened is not known",
                    limit.as_secs()
                );
                Err(Error::new(ErrorKind::TimedOut, message))
            }
        }
    }

    async fn lost(&self, connection: &Connection, server: &str, tool: &str) -> Error {
        let words = connection.last_words().await;
        let message = format!(
            "the MCP server `{server}` {} while it was working on `{tool}`: whether that has happened is not known{}",
            if words.is_some() { "ended" } else { "was lost" },
            words.map(|words| quote(&words, &self.pool.host.redactor)).unwrap_or_default()
        );
        in_doubt(self.pool.host.redactor.mask(&message))
    }

    /// Is the tool still what the run was given? A difference waits for the user.
    fn unchanged(&self, pinned: &ToolSpec, now: &Listed) -> Result<(), Error> {
        if pinned.hash == now.hash || self.pool.host.consent.accepts_change(&pinned.server, &pinned.tool, &now.hash) {
            return Ok(());
        }
        let (server, tool) = (&pinned.server, &pinned.tool);
        let message = format!(
            "the server `{server}` has changed its tool `{tool}` since this run was given it, so it was not called:\n{}\n  if \
             that is well, consent to it: abide trust --changed {} {} {} (a new run takes the tool as it is now)",
            changed::difference(pinned, now),
            typed(server),
            typed(tool),
            now.hash
        );
        Err(Error::new(ErrorKind::Park(Parked::Trust), self.pool.host.redactor.mask(&message)))
    }
}

fn request(tool: &str, arguments: Value, answers: Option<&Answers>) -> Result<ClientRequest, String> {
    if resources::is_ours(tool) {
        return resources::read(&arguments, answers);
    }
    let mut params = match arguments {
        Value::Null => CallToolRequestParams::new(tool.to_owned()),
        Value::Object(arguments) => CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments),
        _ => return Err("The arguments of a tool must be a JSON object.".to_owned()),
    };
    if let Some(answers) = answers {
        params.input_responses = Some(answers.responses.clone());
        params.request_state.clone_from(&answers.state);
    }
    Ok(ClientRequest::CallToolRequest(CallToolRequest::new(params)))
}

/// The requests as plain data.
pub(crate) fn by_name(requests: impl IntoIterator<Item = (String, impl Serialize)>) -> BTreeMap<String, Value> {
    let plain = |(name, request)| (name, serde_json::to_value(request).unwrap_or_default());
    requests.into_iter().map(plain).collect()
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
