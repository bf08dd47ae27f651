//! One commit for all that waits, what is done when it fails, and the moving of the write-ahead log. It acknowledges nothing: the writer does,
//! with what this says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::marker::{Failed, Marker, is_failed_sync};
use super::place::Place;
use super::writer::{Job, Queued, Tx, patiently};
use crate::{HostError, crash};

/// Pages of write-ahead log (of 4 KiB) after which the writer moves it into the database between two commits. A log that is short is
/// written over and over in place, which syncs faster than one that grows.
pub(crate) const CHECKPOINT_AT: i32 = 1_000;
/// What the count of pages is as long as a commit has written none.
const UNTOUCHED: i32 = -1;

/// The connection that writes, and what is known of the files under it.
pub(crate) struct Pen {
    conn: Connection,
    /// How many pages the write-ahead log holds, kept up by every commit.
    pages: Arc<AtomicI32>,
    checkpoint_at: i32,
    marker: Marker,
    place: Arc<Place>,
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The files are no longer where they were: nothing is written any more.
    gone: Option<HostError>,
}

/// A failure of the whole group, cheap to hand to each of its jobs.
struct GroupError {
    why: String,
    unsynced: bool,
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> Self {
        Self { why: error.to_string(), unsynced: is_failed_sync(&error) }
    }
}

impl Pen {
    /// Takes an open connection on this database.
    pub(crate) fn new(
        mut conn: Connection,
        db: &Path,
        place: Arc<Place>,
        checkpoint_at: i32,
        clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    ) -> Self {
        let pages = watch_log(&mut conn);
        Self { conn, pages, checkpoint_at, marker: Marker::new(db), place, clock, gone: None }
    }

    /// Commits a group; what each of its jobs may be told.
    pub(super) fn commit(&mut self, batch: &mut [Queued]) -> Vec<Result<(), HostError>> {
        let all = |error: &HostError, batch: &[Queued]| batch.iter().map(|_| Err(error.clone())).collect();
        if let Some(gone) = &self.gone {
            return all(gone, batch);
        }
        // What fails for one job alone must not fail the others: then each has a savepoint of its own.
        let tried = self.attempt(batch, false).or_else(|_| self.attempt(batch, true));
        // What was written to files without a name is as good as not written.
        if let Err(gone) = self.place.check() {
            tracing::error!(error = %gone, "nothing is written any more");
            let answers = all(&gone, batch);
            self.gone = Some(gone);
            return answers;
        }
        tried.unwrap_or_else(|error| all(&HostError::Storage { why: error.why }, batch))
    }

    /// Tries a group once. After a failed sync nothing is tried before the marker is written.
    fn attempt(&mut self, batch: &mut [Queued], savepoints: bool) -> Result<Vec<Result<(), HostError>>, GroupError> {
        self.marker.is_written().map_err(|e| GroupError {
            why: format!("a sync of it failed, and the marker that warns others of that cannot be written: {e}"),
            unsynced: false,
        })?;
        let before = self.pages.swap(UNTOUCHED, Ordering::Relaxed);
        let results = write(&self.conn, batch, savepoints, &*self.clock);
        let wrote = self.pages.load(Ordering::Relaxed) != UNTOUCHED;
        if !wrote {
            self.pages.store(before, Ordering::Relaxed);
        }
        match &results {
            Ok(_) if wrote => self.marker.synced(),
            Ok(_) => {}
            Err(error) => {
                if error.unsynced {
                    self.marker.failed(Failed::Commit);
                    self.write_marker();
                }
                if !self.conn.is_autocommit() {
                    let _ = self.conn.execute_batch("ROLLBACK");
                }
            }
        }
        results
    }

    fn write_marker(&mut self) {
        if let Err(error) = self.marker.is_written() {
            tracing::error!(%error, "a sync of the database failed, and no marker can be written beside it");
        }
    }

    /// Moves the write-ahead log into the database if it has become long.
    pub(super) fn shorten(&mut self) {
        let long = self.pages.load(Ordering::Relaxed) >= self.checkpoint_at;
        if long && self.gone.is_none() && self.marker.allows_moving() {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        }
    }

    /// Moves the write-ahead log into the database; a reader in the way only postpones it. True if it was moved whole.
    fn checkpoint(&mut self, how: &str) -> bool {
        let result = self
            .conn
            .query_row(how, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
        crash::point("checkpoint.after");
        self.pages.store(0, Ordering::Relaxed);
        match result {
            Ok((busy, pages, moved)) if busy != 0 || moved < pages => {
                tracing::debug!(pages, moved, "the write-ahead log could not be moved whole; the next time will");
                false
            }
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log could not be moved into the database");
                if is_failed_sync(&error) {
                    self.marker.failed(Failed::Checkpoint);
                    self.write_marker();
                }
                false
            }
        }
    }

    /// Closes the connection. The last one out leaves a short log behind.
    pub(super) fn close(mut self) {
        if self.gone.is_none() {
            // A log that is cut to nothing holds no page that failed to be synced.
            if self.marker.is_owed_by_commits_alone() && self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)") {
                self.marker.synced();
            } else if self.marker.allows_moving() {
                self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
            }
        }
        if self.gone.is_some() || !self.marker.allows_moving() {
            // The names beside it belong to somebody else now, or the log is all that is certain.
            let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        let _ = self.conn.close();
    }
}

fn write(
    conn: &Connection,
    batch: &mut [Queued],
    savepoints: bool,
    clock: &(dyn Fn() -> i64 + Send + Sync),
) -> Result<Vec<Result<(), HostError>>, GroupError> {
    patiently(|| conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]))?;
    let last: Option<i64> = conn.prepare_cached("SELECT max(id) FROM log")?.query_row([], |row| row.get(0))?;
    let tx = Tx::new(conn, last.unwrap_or(0), clock);
    let mut results = Vec::with_capacity(batch.len());
    for job in batch.iter_mut().filter_map(Queued::job) {
        results.push(apply(&tx, job, savepoints)?);
    }
    crash::point("commit.within");
    patiently(|| conn.prepare_cached("COMMIT")?.execute([]))?;
    Ok(results)
}

fn apply(tx: &Tx<'_>, job: &mut dyn Job, savepoint: bool) -> Result<Result<(), HostError>, GroupError> {
    if !savepoint && !job.savepoint() {
        job.apply(tx)?;
        return Ok(Ok(()));
    }
    tx.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
    let applied = job.apply(tx);
    if let Err(error) = &applied {
        // After some errors SQLite has rolled everything back by itself: then the group has failed.
        if tx.conn.is_autocommit() {
            return Err(GroupError { why: error.to_string(), unsynced: false });
        }
        tx.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    tx.conn.prepare_cached("RELEASE job")?.execute([])?;
    Ok(applied.map_err(HostError::from))
}

/// Counts the pages of the write-ahead log.
fn watch_log(conn: &mut Connection) -> Arc<AtomicI32> {
    let pages = Arc::new(AtomicI32::new(0));
    let seen = pages.clone();
    let hook = move |_: &mut rusqlite::hooks::Wal, now: i32| {
        seen.store(now, Ordering::Relaxed);
        Ok(())
    };
    if let Err(error) = conn.wal_hook(Some(hook)) {
        tracing::warn!(%error, "the size of the write-ahead log cannot be watched");
    }
    pages
}
