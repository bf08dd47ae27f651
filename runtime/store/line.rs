//! Looking at those who wait for services: which of ours may find a place now, which of others are dead, and what was spent. It grants nothing.

use super::places::LATE_MS;
use super::read::Reader;
use super::rows::Admitted;
use super::{RunKey, owner};
use crate::HostError;
use crate::report::Spending;

/// Who waits first at a service where a place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) run: RunKey,
    /// Its place in line, and how many are under way: as long as neither changes, there is nothing new to tell it.
    place: i64,
    under_way: i64,
}

impl Reader {
    /// The attempts of a run that have a place at a service, or wait in line for one.
    pub(crate) fn admitted(&self, run: RunKey) -> Result<Vec<Admitted>, HostError> {
        let sql = "SELECT step, attempt, at_ms FROM admissions WHERE run = ?1 AND ended_ms IS NULL";
        self.many(sql, &run, |row| Ok(Admitted { step: row.get(0)?, attempt: row.get(1)?, at_ms: row.get(2)? }))
    }

    /// The runs of this owner that stand first in line at a service where others have given places back.
    pub(crate) fn may_go(&self, own: i64, now_ms: i64) -> Result<Vec<First>, HostError> {
        let sql = format!(
            "SELECT q.run, q.id, s.under_way, q.owner FROM (SELECT key, concurrency, (SELECT count(*) FROM admissions
                 WHERE service = key AND due_ms > ?1 AND at_ms IS NOT NULL AND ended_ms IS NULL) AS under_way
                 FROM services WHERE concurrency IS NOT NULL AND coalesce(blocked_until_ms, 0) <= ?1) s
             JOIN admissions q ON q.id = (SELECT id FROM admissions WHERE service = s.key AND at_ms IS NULL
                 AND due_ms > ?1 - {LATE_MS} ORDER BY priority DESC, id LIMIT 1)
             WHERE s.concurrency > s.under_way"
        );
        let first = self.many(&sql, &now_ms, |row| {
            Ok((First { run: row.get(0)?, place: row.get(1)?, under_way: row.get(2)? }, row.get::<_, i64>(3)?))
        })?;
        Ok(first.into_iter().filter(|(_, owner)| *owner == own).map(|(first, _)| first).collect())
    }

    /// The owners that wait in line and are dead: nobody waits for them.
    pub(crate) fn dead_in_line(&self, own: i64) -> Result<Vec<i64>, HostError> {
        let sql = "SELECT DISTINCT q.owner, o.file FROM admissions q LEFT JOIN owners o ON o.id = q.owner
                   WHERE q.at_ms IS NULL AND q.owner <> ?1";
        let others = self.many(sql, &own, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))?;
        let dead = |file: &Option<String>| file.as_ref().is_none_or(|file| !owner::is_alive(&self.path, file));
        Ok(others.into_iter().filter(|(_, file)| dead(file)).map(|(id, _)| id).collect())
    }
}

impl Reader {
    /// What a run has spent: with all runs below it first, then each of its spenders.
    pub(crate) fn spending(&self, run: RunKey) -> Result<Vec<Spending>, HostError> {
        let sql = "SELECT spender, calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, nano_usd, unpriced,
                       lost FROM spend WHERE run = ?1 ORDER BY spender";
        self.many(sql, &run, |row| {
            let int = |n: i64| u64::try_from(n).unwrap_or(0);
            let spender: String = row.get(0)?;
            Ok(Spending {
                spender: (!spender.is_empty()).then_some(spender),
                calls: int(row.get(1)?),
                input_tokens: int(row.get(2)?),
                output_tokens: int(row.get(3)?),
                cache_read_tokens: int(row.get(4)?),
                cache_write_tokens: int(row.get(5)?),
                cost_usd: (row.get::<_, i64>(7)? == 0).then_some(row.get::<_, i64>(6)? as f64 / 1e9),
                lost: int(row.get(8)?),
            })
        })
    }
}
