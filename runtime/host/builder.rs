//! Opening a database: workflows, handles, clock. It starts the threads and nothing else.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use abide_engine::{Ctx, Error, Resources, workflow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::Abide;
use super::inner::{Clock, Factory, Inner, Registered};
use super::limits::Limits;
use super::shard::{NAP, SHORT_NAP, Shard};
use super::shutdown::Closing;
use super::watch::Watch;
use crate::HostError;
use crate::store::{Access, CHECKPOINT_AT, Owner, Pen, Place, Writer, open_for_writing};

/// Threads that poll workflows, at most: workflows only decide, so few are enough.
const MOST_SHARDS: usize = 4;

/// A database about to be opened: `Abide::open(path).workflow("name", f).start().await`.
#[must_use = "nothing is opened before `start`"]
pub struct Builder {
    path: PathBuf,
    workflows: HashMap<String, Registered>,
    resources: Resources,
    access: Access,
    recover: bool,
    check_replay: bool,
    clock: Clock,
    nap: Duration,
    checkpoint_at: i32,
    limits: Limits,
    #[cfg(feature = "schedule")]
    look_up: Option<super::meet::LookUp>,
    #[cfg(feature = "serve")]
    described: std::collections::BTreeMap<String, crate::serve::Described>,
}

fn system_clock() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

