//! What all threads of a host share. It owns no run.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use abide_engine::{Json, Learn, Resources, WorkflowFn};
use tokio::sync::{OnceCell, broadcast, oneshot};

use super::attempt::text_of;
use super::builder::Unlocker;
use super::governor::Governor;
use super::limits::Limits;
use super::progress::Progress;
use super::run::Settled;
use super::shard::{Msg, NAP};
use crate::store::{Owner, Place, Reader, RunKey, Writer};
use crate::{HostError, crash};

/// A clock: Unix milliseconds.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a run carries besides its input: read from files when it began, and kept with it (DESIGN rule 14).
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// JSON text; secrets only as references.
    pub body: Option<String>,
    /// The project's folder.
    pub root: Option<String>,
}

/// A workflow that was made for one run, and the handles that this run is lent.
pub struct Made {
    /// The workflow.
    pub workflow: WorkflowFn,
    /// What `ctx.resource::<T>()` finds in this run.
    pub resources: Resources,
}

/// Makes the workflow of a run from its id, its definition and the host's own handles. The run's workflow may be called
/// `NAME:whatever`: the factory is found by the part before the colon.
pub type Factory = Arc<dyn Fn(&str, &Definition, Resources) -> Result<Made, HostError> + Send + Sync>;

/// A workflow as it was registered.
#[derive(Clone)]
pub(crate) enum Registered {
    Code(WorkflowFn),
    Made(Factory),
}

pub(crate) struct Inner {
    pub(crate) db: PathBuf,
    pub(crate) writer: Writer,
    pub(crate) workflows: HashMap<String, Registered>,
    pub(crate) resources: Resources,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) clock: Clock,
    /// The longest that a shard sleeps.
    pub(crate) nap: Duration,
    pub(crate) shards: Vec<mpsc::Sender<Msg>>,
    pub(crate) progress: broadcast::Sender<Progress>,
    /// Goes on by itself with runs that others left or that were sent something.
    pub(crate) recover: bool,
    /// For tests: each turn is replayed before it is committed, and outcomes that came together come in any order.
    pub(crate) check_replay: bool,
    pub(crate) owner: OnceCell<(Owner, i64)>,
    pub(crate) unlock: Unlocker,
    pub(crate) place: Arc<Place>,
    pub(crate) limits: Limits,
    pub(crate) governor: Arc<Governor>,
    /// Looks up what schedules name in files.
    #[cfg(feature = "schedule")]
    pub(crate) look_up: Option<super::meet::LookUp>,
    readers: Mutex<Vec<Reader>>,
    waiters: Mutex<HashMap<RunKey, Vec<Waiter>>>,
    /// Runs that this process was told to let go of: it takes them up again only when told so.
    left: Mutex<HashSet<RunKey>>,
    /// Runs that this process is to work on once they have a place in their queue.
    in_line: Mutex<HashSet<RunKey>>,
    /// Runs that were given up, and not resumed since.
    stopped: Mutex<HashSet<RunKey>>,
    /// Why not even that could be written, as long as nothing can.
    broken: Mutex<Option<HostError>>,
    closed: AtomicBool,
}

