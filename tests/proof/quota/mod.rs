//! A limit of requests a minute that holds: agents' runs in processes that are killed, at a provider that counts. No request is over the limit in
//! any 60 s, the limit is used, every run ends, and no answer is asked for twice. Small, it lives by a clock that the proof sets, which stands
//! while anything is on its way: so a slow machine changes nothing. Whole (`just proof quota`), by the real one. It never prices anything.

mod books;
mod budget;
mod endpoint;
mod wait;
mod worker;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::dice::Dice;
use books::{Figures, Losses, is_moving, judge};
use endpoint::{Clock, Endpoint, Told};

/// How far a clock that is set is moved at a time, in milliseconds.
const TICK: i64 = 125;
/// The longest that nothing moves before a scene is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that works, or did.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    fn spawn(folder: &Path, endpoint: &Endpoint, runs: usize, limit: Option<usize>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let errors = File::options().append(true).create(true).open(folder.join("errors")).unwrap();
        command.args(["--exact", "proof::quota::worker::worker", "--nocapture"]).env_remove("ABIDE_CRASH");
        command.stdout(Stdio::null()).stderr(errors).stdin(Stdio::null()).env(worker::FOLDER, folder);
        command.env(worker::URL, &endpoint.url).env(worker::RUNS, runs.to_string()).env_remove(worker::LIMIT);
        if let Some(limit) = limit {
            command.env(worker::LIMIT, limit.to_string());
        }
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

/// When a process is killed, and for how long there is none in its place.
struct Kill {
    place: usize,
    /// After so many requests, and so long after the first one.
    requests: usize,
    after_ms: i64,
    dead_ms: i64,
}

/// What is played.
#[derive(Clone, Copy)]
struct Play {
    runs: usize,
    limit: usize,
    /// The settings name the limit.
    named: bool,
    told: Told,
    workers: usize,
}

/// The processes of one database and the provider that they call.
struct Scene {
    play: Play,
    dir: tempfile::TempDir,
    endpoint: Endpoint,
    workers: Vec<Option<Worker>>,
    losses: Losses,
}

impl Scene {
    fn new(play: Play, whole: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = if whole { Clock::system() } else { Clock::set(dir.path()) };
        let endpoint = Endpoint::new(clock, play.limit, play.told);
        Self { play, dir, endpoint, workers: Vec::new(), losses: Losses::default() }
    }

    fn spawn(&self) -> Worker {
        let named = self.play.named.then_some(self.play.limit);
        Worker::spawn(self.dir.path(), &self.endpoint, self.play.runs, named)
    }