impl Builder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            workflows: HashMap::new(),
            resources: Resources::default(),
            access: Access::Create,
            recover: true,
            check_replay: false,
            clock: Arc::new(system_clock),
            nap: NAP,
            checkpoint_at: CHECKPOINT_AT,
            limits: Limits::default(),
            #[cfg(feature = "schedule")]
            look_up: None,
            #[cfg(feature = "serve")]
            described: std::collections::BTreeMap::new(),
        }
    }

    /// Registers a workflow: any `async fn(Ctx, I) -> Result<O>` with serde types.
    pub fn workflow<I, O, E, F, Fut>(mut self, name: impl Into<String>, f: F) -> Self
    where
        I: DeserializeOwned + Send,
        O: Serialize,
        E: Into<Error>,
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        self.workflows.insert(name.into(), Registered::Code(workflow(f)));
        self
    }

    /// Says what a workflow does and takes, for MCP clients of `abide serve`: `input` is the JSON schema of its input.
    #[cfg(feature = "serve")]
    pub fn describe(mut self, workflow: &str, description: &str, input: serde_json::Value) -> Self {
        let (name, description, input) = (workflow.to_owned(), Some(description.to_owned()), Some(input));
        self.described.insert(workflow.to_owned(), crate::serve::Described { name, description, input });
        self
    }

    /// The workflows of the program, by name.
    #[cfg(feature = "cli")]
    pub(crate) fn offered(&self) -> Vec<crate::serve::Described> {
        let code = self.workflows.iter().filter(|(_, registered)| matches!(registered, Registered::Code(_)));
        let mut names: Vec<&String> = code.map(|(name, _)| name).collect();
        names.sort();
        let plain = |name: &str| crate::serve::Described { name: name.to_owned(), ..Default::default() };
        names.into_iter().map(|name| self.described.get(name).cloned().unwrap_or_else(|| plain(name))).collect()
    }

    /// Registers a workflow that is made anew for each run from what the run carries.
    pub fn factory(mut self, name: impl Into<String>, make: Factory) -> Self {
        self.workflows.insert(name.into(), Registered::Made(make));
        self
    }

    /// Lends a handle to workflows: `ctx.resource::<T>()`.
    pub fn resource<T: Send + Sync + 'static>(mut self, handle: Arc<T>) -> Self {
        self.resources = self.resources.with(handle);
        self
    }

    /// Is a handle of this type lent?
    #[cfg(feature = "agents")]
    pub(crate) fn lends<T: Send + Sync + 'static>(&self) -> bool {
        self.resources.get::<T>().is_some()
    }

    /// Refuses to make a new file.
    pub fn existing(mut self) -> Self {
        self.access = Access::Existing;
        self
    }

    /// Whether to go on by itself with runs that dead processes left or that were sent something; on unless told otherwise.
    pub fn recover(mut self, recover: bool) -> Self {
        self.recover = recover;
        self
    }

    /// For tests of workflows: replays each turn before it is committed, and delivers outcomes that came together in any order. A workflow that
    /// depends on something that replay does not repeat (a clock, randomness, a `HashMap`'s order, a global) then parks as
    /// diverged, naming the step, instead of doing so after the first crash. Each turn costs as much as all before it.
    pub fn check_replay(mut self, check: bool) -> Self {
        self.check_replay = check;
        self
    }

    /// Another clock, in Unix milliseconds, for tests that jump.
    pub fn clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        (self.clock, self.nap) = (Arc::new(clock), SHORT_NAP);
        self
    }

    /// Pages of write-ahead log after which it is moved into the database, for tests that watch it being moved.
    #[doc(hidden)]
    pub fn checkpoint_pages(mut self, pages: u32) -> Self {
        self.checkpoint_at = i32::try_from(pages).unwrap_or(i32::MAX);
        self
    }

    /// How much a run may hold.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Looks up what schedules name in files.
    #[cfg(feature = "cli")]
    pub(crate) fn look_up(mut self, look_up: super::meet::LookUp) -> Self {
        self.look_up = Some(look_up);
        self
    }

    /// The same at another path.
    #[cfg(feature = "cli")]
    pub(crate) fn at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Where the database is.
    #[cfg(feature = "cli")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Is there a workflow of exactly this name?
    #[cfg(feature = "cli")]
    pub(crate) fn has_workflow(&self, name: &str) -> bool {
        matches!(self.workflows.get(name), Some(Registered::Code(_)))
    }

    /// Opens the database and starts to work. Needs a tokio runtime around it, on which steps run.
    pub async fn start(self) -> Result<Abide, HostError> {
        crate::os::ignore_file_size_signal();
        let path = self.path.clone();
        let access = self.access;
        let conn = tokio::task::spawn_blocking(move || open_for_writing(&path, access)).await;
        let conn = conn.map_err(|e| HostError::Storage { why: e.to_string() })??;
        let db = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let place = Arc::new(Place::of(&db));
        let pen = Pen::new(conn, &db, place.clone(), self.checkpoint_at, self.clock.clone());
        let unlock = Unlocker::default();
        let broken = |e: std::io::Error| HostError::Storage { why: format!("a thread cannot be started: {e}") };
        let (writer, writer_thread) = Writer::start(pen, UnlockAtEnd(unlock.clone())).map_err(broken)?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_SHARDS);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel()).unzip();
        let inner = Inner::new(db, writer, self.workflows, self.resources, self.clock, senders, self.recover);
        #[cfg(feature = "schedule")]
        let inner = inner.looking_up(self.look_up);
        let inner = Arc::new(
            inner
                .with_files(place, unlock)
                .with_limits(self.limits)
                .napping(self.nap)
                .checking_replay(self.check_replay),
        );
        for (i, from) in receivers.into_iter().enumerate() {
            let shard = Shard::new(inner.clone(), inner.shards[i].clone());
            let thread = std::thread::Builder::new().name(format!("abide-engine-{i}"));
            thread.spawn(move || shard.run(&from)).map_err(broken)?;
        }
        let watch = Watch::start(&inner).map_err(broken)?;
        let abide = Abide { closing: Some(Closing { writer: writer_thread, watch }), inner };
        if self.recover {
            abide.inner.owner_id().await?;
        }
        Ok(abide)
    }
}

/// The owner file, once there is one, for the writer thread to unlock when it ends.
#[derive(Clone, Default)]
pub(crate) struct Unlocker(Arc<std::sync::OnceLock<Owner>>);

/// Held by the writer thread: a writer that dies releases the lock.
struct UnlockAtEnd(Unlocker);

impl Drop for UnlockAtEnd {
    fn drop(&mut self) {
        if let Some(owner) = self.0.0.get() {
            owner.unlock();
        }
    }
}

impl Unlocker {
    pub(crate) fn guard(&self, owner: &Owner) {
        let _ = self.0.set(owner.clone());
    }
}
