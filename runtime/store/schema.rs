//! The numbered migrations and the marks that tell our database from others. It never changes a migration that was released.

use rusqlite::Connection;

/// "abid" in ASCII: SQLite's application id of our files.
const APPLICATION_ID: i64 = 0x6162_6964;

/// The migrations, in order. The schema's version is how many were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_journal.sql"),
    include_str!("../../migrations/0002_free_runs.sql"),
    include_str!("../../migrations/0003_admissions.sql"),
    include_str!("../../migrations/0004_memories.sql"),
    include_str!("../../migrations/0005_queues.sql"),
];

/// What a file is to this build.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ours, of the version of this build.
    Current,
    /// Ours, of an older version.
    Older,
    /// Ours, of this newer version.
    Newer(i64),
    /// A database of something else.
    Foreign,
}

/// What kind of file this connection is on.
pub(super) fn kind_of(conn: &Connection) -> rusqlite::Result<Kind> {
    let id: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let newest = MIGRATIONS.len() as i64;
    Ok(match (id, version) {
        (APPLICATION_ID, v) if v == newest => Kind::Current,
        (APPLICATION_ID, v) if v > newest => Kind::Newer(v),
        (APPLICATION_ID, _) => Kind::Older,
        _ => Kind::Foreign,
    })
}

/// Applies what is missing, all in one transaction.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let applied: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(applied).unwrap_or(0)) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    tx.commit()
}
