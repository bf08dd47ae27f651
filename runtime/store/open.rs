//! Opens a database, or makes a new one, and refuses what cannot be used safely. It never repairs anything.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::marker;
use super::schema::{self, Kind};
use crate::HostError;
use crate::os;

/// What to do when there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Make one.
    Create,
    /// It is an error.
    Existing,
}

/// The oldest SQLite without the WAL-reset bug, as `sqlite3_libversion_number`.
const OLDEST_SQLITE: i32 = 3_051_003;

pub(super) fn refuse(path: &Path, why: impl Into<String>, help: impl Into<String>) -> HostError {
    HostError::Database { path: path.to_owned(), why: why.into(), help: help.into() }
}

/// Opens the connection that writes, making the file if that was asked for.
pub(crate) fn open_for_writing(path: &Path, access: Access) -> Result<Connection, HostError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(refuse(
            path,
            format!(
                "the linked SQLite {} is older than 3.51.3, which has a bug that can corrupt it",
                rusqlite::version()
            ),
            "build with rusqlite's bundled SQLite",
        ));
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) => check_file(path, &meta)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match access {
            Access::Existing => {
                return Err(refuse(path, "there is no such file", "`abide run` makes one; --db names another"));
            }
            Access::Create => create(path)?,
        },
        Err(e) => return Err(refuse(path, e.to_string(), "check the path and its permissions")),
    }
    marker::refuse(path)?;
    let mut conn = connect(path, true)?;
    // It may have come while we looked away; from now on we know the log as it is.
    marker::refuse(path)?;
    match kind(path, &conn)? {
        Kind::Older => schema::migrate(&mut conn).map_err(|e| {
            refuse(path, format!("its schema cannot be brought up to date: {e}"), "check that the disk is not full")
        })?,
        Kind::Current | Kind::Newer(_) | Kind::Foreign => {}
    }
    Ok(conn)
}

/// Opens a connection that only reads.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, HostError> {
    connect(path, false)
}

pub(super) fn check_file(path: &Path, meta: &std::fs::Metadata) -> Result<(), HostError> {
    if meta.file_type().is_symlink() {
        return Err(refuse(
            path,
            "it is a symbolic link",
            "name the file itself: SQLite's -wal and -shm must lie beside it",
        ));
    }
    if !meta.is_file() {
        return Err(refuse(path, "it is not a file", "name a file with --db"));
    }
    if meta.len() == 0 {
        return Err(refuse(
            path,
            "it is empty (0 bytes), so it is no abide database",
            "remove it, and `abide run` makes a new one",
        ));
    }
    if meta.permissions().readonly() {
        return Err(refuse(path, "it is read-only", "make it writable: every step is recorded in it"));
    }
    refuse_network(path)
}

fn refuse_network(path: &Path) -> Result<(), HostError> {
    match os::network_filesystem(path) {
        Some(kind) => Err(refuse(
            path,
            format!("it lies on a network filesystem ({kind}), where SQLite's shared memory does not work"),
            "put it on a local disk with --db or ABIDE_DB",
        )),
        None => Ok(()),
    }
}