struct Waiter {
    parked_too: bool,
    to: oneshot::Sender<Settled>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        db: PathBuf,
        writer: Writer,
        workflows: HashMap<String, Registered>,
        resources: Resources,
        clock: Clock,
        shards: Vec<mpsc::Sender<Msg>>,
        recover: bool,
    ) -> Self {
        Self {
            db,
            writer,
            workflows,
            resources,
            runtime: tokio::runtime::Handle::current(),
            clock,
            nap: NAP,
            shards,
            progress: broadcast::channel(1024).0,
            recover,
            check_replay: false,
            owner: OnceCell::new(),
            unlock: Unlocker::default(),
            place: Arc::default(),
            limits: Limits::default(),
            governor: Arc::default(),
            #[cfg(feature = "schedule")]
            look_up: None,
            readers: Mutex::default(),
            waiters: Mutex::default(),
            left: Mutex::default(),
            in_line: Mutex::default(),
            stopped: Mutex::default(),
            broken: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn with_files(self, place: Arc<Place>, unlock: Unlocker) -> Self {
        Self { unlock, place, ..self }
    }

    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    #[cfg(feature = "schedule")]
    pub(crate) fn looking_up(self, look_up: Option<super::meet::LookUp>) -> Self {
        Self { look_up, ..self }
    }

    pub(crate) fn napping(self, nap: Duration) -> Self {
        Self { nap, ..self }
    }

    pub(crate) fn checking_replay(self, check_replay: bool) -> Self {
        Self { check_replay, ..self }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Reads with a connection from the pool.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Reader) -> Result<T, HostError>) -> Result<T, HostError> {
        let pooled = lock(&self.readers).pop();
        let reader = match pooled {
            Some(reader) => reader,
            // By its name: that must still be the name of what we write to.
            None => self.place.check().and_then(|()| Reader::open(&self.db))?,
        };
        let out = f(&reader);
        let mut pool = lock(&self.readers);
        if !self.is_closed() {
            pool.push(reader);
        }
        out
    }

    /// This process as an owner: its file is locked and its row written when first needed.
    pub(crate) async fn owner_id(&self) -> Result<i64, HostError> {
        let made = self.owner.get_or_try_init(async || {
            let owner = Owner::lock(&self.db).map_err(|e| HostError::Database {
                path: self.db.clone(),
                why: format!("no owner file can be made beside it: {e}"),
                help: "check the permissions of its folder".to_owned(),
            })?;
            crash::point("owner.locked");
            let (row, now) = (owner.clone(), self.now_ms());
            let id = match self.writer.call(move |tx| row.register(tx, now)).await {
                Ok(id) => id,
                Err(error) => {
                    owner.leave();
                    return Err(error);
                }
            };
            crash::point("owner.registered");
            self.unlock.guard(&owner);
            Ok::<_, HostError>((owner, id))
        });
        Ok(made.await?.1)
    }

    /// The owner's id, or 0 before there is one.
    pub(crate) fn own_id(&self) -> i64 {
        self.owner.get().map_or(0, |(_, id)| *id)
    }

    /// What was registered for this workflow.
    fn registered(&self, name: &str) -> Option<&Registered> {
        let made = || match name.split_once(':').and_then(|(factory, _)| self.workflows.get(factory)) {
            Some(Registered::Code(_)) | None => None,
            made => made,
        };
        self.workflows.get(name).or_else(made)
    }

    /// Can this process work on runs of this workflow?
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.registered(name).is_some()
    }

    /// The workflow of this name, made from the run's definition if it has one, and the handles it is lent.
    pub(crate) fn workflow(&self, run: &str, name: &str, definition: &Definition) -> Result<Made, HostError> {
        match self.registered(name) {
            Some(Registered::Code(f)) => Ok(Made { workflow: f.clone(), resources: self.lent() }),
            // Somebody else's code: its panic is not the shard's.
            Some(Registered::Made(make)) => {
                let attempt = AssertUnwindSafe(|| make(run, definition, self.lent()));
                catch_unwind(attempt).unwrap_or_else(|panic| {
                    let why = format!("its workflow cannot be made: {}", text_of(&*panic));
                    Err(HostError::Environment { run: run.to_owned(), why })
                })
            }
            None => Err(HostError::NoWorkflow { run: run.to_owned(), workflow: name.to_owned() }),
        }
    }

    /// The handles that every run is lent.
    fn lent(&self) -> Resources {
        let governor = self.governor.clone();
        let lent =
            self.resources.clone().with(Arc::new(Learn::new(move |service, rates| governor.learn(service, rates))));
        #[cfg(feature = "agents")]
        let lent = crate::agents::lend(lent, self.writer.clone());
        lent
    }

    pub(crate) fn shard_of(&self, run_id: &str) -> usize {
        let hash = blake3::hash(run_id.as_bytes());
        usize::from(hash.as_bytes()[0]) % self.shards.len().max(1)
    }

    pub(crate) fn send(&self, shard: usize, msg: Msg) {
        if let Some(to) = self.shards.get(shard) {
            let _ = to.send(msg);
        }
    }

    /// Tells whoever works on this run that its inbox has something new.
    pub(crate) fn news(self: &Arc<Self>, run: RunKey) {
        for shard in 0..self.shards.len() {
            self.send(shard, Msg::Inbox(run));
        }
        if self.recover {
            let inner = self.clone();
            self.runtime.spawn(async move {
                inner.adopt_in_the_end(run).await;
            });
        }
    }

    /// A place at a service may be free for what waits in this run.
    pub(crate) fn poke(&self, run: RunKey) {
        for shard in 0..self.shards.len() {
            self.send(shard, Msg::Poke(run));
        }
    }

    /// Notes that this run is to be worked on once it has a place in its queue.
    pub(crate) fn wait_in_line(&self, run: RunKey) {
        lock(&self.in_line).insert(run);
    }

    pub(crate) fn no_longer_in_line(&self, run: RunKey) {
        lock(&self.in_line).remove(&run);
    }

    /// Does this process wait for it to have a place?
    pub(crate) fn is_in_line(&self, run: RunKey) -> bool {
        lock(&self.in_line).contains(&run)
    }

    pub(crate) fn has_line(&self) -> bool {
        !lock(&self.in_line).is_empty()
    }

    /// Notes that this run is to be left alone until somebody resumes it.
    pub(crate) fn leave_alone(&self, run: RunKey) {
        self.no_longer_in_line(run);
        lock(&self.left).insert(run);
    }

    /// Somebody resumes it.
    pub(crate) fn no_longer_left(&self, run: RunKey) {
        lock(&self.left).remove(&run);
    }

    pub(crate) fn was_left(&self, run: RunKey) -> bool {
        lock(&self.left).contains(&run)
    }

    /// Notes that this run was given up.
    pub(crate) fn stopped(&self, run: RunKey) {
        lock(&self.stopped).insert(run);
    }

    /// It is worked on again.
    pub(crate) fn no_longer_stopped(&self, run: RunKey) {
        lock(&self.stopped).remove(&run);
    }

    /// Nothing can be read or written now: whoever waits for anything is told so.
    pub(crate) fn break_off(&self, error: &HostError) {
        *lock(&self.broken) = Some(error.clone());
    }

    /// Something was read or written.
    pub(crate) fn works_again(&self) {
        lock(&self.broken).take();
    }

    /// What everybody is told who waits while nothing works: what a run waits for may have stopped, and nobody could write that down.
    pub(crate) fn broken(&self) -> Option<Settled> {
        lock(&self.broken).clone().map(Settled::Stopped)
    }

    pub(crate) fn is_stopped(&self, run: RunKey) -> bool {
        lock(&self.stopped).contains(&run)
    }

    /// Nothing will be told any more. The connections that read are closed, so that the writer's is the last and takes the log along.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.readers).clear();
        lock(&self.waiters).clear();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn tell(&self, progress: impl FnOnce() -> Progress) {
        if self.progress.receiver_count() > 0 {
            let _ = self.progress.send(progress());
        }
    }

    /// What a run comes to, once it has; `parked_too` also when it parks.
    pub(crate) fn wait_for(&self, run: RunKey, parked_too: bool) -> oneshot::Receiver<Settled> {
        let (to, from) = oneshot::channel();
        let mut waiters = lock(&self.waiters);
        let list = waiters.entry(run).or_default();
        list.retain(|w| !w.to.is_closed());
        list.push(Waiter { parked_too, to });
        from
    }

    /// Tells those who wait for a run what it came to.
    pub(crate) fn settled(&self, run: RunKey, what: &Settled) {
        let mut waiters = lock(&self.waiters);
        let Some(list) = waiters.remove(&run) else { return };
        let parked = matches!(what, Settled::Parked { .. });
        let (told, kept): (Vec<_>, Vec<_>) = list.into_iter().partition(|w| !parked || w.parked_too);
        if !kept.is_empty() {
            waiters.insert(run, kept);
        }
        drop(waiters);
        for waiter in told {
            let _ = waiter.to.send(what.clone());
        }
    }
}

/// `null` as JSON text.
pub(crate) fn null() -> Json {
    serde_json::value::RawValue::NULL.to_owned()
}
