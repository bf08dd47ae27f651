//! The golden corpus: journals as text, one file a story, in a folder for each version of abide that wrote them. A file holds the rows as they were
//! committed, what is kept beside them, what then happens to the unfinished runs, and what all of them come to. It changes no file that is there.
//!
//! `ABIDE_RECORD=1 cargo test --test all proof::upgrades::corpus::record` writes the files that this version does not have yet; commit them with a
//! release, and never edit them. (Databases of older schemas will lie in a folder of their own, `schemas/`, once there is a second schema.)

use std::sync::atomic::Ordering;

use abide::prelude::*;
use serde_json::Value;

use super::acts::act;
use super::journal::{Ends, Journal, Line, folder};
use super::{Desk, flows, stories, within};

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

impl Journal {
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
    "llm",
    "tool",
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
