//! A file of the golden corpus: rows as they were committed, what is kept beside them, what then happens, what comes of it. It reads and writes
//! such files and fills databases with them; it replays nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Desk;
use super::acts::Act;

/// One line of a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Story(Story),
    Run(RunLine),
    Row(RowLine),
    Message(MessageLine),
    Then(Act),
    Ends(Ends),
}

/// What wrote the file, and what it shows.
#[derive(Serialize, Deserialize)]
pub(super) struct Story {
    pub(super) abide: String,
    pub(super) schema: i64,
    pub(super) semantics: u32,
    pub(super) shows: String,
    pub(super) clock_ms: i64,
}

/// What is kept of a run beside its rows.
#[derive(Serialize, Deserialize)]
pub(super) struct RunLine {
    pub(super) id: String,
    pub(super) workflow: String,
    pub(super) definition: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) parent_step: Option<String>,
    pub(super) input_hash: String,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) epoch: i64,
    pub(super) status: String,
    pub(super) waiting_for: Option<String>,
    pub(super) until_ms: Option<i64>,
    /// Which of its rows its generation begins with.
    pub(super) base: usize,
    pub(super) progress: Option<String>,
    pub(super) error: Option<String>,
    pub(super) help: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RowLine {
    pub(super) run: String,
    pub(super) hash: String,
    pub(super) body: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MessageLine {
    pub(super) run: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) body: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) at_ms: i64,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ends {
    pub(super) run: String,
    pub(super) status: String,
    pub(super) waiting_for: Option<String>,
    pub(super) output: Option<Value>,
    pub(super) error: Option<String>,
}

/// A file of the corpus.
pub(super) struct Journal {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/upgrades/journals")
}

impl Journal {
    pub(super) fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(folder()).unwrap().display().to_string();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"));
        let lines = text.lines().map(line).collect();
        Self { name, lines }
    }

    pub(super) fn story(&self) -> &Story {
        let story = self.lines.iter().find_map(|line| if let Line::Story(story) = line { Some(story) } else { None });
        story.unwrap()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &RunLine> {
        self.lines.iter().filter_map(|line| if let Line::Run(run) = line { Some(run) } else { None })
    }

    pub(super) fn then(&self) -> impl Iterator<Item = &Act> {
        self.lines.iter().filter_map(|line| if let Line::Then(act) = line { Some(act) } else { None })
    }

    pub(super) fn ends(&self) -> Vec<Ends> {
        self.lines
            .iter()
            .filter_map(|line| if let Line::Ends(ends) = line { Some(ends.clone()) } else { None })
            .collect()
    }

    /// True for a file of agents' runs, which the binary goes on with.
    pub(super) fn is_agents(&self) -> bool {
        self.runs().any(|run| run.workflow.starts_with("agent:"))
    }

    /// Makes a database of it.
    pub(super) async fn load(&self, desk: &Desk) {
        desk.open().start().await.unwrap().shutdown().await;
        desk.clock.store(self.story().clock_ms, Ordering::SeqCst);
        self.fill(&desk.sqlite(), None);
    }

    /// Puts it into an empty database; `root` is the project's folder, for agents.
    pub(super) fn fill(&self, conn: &rusqlite::Connection, root: Option<&str>) {
        let tx = conn.unchecked_transaction().unwrap();
        let mut keys: BTreeMap<&str, i64> = BTreeMap::new();
        let mut chains: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        let rows = self.lines.iter().filter_map(|line| if let Line::Row(row) = line { Some(row) } else { None });
        for (run, key) in self.runs().zip(1..) {
            keys.insert(&run.id, key);
            insert_run(&tx, run, key, run.parent.as_ref().map(|parent| keys[parent.as_str()]), root);
        }
        for (row, id) in rows.zip(1_i64..) {
            let chain = chains.entry(&row.run).or_default();
            let sql = "INSERT INTO log (id, run, prev, hash, body) VALUES (?1, ?2, ?3, ?4, ?5)";
            let hash = abide::engine::hex::decode::<32>(&row.hash).unwrap();
            tx.execute(sql, params![id, keys[row.run.as_str()], chain.last(), hash, row.body.get()]).unwrap();
            chain.push(id);
        }
        for run in self.runs() {
            let chain = &chains[run.id.as_str()];
            tx.execute(
                "INSERT INTO heads (run, base, head, epoch, status, waiting_for, until_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![keys[run.id.as_str()], chain[run.base], chain.last(), run.epoch, run.status, run.waiting_for, run.until_ms, run.updated_ms],
            )
            .unwrap();
        }
        for line in &self.lines {
            let Line::Message(m) = line else { continue };
            let sql = "INSERT INTO inbox (run, kind, name, body, sender, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            tx.execute(sql, params![keys[m.run.as_str()], m.kind, m.name, m.body, m.sender, m.at_ms]).unwrap();
        }
        tx.commit().unwrap();
    }

    /// What a database holds, as a file.
    pub(super) fn dump(name: &str, conn: &rusqlite::Connection, shows: &str, clock_ms: i64, then: &[Act]) -> Self {
        let schema = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        let (abide, semantics) = (env!("CARGO_PKG_VERSION").to_owned(), abide::engine::SEMANTICS);
        let mut lines = vec![Line::Story(Story { abide, schema, semantics, shows: shows.to_owned(), clock_ms })];
        lines.extend(dump_runs(conn).into_iter().map(Line::Run));
        lines.extend(dump_rows(conn).into_iter().map(Line::Row));
        lines.extend(dump_messages(conn).into_iter().map(Line::Message));
        lines.extend(then.iter().cloned().map(Line::Then));
        Self { name: name.to_owned(), lines }
    }

    /// Lets the definitions speak of another place.
    pub(super) fn move_definitions(&mut self, from: &str, to: &str) {
        for line in &mut self.lines {
            if let Line::Run(RunLine { definition: Some(body), .. }) = line {
                *body = body.replace(from, to);
            }
        }
    }

    pub(super) fn write(&self) {
        let file = folder().join(&self.name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, self.text()).unwrap();
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }
}

