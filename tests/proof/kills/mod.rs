//! `kill -9`: processes on one database file, under load, killed at random instants and at every named crash point; a new one follows each.
//! Nothing acknowledged is lost, no completed step runs again, every run ends. The judge is a ledger outside the database. It never looks at
//! what a power failure does.

mod binary;
mod judge;
pub mod ledger;
mod load;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dice::Dice;
use ledger::{Account, Ledger};

/// Processes on one file.
const PLACES: usize = 3;
/// Kills in one database, about.
const EACH: u64 = 80;
/// How long runs may take to end once nobody is killed any more: a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a whole proof counts.
#[derive(Default)]
struct Count {
    kills: AtomicU64,
    acknowledged: AtomicU64,
    points: Mutex<BTreeMap<String, u64>>,
}

/// The names of all crash points in the product's code, but for those of schedules: `host::schedules` and `cli::schedules` end processes there.
fn points() -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let calls = text.split("crash::point(\"").skip(1);
                let all = calls.map(|rest| rest.split('"').next().unwrap().to_owned());
                names.extend(all.filter(|name| !name.starts_with("schedule.")));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// One process, and where it is to end.
struct Worker {
    child: Child,
    point: Option<String>,
}

impl Drop for Worker {
    /// However the proof ends, nobody works on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn ends_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }
}

/// The processes of one database.
struct Scene<'a> {
    folder: &'a Path,
    dice: Dice,
    points: &'a [String],
    /// The process in the first place stays from beginning to end: no new one's look at everything helps those that it forgot.
    steady: bool,
    begun: u64,
    kills: u64,
    count: &'a Count,
}

