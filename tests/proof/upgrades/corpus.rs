//! The golden corpus: journals as text, one file a story, in a folder for each version of abide that wrote them. A file holds the rows as they were
//! committed, what is kept beside them, what then happens to the unfinished runs, and what all of them come to. It changes no file that is there.
//!
//! `ABIDE_RECORD=1 cargo test --test all proof::upgrades::corpus::record` writes the files that this version does not have yet; commit them with a
//! release, and never edit them. (Databases of older schemas will lie in a folder of their own, `schemas/`, once there is a second schema.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use abide::prelude::*;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::acts::{Act, act};
use super::{Desk, flows, stories, within};

/// One line of a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Story(Story),
    Run(RunLine),
    Row(RowLine),
    Message(MessageLine),
    Then(Act),
    Ends(Ends),
}

/// What wrote the file, and what it shows.
#[derive(Serialize, Deserialize)]
struct Story {
    abide: String,
    schema: i64,
    semantics: u32,
    shows: String,
    clock_ms: i64,
}

/// What is kept of a run beside its rows.
#[derive(Serialize, Deserialize)]
struct RunLine {
    id: String,
    workflow: String,
    definition: Option<String>,
    parent: Option<String>,
    parent_step: Option<String>,
    input_hash: String,
    created_ms: i64,
    updated_ms: i64,
    epoch: i64,
    status: String,
    waiting_for: Option<String>,
    until_ms: Option<i64>,
    /// Which of its rows its generation begins with.
    base: usize,
    progress: Option<String>,
    error: Option<String>,
    help: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RowLine {
    run: String,
    hash: String,
    body: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct MessageLine {
    run: String,
    kind: String,
    name: String,
    body: Option<String>,
    sender: Option<String>,
    at_ms: i64,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ends {
    run: String,
    status: String,
    waiting_for: Option<String>,
    output: Option<Value>,
    error: Option<String>,
}

/// A file of the corpus.
pub(super) struct Journal {
    pub(super) name: String,
    lines: Vec<Line>,
}

/// All files of all versions.
pub(super) fn all() -> Vec<Journal> {
    let mut files = Vec::new();
    for version in std::fs::read_dir(folder()).unwrap() {
        let version = version.unwrap().path();
        files.extend(std::fs::read_dir(version).unwrap().map(|file| file.unwrap().path()));
    }
    files.sort();
    files.iter().map(|file| Journal::read(file)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/upgrades/journals")
}

impl Journal {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(folder()).unwrap().display().to_string();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"));
        let lines = text.lines().map(line).collect();
        Self { name, lines }
    }

    fn story(&self) -> &Story {
        let story = self.lines.iter().find_map(|line| if let Line::Story(story) = line { Some(story) } else { None });
        story.unwrap()
    }

    fn runs(&self) -> impl Iterator<Item = &RunLine> {
        self.lines.iter().filter_map(|line| if let Line::Run(run) = line { Some(run) } else { None })
    }

    fn then(&self) -> impl Iterator<Item = &Act> {
        self.lines.iter().filter_map(|line| if let Line::Then(act) = line { Some(act) } else { None })
    }

    fn ends(&self) -> Vec<Ends> {
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

    /// Replays all runs, lets happen what then happens, and tells what they came to.
    async fn play_on(&self) -> Vec<Ends> {
        let desk = Desk::new();
        self.load(&desk).await;
        let abide = flows::register(desk.open().existing()).start().await.unwrap();
        self.check(&abide).await;
        for one in self.then() {
            act(&desk, &abide, one).await;
        }
        self.check(&abide).await;
        let ends = self.runs().map(|run| ends(&abide, &run.id)).collect();
        within(abide.shutdown()).await;
        ends
    }

    /// Every chain is whole, and every run does what was recorded.
    async fn check(&self, abide: &Abide) {
        assert!(abide.verify(None).unwrap().broken.is_empty(), "{}: {:?}", self.name, abide.verify(None));
        for run in self.runs() {
            let replayed = within(abide.replay(&run.id)).await.unwrap();
            assert!(replayed.is_same(), "{}: {replayed:?}", self.name);
        }
    }

    fn write(&self) {
        let file = folder().join(&self.name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text: Vec<String> = self.lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        std::fs::write(file, text.join("\n") + "\n").unwrap();
    }
}

fn ends(abide: &Abide, run: &str) -> Ends {
    let report = abide.report(run).unwrap().run;
    Ends {
        run: run.to_owned(),
        status: report.status.to_owned(),
        waiting_for: report.waiting_for.map(str::to_owned),
        output: report.output.map(|output| serde_json::from_str(output.get()).unwrap()),
        error: report.error,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_journal_replays_and_finishes_as_it_did() {
    let (mut files, mut runs, mut rows) = (0, 0, 0);
    for journal in all().into_iter().filter(|journal| !journal.is_agents()) {
        assert_eq!(journal.play_on().await, journal.ends(), "{}", journal.name);
        files += 1;
        runs += journal.runs().count();
        rows += journal.lines.iter().filter(|line| matches!(line, Line::Row(_))).count();
    }
    println!("{files} recorded journals, {runs} runs, {rows} rows replayed: 0 differences");
    assert!(files >= stories::all().len(), "only {files} files");
}

/// The words of everything that a journal can hold, and of every state in which a run can wait.
const EVERYTHING: &[&str] = &[
    // happened
    "start",
    "done",
    "failed",
    "fired",
    "signal",
    "cancel",
    // commands
    "step",
    "sleep",
    "child",
    "version",
    "end",
    "completed",
    "cancelled",
    "continued",
    "timeout_ms",
    "about",
    "local",
    // host events
    "created",
    "attempt",
    "retry",
    "in_doubt",
    "parked",
    "resolved",
    "outcome",
    "held",
    "rate_limit",
    // values
    "landed",
    "fail",
    "pure",
    "once",
    "approval",
    "answer",
    "credentials",
    "quota",
    "trust",
    "budget",
    "c",
    "p",
];

#[test]
fn the_corpus_covers_every_kind_of_event_and_every_waiting_state() {
    let mut words = std::collections::BTreeSet::new();
    let mut waits = std::collections::BTreeSet::new();
    for journal in all() {
        for line in &journal.lines {
            match line {
                Line::Row(row) => words_of(&serde_json::from_str(row.body.get()).unwrap(), &mut words),
                Line::Run(run) => {
                    waits.extend([Some(run.status.clone()), run.waiting_for.clone()].into_iter().flatten())
                }
                _ => {}
            }
        }
    }
    let missing: Vec<_> = EVERYTHING.iter().filter(|word| !words.contains(**word)).collect();
    assert!(missing.is_empty(), "no journal holds {missing:?}");
    let states = [
        "running",
        "waiting",
        "paused",
        "completed",
        "failed",
        "cancelled",
        "diverged",
        "timer",
        "rate_limit",
        "signal",
        "child",
        "approval",
        "answer",
        "in_doubt",
        "trust",
        "credentials",
        "quota",
        "budget",
    ];
    let missing: Vec<_> = states.iter().filter(|state| !waits.contains(**state)).collect();
    assert!(missing.is_empty(), "no run of the corpus is {missing:?}");
}

fn words_of(value: &Value, words: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            words.insert(key.clone());
            words_of(value, words);
        }),
        Value::Array(list) => list.iter().for_each(|value| words_of(value, words)),
        Value::String(text) => drop(words.insert(text.clone())),
        _ => {}
    }
}

/// Writes the files that this version does not have yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record() {
    if std::env::var_os("ABIDE_RECORD").is_none() {
        return;
    }
    for story in stories::all() {
        let name = format!("{}/{}.jsonl", env!("CARGO_PKG_VERSION"), story.name);
        if folder().join(&name).exists() {
            continue;
        }
        let desk = Desk::new();
        let builder = flows::register(desk.open()).resource(std::sync::Arc::new(flows::Recording(desk.gate.clone())));
        let abide = builder.start().await.unwrap();
        for one in &story.before {
            act(&desk, &abide, one).await;
        }
        let clock = desk.clock.load(Ordering::SeqCst);
        let mut journal = Journal::dump(&name, &desk.sqlite(), story.shows, clock, &story.then);
        drop(abide);
        let ends = journal.play_on().await;
        println!("{name}: {ends:?}");
        journal.lines.extend(ends.into_iter().map(Line::Ends));
        journal.write();
    }
}
