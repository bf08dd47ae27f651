//! How calls are answered: a run is started or found again, and waited for as long as its client can wait. Dropped, it leaves the
//! run alone.

use std::time::Duration;

use abide_llm::BoxFuture;
use abide_mcp::serve::{About, Asks, Call, Caller, Offer, Refusal, Reply, Status, Task, Tool};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::questions::requests;
use super::runs::{self, said};
use super::stands::Stands;
use super::{Served, Shared, told};
use crate::{HostError, Progress, ProgressKind, Run, Settled};

/// Between two looks at a run that should have moved by itself.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks at a run that waits for somebody.
const STEP: Duration = Duration::from_millis(200);

/// A run is looked at again after this even if nothing was told of it.
const LOOK: Duration = Duration::from_secs(60);

const INSTRUCTIONS: &str = "Each tool starts a durable run: it goes on when this connection ends, and its result is kept. \
    Give `id` to be sure that a call which you repeat is not a second run. A run that takes long is handed over: runs_status, \
    runs_result, runs_signal and runs_cancel take its handle.";

impl Offer for Served {
    fn about(&self) -> About {
        About {
            name: "abide".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instructions: Some(INSTRUCTIONS.to_owned()),
            capabilities: Map::new(),
            tasks: true,
            tools_change: true,
        }
    }

    fn tools(&self) -> BoxFuture<Vec<Tool>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut tools: Vec<Tool> = shared.catalog().0.into_iter().map(|entry| entry.tool).collect();
            tools.extend(runs::tools());
            tools
        })
    }

    fn changed(&self) -> BoxFuture<()> {
        self.shared.changed()
    }

    fn tool(&self, name: &str) -> BoxFuture<Option<Tool>> {
        if let Some(tool) = runs::tools().into_iter().find(|tool| tool.name() == name) {
            return Box::pin(std::future::ready(Some(tool)));
        }
        let (tools, name) = (self.tools(), name.to_owned());
        Box::pin(async move { tools.await.into_iter().find(|tool| tool.name() == name) })
    }

    fn call(&self, call: Call, caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.call(&call, &caller).await })
    }

    fn task(&self, id: &str, caller: Caller) -> BoxFuture<Result<Task, Refusal>> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            let run = shared.run_of(&id).ok_or_else(|| Refusal::unknown_task(&id))?;
            shared.task(&run, &caller).map_err(|error| broken(&error))
        })
    }

    fn wait(&self, id: &str, caller: Caller) -> BoxFuture<Result<Task, Refusal>> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            let run = shared.run_of(&id).ok_or_else(|| Refusal::unknown_task(&id))?;
            let mut progress = shared.abide.progress();
            loop {
                let task = shared.task(&run, &caller).map_err(|error| broken(&error))?;
                if !matches!(task.status, Status::Working) {
                    return Ok(task);
                }
                shared.watch(&run, &mut progress, LOOK, &caller).await?;
            }
        })
    }

    fn answer(&self, id: &str, responses: Map<String, Value>) -> BoxFuture<Result<(), Refusal>> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            let run = shared.run_of(&id).ok_or_else(|| Refusal::unknown_task(&id))?;
            shared.pass_on(&run, &responses).await.map(|_| ()).map_err(Refusal::internal)
        })
    }

    fn cancel(&self, id: &str) -> BoxFuture<Result<(), Refusal>> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            let run = shared.run_of(&id).ok_or_else(|| Refusal::unknown_task(&id))?;
            match run.cancel().await {
                Ok(()) | Err(HostError::Ended { .. }) => Ok(()),
                Err(error) => Err(broken(&error)),
            }
        })
    }
}

fn broken(error: &HostError) -> Refusal {
    Refusal::internal(told(error))
}

/// Waits until there may be something new of a run, at most for so long.
async fn moved(run: &Run, most: Duration) {
    match tokio::time::timeout(most, run.settled()).await {
        Err(_) | Ok(Ok(Settled::Completed(_) | Settled::Failed(_) | Settled::Cancelled)) => {}
        // What has parked is told at once: then what was said to it is on its way.
        Ok(_) => tokio::time::sleep(PAUSE.min(most)).await,
    }
}

