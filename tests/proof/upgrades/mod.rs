//! Upgrades: journals of the past against the code of now. `changed` catches code that does something else than was recorded, `gates` lets old and
//! new runs both finish, `corpus` replays journals that earlier builds wrote, `tampered` finds whatever was done to a journal, `repeated` finds code
//! that does not repeat itself. They fix nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use abide::Builder;
use abide::prelude::*;
use tempfile::TempDir;

mod acts;
mod agents;
mod changed;
mod corpus;
mod flows;
mod gates;
mod journal;
mod repeated;
mod stories;
mod tampered;

/// The longest that anything is waited for: a hang fails, and nothing depends on how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the clock of these tests begins, in Unix milliseconds.
const BEGINNING: i64 = 1_800_000_000_000;

/// A database in a folder of its own, and a clock to set.
struct Desk {
    dir: TempDir,
    clock: Arc<AtomicI64>,
    /// Where steps wait that are to be under way.
    gate: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Desk {
    fn new() -> Self {
        let gate = Arc::new(tokio::sync::watch::channel(false).0);
        Self { dir: tempfile::tempdir().unwrap(), clock: Arc::new(AtomicI64::new(BEGINNING)), gate }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("runs.db")
    }

    /// A handle that works on nothing unless told to.
    fn open(&self) -> Builder {
        let clock = self.clock.clone();
        Abide::open(self.db()).recover(false).clock(move || clock.load(Ordering::SeqCst))
    }

    fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    fn sqlite(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.db()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }
}

/// Fails instead of hanging.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

/// Waits until this run stands like that.
async fn until(run: &Run, status: &str, waiting_for: Option<&str>) {
    within(async {
        loop {
            let info = run.inspect().unwrap();
            if info.status == status && info.waiting_for == waiting_for {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
