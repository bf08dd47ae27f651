//! Reading runs, their journals and their inboxes. It never writes and never holds a read transaction for long.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{InboxRow, LogRow};
use super::writer::patiently;
use super::{Hash, RunKey, open_for_reading, owner, row_hash, run_hash};
use crate::HostError;

/// Rows of other runs that are stepped over before seeking anew.
const STEP_OVER: u32 = 32;

/// A connection that reads.
pub(crate) struct Reader {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
}

/// The rows that a walk back came by, newest first, and the row before them.
type Walked = (Vec<LogRow>, Option<i64>);

/// A run as its rows tell it.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) key: RunKey,
    pub(crate) id: String,
    pub(crate) workflow: String,
    pub(crate) definition: Option<i64>,
    pub(crate) root: Option<String>,
    pub(crate) parent: Option<RunKey>,
    pub(crate) parent_step: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) base: i64,
    pub(crate) head: i64,
    pub(crate) epoch: i64,
    pub(crate) owner: Option<Found>,
    pub(crate) status: String,
    pub(crate) waiting_for: Option<String>,
    pub(crate) until_ms: Option<i64>,
    pub(crate) updated_ms: i64,
    pub(crate) note: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) queue: Option<String>,
}

/// The owner of a run.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: i64,
    pub(crate) pid: u32,
    pub(crate) file: String,
}

