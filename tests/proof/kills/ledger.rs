//! What the outside world saw: one line for everything that was acknowledged or done, in a file beside the database, each written in one
//! piece. It is the judge: what the database says is never taken for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The ledger of a folder.
#[derive(Clone)]
pub struct Ledger(PathBuf);

impl Ledger {
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("ledger"))
    }

    /// The ledger in this file.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes a line. Another process's line never lies inside it, and a killed process leaves it whole or not at all.
    pub fn write(&self, line: &str) {
        let mut file = File::options().append(true).create(true).open(&self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    /// True if somebody has written that this step of this run was done.
    pub fn was_done(&self, run: &str, step: &str) -> bool {
        self.text().lines().any(|line| {
            let mut words = line.split(' ');
            words.next() == Some("did") && words.nth(1) == Some(run) && words.next() == Some(step)
        })
    }
}

/// What was acknowledged, as the ledger tells it.
#[derive(Default)]
pub struct Account {
    pub started: BTreeSet<String>,
    pub signals: BTreeSet<(String, String)>,
    pub results: BTreeMap<String, String>,
    pub steps: u64,
    /// What was acknowledged and gone later.
    pub lost: Vec<String>,
    /// Steps that ran again although they had completed: by whom, and how that is known.
    pub repeated: Vec<String>,
    /// What no workflow of ours says.
    pub strange: Vec<String>,
}

impl Account {
    /// Reads a ledger; `stage` says where in its run a step stands: a step of a later stage starts only when all of the
    /// earlier ones are recorded as completed.
    pub fn read(text: &str, stage: impl Fn(&str) -> u32) -> Self {
        let mut account = Self::default();
        let mut sent = BTreeSet::new();
        let mut done: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["started", run] => drop(account.started.insert(run.to_owned())),
                ["known", run, signal] => drop(account.signals.insert((run.to_owned(), signal.to_owned()))),
                ["sent", run, signal] => {
                    account.signals.insert((run.to_owned(), signal.to_owned()));
                    if !sent.insert((run, signal)) {
                        account.lost.push(format!("the signal {signal} of {run} was new twice"));
                    }
                }
                ["ended", run, result] => {
                    let before = account.results.insert(run.to_owned(), result.to_owned());
                    if before.is_some_and(|before| before != result) {
                        account.strange.push(format!("{run} had two results: {line}"));
                    }
                }
                ["did", who, run, step] => {
                    let before = done.entry(run).or_default();
                    if let Some(why) = repeats(before, who, step, &stage) {
                        account.repeated.push(format!("{run}/{step} by {who}: {why}"));
                    }
                    account.steps += 1;
                    before.push((who, step));
                }
                _ => account.strange.push(line.to_owned()),
            }
        }
        account
    }
}

/// Why this step must not have run now.
fn repeats(before: &[(&str, &str)], who: &str, step: &str, stage: impl Fn(&str) -> u32) -> Option<String> {
    let later = |other: &str| {
        // In a fan-out only the branch itself has an order.
        let branch = step.starts_with('a') && other.starts_with('b') && step[1..] == other[1..];
        branch || stage(other) > stage(step)
    };
    before.iter().find_map(|(whose, other)| {
        if later(other) {
            return Some(format!("{whose} had already begun {other}"));
        }
        let same = *other == step;
        (same && *whose == who).then(|| "the same process had done it".to_owned()).or_else(|| {
            let once = same && step.starts_with("pay");
            once.then(|| format!("{whose} had done it, and it is to happen once"))
        })
    })
}
