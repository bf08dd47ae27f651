//! The marker beside a database whose disk failed to sync. After a failed sync the kernel takes pages for clean that never reached the disk: the
//! connection that wrote them knows better and writes them anew, but a process that came after it would trust them. So the marker is there
//! from the failure until a good sync, and nobody opens a file that has one. Each connection has a marker of its own: what one has made good
//! says nothing of what another owes. It never opens the database.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::folder_of;
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
    db: PathBuf,
    path: PathBuf,
    commit: bool,
    checkpoint: bool,
    written: bool,
}

/// What the names of a database's markers begin with.
fn beginning(db: &Path) -> OsString {
    let mut name = db.file_name().unwrap_or_default().to_owned();
    name.push("-unsynced");
    name
}

/// The markers beside this database: of each connection whose sync failed and was not made good.
fn all(db: &Path) -> std::io::Result<Vec<PathBuf>> {
    let beginning = beginning(db);
    let is_one = |name: &OsStr| name.as_encoded_bytes().starts_with(beginning.as_encoded_bytes());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder_of(db))? {
        let entry = entry?;
        if is_one(&entry.file_name()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// True if a sync of this database failed and nobody has made it good.
pub(super) fn is_there(db: &Path) -> std::io::Result<bool> {
    all(db).map(|found| !found.is_empty())
}

/// Removes the markers of a database that was rewritten.
pub(super) fn remove(db: &Path) -> std::io::Result<()> {
    all(db)?.iter().try_for_each(|marker| gone(std::fs::remove_file(marker)))
}

/// What is not there need not be removed.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Refuses a database that has a marker.
pub(super) fn refuse(db: &Path) -> Result<(), HostError> {
    let refused = |why: String, help: &str| HostError::Database { path: db.to_owned(), why, help: help.to_owned() };
    let found = all(db).map_err(|e| {
        let why = format!("its folder cannot be read, where a word of a failed sync may lie: {e}");
        refused(why, "check the permissions of the folder")
    })?;
    let Some(marker) = found.first() else { return Ok(()) };
    let marker = marker.display();
    Err(refused(
        format!("its disk failed to sync, so its newest pages may be in memory only ({marker} says so)"),
        "mend the disk; when no other process uses the file, `abide verify --repair` rewrites it, and nothing acknowledged is lost",
    ))
}

impl Marker {
    pub(super) fn new(db: &Path) -> Self {
        let mut name = beginning(db);
        name.push(format!("-{}", crate::random::hex8()));
        let path = folder_of(db).join(name);
        Self { db: db.to_owned(), path, commit: false, checkpoint: false, written: false }
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
        match gone(std::fs::remove_file(&self.path)) {
            Err(error) => tracing::warn!(%error, marker = %self.path.display(), "the marker cannot be removed"),
            Ok(()) => tracing::warn!("the database is synced again"),
        }
    }

    /// May the log be moved into the database, and be removed? Not while a marker is there, whoever wrote it.
    pub(super) fn allows_moving(&self) -> bool {
        !self.commit && !self.checkpoint && is_there(&self.db).is_ok_and(|there| !there)
    }

    /// True if only commits have failed to be synced, and those of this connection alone: a log that is moved whole and cut to nothing makes
    /// them good.
    pub(super) fn is_owed_by_commits_alone(&self) -> bool {
        let is_own = |marker: &PathBuf| *marker == self.path;
        self.commit && !self.checkpoint && all(&self.db).is_ok_and(|found| found.iter().all(is_own))
    }
}

/// True if this error says that a sync failed.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    matches!(error, rusqlite::Error::SqliteFailure(e, _)
        if [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&e.extended_code))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_one_connection_made_good_says_nothing_of_what_another_owes() {
        let folder = tempfile::tempdir().unwrap();
        let other = Marker::new(&folder.path().join("other.db"));
        for owed in [Failed::Checkpoint, Failed::Commit] {
            let db = folder.path().join(format!("{owed:?}.db"));
            let (mut one, mut two) = (Marker::new(&db), Marker::new(&db));
            one.failed(owed);
            one.is_written().unwrap();
            two.failed(Failed::Commit);
            assert!(!two.is_owed_by_commits_alone(), "{owed:?} of the other");
            two.is_written().unwrap();
            two.synced();
            assert!(is_there(&db).unwrap() && !two.allows_moving() && refuse(&db).is_err(), "{owed:?}");
            assert!(other.allows_moving());
            one.synced();
            assert_eq!(is_there(&db).unwrap(), owed == Failed::Checkpoint, "only a rewritten file is rid of it");
            remove(&db).unwrap();
            assert!(Marker::new(&db).allows_moving());
        }
    }
}
