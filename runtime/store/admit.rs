//! Admission: who may call a service now, who waits, in which order, over all runs and processes of a file (DESIGN rule 11). Everything here runs
//! within the transaction of a turn, so a place is granted in the commit before the attempt. It never starts anything and never waits.

use std::sync::Arc;

use abide_engine::{Admission, Rates};
use rusqlite::{OptionalExtension, params};

use super::RunKey;
use super::settle::{Settle, give_up, lose};
use super::spend;
use super::turnstile::{Known, WINDOW_MS, grown};
use super::writer::Tx;

/// Who waits and is later than it said by this much is not waited for.
const LATE_MS: i64 = 5_000;

/// An attempt that needs a place.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) admission: Arc<Admission>,
}

/// What an attempt that needs a place is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It may start.
    Granted,
    /// It waits in line, and asks again at this time, or when it is told to.
    Queued { until_ms: i64 },
    /// It would have to wait until then, and will not.
    TooLong { until_ms: i64 },
    /// A budget does not allow it.
    OverBudget { why: String },
}

/// What a run asks of services in one turn.
#[derive(Debug, Default)]
pub(crate) struct Dealings {
    pub(crate) asks: Vec<Ask>,
    pub(crate) settles: Vec<Settle>,
    /// Steps whose attempts were cut off or called off.
    pub(crate) given_up: Vec<String>,
    /// Budgets that people raise.
    pub(crate) raises: Vec<spend::Raise>,
    /// Limits that answers have named: service and limits a minute.
    pub(crate) learnt: Vec<(Arc<str>, Rates)>,
    /// Processes that are dead: nobody waits for them.
    pub(crate) dead: Arc<[i64]>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dealt {
    pub(crate) answers: Vec<(String, Answered)>,
    /// Runs of this process that may find a place now.
    pub(crate) poked: Vec<RunKey>,
}

impl Dealings {
    pub(crate) fn is_empty(&self) -> bool {
        self.asks.is_empty()
            && self.settles.is_empty()
            && self.given_up.is_empty()
            && self.raises.is_empty()
            && self.learnt.is_empty()
    }

    /// Does all of it for `run`, which `owner` works on.
    pub(crate) fn apply(&self, tx: &Tx<'_>, run: RunKey, owner: i64, now: i64) -> rusqlite::Result<Dealt> {
        let mut dealt = Dealt::default();
        if self.is_empty() {
            return Ok(dealt);
        }
        let mut freed = Vec::new();
        for (name, rates) in &self.learnt {
            learn(tx, service(tx, name)?, *rates, now)?;
        }
        for settle in &self.settles {
            freed.push(settle.apply(tx, run, now)?);
        }
        for step in &self.given_up {
            freed.extend(give_up(tx, run, Some(step), now)?);
        }
        for raise in &self.raises {
            raise.apply(tx, run)?;
        }
        for ask in &self.asks {
            dealt.answers.push((ask.step.clone(), ask.apply(tx, run, owner, &self.dead, now)?));
        }
        freed.sort_unstable();
        freed.dedup();
        for service in freed {
            dealt.poked.extend(first_in_line(tx, service, owner)?);
        }
        Ok(dealt)
    }
}

/// The key of the service of this name.
pub(super) fn service(tx: &Tx<'_>, name: &str) -> rusqlite::Result<i64> {
    let known = tx
        .conn
        .prepare_cached("SELECT key FROM services WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match known {
        Some(key) => Ok(key),
        None => {
            tx.conn.prepare_cached("INSERT INTO services (name) VALUES (?1)")?.execute([name])?;
            Ok(tx.conn.last_insert_rowid())
        }
    }
}

/// Takes note of limits that an answer has named.
fn learn(tx: &Tx<'_>, service: i64, rates: Rates, now: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE services SET requests = coalesce(?2, requests), tokens = coalesce(?3, tokens),
               guessed = iif(?2 IS NULL, guessed, 0), learnt_ms = ?4 WHERE key = ?1";
    tx.conn.prepare_cached(sql)?.execute(params![service, rates.requests, rates.tokens.map(int), now])?;
    Ok(())
}

/// The runs of this process that wait first at a service, at most two.
fn first_in_line(tx: &Tx<'_>, service: i64, owner: i64) -> rusqlite::Result<Vec<RunKey>> {
    let sql = "SELECT run FROM admissions WHERE service = ?1 AND at_ms IS NULL AND owner = ?2
               ORDER BY priority DESC, id LIMIT 2";
    tx.conn.prepare_cached(sql)?.query_map([service, owner], |row| row.get(0))?.collect()
}

impl Ask {
    fn apply(&self, tx: &Tx<'_>, run: RunKey, owner: i64, dead: &[i64], now: i64) -> rusqlite::Result<Answered> {
        let service = service(tx, &self.admission.service)?;
        let place = self.place(tx, run, now)?;
        if let Some(why) = spend::over(tx, run, &self.admission, now)? {
            give_up(tx, run, Some(&self.step), now)?;
            return Ok(Answered::OverBudget { why });
        }
        let known = self.known(tx, service, place, dead, now)?;
        let Some(short) = known.lacks() else {
            self.enter(tx, service, run, owner, place, Some(now), now + int(self.admission.longest_ms))?;
            spend::hold(tx, run, &self.admission, now)?;
            return Ok(Answered::Granted);
        };
        let window = match short.requests + short.tokens {
            0 => Vec::new(),
            _ => window(tx, service, now)?,
        };
        let until_ms = known.again_at(short, &window);
        if self.admission.patience_ms.is_some_and(|most| until_ms - now > int(most)) {
            give_up(tx, run, Some(&self.step), now)?;
            return Ok(Answered::TooLong { until_ms });
        }
        self.enter(tx, service, run, owner, place, None, until_ms)?;
        Ok(Answered::Queued { until_ms })
    }

