//! Whatever is done to a journal, `abide verify` finds it (DESIGN rule 15): every byte flipped, every row deleted, doubled or moved, any two rows
//! swapped, heads and all that is kept beside the rows changed. What it cannot find is tried as well, so that it stays known.

use abide::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::{count, seed};
use super::{Desk, corpus, within};

/// Tries of one database: what was done to it, and what was noticed.
struct Tries {
    abide: Abide,
    conn: Connection,
    tried: u64,
    unnoticed: Vec<String>,
}

struct Row {
    id: i64,
    body: Vec<u8>,
    hash: Vec<u8>,
}

impl Tries {
    /// Does this, looks whether it is noticed, and undoes it by this.
    fn one(&mut self, what: &str, does: &[(&str, Vec<Value>)], undoes: &[(&str, Vec<Value>)]) {
        if self.is_noticed(does, undoes) {
            self.tried += 1;
        } else {
            self.unnoticed.push(what.to_owned());
        }
    }

    fn is_noticed(&mut self, does: &[(&str, Vec<Value>)], undoes: &[(&str, Vec<Value>)]) -> bool {
        self.play(does);
        let noticed = !self.abide.verify(None).unwrap().broken.is_empty();
        self.play(undoes);
        noticed
    }

    fn play(&self, statements: &[(&str, Vec<Value>)]) {
        let tx = self.conn.unchecked_transaction().unwrap();
        for (sql, values) in statements {
            tx.prepare_cached(sql).unwrap().execute(rusqlite::params_from_iter(values)).unwrap();
        }
        tx.commit().unwrap();
    }

    fn rows(&self) -> Vec<Row> {
        let mut statement = self.conn.prepare("SELECT id, CAST(body AS BLOB), hash FROM log ORDER BY id").unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok(Row { id: row.get(0)?, body: row.get(1)?, hash: row.get(2)? });
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    /// Flips one bit of every `stride`-th byte of what a row holds.
    fn flips(&mut self, row: &Row, stride: usize, phase: usize) {
        let set = ["UPDATE log SET body = CAST(?1 AS TEXT) WHERE id = ?2", "UPDATE log SET hash = ?1 WHERE id = ?2"];
        for (sql, bytes) in set.into_iter().zip([&row.body, &row.hash]) {
            for at in (phase % stride..bytes.len()).step_by(stride) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << ((at + phase) % 8);
                let values = |bytes: &[u8]| vec![Value::Blob(bytes.to_vec()), Value::Integer(row.id)];
                let what = format!("row {}: byte {at} by {sql}", row.id);
                self.one(&what, &[(sql, values(&flipped))], &[(sql, values(bytes))]);
            }
        }
    }

    /// Deletes, doubles and moves a row, and changes what it is linked by.
    fn moves(&mut self, id: i64) {
        let keep = |sql: &'static str| (sql, vec![Value::Integer(id)]);
        let (save, back, drop) = (
            keep("CREATE TABLE kept AS SELECT * FROM log WHERE id = ?1"),
            keep("INSERT OR REPLACE INTO log SELECT * FROM kept WHERE ?1 = id"),
            keep("DROP TABLE kept"),
        );
        self.conn.execute_batch(&save.0.replace("?1", &id.to_string())).unwrap();
        for (what, sql) in [
            ("deleted", "DELETE FROM log WHERE id = ?1"),
            ("moved", "UPDATE log SET id = (SELECT max(id) + 1 FROM log) WHERE id = ?1"),
            ("of another run", "UPDATE log SET run = run + 1 WHERE id = ?1"),
            ("linked to the row before", "UPDATE log SET prev = coalesce(prev, ?1) - 1 WHERE id = ?1"),
            ("linked to itself", "UPDATE log SET prev = ?1 WHERE id = ?1"),
            ("linked to another first row", "UPDATE log SET prev = 1 WHERE id = ?1 AND prev IS NOT 1"),
            ("linked to nothing", "UPDATE log SET prev = iif(prev IS NULL, 0, NULL) WHERE id = ?1"),
            ("emptied", "UPDATE log SET body = '' WHERE id = ?1"),
        ] {
            if what == "linked to another first row" && self.is_first_but_one(id) {
                continue;
            }
            let undo = [("DELETE FROM log WHERE id NOT IN (SELECT id FROM ids)", vec![]), back.clone()];
            self.one(&format!("row {id}: {what}"), &[keep(sql)], &undo);
        }
        let double =
            "INSERT INTO log SELECT (SELECT max(id) + 1 FROM log), run, prev, hash, body FROM log WHERE id = ?1";
        let undo = [("DELETE FROM log WHERE id NOT IN (SELECT id FROM ids)", vec![])];
        self.one(&format!("row {id}: doubled"), &[keep(double)], &undo);
        self.conn.execute_batch(drop.0).unwrap();
    }