impl Scene<'_> {
    fn spawn(&mut self, place: usize, calm: bool) -> Worker {
        self.begun += 1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        let errors = File::options().append(true).create(true).open(self.folder.join("errors")).unwrap();
        command.args(["--exact", "proof::kills::load::worker", "--nocapture"]).env_remove("ABIDE_CRASH");
        command.stdout(Stdio::null()).stderr(errors).stdin(Stdio::null());
        command.env(load::FOLDER, self.folder).env(load::WHO, format!("{place}.{}", self.begun));
        let mut point = None;
        if !calm {
            match self.dice.below(10) {
                0..4 => {
                    let name = self.dice.one(self.points).clone();
                    let early = ["owner", "shutdown", "checkpoint"].iter().any(|start| name.starts_with(start));
                    let nth = if early { 1 } else { 1 + self.dice.below(2 + 10 * (self.begun % 2)) };
                    // Where a process leaves is reached by one that leaves.
                    if early {
                        command.env(load::LEAVES, (1 + self.dice.below(5)).to_string());
                    }
                    command.env("ABIDE_CRASH", format!("{name}:{nth}"));
                    point = Some(name);
                }
                4 => drop(command.env(load::LEAVES, (1 + self.dice.below(20)).to_string())),
                _ => {}
            }
        }
        Worker { child: command.spawn().unwrap(), point }
    }

    /// Takes account of a process that has ended.
    fn reap(&mut self, worker: &mut Worker, killed: bool) {
        let status = worker.child.wait().unwrap();
        match (status.code(), &worker.point) {
            (Some(0), _) => return,
            (Some(code), _) => self.fail(&format!("a worker failed with {code}")),
            (None, Some(point)) if !killed => {
                *self.count.points.lock().unwrap().entry(point.clone()).or_default() += 1;
            }
            (None, None) if !killed => self.fail("a worker was ended by a signal that nobody sent"),
            (None, _) => {}
        }
        self.kills += 1;
    }

    fn fail(&self, what: &str) -> ! {
        let errors = std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        let tail: String = errors.chars().rev().take(3_000).collect::<Vec<_>>().into_iter().rev().collect();
        let kept = tempfile::tempdir().unwrap().keep();
        let _ = std::fs::rename(self.folder, kept.join("scene"));
        let seed = super::seed();
        panic!("{what}\nagain: ABIDE_SEED={seed} ABIDE_PROOF=COUNT; its files: {}\n{tail}", kept.display());
    }

    /// Kills processes until there were enough, then lets all runs end.
    fn play(&mut self, kills: u64) {
        let mut workers: Vec<Worker> = (0..PLACES).map(|place| self.spawn(place, self.steady && place == 0)).collect();
        while self.kills < kills {
            std::thread::sleep(Duration::from_micros(self.dice.below(60_000)));
            let victim = self.dice.below(PLACES as u64 * 2) as usize;
            for (place, worker) in workers.iter_mut().enumerate().skip(usize::from(self.steady)) {
                let ended = worker.child.try_wait().unwrap().is_some();
                if ended || victim == place {
                    let _ = worker.child.kill();
                    self.reap(worker, !ended);
                    *worker = self.spawn(place, false);
                }
            }
        }
        std::fs::write(self.folder.join("over"), "").unwrap();
        if !self.steady {
            // One that stays to the end, in the place that resolves doubts.
            let _ = workers[0].child.kill();
            self.reap(&mut workers[0], true);
            workers[0] = self.spawn(0, true);
        }
        for place in 0..PLACES {
            if !workers[place].ends_within(PATIENCE) {
                let open = judge::open_runs(self.folder);
                workers.iter_mut().for_each(|worker| drop(worker.child.kill()));
                workers.iter_mut().for_each(|worker| drop(worker.child.wait()));
                self.fail(&format!("stuck: {open}"));
            }
            self.reap(&mut workers[place], false);
        }
        self.judge();
        self.count.kills.fetch_add(self.kills, Ordering::SeqCst);
    }

    fn judge(&self) {
        let errors = std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        if errors.contains("panicked") {
            self.fail("a worker panicked");
        }
        let account = Account::read(&Ledger::of(self.folder).text(), load::stage);
        if let Some(first) = account.repeated.first().or(account.strange.first()) {
            self.fail(&format!("{} completed steps repeated: {first}", account.repeated.len()));
        }
        let lost = judge::lost(self.folder, &account);
        if let Some(first) = lost.first() {
            self.fail(&format!("{} lost: {first}", lost.len()));
        }
        let acknowledged = account.started.len() + account.signals.len() + account.results.len();
        self.count.acknowledged.fetch_add(acknowledged as u64 + account.steps, Ordering::SeqCst);
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let wanted = super::count("kills", 60, 9_500);
    let (count, points) = (Count::default(), points());
    let next = AtomicU64::new(0);
    let scenes = wanted.div_ceil(EACH);
    std::thread::scope(|threads| {
        for _ in 0..scenes.min(2) {
            threads.spawn(|| {
                loop {
                    let scene = next.fetch_add(1, Ordering::SeqCst);
                    if scene >= scenes {
                        return;
                    }
                    let dir = tempfile::tempdir().unwrap();
                    let dice = Dice::new(super::seed().wrapping_mul(1_000_003) + scene);
                    let (count, points, folder) = (&count, &points[..], dir.path());
                    let steady = scene % 2 == 1;
                    Scene { folder, dice, points, steady, begun: 0, kills: 0, count }.play(EACH.min(wanted));
                }
            });
        }
    });
    let reached = count.points.lock().unwrap();
    println!("ended at: {reached:?}");
    if wanted >= 2_000 {
        let missing: Vec<_> = points.iter().filter(|point| !reached.contains_key(*point)).collect();
        assert!(missing.is_empty(), "crash points at which nobody ended: {missing:?}");
    }
    println!(
        "{} kills, {} of them at {} named points: 0 of {} acknowledged events lost, 0 completed steps repeated, 0 runs stuck",
        count.kills.load(Ordering::SeqCst),
        reached.values().sum::<u64>(),
        reached.len(),
        count.acknowledged.load(Ordering::SeqCst),
    );
}