    /// The place in line that this step has. An earlier attempt under way was cut off: nobody knows what became of it.
    fn place(&self, tx: &Tx<'_>, run: RunKey, now: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT id, at_ms FROM admissions WHERE run = ?1 AND step = ?2 AND ended_ms IS NULL";
        let open: Vec<(i64, Option<i64>)> = tx
            .conn
            .prepare_cached(sql)?
            .query_map(params![run, self.step], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut place = None;
        for (id, at) in open {
            if at.is_none() {
                place = Some(id);
            } else {
                lose(tx, run, id, now)?;
            }
        }
        Ok(place)
    }

    fn known(&self, tx: &Tx<'_>, service: i64, place: Option<i64>, dead: &[i64], now: i64) -> rusqlite::Result<Known> {
        let (blocked, learnt): (Option<i64>, Rates) = tx
            .conn
            .prepare_cached(
                "SELECT blocked_until_ms, requests, tokens, guessed, learnt_ms FROM services WHERE key = ?1",
            )?
            .query_row([service], |row| {
                let (requests, guessed): (Option<u32>, bool) = (row.get(1)?, row.get(3)?);
                let minutes = row.get::<_, Option<i64>>(4)?.map_or(0, |at| (now - at).max(0) / 60_000);
                let requests = requests.map(|n| if guessed { grown(n, minutes.unsigned_abs()) } else { n });
                let tokens = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
                Ok((row.get(0)?, Rates { requests, tokens, concurrency: None }))
            })?;
        let named = self.admission.rates;
        let rates = Rates {
            requests: named.requests.or(learnt.requests),
            tokens: named.tokens.or(learnt.tokens),
            concurrency: named.concurrency,
        };
        let sql = "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(outcome = 'answered'), 0) FROM admissions
                   WHERE service = ?1 AND at_ms > ?2 AND at_ms IS NOT NULL";
        let (used, answered) = tx.conn.prepare_cached(sql)?.query_row([service, now - WINDOW_MS], |row| {
            Ok(((count(row.get(0)?), count(row.get(1)?)), count(row.get(2)?)))
        })?;
        let sql = "SELECT count(*) FROM admissions WHERE service = ?1 AND due_ms > ?2 AND at_ms IS NOT NULL AND ended_ms IS NULL";
        let under_way = count(tx.conn.prepare_cached(sql)?.query_row([service, now], |row| row.get(0))?);
        Ok(Known {
            now,
            rates,
            blocked_until: blocked.unwrap_or(0),
            under_way,
            answered,
            used,
            ahead: self.ahead(tx, service, place, dead, now)?,
            tokens: self.admission.most.tokens(),
        })
    }

    /// Those who come first, and their tokens.
    fn ahead(
        &self,
        tx: &Tx<'_>,
        service: i64,
        place: Option<i64>,
        dead: &[i64],
        now: i64,
    ) -> rusqlite::Result<(u64, u64)> {
        let sql = "SELECT owner, tokens FROM admissions WHERE service = ?1 AND at_ms IS NULL AND due_ms > ?2
                   AND (priority > ?3 OR priority = ?3 AND id < ?4)";
        let mut statement = tx.conn.prepare_cached(sql)?;
        let priority = self.admission.priority;
        let mut rows = statement.query(params![service, now - LATE_MS, priority, place.unwrap_or(i64::MAX)])?;
        let mut ahead = (0_u64, 0_u64);
        while let Some(row) = rows.next()? {
            if !dead.contains(&row.get(0)?) {
                ahead = (ahead.0 + 1, ahead.1.saturating_add(count(row.get(1)?)));
            }
        }
        Ok(ahead)
    }

    #[allow(clippy::too_many_arguments)]
    fn enter(
        &self,
        tx: &Tx<'_>,
        service: i64,
        run: RunKey,
        owner: i64,
        place: Option<i64>,
        at: Option<i64>,
        due: i64,
    ) -> rusqlite::Result<()> {
        let Admission { priority, most, spender, rates, .. } = &*self.admission;
        let (tokens, nano) = (int(most.tokens()), most.nano_usd.map(int));
        let sql = "INSERT OR REPLACE INTO admissions
                       (id, service, run, step, attempt, spender, owner, priority, tokens, held_tokens, held_nano, due_ms, at_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12)";
        tx.conn.prepare_cached(sql)?.execute(params![
            place,
            service,
            run,
            self.step,
            self.attempt,
            &**spender,
            owner,
            priority,
            tokens,
            nano,
            due,
            at
        ])?;
        let sql = "UPDATE services SET concurrency = ?2 WHERE key = ?1 AND concurrency IS NOT ?2";
        tx.conn.prepare_cached(sql)?.execute(params![service, rates.concurrency.map(|most| most.max(1))])?;
        Ok(())
    }
}

/// The requests that count, the oldest first, with their tokens.
fn window(tx: &Tx<'_>, service: i64, now: i64) -> rusqlite::Result<Vec<(i64, u64)>> {
    let sql =
        "SELECT at_ms, tokens FROM admissions WHERE service = ?1 AND at_ms > ?2 AND at_ms IS NOT NULL ORDER BY at_ms";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map([service, now - WINDOW_MS], |row| Ok((row.get(0)?, count(row.get(1)?))))?;
    rows.collect()
}

/// As SQLite holds it.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
