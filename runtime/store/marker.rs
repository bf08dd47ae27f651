//! The marker beside a database whose disk failed to sync. After a failed sync the kernel takes pages for clean that never reached the disk: the
//! connection that wrote them knows better and writes them anew, but a process that came after it would trust them. So the marker is there
//! from the failure until a good sync, and nobody opens a file that has one. It never opens the database.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{HostError, os};

/// What every marker says.
const TEXT: &[u8] = b"A sync of the database beside this file failed. What was acknowledged is safe as long as nobody trusts its newest \
pages: `abide verify --repair` rewrites it.\n";

/// A sync that failed and has not been made good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// Of the write-ahead log, in a commit: the next commit writes the same place anew.
    Commit,
    /// Of the database, when the log was moved into it. The next time would not move everything anew: what an earlier move had left unsynced
    /// because a reader was in the way counts as moved. So nothing is moved any more, the log keeps everything, and the file is to be rewritten.
    Checkpoint,
}

/// What is owed to the disk.
pub(super) struct Marker {
    path: PathBuf,
    commit: bool,
    checkpoint: bool,
    written: bool,
}

fn beside(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push("-unsynced");
    PathBuf::from(name)
}

/// True if a sync of this database failed and nobody has made it good.
pub(super) fn is_there(db: &Path) -> bool {
    beside(db).symlink_metadata().is_ok()
}

/// Removes the marker of a database that was rewritten.
pub(super) fn remove(db: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(beside(db)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Refuses a database that has a marker.
pub(super) fn refuse(db: &Path) -> Result<(), HostError> {
    if !is_there(db) {
        return Ok(());
    }
    Err(HostError::Database {
        path: db.to_owned(),
        why: format!(
            "its disk failed to sync, so its newest pages may be in memory only ({} says so)",
            beside(db).display()
        ),
        help: "mend the disk; when no other process uses the file, `abide verify --repair` rewrites it, and nothing acknowledged is lost"
            .to_owned(),
    })
}

impl Marker {
    pub(super) fn new(db: &Path) -> Self {
        Self { path: beside(db), commit: false, checkpoint: false, written: false }
    }

    /// Notes a failed sync. What follows it must wait until the marker is written: see [`Self::is_written`].
    pub(super) fn failed(&mut self, what: Failed) {
        match what {
            Failed::Commit => self.commit = true,
            Failed::Checkpoint => self.checkpoint = true,
        }
        self.written = false;
    }

    /// Writes the marker if one is owed. It need not be synced: if the power goes, the pages that it warns of go, too.
    pub(super) fn is_written(&mut self) -> std::io::Result<()> {
        if self.written || !(self.commit || self.checkpoint) {
            return Ok(());
        }
        match os::create_private(&self.path) {
            // Its being there is what counts: a full disk has no room for the words.
            Ok(mut file) => drop(file.write_all(TEXT)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        self.written = true;
        tracing::error!(marker = %self.path.display(), "a sync of the database failed; it is written anew");
        Ok(())
    }

    /// Notes a commit that was synced, and removes the marker if nothing else is owed.
    pub(super) fn synced(&mut self) {
        if !std::mem::take(&mut self.commit) || self.checkpoint {
            return;
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, marker = %self.path.display(), "the marker cannot be removed");
            }
            _ => tracing::warn!("the database is synced again"),
        }
    }

    /// May the log be moved into the database, and be removed? Not while a marker is there, whoever wrote it.
    pub(super) fn allows_moving(&self) -> bool {
        !self.commit && !self.checkpoint && self.path.symlink_metadata().is_err()
    }

    /// True if only commits have failed to be synced: a log that is moved whole and cut to nothing makes them good.
    pub(super) fn is_owed_by_commits_alone(&self) -> bool {
        self.commit && !self.checkpoint
    }
}

/// True if this error says that a sync failed.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    matches!(error, rusqlite::Error::SqliteFailure(e, _)
        if [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&e.extended_code))
}
