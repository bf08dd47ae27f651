//! The rows of conversations that live across runs. It only adds and reads; what is in a row is others' business.

use rusqlite::params;

use super::writer::Tx;

/// The last rows of this conversation, `most` at most, the oldest first.
pub(crate) fn recall(tx: &Tx<'_>, name: &str, most: u32) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT body FROM memories WHERE name = ?1 ORDER BY id DESC LIMIT ?2";
    let mut last = tx.conn.prepare_cached(sql)?;
    let mut bodies = last.query_map(params![name, most], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    bodies.reverse();
    Ok(bodies)
}

/// Adds a row, unless there is one of this key.
pub(crate) fn remember(tx: &Tx<'_>, name: &str, key: &str, body: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO memories (name, key, body, at_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO NOTHING";
    tx.conn.prepare_cached(sql)?.execute(params![name, key, body, tx.now_ms()]).map(|_| ())
}
