//! Who is alive: each process holds an OS lock on a file of its own (DESIGN section 5). It never looks at a clock.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::params;

use super::writer::Tx;
use crate::{crash, os};

/// This process as an owner of runs.
#[derive(Clone)]
pub(crate) struct Owner {
    lock: Arc<Mutex<Option<File>>>,
    folder: PathBuf,
    pub(crate) file: String,
}

/// The folder of the owner files beside a database.
fn folder(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push("-owners");
    PathBuf::from(name)
}

impl Owner {
    /// Makes and locks this process's owner file.
    pub(crate) fn lock(db: &Path) -> std::io::Result<Self> {
        let folder = folder(db);
        os::make_private_dir(&folder)?;
        for _ in 0..100 {
            let file = format!("{}-{}", std::process::id(), crate::random::hex8());
            let path = folder.join(&file);
            let handle = os::create_private(&path)?;
            crash::point("owner.made");
            // A cleaner may have unlinked the file before it was locked: then its name leads nowhere, or to another file.
            if handle.try_lock().is_ok() && is_locked(&path) {
                return Ok(Self { lock: Arc::new(Mutex::new(Some(handle))), folder, file });
            }
        }
        Err(std::io::Error::other("no owner file could be locked"))
    }

    /// Gives the lock up: what can no longer write owns nothing.
    pub(crate) fn unlock(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Writes this process's row. Removes those of dead processes that own nothing.
    pub(crate) fn register(&self, tx: &Tx<'_>, now_ms: i64) -> rusqlite::Result<i64> {
        self.clean(tx)?;
        tx.conn.execute(
            "INSERT INTO owners (pid, file, since_ms) VALUES (?1, ?2, ?3)",
            params![std::process::id(), self.file, now_ms],
        )?;
        Ok(tx.conn.last_insert_rowid())
    }

    fn clean(&self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        self.clean_strays(tx)?;
        let mut unused = tx.conn.prepare(
            "SELECT id, file FROM owners WHERE id NOT IN (SELECT owner FROM heads WHERE owner IS NOT NULL) LIMIT 100",
        )?;
        let rows = unused.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        for row in rows {
            let (id, file) = row?;
            let path = self.folder.join(&file);
            // Unlinked only while its lock is held. A process that left in good order took its file along.
            let held = hold(&path);
            if held.is_some() || !path.exists() {
                tx.conn.execute("DELETE FROM owners WHERE id = ?1", [id])?;
                let _ = std::fs::remove_file(path);
                crash::point("owner.cleaned");
            }
        }
        Ok(())
    }

    /// Files of processes that died before their row was written: one that is being made is locked, or its maker takes another.
    fn clean_strays(&self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let named: bool = tx
                .conn
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM owners WHERE file = ?1)")?
                .query_row([&*entry.file_name().to_string_lossy()], |row| row.get(0))?;
            if !named && let Some(_held) = hold(&entry.path()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Removes this process's file when it has left the database.
    pub(crate) fn leave(&self) {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if held.is_some() {
            let _ = std::fs::remove_file(self.folder.join(&self.file));
        }
    }
}

/// True if a living process holds this owner file.
pub(crate) fn is_alive(db: &Path, file: &str) -> bool {
    is_locked(&folder(db).join(file))
}

/// A dead owner's lock, to be held through the commit that takes its runs; `None` if it lives.
///
/// It is shared, so that several may take runs from the same owner, and probe it, at once: the files' names never recur, so
/// nobody else will ever lock this one. The epoch decides who gets a run.
pub(crate) fn hold_dead(db: &Path, file: &str) -> Option<DeadOwner> {
    let path = folder(db).join(file);
    // A cleaner holds the lock for an instant: try again briefly.
    for _ in 0..5 {
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Some(DeadOwner { _lock: None }),
            Err(_) => return None,
        };
        if lock.try_lock_shared().is_ok() {
            return Some(DeadOwner { _lock: Some(lock) });
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    None
}

/// Proof that an owner is dead, as long as it is held.
pub(crate) struct DeadOwner {
    _lock: Option<File>,
}

fn hold(path: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
