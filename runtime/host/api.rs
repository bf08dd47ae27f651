//! The client API: start, find, list, resume. It never touches a machine: shards do.

use std::future::{Future, IntoFuture};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use abide_engine::{Json, Seed};
use serde::Serialize;
use tokio::sync::{broadcast, oneshot};

use super::begin::StartRun;
use super::builder::Builder;
use super::inner::{Definition, Inner};
use super::progress::Progress;
use super::run::Run;
use super::shard::Msg;
use super::shutdown::Closing;
use super::take::By;
use crate::HostError;
use crate::report::Report;
use crate::store::{Queue, Reader, RunRow, Started};

/// An open database: starts runs, works on them, and answers for them. Dropped without [`Abide::shutdown`], it shuts down behind your back.
pub struct Abide {
    pub(crate) inner: Arc<Inner>,
    pub(crate) closing: Option<Closing>,
}

/// What is known of a run without reading its journal.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// Its id.
    pub id: String,
    /// Its workflow's name.
    pub workflow: String,
    /// `running`, `waiting`, `interrupted`, `paused`, `completed`, `failed`, `cancelled` or `diverged`.
    pub status: &'static str,
    /// What it waits for (DESIGN section 7).
    pub waiting_for: Option<&'static str>,
    /// The queue that it was started into, until it has ended.
    pub queue: Option<String>,
    /// Until when, in Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub updated_ms: i64,
    /// How often it has changed hands.
    pub epoch: i64,
    /// The living process that works on it.
    pub owner_pid: Option<u32>,
    /// What it last said of its progress, as JSON.
    pub progress: Option<String>,
    /// Why it is parked.
    pub error: Option<String>,
    /// The project's folder.
    pub root: Option<String>,
}

impl RunInfo {
    pub(crate) fn of(reader: &Reader, row: RunRow) -> Self {
        let alive = reader.is_alive(&row);
        let status = match row.status.as_str() {
            "running" | "waiting" if !alive && row.owner.is_some() => "interrupted",
            "running" if row.owner.is_none() => "interrupted",
            "running" => "running",
            "waiting" => "waiting",
            "paused" => "paused",
            "completed" => "completed",
            "failed" => "failed",
            "cancelled" => "cancelled",
            _ => "diverged",
        };
        Self {
            status,
            waiting_for: row.waiting_for.as_deref().and_then(waiting_word),
            owner_pid: if alive { row.owner.map(|o| o.pid) } else { None },
            id: row.id,
            workflow: row.workflow,
            queue: row.queue,
            until_ms: row.until_ms,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
            epoch: row.epoch,
            progress: row.note,
            error: row.error,
            root: row.root,
        }
    }
}

pub(super) fn waiting_word(word: &str) -> Option<&'static str> {
    const WORDS: [&str; 12] = [
        "timer",
        "rate_limit",
        "signal",
        "child",
        "approval",
        "answer",
        "in_doubt",
        "trust",
        "credentials",
        "quota",
        "budget",
        "queue",
    ];
    WORDS.into_iter().find(|known| *known == word)
}

/// A run about to be started: await it.
#[must_use = "a run starts when this is awaited"]
pub struct Start<'a> {
    abide: &'a Abide,
    workflow: String,
    input: Result<Json, String>,
    id: Option<String>,
    definition: Definition,
    detached: bool,
    queue: Option<Queue>,
}

impl Start<'_> {
    /// An id of your own: the same id is the same run, never a second one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// What the run carries besides its input.
    pub fn definition(mut self, definition: Definition) -> Self {
        self.definition = definition;
        self
    }

    /// Only records the run: whoever resumes it works on it.
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// It waits in this queue for its turn, at the price of a row: until then nobody works on it, whoever lives or dies.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = Some(queue);
        self
    }

    async fn begin(self) -> Result<Run, HostError> {
        let input = self.input.map_err(|why| HostError::Value { what: "the input".to_owned(), why })?;
        self.abide.inner.limits.check("the input", input.get().len())?;
        let id = self.id.unwrap_or_else(crate::random::run_id);
        if let Some(why) = fault_of_id(&id) {
            return Err(HostError::Value { what: format!("the id `{id}`"), why: why.to_owned() });
        }
        let inner = self.abide.inner.clone();
        let start = StartRun {
            id: id.clone(),
            workflow: self.workflow,
            input,
            seed: Seed { nonce: crate::random::bytes16(), generation: 0 },
            definition: self.definition.body,
            root: self.definition.root,
            queue: self.queue,
        };
        let in_queue = start.queue.is_some();
        let (reply, answer) = oneshot::channel();
        if self.detached || in_queue {
            let done = Box::new(move |result| {
                let _ = reply.send(result);
            });
            let owner = if self.detached { None } else { Some(inner.owner_id().await?) };
            inner.writer.submit(Box::new(start.created(owner, inner.now_ms(), done)));
        } else {
            inner.owner_id().await?;
            inner.send(inner.shard_of(&id), Msg::Start(Box::new(start), reply));
        }
        match answer.await.map_err(|_| HostError::ShuttingDown)?? {
            Started::New { key, .. } if in_queue && !self.detached => {
                // Its turn may come at once, or be somebody's by now who goes on with whatever may move.
                if let Some(row) = inner.read(|reader| reader.run(key))?
                    && let Err(error) = inner.take(row, By::Itself).await
                    && !matches!(error, HostError::Owned { .. })
                {
                    return Err(error);
                }
                Ok(Run { inner, key, id })
            }
            Started::New { key, .. } | Started::Exists { key, same: true } => Ok(Run { inner, key, id }),
            Started::Exists { same: false, .. } => {
                Err(HostError::IdTaken { run: id, differs: "another workflow or input" })
            }
        }
    }
}