/// Makes a database under a temporary name and gives it its own only when it is whole.
fn create(path: &Path) -> Result<(), HostError> {
    let cannot = |e: &dyn std::fmt::Display| {
        refuse(path, format!("it cannot be made: {e}"), "check the folder and its permissions")
    };
    let parent = super::folder_of(path);
    if !parent.is_dir() {
        return Err(refuse(
            path,
            format!("the folder {} does not exist", parent.display()),
            "make it, or name another with --db",
        ));
    }
    refuse_network(&parent)?;
    let name = path.file_name().map_or_else(|| "runs.db".into(), |n| n.to_string_lossy().into_owned());
    let draft = parent.join(format!(".{name}.new-{}-{}", std::process::id(), crate::random::hex8()));
    let made = (|| -> Result<(), HostError> {
        drop(os::create_private(&draft).map_err(|e| cannot(&e))?);
        draw_up(&draft).map_err(|e| cannot(&e))?;
        // Nobody has it open: one sync of the whole file, where SQLite would have made nine on the way.
        sync_whole(&draft).map_err(|e| cannot(&e))?;
        // A link and not a rename: if another process was quicker, its database stays.
        match std::fs::hard_link(&draft, path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(_) if !path.exists() => std::fs::rename(&draft, path).map_err(|e| cannot(&e))?,
            Err(e) => return Err(cannot(&e)),
        }
        os::sync_dir(&parent).map_err(|e| cannot(&e))
    })();
    for suffix in ["", "-wal", "-shm"] {
        let mut file = draft.clone().into_os_string();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
    made
}

/// Syncs a file that nobody has open.
pub(super) fn sync_whole(draft: &Path) -> std::io::Result<()> {
    std::fs::File::options().write(true).open(draft)?.sync_all()
}

/// Writes the schema into a new file, unsynced. WAL is a property of the file and stays.
fn draw_up(draft: &Path) -> rusqlite::Result<()> {
    let mut conn = connect_raw(draft, true)?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update_and_check(None, "journal_mode", "memory", |_| Ok(()))?;
    schema::migrate(&mut conn)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.close().map_err(|(_, e)| e)
}

pub(super) fn connect_raw(path: &Path, write: bool) -> rusqlite::Result<Connection> {
    let mode = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Retries are the callers', in fractions of a millisecond: SQLite's own handler starves senders for seconds.
    conn.busy_timeout(std::time::Duration::ZERO)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn connect(path: &Path, write: bool) -> Result<Connection, HostError> {
    let failed = |e: rusqlite::Error| {
        refuse(path, e.to_string(), "check that it is an abide database and not damaged (`abide verify`)")
    };
    let conn = connect_raw(path, write).map_err(failed)?;
    match kind(path, &conn)? {
        Kind::Foreign => {
            return Err(refuse(path, "it is a database of another program", "name another file with --db"));
        }
        Kind::Newer(v) => {
            return Err(refuse(
                path,
                format!("it was written by a newer abide (schema {v})"),
                "use that version, or another --db",
            ));
        }
        Kind::Current | Kind::Older => {}
    }
    super::writer::patiently(|| configure(&conn)).map_err(failed)?;
    Ok(conn)
}

fn kind(path: &Path, conn: &Connection) -> Result<Kind, HostError> {
    super::writer::patiently(|| schema::kind_of(conn)).map_err(|e| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => refuse(path, "it is not a database", "name another file with --db"),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => refuse(path, format!("it is damaged: {e}"), "restore a copy"),
        Some(
            rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::PermissionDenied,
        ) => refuse(
            path,
            format!("it cannot be opened for writing: {e}"),
            "check its permissions and those of its folder",
        ),
        _ => refuse(path, e.to_string(), "check the file and the disk"),
    })
}

/// Every setting is set and read back (DESIGN section 5).
fn configure(conn: &Connection) -> rusqlite::Result<()> {
    let settings = [
        ("journal_mode", "wal", "wal"),
        ("synchronous", "FULL", "2"),
        ("fullfsync", "1", "1"),
        ("checkpoint_fullfsync", "1", "1"),
        ("foreign_keys", "ON", "1"),
        ("trusted_schema", "OFF", "0"),
        ("mmap_size", "0", "0"),
        ("wal_autocheckpoint", "0", "0"),
    ];
    let read_only = conn.is_readonly(rusqlite::MAIN_DB)?;
    for (name, value, expected) in settings {
        if read_only && name == "journal_mode" {
            continue;
        }
        conn.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|e| match e {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            other => Err(other),
        })?;
        let now: String = conn
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get_ref(0).map(text_of))
            // With mmap compiled out the setting does not exist, which is as good.
            .or_else(|e| if name == "mmap_size" { Ok("0".to_owned()) } else { Err(e) })?;
        if now != expected {
            let why = format!("PRAGMA {name} is {now} although {value} was asked for");
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE),
                Some(why),
            ));
        }
    }
    Ok(())
}

fn text_of(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}