fn insert_run(conn: &rusqlite::Connection, run: &RunLine, key: i64, parent: Option<i64>, root: Option<&str>) {
    let definition = run.definition.as_ref().map(|body| {
        let hash = blake3::hash(body.as_bytes());
        let sql = "INSERT INTO definitions (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO UPDATE SET body = body RETURNING key";
        conn.query_row(sql, params![hash.as_bytes(), body], |row| row.get::<_, i64>(0)).unwrap()
    });
    let input = abide::engine::hex::decode::<32>(&run.input_hash).unwrap();
    conn.execute(
        "INSERT INTO runs (key, id, workflow, definition, root, parent, parent_step, input_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![key, run.id, run.workflow, definition, root, parent, run.parent_step, input, run.created_ms],
    )
    .unwrap();
    if run.progress.is_some() || run.error.is_some() {
        let sql = "INSERT INTO notes (run, status, error, help) VALUES (?1, ?2, ?3, ?4)";
        conn.execute(sql, params![key, run.progress, run.error, run.help]).unwrap();
    }
}

fn dump_runs(conn: &rusqlite::Connection) -> Vec<RunLine> {
    let sql = "SELECT r.id, r.workflow, d.body, p.id, r.parent_step, lower(hex(r.input_hash)), r.created_ms, h.updated_ms, h.epoch, h.status,
                      h.waiting_for, h.until_ms, (SELECT count(*) FROM log WHERE log.run = r.key AND log.id < h.base), n.status, n.error, n.help
               FROM runs r JOIN heads h ON h.run = r.key LEFT JOIN definitions d ON d.key = r.definition LEFT JOIN runs p ON p.key = r.parent
                    LEFT JOIN notes n ON n.run = r.key ORDER BY r.key";
    let run = |row: &rusqlite::Row<'_>| {
        Ok(RunLine {
            id: row.get(0)?,
            workflow: row.get(1)?,
            definition: row.get(2)?,
            parent: row.get(3)?,
            parent_step: row.get(4)?,
            input_hash: row.get(5)?,
            created_ms: row.get(6)?,
            updated_ms: row.get(7)?,
            epoch: row.get(8)?,
            status: row.get(9)?,
            waiting_for: row.get(10)?,
            until_ms: row.get(11)?,
            base: row.get::<_, i64>(12)? as usize,
            progress: row.get(13)?,
            error: row.get(14)?,
            help: row.get(15)?,
        })
    };
    conn.prepare(sql).unwrap().query_map([], run).unwrap().map(Result::unwrap).collect()
}

fn dump_rows(conn: &rusqlite::Connection) -> Vec<RowLine> {
    let sql = "SELECT runs.id, lower(hex(hash)), body FROM log JOIN runs ON runs.key = log.run ORDER BY log.id";
    let row = |row: &rusqlite::Row<'_>| {
        let body = RawValue::from_string(row.get(2)?).unwrap();
        Ok(RowLine { run: row.get(0)?, hash: row.get(1)?, body })
    };
    conn.prepare(sql).unwrap().query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn dump_messages(conn: &rusqlite::Connection) -> Vec<MessageLine> {
    let sql = "SELECT runs.id, kind, name, body, sender, at_ms FROM inbox JOIN runs ON runs.key = inbox.run ORDER BY inbox.id";
    let message = |row: &rusqlite::Row<'_>| {
        let (run, kind, name) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(MessageLine { run, kind, name, body: row.get(3)?, sender: row.get(4)?, at_ms: row.get(5)? })
    };
    conn.prepare(sql).unwrap().query_map([], message).unwrap().map(Result::unwrap).collect()
}
