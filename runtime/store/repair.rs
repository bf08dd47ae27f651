//! Rewrites a database whose disk failed to sync: into a new file, which is synced and takes the old one's name. It invents nothing: what it
//! cannot read whole it leaves as it is.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::open::{check_file, connect_raw, refuse, sync_whole};
use super::schema::{self, Kind};
use super::{folder_of, marker};
use crate::{HostError, os};

/// Rewrites this database if a sync of it failed. False if there was no need.
pub(crate) fn repair(path: &Path) -> Result<bool, HostError> {
    let meta = std::fs::symlink_metadata(path)
        .map_err(|e| refuse(path, e.to_string(), "check the path; --db names another file"))?;
    check_file(path, &meta)?;
    let there =
        marker::is_there(path).map_err(|e| refuse(path, e.to_string(), "check the permissions of its folder"))?;
    if !there {
        return Ok(false);
    }
    let parent = folder_of(path);
    let name = path.file_name().map_or_else(|| "runs.db".into(), |n| n.to_string_lossy().into_owned());
    let draft = parent.join(format!(".{name}.repair-{}-{}", std::process::id(), crate::random::hex8()));
    let done = rewrite(path, &parent, &draft);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(with(&draft, suffix));
    }
    done.map(|()| true)
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn rewrite(path: &Path, parent: &Path, draft: &Path) -> Result<(), HostError> {
    let cannot = |e: &dyn std::fmt::Display| {
        refuse(path, format!("it cannot be rewritten: {e}"), "mend the disk or free some space, then try again")
    };
    let conn = alone(path)?;
    drop(os::create_private(draft).map_err(|e| cannot(&e))?);
    let target = draft.to_str().ok_or_else(|| cannot(&"its path is not text"))?;
    conn.execute("VACUUM INTO ?1", [target]).map_err(|e| cannot(&e))?;
    let found = make_ready(draft).map_err(|e| cannot(&e))?;
    if found != "ok" {
        return Err(refuse(path, format!("it is damaged: {found}"), "restore a copy from before the damage"));
    }
    sync_whole(draft).map_err(|e| cannot(&e))?;
    // The old log must be gone for good before the new file has its name: it belongs to the old one. Nothing is lost if this ends here: the
    // log was moved into the old file, and the marker is still there.
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)).map_err(|e| cannot(&e))?;
    if mode != "delete" {
        return Err(cannot(&"its log cannot be removed"));
    }
    conn.close().map_err(|(_, e)| cannot(&e))?;
    let _ = std::fs::remove_file(with(path, "-shm"));
    os::sync_dir(parent).map_err(|e| cannot(&e))?;
    std::fs::rename(draft, path).map_err(|e| cannot(&e))?;
    os::sync_dir(parent).map_err(|e| cannot(&e))?;
    marker::remove(path).map_err(|e| cannot(&e))
}

/// Opens a database that nobody else has open, and keeps everybody else out.
fn alone(path: &Path) -> Result<Connection, HostError> {
    let open = || -> rusqlite::Result<Connection> {
        let conn = connect_raw(path, true)?;
        conn.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
        conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        Ok(conn)
    };
    let failed = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            refuse(path, "another process has it open", "end the processes that use it, then try again")
        }
        _ => refuse(path, e.to_string(), "check the file and the disk"),
    };
    let conn = open().map_err(failed)?;
    match schema::kind_of(&conn).map_err(failed)? {
        Kind::Current | Kind::Older => Ok(conn),
        Kind::Newer(_) | Kind::Foreign => {
            Err(refuse(path, "it is not a database of this version", "name another file with --db"))
        }
    }
}

/// Checks a rewritten file and makes it what a new one would be. WAL is a property of the file and stays.
fn make_ready(draft: &Path) -> rusqlite::Result<String> {
    let conn = connect_raw(draft, true)?;
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.close().map_err(|(_, e)| e)?;
    Ok(found)
}
