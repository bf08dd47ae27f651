//! What the tests of the host share: a clock to set, gates that steps wait at, a lock that holds all commits, conditions. It tests nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use abide::prelude::*;
use abide::{Builder, ProgressKind};
use tempfile::TempDir;
use tokio::sync::watch;

/// The longest that anything is waited for: a hang fails, and nothing depends on how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database in a folder of its own, and a clock.
pub(super) struct Rig {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<AtomicI64>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: Arc::new(AtomicI64::new(1_000_000)) }
    }

    pub(super) fn db(&self) -> PathBuf {
        self.dir.path().join("runs.db")
    }

    /// A handle on this database that lives by the real clock.
    pub(super) fn open(&self) -> Builder {
        Abide::open(self.db())
    }

    /// A handle that lives by the clock to set.
    pub(super) fn open_at_clock(&self) -> Builder {
        let clock = self.clock.clone();
        self.open().clock(move || clock.load(Ordering::SeqCst))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// Another connection, as another program would have it.
    pub(super) fn sqlite(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.db()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    /// Holds every commit until it is dropped.
    pub(super) fn hold_commits(&self) -> HeldCommits {
        let conn = self.sqlite();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        HeldCommits(conn)
    }

    /// The text of a run's journal.
    pub(super) fn journal(&self, run: &str) -> String {
        let conn = self.sqlite();
        let sql = "SELECT group_concat(body, char(10)) FROM log JOIN runs ON runs.key = log.run WHERE runs.id = ?1";
        conn.query_row(sql, [run], |row| row.get(0)).unwrap()
    }
}

pub(super) struct HeldCommits(rusqlite::Connection);

impl Drop for HeldCommits {
    fn drop(&mut self) {
        self.0.execute_batch("COMMIT").unwrap();
    }
}

/// A gate at which steps wait, and how often it was reached.
#[derive(Clone)]
pub(super) struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<AtomicU32>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(watch::channel(false).0), reached: Arc::default() }
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) fn reached(&self) -> u32 {
        self.reached.load(Ordering::SeqCst)
    }

    pub(super) async fn pass(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }

    /// A step that waits here and gives this value.
    pub(super) fn step<T: Clone + Send + Sync + 'static>(
        &self,
        value: T,
    ) -> impl Fn(()) -> futures_util::future::BoxFuture<'static, Result<T>> + Send + Sync + 'static {
        let gate = self.clone();
        move |()| {
            let (gate, value) = (gate.clone(), value.clone());
            Box::pin(async move {
                gate.pass().await;
                Ok(value)
            })
        }
    }

    pub(super) async fn until_reached(&self, times: u32) {
        until(|| self.reached() >= times).await;
    }
}

/// Waits until this is true.
pub(super) async fn until(mut is_it: impl FnMut() -> bool) {
    within(async {
        while !is_it() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Fails instead of hanging.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

/// Waits until a run was rebuilt this often.
pub(super) async fn until_rebuilt(progress: &mut tokio::sync::broadcast::Receiver<abide::Progress>, times: u32) {
    within(async {
        let mut seen = 0;
        while seen < times {
            if let ProgressKind::Replayed { .. } = progress.recv().await.unwrap().what {
                seen += 1;
            }
        }
    })
    .await;
}

/// Runs one test of this binary as a process of its own. True if it ended well by itself.
pub(super) fn worker(test: &str, folder: &Path, crash: Option<&str>) -> bool {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).env_remove("ABIDE_CRASH");
    if let Some(crash) = crash {
        command.env("ABIDE_CRASH", crash);
    }
    command.output().unwrap().status.success()
}

/// The folder that a worker works in, if this process is one.
pub(super) fn worker_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

const FOLDER: &str = "ABIDE_TEST_WORKER";
