//! The end of an attempt that had a place at a service: the place is given back, what was used is counted, and a limit that was met holds for all.
//! It runs within the transaction of a turn, and never decides what follows for the step.

use std::sync::Arc;

use abide_engine::{Admission, Spent};
use rusqlite::{OptionalExtension, params};

use super::admit::{int, service};
use super::places::Freed;
use super::turnstile::{UNKNOWN, WINDOW_MS};
use super::writer::Tx;
use super::{RunKey, spend};

/// Rows of the past that are removed at a time.
const SWEPT: i64 = 32;

/// An attempt that had a place is over.
#[derive(Debug, Clone)]
pub(crate) struct Settle {
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) admission: Arc<Admission>,
    /// What it has used; `None` if nobody knows, which counts as all that it could have.
    pub(crate) spent: Option<Spent>,
    pub(crate) met: Met,
}

/// What a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was answered.
    Answer,
    /// It met a limit until this time.
    Limit { until_ms: i64 },
    /// It failed otherwise, or nobody knows.
    Other,
    /// It has never left: its place is as if it had not been given.
    Nobody,
}

impl Settle {
    /// Ends the attempt; returns its service, where a place may be free now.
    pub(super) fn apply(&self, tx: &Tx<'_>, run: RunKey, now: i64) -> rusqlite::Result<Freed> {
        let service = service(tx, &self.admission.service)?;
        let (outcome, until) = match self.met {
            Met::Answer => ("answered", None),
            Met::Limit { until_ms } => ("limited", Some(until_ms)),
            Met::Other | Met::Nobody => ("other", None),
        };
        let used = self.spent.map(|spent| int(spent.tokens()));
        let sql = "UPDATE admissions SET ended_ms = ?4, outcome = ?5, tokens = coalesce(?6, tokens)
                   WHERE run = ?1 AND step = ?2 AND attempt = ?3 AND at_ms IS NOT NULL AND ended_ms IS NULL
                   RETURNING held_tokens, held_nano, at_ms";
        let ended = tx
            .conn
            .prepare_cached(sql)?
            .query_row(params![run, self.step, self.attempt, now, outcome, used], |row| {
                Ok((spend::Held { tokens: row.get(0)?, nano: row.get(1)? }, row.get(2)?))
            })
            .optional()?;
        let (held, at) = ended.unwrap_or((spend::Held::default(), now));
        // Only a row that somebody removed by hand is not there; what was spent is spent.
        spend::charge(tx, run, &self.admission.spender, held, self.spent)?;
        if let Some(until) = until {
            self.block(tx, service, until, (at, now))?;
        }
        if self.met == Met::Nobody {
            let sql = "DELETE FROM admissions WHERE run = ?1 AND step = ?2 AND attempt = ?3 AND ended_ms = ?4";
            tx.conn.prepare_cached(sql)?.execute(params![run, self.step, self.attempt, now])?;
        }
        let sql = "DELETE FROM admissions WHERE id IN (SELECT id FROM admissions
                   WHERE service = ?1 AND at_ms < ?2 AND ended_ms IS NOT NULL AND at_ms IS NOT NULL LIMIT ?3)";
        tx.conn.prepare_cached(sql)?.execute([service, now - 2 * WINDOW_MS, SWEPT])?;
        Ok(Freed { service, named: Some(self.admission.rates), tokens: self.admission.most.tokens() })
    }

    /// A rate limit holds for everybody; where nobody has named the limit, it has just shown itself.
    fn block(&self, tx: &Tx<'_>, service: i64, until: i64, (at, now): (i64, i64)) -> rusqlite::Result<()> {
        let sql = "UPDATE services SET blocked_until_ms = max(coalesce(blocked_until_ms, 0), ?2) WHERE key = ?1";
        tx.conn.prepare_cached(sql)?.execute([service, until])?;
        if self.admission.rates.requests.is_some() {
            return Ok(());
        }
        // As many as were not refused: those that were cut off were counted, too, and those that left before and are under way still
        // will be answered, or say otherwise themselves.
        let sql = "SELECT count(*) FROM admissions WHERE service = ?1 AND at_ms > ?2 AND at_ms IS NOT NULL
                       AND (outcome <> 'limited' OR ended_ms IS NULL AND at_ms < ?3)";
        let passed: i64 = tx.conn.prepare_cached(sql)?.query_row([service, now - WINDOW_MS, at], |row| row.get(0))?;
        // A service that refuses although it was hardly asked is busy, or others have used it up: that says nothing of a minute.
        let least = int(UNKNOWN);
        let sql = "UPDATE services SET guessed = 1, learnt_ms = ?3, requests = max(?2, ?4)
                   WHERE key = ?1 AND (requests IS NULL AND ?2 >= ?4 OR guessed = 1)";
        tx.conn.prepare_cached(sql)?.execute([service, passed, now, least])?;
        Ok(())
    }
}

/// Closes what is open for a run, or one step of it: what waits leaves the line, what was under way counts as spent. Returns the services
/// where others may come forward.
pub(super) fn give_up(tx: &Tx<'_>, run: RunKey, step: Option<&str>, now: i64) -> rusqlite::Result<Vec<i64>> {
    let sql =
        "DELETE FROM admissions WHERE run = ?1 AND ended_ms IS NULL AND at_ms IS NULL AND (?2 IS NULL OR step = ?2)
               RETURNING service";
    let mut freed: Vec<i64> =
        tx.conn.prepare_cached(sql)?.query_map(params![run, step], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let sql = "SELECT id FROM admissions WHERE run = ?1 AND ended_ms IS NULL AND (?2 IS NULL OR step = ?2)";
    let ids: Vec<i64> =
        tx.conn.prepare_cached(sql)?.query_map(params![run, step], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        freed.push(lose(tx, run, id, now)?);
    }
    Ok(freed)
}

/// An attempt under way whose reply nobody will see: it counts as all that it could have used.
pub(super) fn lose(tx: &Tx<'_>, run: RunKey, id: i64, now: i64) -> rusqlite::Result<i64> {
    let sql = "UPDATE admissions SET ended_ms = ?2, outcome = 'other' WHERE id = ?1
               RETURNING service, spender, held_tokens, held_nano";
    let (service, spender, tokens, nano): (i64, String, i64, Option<i64>) = tx
        .conn
        .prepare_cached(sql)?
        .query_row(params![id, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    spend::charge(tx, run, &spender, spend::Held { tokens, nano }, None)?;
    Ok(service)
}
