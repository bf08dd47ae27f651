//! The one thread that writes: it commits whatever is queued as a group, then acknowledges all. It never decides what is written.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::commit::Pen;
use crate::hot::Hot;
use crate::{HostError, crash};

/// Jobs in one commit at most: a bound on how long a single commit can get.
const BATCH: usize = 4096;
/// How long the thread sleeps at a time when there is nothing to write.
const IDLE: Duration = Duration::from_secs(3600);
/// Commits after which the writer lets others in, while there are others.
const YIELD_EVERY: u32 = 4;

/// Something to write. It runs inside the group's transaction.
pub(crate) trait Job: Send {
    /// Writes. It may be called again: if a group fails, each of its jobs is tried under a savepoint of its own.
    fn apply(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()>;

    /// False if `apply` fails in extraordinary ways only: then its first try needs no savepoint.
    fn savepoint(&self) -> bool {
        true
    }

    /// Called after the commit returned, or with why there was none.
    fn finish(self: Box<Self>, committed: Result<(), HostError>);
}

/// The group's transaction.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    next_log: Cell<i64>,
    clock: &'a (dyn Fn() -> i64 + Send + Sync),
}

impl<'a> Tx<'a> {
    /// `last` is the newest row of the log.
    pub(super) fn new(conn: &'a Connection, last: i64, clock: &'a (dyn Fn() -> i64 + Send + Sync)) -> Self {
        Self { conn, next_log: Cell::new(last + 1), clock }
    }

    /// Unix milliseconds, within the transaction.
    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// The id of the next row of the log.
    pub(crate) fn next_log_id(&self) -> i64 {
        let id = self.next_log.get();
        self.next_log.set(id + 1);
        id
    }
}

/// A job on its way: one that is dropped unwritten, because the thread has ended or died, hears of it.
pub(super) struct Queued(Option<Box<dyn Job>>);

impl Queued {
    pub(super) fn job(&mut self) -> Option<&mut dyn Job> {
        match &mut self.0 {
            Some(job) => Some(&mut **job),
            None => None,
        }
    }

    fn finish(mut self, committed: Result<(), HostError>) {
        if let Some(job) = self.0.take() {
            job.finish(committed);
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.finish(Err(HostError::ShuttingDown));
        }
    }
}

/// The way to the writer thread.
#[derive(Clone)]
pub(crate) struct Writer {
    /// A job, or `None`: the last word.
    queue: mpsc::Sender<Option<Queued>>,
    others: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread. `guard` is dropped when it ends, however it ends.
    pub(crate) fn start(pen: Pen, guard: impl Send + 'static) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel();
        let others = Arc::new(AtomicBool::new(false));
        let others_seen = others.clone();
        let thread = std::thread::Builder::new().name("abide-writer".to_owned()).spawn(move || {
            let _guard = guard;
            run(pen, &jobs, &others_seen);
        })?;
        Ok((Self { queue, others }, thread))
    }

    /// Queues a job. If the thread is gone, the job hears of it at once.
    pub(crate) fn submit(&self, job: Box<dyn Job>) {
        let _ = self.queue.send(Some(Queued(Some(job))));
    }

    /// Ends the thread when what is queued has been written. Jobs that come later hear that it is gone.
    pub(crate) fn stop(&self) {
        let _ = self.queue.send(None);
    }

    /// Writes with a closure and waits for the commit.
    pub(crate) async fn call<T, F>(&self, f: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.post(f).await.map_err(|_| HostError::ShuttingDown)?
    }

    /// Writes with a closure; whether the commit has returned comes later.
    pub(crate) fn post<T, F>(&self, f: F) -> oneshot::Receiver<Result<T, HostError>>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (to, reply) = oneshot::channel();
        self.submit(Box::new(Reply { f, out: None, to }));
        reply
    }

    /// Says whether other processes use the file: then this one lets them in now and then.
    pub(crate) fn set_others(&self, others: bool) {
        self.others.store(others, Ordering::Relaxed);
    }
}

/// A job made of a closure, and its answer.
struct Reply<T, F> {
    f: F,
    out: Option<T>,
    to: oneshot::Sender<Result<T, HostError>>,
}

impl<T, F> Job for Reply<T, F>
where
    T: Send + 'static,
    F: FnMut(&Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    fn apply(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        self.out = Some((self.f)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), HostError>) {
        let Self { out, to, .. } = *self;
        let _ = to.send(committed.and_then(|()| out.ok_or(HostError::ShuttingDown)));
    }
}

fn run(mut pen: Pen, jobs: &mpsc::Receiver<Option<Queued>>, others: &AtomicBool) {
    let mut commits = 0_u32;
    let mut stopping = false;
    let mut hot = Hot::default();
    while !stopping {
        let first = match hot.recv(jobs, IDLE) {
            Ok(Some(first)) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
        };
        let mut batch = vec![first];
        for next in jobs.try_iter().take(BATCH - 1) {
            match next {
                Some(job) => batch.push(job),
                None => {
                    stopping = true;
                    break;
                }
            }
        }
        crash::point("commit.before");
        let results = pen.commit(&mut batch);
        crash::point("commit.after");
        for (job, result) in batch.into_iter().zip(results) {
            job.finish(result);
        }
        commits = commits.wrapping_add(1);
        if commits.is_multiple_of(YIELD_EVERY) && others.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        pen.shorten();
    }
    pen.close();
}

/// Retries while another process holds the file, in fractions of a millisecond, for half a minute.
pub(super) fn patiently<T>(mut f: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    let mut wait = Duration::from_micros(50);
    loop {
        match f() {
            Err(e)
                if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy))
                    && std::time::Instant::now() < give_up =>
            {
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_micros(800));
            }
            other => return other,
        }
    }
}