impl<'a> IntoFuture for Start<'a> {
    type Output = Result<Run, HostError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl Abide {
    /// A database at this path: register workflows, then `start`.
    pub fn open(path: impl AsRef<Path>) -> Builder {
        Builder::new(path.as_ref())
    }

    /// Rewrites a database whose disk once failed to sync, after which nobody opens it. False if there was no need. Nobody else may
    /// have it open.
    pub fn repair(path: impl AsRef<Path>) -> Result<bool, HostError> {
        crate::store::repair(path.as_ref())
    }

    /// Starts a run of a registered workflow. Await what is returned.
    pub fn run<I: Serialize + ?Sized>(&self, workflow: &str, input: &I) -> Start<'_> {
        Start {
            abide: self,
            workflow: workflow.to_owned(),
            input: abide_engine::event::json(input).map_err(|e| e.to_string()),
            id: None,
            definition: Definition::default(),
            detached: false,
            queue: None,
        }
    }

    /// A run by its id or a unique beginning of it.
    pub fn get(&self, id: &str) -> Result<Run, HostError> {
        let row = self.inner.read(|reader| reader.find(id))?;
        Ok(Run { inner: self.inner.clone(), key: row.key, id: row.id })
    }

    /// The newest runs first, `limit` of them at most.
    pub fn list(&self, limit: u32) -> Result<Vec<RunInfo>, HostError> {
        self.inner.read(|reader| {
            let rows = reader.list(i64::from(limit))?;
            Ok(rows.into_iter().map(|row| RunInfo::of(reader, row)).collect())
        })
    }

    /// The ids of the runs that are interrupted or due: what `resume` without a run takes up.
    pub fn due(&self) -> Result<Vec<String>, HostError> {
        let now = self.inner.now_ms();
        self.inner.read(|reader| {
            let (mut due, mut after) = (Vec::new(), 0);
            loop {
                let rows = reader.open_runs(after)?;
                let Some(last) = rows.last() else { return Ok(due) };
                after = last.key;
                for row in rows {
                    let alive = reader.is_alive(&row);
                    // One in line has its turn by itself.
                    let moves = row.status == "running"
                        || row.until_ms.is_some_and(|at| at <= now)
                        || row.owner.is_some()
                        || row.waiting_for.as_deref() == Some("queue");
                    let has_mail = || reader.inbox(row.key).is_ok_and(|mail| !mail.is_empty());
                    if !alive && row.parent.is_none() && (moves || has_mail()) {
                        due.push(row.id);
                    }
                }
            }
        })
    }

    /// Goes on with a run: takes it from a dead process or from nobody, and works on it here.
    ///
    /// A run that a living process works on is refused, unless `steal`: then that process is fenced off.
    pub async fn resume(&self, id: &str, steal: bool) -> Result<Run, HostError> {
        let row = self.inner.read(|reader| reader.find(id))?;
        let run = Run { inner: self.inner.clone(), key: row.key, id: row.id.clone() };
        self.inner.no_longer_left(row.key);
        // It goes on when nobody waits for it any more: a run that was claimed and is worked on by nobody would belong to us for ever.
        let inner = self.inner.clone();
        let by = if steal { By::Stealing } else { By::Asking };
        let taking = self.inner.runtime.spawn(async move { inner.take(row, by).await });
        taking.await.map_err(|_| HostError::ShuttingDown)??;
        Ok(run)
    }

    /// Says how many runs of this queue may be under way, without starting one: what was lifted holds for those that wait now.
    pub async fn limit(&self, queue: &Queue) -> Result<(), HostError> {
        let queue = queue.clone();
        self.inner.writer.call(move |tx| queue.define(tx).map(|_| ())).await
    }

    /// What happens to the runs that this process works on, from now on.
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.inner.progress.subscribe()
    }

    /// A run's report, by its id or a unique beginning of it.
    pub fn report(&self, id: &str) -> Result<Report, HostError> {
        self.get(id)?.report()
    }

    /// Checks every run's chain; what is wrong, run by run.
    pub fn verify(&self, only: Option<&str>) -> Result<crate::report::Verified, HostError> {
        self.inner.read(|reader| crate::report::verify(reader, only))
    }
}

/// Why this cannot be the id of a run, or nothing.
pub(crate) fn fault_of_id(id: &str) -> Option<&'static str> {
    // Commands are printed with it, and none of them may take it for an option.
    let fits = (1..=200).contains(&id.len()) && !id.contains(char::is_control) && !id.starts_with('-');
    (!fits).then_some("an id has 1 to 200 bytes, no control characters, and no hyphen at its beginning")
}
