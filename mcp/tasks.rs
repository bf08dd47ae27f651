//! Calls that a server works on after it has answered with a handle (MCP calls that a task): polled until they are done, taken
//! up again in another process, cancelled at the server. Whether a handle is durable is decided by who keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use abide_engine::{Error, ErrorKind, Teller, Telling, did_not_happen, in_doubt};
use abide_llm::ToolCall;
use rmcp::model::{
    CancelTaskParams, CancelTaskRequest, ClientRequest, ErrorData, GetTaskParams, GetTaskRequest, RequestMetaObject,
    ServerResult, TaskPayload, UpdateTaskParams, UpdateTaskRequest,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer;
use crate::calls::{Answers, Asked, Open, Outcome, by_name};
use crate::connection::{Connection, Failure};
use crate::driver::{Progress, TaskHandle};
use crate::servers::Servers;
use crate::ticket::Rejection;

/// How often a server is asked that does not say.
const POLL: Duration = Duration::from_secs(1);

/// Within these it may say.
const POLLS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// Where a task is.
pub(crate) enum Found {
    Working(Option<String>, Option<u64>),
    Asks(BTreeMap<String, Value>),
    Over(Value),
}

impl Servers {
    /// Waits for the result of a task that a server works on, in this process or since another one: the call is not made
    /// again. Dropped, it leaves the task alone.
    ///
    /// # Errors
    /// As [`abide_llm::Tools::call`]; a task that its server knows no longer is in doubt.
    pub async fn take_up(&self, call: &ToolCall, handle: &TaskHandle) -> Result<Value, Error> {
        let open = self.open(call.clone(), BTreeMap::new()).await?;
        self.wait_for(&open, handle).await
    }

    /// Tells the server to stop working on a task. It may be over already, and it may go on.
    ///
    /// # Errors
    /// The server could not be told.
    pub async fn cancel_task(&self, call: &ToolCall, handle: &TaskHandle) -> Result<(), Error> {
        let open = self.open(call.clone(), BTreeMap::new()).await?;
        match cancel(&open.connection, &handle.id).await {
            Ok(()) => Ok(()),
            Err(failure) => self.failed(&open, failure).await.map(|_| ()),
        }
    }

    /// From the handle to the result.
    pub(crate) async fn follow(&self, open: &Open, handle: TaskHandle) -> Result<Value, Error> {
        let kept = self.driver.handles.keep(&open.call, &handle).await?;
        let mut leave = Leave { connection: Arc::clone(&open.connection), id: (!kept).then(|| handle.id.clone()) };
        let result = self.wait_for(open, &handle).await;
        // A server that was lost is not told anything, and one that is done needs no telling.
        leave.id = None;
        result
    }

    async fn wait_for(&self, open: &Open, handle: &TaskHandle) -> Result<Value, Error> {
        let (mut connection, mut poll, mut told) = (Arc::clone(&open.connection), handle.poll_ms, None);
        let mut answered = BTreeMap::new();
        let mut polls = 0.0;
        while Instant::now() < open.patience.until {
            match look(&connection, &open.call, handle, self).await {
                Ok(Found::Over(result)) => return Ok(answer::with_session(result, connection.session())),
                Ok(Found::Asks(requests)) => {
                    self.answer_within(open, &connection, handle, requests, &mut answered).await?;
                }
                Ok(Found::Working(message, interval)) => {
                    poll = interval.or(poll);
                    if message.is_some() && message != told {
                        told.clone_from(&message);
                        let progress = Progress { done: polls, total: None, message };
                        self.driver.watch.progress(&open.call, &progress);
                    }
                }
                Err(Failure::NotSent | Failure::InFlight | Failure::Rejected(_) | Failure::TimedOut(_)) => {
                    // Asking changes nothing, so it can be asked again, of a new connection if need be.
                    connection = self.slot(&open.call.server)?.connection(&self.pool.host).await?;
                }
                Err(Failure::Refused(error)) => return Err(in_doubt(self.unknown(&open.call, &error))),
            }
            polls += 1.0;
            let pause = poll.map_or(POLL, Duration::from_millis).clamp(POLLS.0, POLLS.1);
            tokio::time::sleep_until((Instant::now() + pause).min(open.patience.until)).await;
        }
        let _ = cancel(&connection, &handle.id).await;
        let message = format!(
            "the MCP server `{}` was not done with `{}` within {} s, and was told to stop",
            open.call.server,
            open.call.tool,
            open.patience.most.as_secs()
        );
        Err(Error::new(ErrorKind::TimedOut, message))
    }

    fn unknown(&self, call: &ToolCall, error: &ErrorData) -> String {
        let message = format!(
            "the MCP server `{}` does not know the task of `{}` any more ({}): whether that has happened is not known",
            call.server, call.tool, error.message
        );
        self.pool.host.redactor.mask(&message).into_owned()
    }

    /// How a task stands now, told to `teller`; an `Err` inside says why its server does not know it any more.
    pub(crate) async fn look_once(
        &self,
        call: &ToolCall,
        handle: &TaskHandle,
        teller: &Teller,
    ) -> Result<Result<Found, String>, Error> {
        let open = self.open(call.clone(), BTreeMap::new()).await?;
        match look(&open.connection, call, handle, self).await {
            Ok(Found::Working(message, interval)) => {
                if message.is_some() {
                    teller.tell(Telling::Progress { done: 0.0, of: None, message: message.clone() });
                }
                Ok(Ok(Found::Working(message, interval)))
            }
            Ok(Found::Over(result)) => Ok(Ok(Found::Over(answer::with_session(result, open.connection.session())))),
            Ok(asks) => Ok(Ok(asks)),
            Err(Failure::Refused(error)) => Ok(Err(self.unknown(call, &error))),
            Err(failure @ Failure::Rejected(Rejection::Credentials(_))) => {
                Err(self.failed(&open, failure).await.err().unwrap_or_else(|| did_not_happen("it is not let in")))
            }
            Err(_) => Err(did_not_happen(format!(
                "the MCP server `{}` did not say how its task of `{}` stands",
                call.server, call.tool
            ))),
        }
    }

    /// Brings answers to a task.
    pub(crate) async fn update_task(
        &self,
        call: &ToolCall,
        id: &str,
        responses: BTreeMap<String, Value>,
    ) -> Result<(), Error> {
        let open = self.open(call.clone(), BTreeMap::new()).await?;
        let request = UpdateTaskRequest::new(UpdateTaskParams::new(id, responses));
        let request = ClientRequest::UpdateTaskRequest(request);
        match open.connection.request(request, RequestMetaObject::new(), None).await {
            Ok(_) => Ok(()),
            Err(failure) => self.failed(&open, failure).await.map(|_: Outcome| ()),
        }
    }

    /// Answers what a task asks; each of its requests once.
    async fn answer_within(
        &self,
        open: &Open,
        connection: &Connection,
        handle: &TaskHandle,
        requests: BTreeMap<String, Value>,
        answered: &mut BTreeMap<String, Value>,
    ) -> Result<(), Error> {
        let new: BTreeMap<_, _> = requests.into_iter().filter(|(name, _)| !answered.contains_key(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let asked = Asked { requests: new, state: None };
        let Answers { responses, .. } = match self.answer(&open.entry, &asked).await {
            Ok(answers) => answers,
            Err(why) => {
                let _ = cancel(connection, &handle.id).await;
                return Err(in_doubt(format!(
                    "the tool asks for what it cannot be given here ({why}), and was told to stop"
                )));
            }
        };
        answered.extend(responses.clone());
        let request = UpdateTaskRequest::new(UpdateTaskParams::new(&handle.id, responses));
        match connection.request(ClientRequest::UpdateTaskRequest(request), RequestMetaObject::new(), None).await {
            Ok(_) => Ok(()),
            Err(failure) => self.failed(open, failure).await.map(|_: Outcome| ()),
        }
    }
}

async fn look(
    connection: &Connection,
    call: &ToolCall,
    handle: &TaskHandle,
    servers: &Servers,
) -> Result<Found, Failure> {
    let request = ClientRequest::GetTaskRequest(GetTaskRequest::new(GetTaskParams::new(&handle.id)));
    let host = &servers.pool.host;
    let asked = connection.request(request, RequestMetaObject::new(), None);
    let answer = tokio::time::timeout(host.limits.start, asked).await;
    let result = answer.unwrap_or(Err(Failure::TimedOut(host.limits.start)))?;
    let ServerResult::GetTaskResult(found) = result else {
        return Ok(Found::Over(answer::error("The server answered the question for a task with something else.")));
    };
    Ok(match found.task.payload {
        TaskPayload::Completed { result } => {
            let schema = servers.output_schema(connection, call).await;
            let result = Value::Object(result);
            Found::Over(answer::kept(result, schema.as_ref(), host.limits.result_bytes, &host.redactor))
        }
        TaskPayload::Failed { error } => {
            let said = error.get("message").and_then(Value::as_str).unwrap_or("no reason was given");
            Found::Over(answer::error(&host.redactor.hide(&format!("The server could not do it: {said}"))))
        }
        TaskPayload::Cancelled => Found::Over(answer::error("The server says that the work was cancelled.")),
        TaskPayload::InputRequired { input_requests } => Found::Asks(by_name(input_requests)),
        _ => {
            let message = found.task.task.status_message.map(|message| host.redactor.mask(&message).into_owned());
            Found::Working(message, found.task.task.poll_interval_ms)
        }
    })
}

async fn cancel(connection: &Connection, id: &str) -> Result<(), Failure> {
    let request = ClientRequest::CancelTaskRequest(CancelTaskRequest::new(CancelTaskParams::new(id)));
    connection.request(request, RequestMetaObject::new(), None).await.map(|_| ())
}

/// A task that nobody will look after once this is dropped: its server is told so.
struct Leave {
    connection: Arc<Connection>,
    id: Option<String>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let connection = Arc::clone(&self.connection);
            drop(runtime.spawn(async move { cancel(&connection, &id).await }));
        }
    }
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
