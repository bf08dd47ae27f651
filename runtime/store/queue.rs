//! Queues of runs: who of them may begin. The one rule (a place from the beginning of a run to its end, first come, first served within a
//! priority) is applied within the transaction of whatever changes it: a start, an end, a claim. It begins no run: whoever goes on with runs does.

use rusqlite::{OptionalExtension, params};

use super::RunKey;
use super::writer::Tx;

/// A queue: at most `concurrency` of its runs are between their beginning and their end, whatever they wait for meanwhile.
///
/// It is known by its name; the newest word on its concurrency counts, for all processes of the database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Queue {
    /// 1 to 200 bytes.
    pub name: String,
    /// At least 1; 0 counts as 1.
    pub concurrency: u32,
    /// Of the runs that wait, those with a higher number begin first; 0 unless told otherwise.
    #[serde(default)]
    pub priority: i32,
}

impl Queue {
    /// A queue of this name, of which so many runs may be under way.
    pub fn new(name: impl Into<String>, concurrency: u32) -> Self {
        Self { name: name.into(), concurrency, priority: 0 }
    }

    /// The same, for a run of this priority.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// Says how many of it may be under way, and gives the places that this frees. Returns its key.
    pub(crate) fn define(&self, tx: &Tx<'_>) -> rusqlite::Result<i64> {
        let sql =
            "INSERT INTO queues (name, concurrency) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET concurrency = ?2
                   WHERE concurrency <> ?2";
        let changed = tx.conn.prepare_cached(sql)?.execute(params![self.name, self.concurrency.max(1)])?;
        let key: i64 = tx
            .conn
            .prepare_cached("SELECT key FROM queues WHERE name = ?1")?
            .query_row([&self.name], |row| row.get(0))?;
        if changed > 0 {
            advance(tx, key)?;
        }
        Ok(key)
    }

    /// Puts a new run, which waits for nothing else, into line.
    pub(super) fn enter(&self, tx: &Tx<'_>, run: RunKey) -> rusqlite::Result<()> {
        let queue = self.define(tx)?;
        let sql = "INSERT INTO queued (run, queue, priority) VALUES (?1, ?2, ?3)";
        tx.conn.prepare_cached(sql)?.execute(params![run, queue, self.priority])?;
        advance(tx, queue)
    }
}

/// Gives the places that are free to those who are first in line. They stand as interrupted: whoever goes on with runs takes them.
fn advance(tx: &Tx<'_>, queue: i64) -> rusqlite::Result<()> {
    let sql = "SELECT concurrency - (SELECT count(*) FROM queued WHERE queue = ?1 AND at_ms IS NOT NULL) FROM queues WHERE key = ?1";
    let free: i64 = tx.conn.prepare_cached(sql)?.query_row([queue], |row| row.get(0))?;
    if free <= 0 {
        return Ok(());
    }
    // One that is paused has its turn when it goes on.
    let sql = "SELECT q.run FROM queued q JOIN heads h ON h.run = q.run WHERE q.queue = ?1 AND q.at_ms IS NULL AND h.waiting_for = 'queue'
               ORDER BY q.priority DESC, q.run LIMIT ?2";
    let first: Vec<RunKey> =
        tx.conn.prepare_cached(sql)?.query_map([queue, free], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let now = tx.now_ms();
    for run in first {
        tx.conn.prepare_cached("UPDATE queued SET at_ms = ?2 WHERE run = ?1")?.execute([run, now])?;
        let sql = "UPDATE heads SET status = 'running', waiting_for = NULL, updated_ms = ?2 WHERE run = ?1";
        tx.conn.prepare_cached(sql)?.execute([run, now])?;
    }
    Ok(())
}

/// A run has ended: its place is the next one's. It costs a look at an index for a run in no queue.
pub(super) fn leave(tx: &Tx<'_>, run: RunKey) -> rusqlite::Result<()> {
    let sql = "DELETE FROM queued WHERE run = ?1 RETURNING queue";
    let queue = tx.conn.prepare_cached(sql)?.query_row([run], |row| row.get(0)).optional()?;
    queue.map_or(Ok(()), |queue| advance(tx, queue))
}

/// May somebody work on this run, which nobody works on? One without a place stands in line after this, unless it is to be cancelled: for
/// that it needs none.
pub(super) fn may_go(tx: &Tx<'_>, run: RunKey) -> rusqlite::Result<bool> {
    let has_place = || {
        tx.conn
            .prepare_cached("SELECT queue, at_ms IS NOT NULL FROM queued WHERE run = ?1")?
            .query_row([run], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    };
    let Some((queue, false)) = has_place()? else { return Ok(true) };
    let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE run = ?1 AND kind = 'cancel' AND body IS NOT NULL)";
    if tx.conn.prepare_cached(sql)?.query_row([run], |row| row.get(0))? {
        return Ok(true);
    }
    let sql = "UPDATE heads SET status = 'waiting', waiting_for = 'queue', until_ms = NULL, owner = NULL, updated_ms = ?2 WHERE run = ?1
               AND waiting_for IS NOT 'queue'";
    tx.conn.prepare_cached(sql)?.execute([run, tx.now_ms()])?;
    advance(tx, queue)?;
    Ok(has_place()?.is_some_and(|(_, has)| has))
}
