//! Two owners never: processes race for the runs of one that was killed, or that was stopped, robbed and continued, while the clock jumps by
//! days and owner files come and go. No journal forks, epochs only rise, nothing happens twice. It never looks at how long that takes.

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use abide::Abide;
use abide::engine::event::{Verdict, json};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::dice::Dice;
use super::kills::ledger::{Account, Ledger};

const PROCESSES: usize = 5;
const RUNS: u64 = 60;
const DAY_MS: i64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What notes every change of hands and who wrote each row, inside the transactions that do it.
const WITNESS: &str = "
    CREATE TABLE takeovers (id INTEGER PRIMARY KEY, run INTEGER, before INTEGER, after INTEGER, pid INTEGER);
    CREATE TRIGGER witness_takeover AFTER UPDATE OF epoch ON heads BEGIN
        INSERT INTO takeovers (run, before, after, pid)
            SELECT new.run, old.epoch, new.epoch, (SELECT pid FROM owners WHERE id = old.owner);
    END;
    CREATE TABLE written (log INTEGER PRIMARY KEY, run INTEGER, epoch INTEGER, owner INTEGER);
    CREATE TRIGGER witness_row AFTER INSERT ON log BEGIN
        INSERT INTO written SELECT new.id, new.run, epoch, owner FROM heads WHERE run = new.run;
    END;";

struct Scene {
    dir: tempfile::TempDir,
    dice: Dice,
    workers: Vec<Child>,
    /// A handle that only looks and speaks.
    abide: Abide,
    conn: rusqlite::Connection,
    races: u64,
    killed: BTreeSet<u32>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.end_workers();
    }
}

impl Scene {
    /// However it ends, nobody works on.
    fn end_workers(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }

    async fn new(number: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let abide = walk::open(dir.path()).recover(false).start().await.unwrap();
        for n in 0..RUNS {
            abide.run("walk", &(n, 0)).id(format!("w{n}")).detached().await.unwrap();
        }
        let conn = rusqlite::Connection::open(dir.path().join("runs.db")).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn.execute_batch(WITNESS).unwrap();
        let workers = Vec::new();
        let dice = Dice::new(super::seed().wrapping_mul(1_000_003) + number);
        let mut scene = Self { dir, dice, workers, abide, conn, races: 0, killed: BTreeSet::new() };
        scene.workers = (0..PROCESSES).map(|_| scene.spawn()).collect();
        scene
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn spawn(&self) -> Child {
        let errors = File::options().append(true).create(true).open(self.folder().join("errors")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "proof::owners::walk::worker", "--nocapture"]).env(walk::FOLDER, self.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).env_remove("ABIDE_CRASH");
        command.spawn().unwrap()
    }

    fn fail(&mut self, what: &str) -> ! {
        let errors = std::fs::read_to_string(self.folder().join("errors")).unwrap_or_default();
        let open = self.abide.list(1_000).unwrap().into_iter().filter(|info| info.status != "completed");
        let open: Vec<_> =
            open.map(|i| format!("{} {} {:?} {:?}", i.id, i.status, i.waiting_for, i.owner_pid)).collect();
        self.end_workers();
        let kept = tempfile::tempdir().unwrap().keep();
        let _ = std::fs::rename(self.folder(), kept.join("scene"));
        let seed = super::seed();
        let kept = kept.display();
        panic!("{what}\nagain: ABIDE_SEED={seed} ABIDE_PROOF=COUNT; its files: {kept}\nopen: {open:#?}\n{errors}");
    }

