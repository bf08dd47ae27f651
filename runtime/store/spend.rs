//! What runs have spent and what is held for calls under way, and whether a budget allows one more. It runs within the transaction of a turn,
//! and never asks what anything costs: whoever asks says so.

use abide_engine::{Admission, Ceiling, Spent};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::RunKey;
use super::admit::int;
use super::writer::Tx;

/// The runs above a run, itself among them.
const UP: &str = "WITH RECURSIVE up (run) AS (SELECT ?1 UNION ALL
    SELECT r.parent FROM runs r JOIN up ON r.key = up.run WHERE r.parent IS NOT NULL)";

/// What is held of budgets for one attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) tokens: i64,
    /// `None`: its price is not known.
    pub(super) nano: Option<i64>,
}

/// By how much a person raises the budgets of a run, of its spenders, and of the runs above it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// Calls.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls: u64,
    /// Tokens.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// Billionths of a US dollar.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nano_usd: u64,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Raise {
    pub(super) fn apply(&self, tx: &Tx<'_>, run: RunKey) -> rusqlite::Result<()> {
        let sql = format!(
            "{UP} UPDATE spend SET more_calls = more_calls + ?2, more_tokens = more_tokens + ?3, more_nano = more_nano + ?4,
                 more_ms = more_ms + ?5
             WHERE run = ?1 OR (spender = '' AND run IN (SELECT run FROM up))"
        );
        let values = params![run, int(self.calls), int(self.tokens), int(self.nano_usd), int(self.ms)];
        tx.conn.prepare_cached(&sql)?.execute(values)?;
        Ok(())
    }
}

/// One budget as its row tells it.
struct Row {
    run: String,
    spender: String,
    calls: i64,
    tokens: i64,
    nano: i64,
    first_ms: i64,
    most_calls: Option<i64>,
    most_tokens: Option<i64>,
    most_nano: Option<i64>,
    most_ms: Option<i64>,
}