impl Shared {
    async fn call(&self, call: &Call, caller: &Caller) -> Result<Reply, Refusal> {
        let name = call.text("name");
        if runs::NAMES.contains(&name) {
            let handle = call.argument("run").and_then(Value::as_str).unwrap_or_default();
            let Some(run) = self.run_of(handle) else {
                let why =
                    format!("`{handle}` is no handle of a run: it is `run` in what the tool answered that started it");
                return Ok(Reply::Done(said(&why, true)));
            };
            return if name == "runs_result" {
                self.attend(&run, call, caller, self.abide.progress()).await
            } else {
                Ok(self.about_run(&run, call).await)
            };
        }
        // From the beginning: nothing of a new run is missed.
        let progress = self.abide.progress();
        let run = match self.of_earlier_round(call) {
            Some(run) => run,
            None => {
                let entry = self.catalog().0.into_iter().find(|entry| entry.tool.name() == name);
                let entry = entry.ok_or_else(|| Refusal::invalid(format!("there is no tool `{name}` here")))?;
                match self.begin(&entry, call).await {
                    Ok(run) => run,
                    Err(why) => return Ok(Reply::Done(said(&why, true))),
                }
            }
        };
        if caller.knows_tasks() {
            return self.task(&run, caller).map(Reply::Task).map_err(|error| broken(&error));
        }
        self.attend(&run, call, caller, progress).await
    }

    /// The run that the round before this one has started.
    fn of_earlier_round(&self, call: &Call) -> Option<Run> {
        let id = call.state.as_ref()?.get("run")?.as_str()?;
        self.abide.get(id).ok().filter(|run| run.id() == id)
    }

    /// Stays with a run as long as its client can wait: to its result, to what it asks, or until it is handed over.
    async fn attend(
        &self,
        run: &Run,
        call: &Call,
        caller: &Caller,
        mut progress: Receiver<Progress>,
    ) -> Result<Reply, Refusal> {
        // Who asks for a result wants to wait for it; who makes a call is told at once what it waits for.
        let patient = call.text("name") == "runs_result";
        let mut undecided = false;
        if !call.responses.is_empty() {
            match self.pass_on(run, &call.responses).await {
                Ok(decided) => undecided = decided == 0,
                Err(why) => return Ok(Reply::Done(said(&why, true))),
            }
        }
        let until = Instant::now() + self.options.within;
        loop {
            let (_, stands) = self.stands(run).map_err(|error| broken(&error))?;
            if let Some(result) = Self::over(&stands) {
                return Ok(Reply::Done(result));
            }
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            match stands {
                Stands::Asks(questions) if !undecided && !requests(&questions, caller).is_empty() => {
                    let state = Some(json!({ "run": run.id() }));
                    return Ok(Reply::Asks(Asks { requests: requests(&questions, caller), state }));
                }
                Stands::Working { until_ms, .. } if !left.is_zero() && (patient || !is_beyond(until_ms, left)) => {}
                // Somebody may do meanwhile what it waits for.
                _ if patient && !left.is_zero() => tokio::time::sleep(STEP.min(left)).await,
                _ => return Ok(Reply::Done(self.standing(run, ""))),
            }
            self.watch(run, &mut progress, left, caller).await?;
        }
    }

    /// Waits until there may be something new, at most for so long, and tells the client what happens meanwhile.
    async fn watch(
        &self,
        run: &Run,
        progress: &mut Receiver<Progress>,
        most: Duration,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        let mut waiting = std::pin::pin!(moved(run, most));
        loop {
            let event = tokio::select! {
                () = &mut waiting => return Ok(()),
                event = progress.recv() => event,
            };
            match event {
                Ok(event) if *event.run == *run.id() => {
                    if let Some(message) = words(&event) {
                        caller.happened(&message);
                    }
                    // It may ask something while the rest of it is at work.
                    if matches!(event.what, ProgressKind::Asked { .. } | ProgressKind::Waiting { .. }) {
                        return Ok(());
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(broken(&HostError::ShuttingDown)),
            }
        }
    }
}

/// Does it wait for longer than its client does?
fn is_beyond(until_ms: Option<i64>, left: Duration) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    until_ms.is_some_and(|until| u128::try_from(until).is_ok_and(|until| until > (now + left).as_millis()))
}

/// What happened, for a person who watches from elsewhere.
fn words(progress: &Progress) -> Option<String> {
    Some(match &progress.what {
        ProgressKind::Started { id, attempt: 1, .. } => format!("{id} begins"),
        ProgressKind::Started { id, attempt, .. } => format!("{id} begins again (attempt {attempt})"),
        ProgressKind::Ended { id, error: None } => format!("{id} is done"),
        ProgressKind::Ended { id, error: Some(error) } => format!("{id} failed: {error}"),
        ProgressKind::Retrying { id, error, .. } => format!("{id} will be tried again: {error}"),
        ProgressKind::Asked { id, .. } => format!("{id} waits for an answer"),
        ProgressKind::Waiting { what, .. } => format!("waits: {what}"),
        _ => return None,
    })
}
