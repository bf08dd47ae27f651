//! Is everything that was acknowledged there, and is the file whole? What a state must hold is worked out from the history that led to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::disk::State;
use super::record::Ack;
use crate::proof::vfs::image;

type Hash = [u8; 32];

/// A row of the log as it is in the end.
struct Row {
    run: i64,
    hash: Hash,
    body: String,
}

/// What was acknowledged, as ids that must be there.
#[derive(Clone, Copy, Default, Debug)]
pub struct Need {
    pub log: i64,
    pub message: i64,
}

/// The database as it is in the end.
pub struct Whole {
    /// The name of its states' files in memory.
    name: String,
    rows: Vec<Row>,
    runs: HashMap<String, i64>,
    /// Messages whose sender is known: they stay.
    messages: Vec<(i64, i64, String)>,
    /// The last row of each run that has ended.
    ends: HashMap<i64, i64>,
}

impl Whole {
    /// Reads a closed database.
    pub fn read(file: &Path) -> Self {
        let conn = Connection::open(file).unwrap();
        let all = |sql: &str| -> Vec<(i64, i64, String, Option<Hash>)> {
            let mut statement = conn.prepare(sql).unwrap();
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let log = all("SELECT id, run, body, hash FROM log ORDER BY id");
        assert!(log.iter().enumerate().all(|(n, row)| row.0 == n as i64 + 1), "the log has gaps");
        let rows = log.into_iter().map(|(_, run, body, hash)| Row { run, hash: hash.unwrap(), body }).collect();
        let runs = all("SELECT key, 0, id, NULL FROM runs").into_iter().map(|(key, _, id, _)| (id, key)).collect();
        let messages = all("SELECT id, run, sender, NULL FROM inbox WHERE sender IS NOT NULL ORDER BY id");
        let messages = messages.into_iter().map(|(id, run, sender, _)| (id, run, sender)).collect();
        let ended = all("SELECT run, head, status, NULL FROM heads WHERE status = 'completed'");
        let ends = ended.into_iter().map(|(run, head, _, _)| (run, head)).collect();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("state-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { name, rows, runs, messages, ends }
    }

    /// What this acknowledgement promised.
    pub fn promised(&self, ack: &Ack) -> Need {
        let first = |run: &str, what: &dyn Fn(&Row) -> bool| {
            let key = self.runs[run];
            let found = self.rows.iter().position(|row| row.run == key && what(row));
            Need { log: found.unwrap_or_else(|| panic!("{ack:?} is nowhere")) as i64 + 1, message: 0 }
        };
        match ack {
            Ack::Started(run) => first(run, &|_| true),
            Ack::Intent(run, step) => {
                let mark = format!("\"id\":\"{step}\"");
                first(run, &|row| row.body.contains(&mark))
            }
            Ack::Ended(run) => Need { log: self.ends[&self.runs[run]], message: 0 },
            Ack::Sent(run, sender) => {
                let key = self.runs[run];
                let found = self.messages.iter().find(|(_, run, by)| *run == key && by == sender);
                Need { log: 0, message: found.unwrap_or_else(|| panic!("{ack:?} is nowhere")).0 }
            }
        }
    }

    /// Opens a state as SQLite would after the power is back, and says what is wrong with it. Also how many rows it holds.
    pub fn check(&self, state: State, need: Need, deep: &mut dyn FnMut(i64) -> bool) -> Result<i64, String> {
        let text = |e: rusqlite::Error| format!("corrupt: {e}");
        let conn = image::open(&self.name, state.db, state.log).map_err(text)?;
        let found = self.examine(&conn, need, deep).map_err(text);
        drop(conn);
        image::take(&self.name);
        found?
    }

    fn examine(
        &self,
        conn: &Connection,
        need: Need,
        deep: &mut dyn FnMut(i64) -> bool,
    ) -> rusqlite::Result<Result<i64, String>> {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
        let mut statement = conn.prepare("SELECT id, run, prev, hash, body FROM log ORDER BY id")?;
        let mut rows = statement.query([])?;
        let (mut last, mut heads): (i64, HashMap<i64, i64>) = (0, HashMap::new());
        let mut hashes: Vec<Hash> = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, run): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (prev, hash): (Option<i64>, Hash) = (row.get(2)?, row.get(3)?);
            let body = row.get_ref(4)?.as_str()?;
            if id != last + 1 {
                return Ok(Err(format!("lost: row {} is not there, row {id} is", last + 1)));
            }
            last = id;
            if prev != heads.insert(run, id) {
                return Ok(Err(format!("corrupt: row {id} names row {prev:?} before it")));
            }
            hashes.push(hash);
            let same = self.rows.get(id as usize - 1).is_some_and(|row| row.hash == hash && row.body == body);
            if !same && (id <= need.log || !chained(&hashes, prev, &hash, body)) {
                return Ok(Err(format!("lost: row {id} is another than the one that was acknowledged")));
            }
        }
        if last < need.log {
            return Ok(Err(format!("lost: row {} was acknowledged, the last is {last}", need.log)));
        }
        self.others(conn, need, &heads, last, deep)
    }

    fn others(
        &self,
        conn: &Connection,
        need: Need,
        last_rows: &HashMap<i64, i64>,
        last: i64,
        deep: &mut dyn FnMut(i64) -> bool,
    ) -> rusqlite::Result<Result<i64, String>> {
        let mut statement = conn.prepare("SELECT run, head, status FROM heads")?;
        let mut rows = statement.query([])?;
        let mut heads = 0;
        while let Some(row) = rows.next()? {
            let (run, head): (i64, i64) = (row.get(0)?, row.get(1)?);
            heads += 1;
            if last_rows.get(&run) != Some(&head) {
                return Ok(Err(format!("corrupt: the head of run {run} is not its last row")));
            }
            if head <= need.log && self.ends.get(&run) == Some(&head) && row.get_ref(2)?.as_str()? != "completed" {
                return Ok(Err(format!("lost: the end of run {run} was acknowledged")));
            }
        }
        if heads != last_rows.len() {
            return Ok(Err("corrupt: a run has no head".to_owned()));
        }
        let sql = "SELECT count(*) FROM inbox WHERE sender IS NOT NULL AND id <= ?1";
        let messages: i64 = conn.query_row(sql, [need.message], |row| row.get(0))?;
        if messages != self.messages.iter().filter(|(id, _, _)| *id <= need.message).count() as i64 {
            return Ok(Err(format!("lost: of the messages up to {}, {messages} are there", need.message)));
        }
        if deep(last) {
            let found: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            if found != "ok" {
                return Ok(Err(format!("corrupt: {found}")));
            }
            if conn.prepare("PRAGMA foreign_key_check")?.exists([])? {
                return Ok(Err("corrupt: a row names one that is not there".to_owned()));
            }
        }
        Ok(Ok(last))
    }
}

/// Does this row follow the one before it? The first row of a run follows the run's id, which is left to the deeper checks.
fn chained(hashes: &[Hash], prev: Option<i64>, hash: &Hash, body: &str) -> bool {
    let Some(before) = prev.and_then(|prev| hashes.get(prev as usize - 1)) else { return true };
    blake3::Hasher::new().update(before).update(body.as_bytes()).finalize().as_bytes() == hash
}