/// Why a budget does not allow this call, if one does not.
pub(super) fn over(tx: &Tx<'_>, run: RunKey, admission: &Admission, now: i64) -> rusqlite::Result<Option<String>> {
    keep_ceilings(tx, run, admission, now)?;
    let sql = format!(
        "{UP} SELECT r.id, s.spender, s.calls, s.input_tokens + s.output_tokens + s.held_tokens, s.nano_usd + s.held_nano,
             s.first_ms, s.max_calls + s.more_calls, s.max_tokens + s.more_tokens, s.max_nano + s.more_nano,
             s.max_ms + s.more_ms
         FROM spend s JOIN runs r ON r.key = s.run
         WHERE (s.run = ?1 AND s.spender = ?2) OR (s.spender = '' AND s.run IN (SELECT run FROM up))"
    );
    let mut statement = tx.conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![run, &*admission.spender], |row| {
        Ok(Row {
            run: row.get(0)?,
            spender: row.get(1)?,
            calls: row.get(2)?,
            tokens: row.get(3)?,
            nano: row.get(4)?,
            first_ms: row.get(5)?,
            most_calls: row.get(6)?,
            most_tokens: row.get(7)?,
            most_nano: row.get(8)?,
            most_ms: row.get(9)?,
        })
    })?;
    for row in rows {
        if let Some(why) = row?.refuses(&admission.most, now) {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

impl Row {
    fn refuses(&self, most: &Spent, now: i64) -> Option<String> {
        let whose = match self.spender.as_str() {
            "" => format!("run `{}`", self.run),
            spender => format!("`{spender}` in run `{}`", self.run),
        };
        if self.most_calls.is_some_and(|limit| self.calls >= limit) {
            return Some(format!("{whose} has made its {} calls of models", self.calls));
        }
        if let Some(limit) = self.most_ms.filter(|limit| now - self.first_ms > *limit) {
            return Some(format!("{whose} has used up its {} s", limit / 1_000));
        }
        let tokens = int(most.tokens());
        if let Some(limit) = self.most_tokens.filter(|limit| self.tokens.saturating_add(tokens) > *limit) {
            let used = self.tokens;
            return Some(format!(
                "{whose} has used or reserved {used} of its {limit} tokens, and this call may take {tokens}"
            ));
        }
        let limit = self.most_nano?;
        let Some(cost) = most.nano_usd.map(int) else {
            return Some(format!(
                "{whose} may spend {}, and nobody knows the price of this model: give it a `price` in abide.toml",
                usd(limit)
            ));
        };
        (self.nano.saturating_add(cost) > limit).then(|| {
            let (used, cost) = (usd(self.nano), usd(cost));
            format!("{whose} has spent or reserved {used} of its {}, and this call may cost {cost}", usd(limit))
        })
    }
}

/// Dollars for a message, rounded up to what a person would type.
fn usd(nano: i64) -> String {
    format!("${:.4}", nano as f64 / 1e9)
}

/// Keeps the ceilings that the run names now.
fn keep_ceilings(tx: &Tx<'_>, run: RunKey, admission: &Admission, now: i64) -> rusqlite::Result<()> {
    for budget in &admission.budgets {
        let spender = budget.spender.as_deref().unwrap_or_default();
        let Ceiling { calls, tokens, nano_usd, ms } = budget.ceiling;
        let sql = "INSERT INTO spend (run, spender, first_ms, max_calls, max_tokens, max_nano, max_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (run, spender) DO UPDATE SET max_calls = ?4, max_tokens = ?5, max_nano = ?6, max_ms = ?7
                   WHERE max_calls IS NOT ?4 OR max_tokens IS NOT ?5 OR max_nano IS NOT ?6 OR max_ms IS NOT ?7";
        let values = params![run, spender, now, calls.map(int), tokens.map(int), nano_usd.map(int), ms.map(int)];
        tx.conn.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

/// Holds what a call may use, for its spender, its run and the runs above.
pub(super) fn hold(tx: &Tx<'_>, run: RunKey, admission: &Admission, now: i64) -> rusqlite::Result<()> {
    let most = &admission.most;
    let (tokens, nano) = (int(most.tokens()), most.nano_usd.map_or(0, int));
    let sql = format!(
        "{UP} INSERT INTO spend (run, spender, calls, held_tokens, held_nano, first_ms)
         SELECT run, '', 1, ?3, ?4, ?5 FROM up UNION ALL SELECT ?1, ?2, 1, ?3, ?4, ?5
         ON CONFLICT (run, spender) DO UPDATE SET calls = calls + 1, held_tokens = held_tokens + ?3, held_nano = held_nano + ?4"
    );
    tx.conn.prepare_cached(&sql)?.execute(params![run, &*admission.spender, tokens, nano, now])?;
    Ok(())
}

/// Turns what was held into what was spent; `None` if nobody knows, which counts as all of it. What was refused has spent nothing, and is no call.
pub(super) fn charge(
    tx: &Tx<'_>,
    run: RunKey,
    spender: &str,
    held: Held,
    spent: Option<Spent>,
) -> rusqlite::Result<()> {
    let lost = spent.is_none();
    let refused = spent.is_some_and(|spent| spent == Spent { nano_usd: Some(0), ..Spent::default() });
    let spent = spent.unwrap_or(Spent {
        input_tokens: held.tokens.unsigned_abs(),
        nano_usd: held.nano.map(i64::unsigned_abs),
        ..Spent::default()
    });
    let sql = format!(
        "{UP} UPDATE spend SET held_tokens = max(0, held_tokens - ?3), held_nano = max(0, held_nano - ?4),
             input_tokens = input_tokens + ?5, output_tokens = output_tokens + ?6,
             cache_read_tokens = cache_read_tokens + ?7, cache_write_tokens = cache_write_tokens + ?8,
             nano_usd = nano_usd + ?9, unpriced = unpriced + ?10, lost = lost + ?11, calls = max(0, calls - ?12)
         WHERE (run = ?1 AND spender = ?2) OR (spender = '' AND run IN (SELECT run FROM up))"
    );
    tx.conn.prepare_cached(&sql)?.execute(params![
        run,
        spender,
        held.tokens,
        held.nano.unwrap_or(0),
        int(spent.input_tokens),
        int(spent.output_tokens),
        int(spent.cache_read_tokens),
        int(spent.cache_write_tokens),
        spent.nano_usd.map_or(0, int),
        spent.nano_usd.is_none(),
        lost,
        refused,
    ])?;
    Ok(())
}