    fn is_first_but_one(&self, id: i64) -> bool {
        let prev: Option<i64> =
            self.conn.query_row("SELECT prev FROM log WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        prev == Some(1) || id == 1
    }

    /// Swaps two rows: all that they hold, or their bodies alone.
    fn swaps(&mut self, a: &Row, b: &Row) {
        let set = "UPDATE log SET body = CAST(?1 AS TEXT), hash = ?2 WHERE id = ?3";
        let put = |id: i64, body: &Row, hash: &Row| {
            (set, vec![Value::Blob(body.body.clone()), Value::Blob(hash.hash.clone()), Value::Integer(id)])
        };
        let undo = [put(a.id, a, a), put(b.id, b, b)];
        self.one(&format!("rows {} and {} swapped", a.id, b.id), &[put(a.id, b, b), put(b.id, a, a)], &undo);
        if a.body != b.body {
            self.one(&format!("bodies {} and {} swapped", a.id, b.id), &[put(a.id, b, a), put(b.id, a, b)], &undo);
        }
    }

    /// Changes what is kept beside the rows and compared with them.
    fn beside(&mut self) {
        let runs: Vec<i64> = self.column("SELECT key FROM runs");
        for run in runs {
            let on = |sql: &'static str| (sql, vec![Value::Integer(run)]);
            self.conn.execute_batch("DROP TABLE IF EXISTS r; DROP TABLE IF EXISTS h").unwrap();
            self.conn
                .execute_batch("CREATE TABLE r AS SELECT * FROM runs; CREATE TABLE h AS SELECT * FROM heads")
                .unwrap();
            let undo = [
                on(
                    "UPDATE runs SET (id, workflow, input_hash) = (SELECT id, workflow, input_hash FROM r WHERE r.key = ?1) WHERE key = ?1",
                ),
                on(
                    "UPDATE heads SET (base, head, status, waiting_for, owner) = (SELECT base, head, status, waiting_for, owner FROM h WHERE h.run = ?1) WHERE run = ?1",
                ),
            ];
            for sql in [
                "UPDATE runs SET id = id || '.' WHERE key = ?1",
                "UPDATE runs SET workflow = workflow || '.' WHERE key = ?1",
                "UPDATE runs SET input_hash = zeroblob(32) WHERE key = ?1",
                "UPDATE heads SET base = base + 1 WHERE run = ?1",
                "UPDATE heads SET base = (SELECT min(id) FROM log WHERE run = ?1) - (base = (SELECT min(id) FROM log WHERE run = ?1)) WHERE run = ?1",
                "UPDATE heads SET head = head + 1 WHERE run = ?1",
                "UPDATE heads SET head = (SELECT coalesce(prev, 0) FROM log WHERE id = head) WHERE run = ?1",
                "UPDATE heads SET status = iif(status = 'completed', 'failed', 'completed'), waiting_for = NULL, owner = NULL WHERE run = ?1",
                "UPDATE heads SET status = iif(status IN ('completed', 'failed', 'cancelled'), 'running', 'cancelled'), waiting_for = NULL, owner = NULL WHERE run = ?1",
            ] {
                self.one(&format!("run {run}: {sql}"), &[on(sql)], &undo);
            }
        }
        let used: Vec<i64> = self.column("SELECT DISTINCT definition FROM runs WHERE definition IS NOT NULL");
        for key in used {
            let on = |sql: &'static str| (sql, vec![Value::Integer(key)]);
            let does = "UPDATE definitions SET body = body || ' ' WHERE key = ?1";
            let undoes = "UPDATE definitions SET body = substr(body, 1, length(body) - 1) WHERE key = ?1";
            self.one(does, &[on(does)], &[on(undoes)]);
        }
    }

    /// Tails that are cut off together with the head that names them. How many were noticed by how the run is said to stand, and how many not.
    fn cuts(&mut self) -> (u64, u64) {
        let (mut noticed, mut not) = (0, 0);
        let runs: Vec<i64> =
            self.column("SELECT heads.run FROM heads JOIN log ON log.id = heads.head WHERE log.prev IS NOT NULL");
        for run in runs {
            self.conn.execute_batch("DROP TABLE IF EXISTS h; DROP TABLE IF EXISTS kept").unwrap();
            self.conn
                .execute_batch("CREATE TABLE h AS SELECT * FROM heads; CREATE TABLE kept AS SELECT * FROM log")
                .unwrap();
            let on = |sql: &'static str| (sql, vec![Value::Integer(run)]);
            let cut = [
                on("UPDATE heads SET head = (SELECT prev FROM log WHERE id = head) WHERE run = ?1"),
                on("DELETE FROM log WHERE run = ?1 AND id > (SELECT head FROM heads WHERE run = ?1)"),
            ];
            let undo = [
                on("INSERT OR IGNORE INTO log SELECT * FROM kept WHERE run = ?1"),
                on("UPDATE heads SET head = (SELECT head FROM h WHERE h.run = ?1) WHERE run = ?1"),
            ];
            if self.is_noticed(&cut, &undo) { noticed += 1 } else { not += 1 }
        }
        (noticed, not)
    }

    fn column(&self, sql: &str) -> Vec<i64> {
        let mut statement = self.conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_a_journal_is_noticed() {
    // The small form tries every 97th byte and swaps neighbours; the whole one every byte and every pair.
    let stride = count("one byte of this many", 97, 1) as usize;
    let phase = seed() as usize;
    let (mut tried, mut cut) = (0, (0, 0));
    let mut unnoticed = Vec::new();
    for journal in corpus::all() {
        let desk = Desk::new();
        journal.load(&desk).await;
        let abide = desk.open().existing().start().await.unwrap();
        assert!(abide.verify(None).unwrap().broken.is_empty(), "{}: {:?}", journal.name, abide.verify(None));
        let conn = desk.sqlite();
        // What is being tried here is not durability.
        conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
            .unwrap();
        conn.execute_batch("CREATE TABLE ids AS SELECT id FROM log").unwrap();
        let mut tries = Tries { abide, conn, tried: 0, unnoticed: Vec::new() };
        let rows = tries.rows();
        for (i, row) in rows.iter().enumerate() {
            tries.flips(row, stride, phase + i);
            tries.moves(row.id);
            for other in rows.iter().skip(i + 1).take(if stride > 1 { 1 } else { rows.len() }) {
                tries.swaps(row, other);
            }
        }
        tries.beside();
        let (noticed, not) = tries.cuts();
        cut = (cut.0 + noticed, cut.1 + not);
        assert!(tries.abide.verify(None).unwrap().broken.is_empty(), "{} was not put back", journal.name);
        unnoticed.extend(tries.unnoticed.iter().map(|what| format!("{}: {what}", journal.name)));
        tried += tries.tried;
        within(tries.abide.shutdown()).await;
    }
    let total = tried + unnoticed.len() as u64;
    println!("{total} tamperings: {} unnoticed", unnoticed.len());
    println!(
        "{} tails cut off together with their heads: {} noticed by how the run stands, {} not",
        cut.0 + cut.1,
        cut.0,
        cut.1
    );
    assert!(unnoticed.is_empty(), "unnoticed (ABIDE_SEED={} ABIDE_PROOF={stride}): {unnoticed:#?}", seed());
    assert!(cut.0 > 0 && cut.1 > 0, "what cannot be noticed is no longer what is written down");
}