    /// Waits for something that must come about.
    async fn until(&mut self, what: &str, mut is_it: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_it(self) {
            if Instant::now() > until {
                self.fail(&format!("it never came about that {what}"));
            }
            self.resolve().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was in doubt has happened, says somebody. It is never tried again: one who was stopped may yet do it.
    async fn resolve(&self) {
        let runs = self.abide.list(1_000).unwrap();
        for info in runs.into_iter().filter(|info| info.waiting_for == Some("in_doubt")) {
            let run = self.abide.get(&info.id).unwrap();
            let report = run.report().unwrap();
            for step in report.steps.iter().filter(|step| step.status == "in_doubt") {
                // Taken up at this very moment, it is resolved the next time.
                let _ = run.resolve(&step.id, Verdict::Landed, Some(json(&false).unwrap()), None).await;
            }
        }
    }

    /// Runs that this process works on.
    fn runs_of(&self, pid: u32) -> BTreeSet<String> {
        let runs = self.abide.list(1_000).unwrap().into_iter();
        runs.filter(|info| info.owner_pid == Some(pid)).map(|info| info.id).collect()
    }

    fn start_race(&mut self, victim: Option<u32>) {
        self.races += 1;
        let text = format!("{} {}", self.races, victim.map_or_else(|| "-".to_owned(), |pid| pid.to_string()));
        // Renamed into place, so that nobody reads half of it.
        std::fs::write(self.folder().join("race.new"), text).unwrap();
        std::fs::rename(self.folder().join("race.new"), self.folder().join("race")).unwrap();
    }

    /// Kills a process; the others race for what it had.
    async fn kill(&mut self, place: usize) {
        let pid = self.workers[place].id();
        let left = self.runs_of(pid);
        self.workers[place].kill().unwrap();
        self.workers[place].wait().unwrap();
        self.killed.insert(pid);
        self.start_race(None);
        self.workers[place] = self.spawn();
        self.until("every run of a killed process is somebody's again", |scene| {
            let runs = scene.abide.list(1_000).unwrap();
            let free = |info: &&abide::RunInfo| left.contains(&info.id) && info.status == "interrupted";
            !runs.iter().any(|info| free(&info))
        })
        .await;
    }

    /// Stops a process, lets the others steal half of its runs, and continues it: its other runs go on where they are.
    async fn steal(&mut self, place: usize) {
        let pid = self.workers[place].id();
        let process = Pid::from_child(&self.workers[place]);
        self.stop(process).await;
        let had = self.runs_of(pid);
        self.start_race(Some(pid));
        let stolen: BTreeSet<String> = had.iter().filter(|run| walk::may_be_stolen(run)).cloned().collect();
        self.until("the runs of a stopped process are stolen", |scene| scene.runs_of(pid).is_disjoint(&stolen)).await;
        let before = lines_of(&Ledger::of(self.folder()).text(), pid);
        kill_process(process, Signal::CONT).unwrap();
        let kept: Vec<String> =
            had.difference(&stolen).filter(|run| !walk::has_timer(walk::number(run))).cloned().collect();
        self.until("a continued process goes on with its other runs", |scene| {
            let now = lines_of(&Ledger::of(scene.folder()).text(), pid);
            // One that it parks, because something of it is in doubt, is nobody's.
            let still = scene.runs_of(pid);
            kept.iter().all(|run| now.get(run) > before.get(run) || !still.contains(run))
        })
        .await;
    }

    /// Stops a process, and not in the middle of a commit: then nobody could write before it went on.
    async fn stop(&self, process: Pid) {
        loop {
            kill_process(process, Signal::STOP).unwrap();
            // Its threads run on for an instant: the system tells when the last one has stopped.
            waitpid(Some(process), WaitOptions::UNTRACED).unwrap();
            self.conn.busy_timeout(Duration::from_millis(300)).unwrap();
            let free = self.conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
            self.conn.busy_timeout(PATIENCE).unwrap();
            if free {
                return;
            }
            kill_process(process, Signal::CONT).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn jump(&mut self) {
        let beside = *self.dice.one(&[0, DAY_MS, -DAY_MS]);
        self.set_clock(beside);
    }

    fn set_clock(&self, beside: i64) {
        std::fs::write(self.folder().join("clock.new"), beside.to_string()).unwrap();
        std::fs::rename(self.folder().join("clock.new"), self.folder().join("clock")).unwrap();
    }

    /// Takeovers that more than one process tried.
    fn contended(&self) -> u64 {
        let mut tried: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        let text = std::fs::read_to_string(self.folder().join("races")).unwrap_or_default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            tried.entry((words[0], words[1])).or_default().insert(words[2]);
        }
        tried.values().filter(|who| who.len() > 1).count() as u64
    }

    fn ask(&self, sql: &str) -> i64 {
        self.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn end(&mut self) {
        self.set_clock(2 * DAY_MS);
        std::fs::write(self.folder().join("over"), "").unwrap();
        self.until("all runs end", |scene| scene.abide.list(1_000).unwrap().iter().all(|i| i.status == "completed"))
            .await;
        for place in 0..PROCESSES {
            let status = self.ended(place).await;
            if !status.success() {
                self.fail(&format!("a worker failed: {status}"));
            }
        }
        self.judge();
    }

    /// Waits until a worker has ended by itself.
    async fn ended(&mut self, place: usize) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.workers[place].try_wait().unwrap() {
                return status;
            }
            if Instant::now() > until {
                self.fail("a worker does not end although all is over");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Runs that may not be stolen are taken from the dead only.
    fn nobody_living_was_robbed(&mut self) {
        let from = "SELECT DISTINCT pid, runs.id FROM takeovers JOIN runs ON key = run WHERE pid IS NOT NULL";
        let from: Vec<(u32, String)> = {
            let mut statement = self.conn.prepare(from).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let living = from.into_iter().find(|(pid, run)| !walk::may_be_stolen(run) && !self.killed.contains(pid));
        if let Some((pid, run)) = living {
            self.fail(&format!("{run} was taken from process {pid}, which lived, and nobody stole it"));
        }
    }

    fn judge(&mut self) {
        let wrong = [
            (
                "forks",
                "SELECT count(*) FROM (SELECT 1 FROM log WHERE prev IS NOT NULL GROUP BY prev HAVING count(*) > 1)",
            ),
            ("epochs that did not rise by one", "SELECT count(*) FROM takeovers WHERE after <> before + 1"),
            (
                "epochs that recurred",
                "SELECT count(*) FROM (SELECT 1 FROM takeovers GROUP BY run, after HAVING count(*) > 1)",
            ),
            (
                "epochs in which two owners wrote",
                "SELECT count(*) FROM (SELECT 1 FROM written GROUP BY run, epoch HAVING count(DISTINCT owner) > 1)",
            ),
            (
                "rows of an epoch that was over",
                "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (PARTITION BY run ORDER BY log) AS late FROM written) WHERE late",
            ),
        ];
        for (what, sql) in wrong {
            let count = self.ask(sql);
            if count != 0 {
                self.fail(&format!("{count} {what}"));
            }
        }
        self.nobody_living_was_robbed();
        let broken = self.abide.verify(None).unwrap().broken;
        if !broken.is_empty() {
            self.fail(&format!("{broken:?}"));
        }
        let text = Ledger::of(self.folder()).text();
        let robbed = |line: &&str| walk::may_be_stolen(line.split(' ').nth(2).unwrap_or_default());
        let kept: Vec<&str> = text.lines().filter(|line| !robbed(line)).collect();
        let account = Account::read(&kept.join("\n"), walk::stage);
        let mut twice = BTreeSet::new();
        let paid = text.lines().filter(|line| robbed(line) && line.contains(" pay"));
        let paid = paid.map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join("/"));
        let mut repeated: Vec<String> = paid.filter(|step| !twice.insert(step.clone())).collect();
        repeated.extend(account.repeated.into_iter().chain(account.strange));
        if let Some(first) = repeated.first() {
            self.fail(&format!("{} things happened twice: {first}", repeated.len()));
        }
    }
}

/// How many lines a process wrote for each run.
fn lines_of(text: &str, pid: u32) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    let own = format!("did {pid} ");
    for rest in text.lines().filter_map(|line| line.strip_prefix(&own)) {
        *lines.entry(rest.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    lines
}

#[derive(Default)]
struct Count {
    contended: u64,
    all: i64,
    kills: u64,
    stops: u64,
}

/// Races on one file until there were enough.
async fn play(scene: u64, wanted: u64, count: &mut Count) {
    let mut scene = Scene::new(scene).await;
    let taken = |scene: &Scene| scene.ask("SELECT count(DISTINCT run) FROM takeovers") == RUNS as i64;
    scene.until("every run is somebody's", taken).await;
    scene.nobody_living_was_robbed();
    while scene.contended() < wanted {
        let place = scene.dice.below(PROCESSES as u64) as usize;
        if scene.dice.below(3) == 0 {
            scene.jump();
        }
        if scene.dice.below(4) == 0 {
            count.stops += 1;
            scene.steal(place).await;
        } else {
            count.kills += 1;
            scene.kill(place).await;
        }
        scene.nobody_living_was_robbed();
    }
    scene.end().await;
    count.contended += scene.contended();
    count.all += scene.ask("SELECT count(*) FROM takeovers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_processes_ever_advance_one_run() {
    let wanted = super::count("contended takeovers", 60, 10_000);
    let mut count = Count::default();
    for scene in 0.. {
        if count.contended >= wanted {
            break;
        }
        play(scene, wanted.min(500), &mut count).await;
    }
    let Count { contended, all, kills, stops } = count;
    println!(
        "{contended} contended takeovers of {all} in all, {kills} processes killed, {stops} stopped and robbed: 0 forked journals, 0 epochs twice, 0 effects twice"
    );
}
