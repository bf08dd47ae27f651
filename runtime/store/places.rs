//! What the tables tell of a service: what counts against its minute, who is under way, and who waits in which order. It decides nothing:
//! `turnstile` does.

use abide_engine::Rates;
use rusqlite::params;

use super::RunKey;
use super::turnstile::{Known, WINDOW_MS, grown};
use super::writer::Tx;

/// Who waits and is later than it said by this much is not waited for.
pub(super) const LATE_MS: i64 = 5_000;
/// Runs that are told at once when the limits of the one who asks are not known.
const GUESSED_ROOM: usize = 8;

/// A service where others may find a place now.
pub(super) struct Freed {
    pub(super) service: i64,
    /// The limits that its user has named; `None` if whoever tells does not know them.
    pub(super) named: Option<Rates>,
    /// The tokens of a request, about.
    pub(super) tokens: u64,
}

/// What is known of a service, without those who wait. What nobody has named may have been learnt.
pub(super) fn known(tx: &Tx<'_>, service: i64, named: Option<Rates>, tokens: u64, now: i64) -> rusqlite::Result<Known> {
    let sql = "SELECT blocked_until_ms, requests, tokens, guessed, learnt_ms, concurrency FROM services WHERE key = ?1";
    let (blocked, learnt): (Option<i64>, Rates) = tx.conn.prepare_cached(sql)?.query_row([service], |row| {
        let (requests, guessed): (Option<u32>, bool) = (row.get(1)?, row.get(3)?);
        let minutes = row.get::<_, Option<i64>>(4)?.map_or(0, |at| (now - at).max(0) / 60_000);
        let requests = requests.map(|n| if guessed { grown(n, minutes.unsigned_abs()) } else { n });
        let tokens = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
        Ok((row.get(0)?, Rates { requests, tokens, concurrency: row.get(5)? }))
    })?;
    let named = named.unwrap_or(Rates { concurrency: learnt.concurrency, ..Rates::default() });
    let rates = Rates {
        requests: named.requests.or(learnt.requests),
        tokens: named.tokens.or(learnt.tokens),
        concurrency: named.concurrency,
    };
    let sql = "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(outcome = 'answered'), 0),
                   coalesce(max(outcome = 'limited'), 0) FROM admissions
               WHERE service = ?1 AND at_ms > ?2 AND at_ms IS NOT NULL";
    let (used, answered, refused) = tx.conn.prepare_cached(sql)?.query_row([service, now - WINDOW_MS], |row| {
        Ok(((count(row.get(0)?), count(row.get(1)?)), count(row.get(2)?), row.get(3)?))
    })?;
    let sql =
        "SELECT count(*) FROM admissions WHERE service = ?1 AND due_ms > ?2 AND at_ms IS NOT NULL AND ended_ms IS NULL";
    let under_way = count(tx.conn.prepare_cached(sql)?.query_row([service, now], |row| row.get(0))?);
    let blocked_until = blocked.unwrap_or(0);
    Ok(Known { now, rates, blocked_until, under_way, answered, refused, used, tokens, ahead: (0, 0) })
}

/// Those who come before one of this priority and place, and their tokens.
pub(super) fn ahead(
    tx: &Tx<'_>,
    service: i64,
    (priority, place): (i32, Option<i64>),
    dead: &[i64],
    now: i64,
) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT owner, tokens FROM admissions WHERE service = ?1 AND at_ms IS NULL AND due_ms > ?2
               AND (priority > ?3 OR priority = ?3 AND id < ?4)";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![service, now - LATE_MS, priority, place.unwrap_or(i64::MAX)])?;
    let mut ahead = (0_u64, 0_u64);
    while let Some(row) = rows.next()? {
        if !dead.contains(&row.get(0)?) {
            ahead = (ahead.0 + 1, ahead.1.saturating_add(count(row.get(1)?)));
        }
    }
    Ok(ahead)
}

/// The requests that count, the oldest first, with their tokens.
pub(super) fn window(tx: &Tx<'_>, service: i64, now: i64) -> rusqlite::Result<Vec<(i64, u64)>> {
    let sql =
        "SELECT at_ms, tokens FROM admissions WHERE service = ?1 AND at_ms > ?2 AND at_ms IS NOT NULL ORDER BY at_ms";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map([service, now - WINDOW_MS], |row| Ok((row.get(0)?, count(row.get(1)?))))?;
    rows.collect()
}

impl Freed {
    /// The runs of this process that may find a place now: as many of the first in line as there is room for.
    pub(super) fn next(&self, tx: &Tx<'_>, owner: i64, dead: &[i64], now: i64) -> rusqlite::Result<Vec<RunKey>> {
        let sql = "SELECT run, owner FROM admissions WHERE service = ?1 AND at_ms IS NULL AND due_ms > ?2
                   ORDER BY priority DESC, id";
        let mut statement = tx.conn.prepare_cached(sql)?;
        let mut rows = statement.query([self.service, now - LATE_MS])?;
        let (mut next, mut room) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            let of: i64 = row.get(1)?;
            if dead.contains(&of) {
                continue;
            }
            let left = match &mut room {
                Some(left) => left,
                None => room.insert(self.room(tx, now)?),
            };
            if *left == 0 {
                break;
            }
            *left -= 1;
            if of == owner {
                next.push(row.get(0)?);
            }
        }
        Ok(next)
    }

    fn room(&self, tx: &Tx<'_>, now: i64) -> rusqlite::Result<usize> {
        let room = known(tx, self.service, self.named, self.tokens, now)?.room();
        Ok(if self.named.is_none() { room.min(GUESSED_ROOM) } else { room })
    }
}

/// Whoever works no longer on this run has it keep its place in line, and nobody waits for it. Returns the services where it stood.
pub(crate) fn step_aside(tx: &Tx<'_>, run: RunKey) -> rusqlite::Result<Vec<i64>> {
    let sql = "UPDATE admissions SET due_ms = 0 WHERE run = ?1 AND ended_ms IS NULL AND at_ms IS NULL AND due_ms > 0
               RETURNING service";
    tx.conn.prepare_cached(sql)?.query_map([run], |row| row.get(0))?.collect()
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
