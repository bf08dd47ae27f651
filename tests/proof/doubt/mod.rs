//! In doubt: `kill -9` while calls are in flight. What may be repeated is, with the same idempotency key; what may not is in doubt and is
//! repeated only when a person or a probe has said so, one by one, over restarts and kills in between. It never asks a model of its own:
//! `agents` does the same with the real binary and an MCP server.

mod agents;
mod judge;
mod worker;

use std::collections::btree_map::Entry;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use abide::engine::Json;
use abide::engine::event::{By, Verdict};
use abide::{Abide, Report, Run};

use super::dice::Dice;
use judge::{Judge, Ledger, probe_gave_up};
use worker::{FOLDER, Kind, MARK, SEED, kind, said_value};

/// So long a process may say nothing before it is killed: everything hangs then.
const SILENCE: Duration = Duration::from_millis(30);
/// Processes of one run after which it is taken to be stuck.
const MOST: usize = 400;

/// What the whole proof counts.
#[derive(Default)]
struct Count {
    kills: AtomicU64,
    calls: AtomicU64,
    people: AtomicU64,
    probes: AtomicU64,
}

#[test]
fn what_is_cut_off_in_mid_flight_is_never_repeated_undecided() {
    let (kills, seed) = (super::count("doubt", 60, 3_000), super::seed());
    let (count, next) = (Count::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while count.kills.load(Ordering::SeqCst) < kills {
                    let case = next.fetch_add(1, Ordering::SeqCst);
                    let case = seed.wrapping_mul(1_000_003).wrapping_add(case);
                    let told = TellCase(case, seed);
                    runtime.block_on(Case::new(case, &count).play());
                    drop(told);
                }
            });
        }
    });
    let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!(
        "{} kills in flight ({} calls cut off, {} decided by people, {} by probes): 0 once calls repeated undecided, every \
         idempotency key kept",
        of(&count.kills),
        of(&count.calls),
        of(&count.people),
        of(&count.probes)
    );
}

/// Says which case failed.
struct TellCase(u64, u64);

impl Drop for TellCase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("case {} failed: ABIDE_SEED={} plays it again, with all others", self.0, self.1);
        }
    }
}

/// One run, from its first process to its end.
struct Case<'a> {
    dir: tempfile::TempDir,
    seed: u64,
    dice: Dice,
    judge: Judge,
    count: &'a Count,
}

/// A worker, and what it says.
struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn new(folder: &Path, seed: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "proof::doubt::worker::worker", "--nocapture"]).env_remove("ABIDE_CRASH");
        command.env(FOLDER, folder).env(SEED, seed.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (out, (tell, lines)) = (child.stdout.take().unwrap(), channel());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(std::io::Result::ok).filter(|l| l.starts_with(MARK)) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for that many lines, for silence after the first one, or for the end. True if it has ended by itself.
    fn listen(&mut self, lines: u64, mut begun: bool) -> bool {
        let mut heard = 0;
        while heard < lines {
            match self.lines.recv_timeout(SILENCE) {
                Ok(_) => (heard, begun) = (heard + 1, true),
                Err(RecvTimeoutError::Timeout) if !begun => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap().success(),
            }
        }
        false
    }
}

impl<'a> Case<'a> {
    fn new(seed: u64, count: &'a Count) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seed, dice: Dice::new(seed), judge: Judge::new(seed), count }
    }

    async fn play(&mut self) {
        for _ in 0..MOST {
            let mut worker = Worker::new(self.dir.path(), self.seed);
            let lines = 1 + self.dice.below(40);
            let mut ended = worker.listen(lines, false);
            if !ended && self.dice.below(3) == 0 {
                // Somebody decides while it works.
                self.with_run(async |case, run, report| case.decide(run, report).await).await;
                ended = worker.listen(1 + lines / 2, true);
            }
            let _ = worker.child.kill();
            let _ = worker.child.wait();
            let over = self.with_run(async |case, run, report| {
                let ledger = Ledger::read(case.dir.path());
                let in_flight = case.judge.look(&ledger, report);
                if !ended && in_flight > 0 {
                    case.count.kills.fetch_add(1, Ordering::SeqCst);
                    case.count.calls.fetch_add(in_flight as u64, Ordering::SeqCst);
                }
                if report.run.status == "completed" {
                    case.judge.end(&ledger, report);
                    let by = |by| report.steps.iter().filter(|step| step.resolved_by == Some(by)).count() as u64;
                    case.count.people.fetch_add(by(By::Person), Ordering::SeqCst);
                    case.count.probes.fetch_add(by(By::Probe), Ordering::SeqCst);
                    return true;
                }
                case.decide(run, report).await;
                false
            });
            if over.await == Some(true) {
                return;
            }
        }
        panic!("the run never came to its end");
    }

    /// Looks at the run without working on it, if it has begun.
    async fn with_run<T>(&mut self, look: impl AsyncFnOnce(&mut Self, &Run, &Report) -> T) -> Option<T> {
        let db = self.dir.path().join("runs.db");
        if !db.exists() {
            return None;
        }
        let abide = Abide::open(db).recover(false).start().await.unwrap();
        let looked = match abide.get("r") {
            Ok(run) => {
                let report = run.report().unwrap();
                assert!(abide.verify(None).unwrap().broken.is_empty());
                Some(look(self, &run, &report).await)
            }
            Err(_) => None,
        };
        abide.shutdown().await;
        looked
    }

    /// Somebody decides some of what is in doubt, in any order; of what a probe may tell mostly nothing.
    async fn decide(&mut self, run: &Run, report: &Report) {
        let mut doubts: Vec<_> = report.steps.iter().filter(|step| step.status == "in_doubt").collect();
        while !doubts.is_empty() {
            let step = doubts.swap_remove(self.dice.below(doubts.len() as u64) as usize);
            let i: u64 = step.id[1..].parse().unwrap();
            let waits_for_probe = kind(self.seed, i) == Kind::Probed && !probe_gave_up(step.error.as_deref());
            if self.dice.below(if waits_for_probe { 10 } else { 2 }) != 0 {
                continue;
            }
            let verdict = *self.dice.one(&[Verdict::Retry, Verdict::Landed, Verdict::Fail]);
            let times = 1 + self.dice.below(3) / 2;
            for time in 0..times {
                // Said again, it may be something else: the first word counts.
                let verdict = if time == 0 { verdict } else { Verdict::Fail };
                let result = (verdict == Verdict::Landed)
                    .then(|| Json::from(serde_json::value::RawValue::from_string(said_value(i).to_string()).unwrap()));
                // A living process may have gone on with it meanwhile, which is an error that says so.
                match run.resolve_shown(step, verdict, result, Some(&format!("said of {i}"))).await {
                    Ok(new) => {
                        let said = self.judge.said.entry((i, step.attempts));
                        assert_eq!(new, matches!(said, Entry::Vacant(_)), "{}: the first word counts", step.id);
                        said.or_insert(verdict);
                    }
                    Err(error) => assert!(
                        error.to_string().contains("not in doubt") || error.to_string().contains("ended"),
                        "{error}"
                    ),
                }
            }
        }
    }
}