const RUN: &str = "SELECT r.key, r.id, r.workflow, r.definition, r.root, r.parent, r.parent_step, r.created_ms,
        h.base, h.head, h.epoch, h.owner, o.pid, o.file, h.status, h.waiting_for, h.until_ms, h.updated_ms, n.status, n.error, n.help,
        (SELECT name FROM queued JOIN queues ON queues.key = queued.queue WHERE queued.run = r.key)
    FROM runs r JOIN heads h ON h.run = r.key LEFT JOIN owners o ON o.id = h.owner LEFT JOIN notes n ON n.run = r.key";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let owner: Option<i64> = row.get(11)?;
    let owner = match owner {
        Some(id) => Some(Found {
            id,
            pid: row.get::<_, Option<u32>>(12)?.unwrap_or(0),
            file: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(RunRow {
        key: row.get(0)?,
        id: row.get(1)?,
        workflow: row.get(2)?,
        definition: row.get(3)?,
        root: row.get(4)?,
        parent: row.get(5)?,
        parent_step: row.get(6)?,
        created_ms: row.get(7)?,
        base: row.get(8)?,
        head: row.get(9)?,
        epoch: row.get(10)?,
        owner,
        status: row.get(14)?,
        waiting_for: row.get(15)?,
        until_ms: row.get(16)?,
        updated_ms: row.get(17)?,
        note: row.get(18)?,
        error: row.get(19)?,
        help: row.get(20)?,
        queue: row.get(21)?,
    })
}

impl Reader {
    /// A connection of its own.
    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        Ok(Self { conn: open_for_reading(path)?, path: path.to_owned() })
    }

    fn one<T>(
        &self,
        sql: &str,
        param: &dyn rusqlite::ToSql,
        f: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, HostError> {
        Ok(patiently(|| self.conn.prepare_cached(sql)?.query_row([param], f).optional())?)
    }

    pub(super) fn many<T>(
        &self,
        sql: &str,
        param: &dyn rusqlite::ToSql,
        f: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HostError> {
        Ok(patiently(|| self.conn.prepare_cached(sql)?.query_map([param], f)?.collect())?)
    }

    /// A run by its key.
    pub(crate) fn run(&self, key: RunKey) -> Result<Option<RunRow>, HostError> {
        self.one(&format!("{RUN} WHERE r.key = ?1"), &key, run_row)
    }

    /// A run by its whole id.
    pub(crate) fn run_by_id(&self, id: &str) -> Result<Option<RunRow>, HostError> {
        self.one(&format!("{RUN} WHERE r.id = ?1"), &id, run_row)
    }

    /// A run by its id or a unique beginning of it; the whole id beats a beginning.
    pub(crate) fn find(&self, id: &str) -> Result<RunRow, HostError> {
        if let Some(run) = self.run_by_id(id)? {
            return Ok(run);
        }
        let none = || HostError::NoSuchRun { run: id.to_owned() };
        if id.is_empty() {
            return Err(none());
        }
        let sql = format!("{RUN} WHERE substr(r.id, 1, length(?1)) = ?1 LIMIT 6");
        let mut found = self.many(&sql, &id, run_row)?;
        match found.len() {
            0 => Err(none()),
            1 => Ok(found.remove(0)),
            _ => Err(HostError::Ambiguous {
                prefix: id.to_owned(),
                candidates: found.into_iter().map(|r| r.id).collect(),
            }),
        }
    }

    /// The runs whose ids begin so, newest first.
    #[cfg(feature = "schedule")]
    pub(crate) fn begins_with(&self, prefix: &str, limit: i64) -> Result<Vec<RunRow>, HostError> {
        let sql = format!("{RUN} WHERE substr(r.id, 1, length(?1)) = ?1 ORDER BY r.key DESC LIMIT {limit}");
        self.many(&sql, &prefix, run_row)
    }

    /// All runs, newest first.
    pub(crate) fn list(&self, limit: i64) -> Result<Vec<RunRow>, HostError> {
        self.many(&format!("{RUN} ORDER BY r.key DESC LIMIT ?1"), &limit, run_row)
    }

    /// Runs that have not ended and that somebody may go on with, up to this many after this key.
    pub(crate) fn open_runs(&self, after: RunKey) -> Result<Vec<RunRow>, HostError> {
        let sql = format!("{RUN} WHERE h.status IN ('running', 'waiting') AND r.key > ?1 ORDER BY r.key LIMIT 1000");
        self.many(&sql, &after, run_row)
    }

    /// True if a living process owns this run.
    pub(crate) fn is_alive(&self, run: &RunRow) -> bool {
        run.owner.as_ref().is_some_and(|o| owner::is_alive(&self.path, &o.file))
    }

    /// True if a run has children, and all of them and theirs wait for somebody outside.
    pub(crate) fn children_are_parked(&self, run: RunKey) -> Result<bool, HostError> {
        let sql = "WITH RECURSIVE below (run) AS (
                     SELECT r.key FROM runs r JOIN heads h ON h.run = r.key
                       WHERE r.parent = ?1 AND h.status NOT IN ('completed', 'failed', 'cancelled')
                     UNION ALL
                     SELECT r.key FROM below JOIN runs r ON r.parent = below.run JOIN heads h ON h.run = r.key
                       WHERE h.status NOT IN ('completed', 'failed', 'cancelled'))
                   SELECT count(*) > 0 AND min(h.until_ms IS NULL AND (h.waiting_for IS 'child'
                       OR h.owner IS NULL AND (h.status <> 'running' OR n.error IS NOT NULL)))
                   FROM below JOIN heads h ON h.run = below.run LEFT JOIN notes n ON n.run = h.run";
        Ok(self.one(sql, &run, |row| row.get::<_, Option<bool>>(0))?.flatten().unwrap_or(false))
    }

    /// True if this owner has runs.
    pub(crate) fn owns_runs(&self, owner: i64) -> Result<bool, HostError> {
        let any = self.one("SELECT 1 FROM heads WHERE owner = ?1 LIMIT 1", &owner, |row| row.get::<_, i64>(0))?;
        Ok(any.is_some())
    }

    /// What a run carries besides its input; what does not match its hash is not used.
    pub(crate) fn definition_of(&self, run: &RunRow) -> Result<Option<String>, HostError> {
        let Some(key) = run.definition else { return Ok(None) };
        let broken = |why: &str| HostError::Journal { run: run.id.clone(), why: format!("its definition {why}") };
        let sql = "SELECT hash, CAST(body AS BLOB) FROM definitions WHERE key = ?1";
        let found = self.one(sql, &key, |row| Ok((row.get::<_, Hash>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let (hash, body) = found.ok_or_else(|| broken("is missing"))?;
        if *blake3::hash(&body).as_bytes() != hash {
            return Err(broken("does not match its hash: it was changed"));
        }
        String::from_utf8(body).map(Some).map_err(|_| broken("is not text"))
    }

    /// How many rows the log holds for each run, in its chain or not.
    pub(crate) fn row_counts(&self) -> Result<HashMap<RunKey, usize>, HostError> {
        let sql = "SELECT run, count(*) FROM log WHERE id > ?1 GROUP BY run";
        let counts = self.many(sql, &0, |row| Ok((row.get::<_, RunKey>(0)?, row.get::<_, i64>(1)? as usize)))?;
        Ok(counts.into_iter().collect())
    }

    /// How many rows the log holds for this run, in its chain or not.
    pub(crate) fn row_count(&self, run: RunKey) -> Result<usize, HostError> {
        let count = self.one("SELECT count(*) FROM log WHERE run = ?1", &run, |row| row.get::<_, i64>(0))?;
        Ok(count.unwrap_or(0) as usize)
    }

    /// The hash of the input that a run was created with.
    pub(crate) fn input_hash(&self, run: RunKey) -> Result<Option<Hash>, HostError> {
        self.one("SELECT input_hash FROM runs WHERE key = ?1", &run, |row| row.get(0))
    }

    /// The messages that wait in a run's inbox, oldest first.
    pub(crate) fn inbox(&self, run: RunKey) -> Result<Vec<InboxRow>, HostError> {
        let sql = "SELECT id, kind, name, body, at_ms FROM inbox WHERE run = ?1 AND body IS NOT NULL ORDER BY id";
        self.many(sql, &run, |row| {
            Ok(InboxRow {
                id: row.get(0)?,
                kind: row.get(1)?,
                name: row.get(2)?,
                body: row.get(3)?,
                at_ms: row.get(4)?,
            })
        })
    }

    /// The runs that were sent something after this inbox id, and the newest id.
    pub(crate) fn news(&self, after: i64) -> Result<(Vec<RunKey>, i64), HostError> {
        let sql = "SELECT run, max(id) FROM inbox WHERE id > ?1 AND body IS NOT NULL GROUP BY run";
        let rows = self.many(sql, &after, |row| Ok((row.get::<_, RunKey>(0)?, row.get::<_, i64>(1)?)))?;
        let newest = rows.iter().map(|(_, id)| *id).max().unwrap_or(after);
        Ok((rows.into_iter().map(|(run, _)| run).collect(), newest))
    }

    /// The newest inbox id.
    pub(crate) fn newest_message(&self) -> Result<i64, HostError> {
        let sql = "SELECT coalesce(seq, 0) FROM sqlite_sequence WHERE name = ?1";
        Ok(self.one(sql, &"inbox", |row| row.get(0))?.unwrap_or(0))
    }

    /// Changes whenever another connection has committed.
    pub(crate) fn data_version(&self) -> Result<i64, HostError> {
        Ok(patiently(|| self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0)))?)
    }

    /// What SQLite's own check finds, if it finds something.
    pub(crate) fn integrity(&self) -> Result<Option<String>, HostError> {
        let found = patiently(|| {
            self.conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)).optional()
        })?;
        Ok(found.filter(|text| text != "ok"))
    }

    /// The rows of a run's current generation, oldest first, each checked against the one before it.
    pub(crate) fn journal(&self, run: &RunRow) -> Result<Vec<LogRow>, HostError> {
        self.chain(run, Some(run.base))
    }

    /// All rows of a run, oldest first, each checked against the one before it.
    pub(crate) fn whole_journal(&self, run: &RunRow) -> Result<Vec<LogRow>, HostError> {
        self.chain(run, None)
    }

    fn chain(&self, run: &RunRow, base: Option<i64>) -> Result<Vec<LogRow>, HostError> {
        let broken = |why: String| HostError::Journal { run: run.id.clone(), why };
        let (mut rows, before) = patiently(|| self.walk(run.key, base, run.head))?.map_err(broken)?;
        rows.reverse();
        let mut hash = match before {
            Some(id) => self.hash_of(id)?.ok_or_else(|| broken(format!("row {id} is missing")))?,
            None => run_hash(&run.id),
        };
        for row in &rows {
            hash = row_hash(&hash, &row.body);
            if hash != row.hash {
                return Err(broken(format!(
                    "row {} does not match its hash: it, or the row before it, was changed",
                    row.id
                )));
            }
        }
        Ok(rows)
    }

    fn hash_of(&self, id: i64) -> Result<Option<Hash>, HostError> {
        self.one("SELECT hash FROM log WHERE id = ?1", &id, |row| row.get(0))
    }

    /// Walks back from `head` to `base`, or to the first row; also the row before that. Or says what is wrong with the chain.
    fn walk(&self, run: RunKey, base: Option<i64>, head: i64) -> rusqlite::Result<Result<Walked, String>> {
        let mut statement =
            self.conn.prepare_cached("SELECT id, prev, hash, body, run FROM log WHERE id <= ?1 ORDER BY id DESC")?;
        let mut out = Vec::new();
        let mut next = head;
        loop {
            // A run alone lies row beside row: stepping is several times cheaper than seeking each.
            let mut rows = statement.query([next])?;
            let mut stepped = 0;
            let mut moved = false;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                if id != next {
                    stepped += 1;
                    if !moved || stepped > STEP_OVER || id < next {
                        break;
                    }
                    continue;
                }
                if row.get::<_, RunKey>(4)? != run {
                    return Ok(Err(format!("row {id} says that it is another run's")));
                }
                let prev: Option<i64> = row.get(1)?;
                let Ok(body) = row.get_ref(3)?.as_str() else {
                    return Ok(Err(format!("row {id} is not text: it was changed")));
                };
                out.push(LogRow { id, hash: row.get(2)?, body: body.to_owned() });
                (moved, stepped) = (true, 0);
                next = match (prev, base) {
                    (prev, Some(base)) if id == base => return Ok(Ok((out, prev))),
                    (None, None) => return Ok(Ok((out, None))),
                    (Some(prev), _) if prev < id && prev >= base.unwrap_or(0) => prev,
                    _ => return Ok(Err(format!("row {id} does not lead back to the first row"))),
                };
            }
            if !moved {
                return Ok(Err(format!("row {next} is missing")));
            }
        }
    }
}