    fn sqlite(&self) -> Connection {
        let conn = Connection::open(self.dir.path().join("runs.db")).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    /// Lets time pass: with a clock that is set, as soon as nothing is on its way.
    fn pass(&self, conn: &Connection, most: i64) {
        std::thread::sleep(Duration::from_millis(1));
        if !self.endpoint.clock.is_set() {
            return;
        }
        let living: Vec<u32> = self.workers.iter().flatten().map(Worker::pid).collect();
        let since = Instant::now();
        loop {
            // Nobody commits meanwhile, so nothing sets out either.
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            let moving = is_moving(conn, &self.endpoint, &living);
            if moving.is_none() {
                self.endpoint.clock.forward(most.min(TICK));
            }
            conn.execute_batch("ROLLBACK").unwrap();
            let Some(what) = moving else { return };
            if self.all_over(conn) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{what}, and nothing comes of it: {}", self.errors());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("errors")).unwrap_or_default()
    }

    fn all_over(&self, conn: &Connection) -> bool {
        let sql = "SELECT count(*) FROM heads WHERE status = 'completed'";
        conn.prepare_cached(sql).unwrap().query_row([], |row| row.get::<_, i64>(0)).unwrap() == self.play.runs as i64
    }

    /// Kills the process in a place, and lets so much time pass without it.
    fn kill(&mut self, conn: &Connection, kill: &Kill) {
        let Some(worker) = self.workers[kill.place].take() else { return };
        let pid = worker.pid();
        drop(worker);
        self.losses.note(conn, &self.endpoint, pid);
        let from = self.endpoint.clock.now();
        while self.endpoint.clock.now() < from + kill.dead_ms {
            self.pass(conn, from + kill.dead_ms - self.endpoint.clock.now());
        }
        if self.workers.iter().all(Option::is_none) {
            self.losses.dead.push((from, self.endpoint.clock.now()));
        }
        self.workers[kill.place] = Some(self.spawn());
    }

    fn play(mut self, mut kills: Vec<Kill>) -> Figures {
        self.workers = (0..self.play.workers).map(|_| Some(self.spawn())).collect();
        let until = Instant::now() + PATIENCE;
        while !self.dir.path().join("runs.db").exists() || self.endpoint.count() == 0 {
            assert!(Instant::now() < until, "nothing begins: {}", self.errors());
            std::thread::sleep(Duration::from_millis(1));
        }
        let conn = self.sqlite();
        let began = self.endpoint.clock.now();
        kills.reverse();
        let (mut moved, mut seen) = (Instant::now(), (0, 0));
        while !self.all_over(&conn) {
            let now = (self.endpoint.count(), self.endpoint.clock.now() - began);
            if let Some(kill) = kills.pop_if(|kill| now.0 >= kill.requests && now.1 >= kill.after_ms) {
                self.kill(&conn, &kill);
            }
            self.pass(&conn, TICK);
            // Twice the longest wait that a limit asks for.
            if now.0 != seen.0 {
                (moved, seen) = (Instant::now(), now);
            }
            let stuck = now.1 - seen.1 > 3 * endpoint::MINUTE && moved.elapsed() > PATIENCE;
            assert!(!stuck, "nobody has called for three minutes: {}", self.errors());
        }
        for worker in self.workers.iter_mut().flatten() {
            let status = worker.0.wait().unwrap();
            assert!(status.success(), "a worker failed: {}", self.errors());
        }
        judge(&conn, &self.endpoint, &self.losses, self.play.runs, self.play.limit)
    }
}

/// How a play is killed: once while calls go out, once in between, never the same.
fn kills(dice: &mut Dice, play: Play) -> Vec<Kill> {
    let mut kill = |requests: u64, after_ms: u64| Kill {
        place: dice.below(play.workers as u64) as usize,
        requests: (1 + dice.below(requests)) as usize,
        after_ms: (after_ms + dice.below(1 + after_ms * 4)) as i64,
        dead_ms: (2_000 + dice.below(8_000)) as i64,
    };
    vec![kill(play.limit as u64, 0), kill(1, 15_000)]
}

/// By the real clock or not, how many runs, and at how many requests a minute.
fn size() -> (bool, usize, usize) {
    match super::count("runs at a limit", 80, 200) as usize {
        200 => (true, 200, 80),
        runs => (false, runs, 32),
    }
}

/// Plays these side by side.
fn side_by_side(plays: &[(&str, Play)], whole: bool, check: impl Fn(&Play, &Figures)) {
    let done: Vec<Figures> = std::thread::scope(|threads| {
        let play = |(i, (_, play)): (usize, &(&str, Play))| {
            let (mut dice, play) = (Dice::new(super::seed().wrapping_mul(1_000_003) + i as u64), *play);
            threads.spawn(move || Scene::new(play, whole).play(kills(&mut dice, play)))
        };
        let all: Vec<_> = plays.iter().enumerate().map(play).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for ((name, play), figures) in plays.iter().zip(&done) {
        let Figures { requests, over, share, repeated, unsent, dead_ms, took_ms } = figures;
        println!(
            "{name}: {} runs at {} requests a minute, 2 kills: {requests} requests, {over} over the limit in any 60 s, {}.{} % of \
             it used in {} s of which nobody lived in {}; {repeated} calls cut off were repeated, {unsent} never left",
            play.runs,
            play.limit,
            share / 10,
            share % 10,
            took_ms / 1_000,
            dead_ms / 1_000,
        );
        check(play, figures);
    }
}

#[test]
fn a_limit_holds_and_is_used_over_kills() {
    let (whole, runs, limit) = size();
    let one = Play { runs, limit, named: true, told: Told::No, workers: 1 };
    let plays = [("one process", one), ("two processes", Play { workers: 2, ..one })];
    side_by_side(&plays, whole, |_, figures| {
        assert_eq!(figures.over, 0, "{figures:?}");
        assert!(figures.share >= 950, "{figures:?}");
    });
}

#[test]
fn a_limit_that_nobody_has_named_is_learnt() {
    let (whole, runs, limit) = size();
    let header = Play { runs, limit, named: false, told: Told::Header, workers: 1 };
    let plays = [("from headers", header), ("from refusals", Play { told: Told::No, ..header })];
    side_by_side(&plays, whole, |play, figures| match play.told {
        Told::Header => {
            assert_eq!(figures.over, 0, "{figures:?}");
            assert!(figures.share >= 950, "{figures:?}");
        }
        Told::No => assert!(figures.over <= play.limit, "{figures:?}"),
    });
}
