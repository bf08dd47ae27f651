//! Admission: who may call a service now, who waits, in which order, over all runs and processes of a file (DESIGN rule 11). Everything here runs
//! within the transaction of a turn, so a place is granted in the commit before the attempt. It never starts anything and never waits.

use std::sync::Arc;

use abide_engine::{Admission, Rates};
use rusqlite::{OptionalExtension, params};

use super::RunKey;
use super::places::{Freed, ahead, known, step_aside, window};
use super::settle::{Settle, give_up, lose};
use super::spend;
use super::writer::Tx;

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
    /// When it was granted.
    pub(crate) at_ms: i64,
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

    /// Does all of it for `run`, which `owner` works on, and lets go of with this if it `leaves`.
    pub(crate) fn apply(&self, tx: &Tx<'_>, run: RunKey, owner: i64, leaves: bool) -> rusqlite::Result<Dealt> {
        // The time of the commit and not that of the turn: what lies between may be long, and a request leaves after it.
        let now = tx.now_ms();
        let mut dealt = Dealt { at_ms: now, ..Dealt::default() };
        let mut freed = Vec::new();
        for (name, rates) in &self.learnt {
            let service = service(tx, name)?;
            learn(tx, service, *rates, now)?;
            freed.push(Freed { service, named: None, tokens: 0 });
        }
        for settle in &self.settles {
            freed.push(settle.apply(tx, run, now)?);
        }
        let nobody = |service| Freed { service, named: None, tokens: 0 };
        for step in &self.given_up {
            freed.extend(give_up(tx, run, Some(step), now)?.into_iter().map(nobody));
        }
        for raise in &self.raises {
            raise.apply(tx, run)?;
        }
        for ask in &self.asks {
            let (service, answer) = ask.apply(tx, run, owner, &self.dead, now)?;
            if !matches!(answer, Answered::Queued { .. }) {
                let (named, tokens) = (Some(ask.admission.rates), ask.admission.most.tokens());
                freed.push(Freed { service, named, tokens });
            }
            dealt.answers.push((ask.step.clone(), answer));
        }
        if leaves {
            freed.extend(step_aside(tx, run)?.into_iter().map(nobody));
        }
        // Of what is said of one service, that of somebody who knows its limits counts.
        freed.sort_by_key(|freed| (freed.service, freed.named.is_none()));
        freed.dedup_by_key(|freed| freed.service);
        for freed in freed {
            dealt.poked.extend(freed.next(tx, owner, &self.dead, now)?);
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
               guessed = iif(?2 IS NULL, guessed, 0), learnt_ms = iif(?2 IS NULL, learnt_ms, ?4) WHERE key = ?1";
    tx.conn.prepare_cached(sql)?.execute(params![service, rates.requests, rates.tokens.map(int), now])?;
    Ok(())
}

impl Ask {
    fn apply(&self, tx: &Tx<'_>, run: RunKey, owner: i64, dead: &[i64], now: i64) -> rusqlite::Result<(i64, Answered)> {
        let admission = &*self.admission;
        let service = service(tx, &admission.service)?;
        let place = self.place(tx, run, now)?;
        if let Some(why) = spend::over(tx, run, admission, now)? {
            give_up(tx, run, Some(&self.step), now)?;
            return Ok((service, Answered::OverBudget { why }));
        }
        let mut known = known(tx, service, Some(admission.rates), admission.most.tokens(), now)?;
        known.ahead = ahead(tx, service, (admission.priority, place), dead, now)?;
        let Some(short) = known.lacks() else {
            self.enter(tx, service, run, owner, place, Some(now), now + int(admission.longest_ms))?;
            spend::hold(tx, run, admission, now)?;
            return Ok((service, Answered::Granted));
        };
        let window = match short.requests + short.tokens {
            0 => Vec::new(),
            _ => window(tx, service, now)?,
        };
        let until_ms = known.again_at(short, &window);
        if admission.patience_ms.is_some_and(|most| until_ms - now > int(most)) {
            give_up(tx, run, Some(&self.step), now)?;
            return Ok((service, Answered::TooLong { until_ms }));
        }
        self.enter(tx, service, run, owner, place, None, until_ms)?;
        Ok((service, Answered::Queued { until_ms }))
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

/// As SQLite holds it.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
