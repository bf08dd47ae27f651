//! The rows of schedules: what is kept of one, and the moves that several processes must not make twice. It reads no body and knows no calendar.

use rusqlite::{OptionalExtension, Row, params};

use super::read::Reader;
use super::rows::is_ended;
use super::writer::Tx;
use crate::HostError;

/// A schedule as its row tells it.
#[derive(Debug, Clone)]
pub(crate) struct ScheduleRow {
    pub(crate) key: i64,
    pub(crate) name: String,
    pub(crate) body: String,
    /// The next time; none if there will be none.
    pub(crate) next_ms: Option<i64>,
    pub(crate) paused: bool,
    /// The run that was started last, and for which time.
    pub(crate) last_run: Option<String>,
    pub(crate) last_ms: Option<i64>,
    /// Why nothing, or not everything, was started for the latest time that had come.
    pub(crate) note: Option<String>,
    pub(crate) note_ms: Option<i64>,
}

const SCHEDULE: &str = "SELECT key, name, body, next_ms, paused, last_run, last_ms, note, note_ms FROM schedules";

fn schedule(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    Ok(ScheduleRow {
        key: row.get(0)?,
        name: row.get(1)?,
        body: row.get(2)?,
        next_ms: row.get(3)?,
        paused: row.get(4)?,
        last_run: row.get(5)?,
        last_ms: row.get(6)?,
        note: row.get(7)?,
        note_ms: row.get(8)?,
    })
}

impl Reader {
    /// All schedules, by name.
    pub(crate) fn schedules(&self) -> Result<Vec<ScheduleRow>, HostError> {
        self.many(&format!("{SCHEDULE} WHERE ?1 ORDER BY name"), &true, schedule)
    }

    /// The schedule of this name.
    pub(crate) fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>, HostError> {
        Ok(self.many(&format!("{SCHEDULE} WHERE name = ?1"), &name, schedule)?.pop())
    }

    /// Those whose time has come. It costs nothing by the schedule that waits.
    pub(crate) fn due_schedules(&self, now_ms: i64) -> Result<Vec<ScheduleRow>, HostError> {
        self.many(&format!("{SCHEDULE} WHERE paused = 0 AND next_ms IS NOT NULL AND next_ms <= ?1"), &now_ms, schedule)
    }
}

/// What came of keeping a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is new, or changed.
    Now,
    /// There is one of its name, with this body.
    Exists(String),
}

/// Keeps a schedule; one of the same name is changed only if it `replaces` it.
pub(crate) fn keep(
    tx: &Tx<'_>,
    name: &str,
    body: &str,
    next_ms: Option<i64>,
    replaces: bool,
) -> rusqlite::Result<Kept> {
    let sql = "SELECT body FROM schedules WHERE name = ?1";
    let before: Option<String> = tx.conn.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    if let Some(before) = before.filter(|_| !replaces) {
        return Ok(Kept::Exists(before));
    }
    let sql = "INSERT INTO schedules (name, body, next_ms) VALUES (?1, ?2, ?3)
               ON CONFLICT (name) DO UPDATE SET body = ?2, next_ms = ?3, note = NULL, note_ms = NULL";
    tx.conn.prepare_cached(sql)?.execute(params![name, body, next_ms])?;
    Ok(Kept::Now)
}

/// Removes a schedule. False if there was none.
pub(crate) fn remove(tx: &Tx<'_>, name: &str) -> rusqlite::Result<bool> {
    Ok(tx.conn.prepare_cached("DELETE FROM schedules WHERE name = ?1")?.execute([name])? == 1)
}

/// Pauses a schedule. False if there is none.
pub(crate) fn pause(tx: &Tx<'_>, name: &str) -> rusqlite::Result<bool> {
    Ok(tx.conn.prepare_cached("UPDATE schedules SET paused = 1 WHERE name = ?1")?.execute([name])? == 1)
}

/// Lets a schedule go on with this time. False if there is none.
pub(crate) fn resume(tx: &Tx<'_>, name: &str, next: Option<i64>) -> rusqlite::Result<bool> {
    let sql = "UPDATE schedules SET paused = 0, next_ms = ?2 WHERE name = ?1";
    Ok(tx.conn.prepare_cached(sql)?.execute(params![name, next])? == 1)
}

/// Moves a schedule on from the time that was `seen`: whoever does it starts what is due, in the same transaction. False if somebody else has,
/// or has changed it.
pub(crate) fn advance(tx: &Tx<'_>, row: &ScheduleRow, next: Option<i64>) -> rusqlite::Result<bool> {
    let sql = "UPDATE schedules SET next_ms = ?4 WHERE key = ?1 AND body = ?2 AND next_ms IS ?3 AND paused = 0";
    Ok(tx.conn.prepare_cached(sql)?.execute(params![row.key, row.body, row.next_ms, next])? == 1)
}

/// The run that it has started last, if that has not ended.
pub(crate) fn still_open(tx: &Tx<'_>, key: i64) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT r.id, h.status FROM schedules s JOIN runs r ON r.id = s.last_run JOIN heads h ON h.run = r.key WHERE s.key = ?1";
    let last: Option<(String, String)> =
        tx.conn.prepare_cached(sql)?.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(last.filter(|(_, status)| !is_ended(status)).map(|(id, _)| id))
}

/// Notes the run that was started for this time.
pub(crate) fn started(tx: &Tx<'_>, key: i64, run: &str, at_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE schedules SET last_run = ?2, last_ms = ?3 WHERE key = ?1";
    tx.conn.prepare_cached(sql)?.execute(params![key, run, at_ms]).map(|_| ())
}

/// Notes why nothing was started, or that there is nothing to say.
pub(crate) fn note(tx: &Tx<'_>, key: i64, why: Option<&str>, now_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE schedules SET note = ?2, note_ms = iif(?2 IS NULL, NULL, ?3) WHERE key = ?1";
    tx.conn.prepare_cached(sql)?.execute(params![key, why, now_ms]).map(|_| ())
}
