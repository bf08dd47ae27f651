//! The load: workflows with everything in them, and the worker process that starts runs, sends signals to those of all processes, resolves
//! doubts and waits for results, until it is killed or told to finish. It judges nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use abide::engine::event::{Verdict, json};
use abide::prelude::*;
use abide::{Builder, RunInfo};

use super::ledger::Ledger;

/// The folder that a worker works in.
pub const FOLDER: &str = "ABIDE_KILLS_FOLDER";
/// What it is called, unlike any other: its place and how often that was filled.
pub const WHO: &str = "ABIDE_KILLS_WHO";
/// Loops after which it leaves in good order.
pub const LEAVES: &str = "ABIDE_KILLS_LEAVES";
/// Runs that a worker has under way at a time.
const AT_ONCE: usize = 6;
/// What is sent to each run that waits for signals, and what it is worth.
pub const SIGNALS: [(&str, u64); 2] = [("s0", 1_000), ("s1", 2_000)];

/// Where the lines of steps go.
pub struct Pen {
    pub ledger: Ledger,
    pub who: String,
}

/// A step that leaves a line before it is over.
fn effect(ctx: &Ctx, name: &'static str, label: String, n: u64) -> abide::engine::Step<u64> {
    let pen = ctx.resource::<Pen>().unwrap();
    let run = ctx.run_id().trim_end_matches("-kid").to_owned();
    ctx.step(name, n, move |n| {
        pen.ledger.write(&format!("did {} {run} {label}", pen.who));
        async move {
            if n % 3 == 0 {
                tokio::time::sleep(Duration::from_micros(700)).await;
            }
            Ok::<_, Error>(n + 1)
        }
    })
}

async fn mixed(ctx: Ctx, n: u64) -> Result<u64> {
    let mut sum = n;
    for name in ["first", "second"] {
        sum = effect(&ctx, name, name.to_owned(), sum).await?;
    }
    let branches = ctx.map("fan", 0..4_u64, |ctx, i| async move {
        let a = effect(&ctx, "a", format!("a{i}"), i).await?;
        effect(&ctx, "b", format!("b{i}"), a).await
    });
    for done in branches.await {
        sum += done?;
    }
    ctx.sleep(Duration::from_millis(2)).await?;
    sum += effect(&ctx, "pay", "pay".to_owned(), sum).once().await?;
    sum += ctx.signal::<u64>("go").await?;
    sum = effect(&ctx, "third", "third".to_owned(), sum).await?;
    sum += ctx.signal::<u64>("go").timeout(Duration::from_secs(86_400)).await?;
    sum += ctx.child::<u64>("kid", &sum).id(format!("{}-kid", ctx.run_id())).await?;
    effect(&ctx, "last", "last".to_owned(), sum).await
}

async fn kid(ctx: Ctx, n: u64) -> Result<u64> {
    let n = effect(&ctx, "kid", "kid1".to_owned(), n).await?;
    ctx.sleep(Duration::from_millis(1)).await?;
    effect(&ctx, "kid", "kid2".to_owned(), n).await
}

async fn rounds(ctx: Ctx, (round, n): (u32, u64)) -> Result<u64> {
    let n = effect(&ctx, "round", format!("round{round}"), n).await?;
    ctx.sleep(Duration::from_millis(5)).await?;
    if round < 2 {
        return ctx.continue_as_new(&(round + 1, n));
    }
    Ok(n)
}

/// Where in its run a step stands.
pub fn stage(step: &str) -> u32 {
    const ORDER: [&str; 11] =
        ["first", "second", "a", "pay", "third", "kid1", "kid2", "last", "round0", "round1", "round2"];
    let step = if step.starts_with('b') { "a" } else { step };
    let at = ORDER.iter().position(|known| *known == step);
    at.unwrap_or_else(|| ORDER.iter().position(|known| *known == &step[..1]).unwrap()) as u32
}

/// What a run must come to: its id says what it is.
pub fn expected(run: &str) -> u64 {
    let n: u64 = run[1..].split(['-']).next().unwrap().parse().unwrap();
    let sum: u64 = SIGNALS.iter().map(|(_, value)| value).sum();
    if run.starts_with('r') { n + 3 } else { 2 * (2 * (n + 16) + 2 + sum) + 3 }
}

/// The database of a folder, with the workflows.
pub fn open(folder: &Path) -> Builder {
    Abide::open(folder.join("runs.db")).workflow("mixed", mixed).workflow("kid", kid).workflow("rounds", rounds)
}

/// True once no new runs are to be started.
fn is_over(folder: &Path) -> bool {
    folder.join("over").exists()
}

struct Worker {
    abide: Abide,
    folder: PathBuf,
    pen: Arc<Pen>,
    results: Vec<tokio::task::JoinHandle<()>>,
}

impl Worker {
    /// Starts runs until there are enough.
    async fn start(&mut self, n: &mut u64) {
        self.results.retain(|task| !task.is_finished());
        while self.results.len() < AT_ONCE && !is_over(&self.folder) {
            *n += 1;
            let (mixed, who) = (!n.is_multiple_of(3), &self.pen.who);
            let id = format!("{}{n}-{who}", if mixed { 'm' } else { 'r' });
            let run = if mixed { self.abide.run("mixed", n) } else { self.abide.run("rounds", &(0, *n)) };
            let run = run.id(&id).await.unwrap();
            self.pen.ledger.write(&format!("started {id}"));
            let pen = self.pen.clone();
            self.results.push(tokio::spawn(async move {
                match run.result::<u64>().await {
                    Ok(result) => pen.ledger.write(&format!("ended {id} {result}")),
                    Err(HostError::ShuttingDown) => {}
                    Err(error) => panic!("{id}: {error}"),
                }
            }));
        }
    }

    /// Sends to a run what it waits for, whoever works on it.
    async fn signal(&self, info: &RunInfo) {
        let run = self.abide.get(&info.id).unwrap();
        for (id, value) in SIGNALS {
            match run.signal_once("go", &value, id).await {
                Ok(true) => self.pen.ledger.write(&format!("sent {} {id}", info.id)),
                Ok(false) => self.pen.ledger.write(&format!("known {} {id}", info.id)),
                Err(HostError::Ended { .. }) => {}
                Err(error) => panic!("{}: {error}", info.id),
            }
        }
    }

    /// Says of a step in doubt what the ledger says. Only one process at a time does that.
    async fn resolve(&self, info: &RunInfo) {
        let run = self.abide.get(&info.id).unwrap();
        let report = run.report().unwrap();
        let Some(step) = report.steps.iter().find(|step| step.status == "in_doubt") else { return };
        let said = rusqlite::Connection::open(self.folder.join("runs.db")).unwrap();
        said.busy_timeout(Duration::from_secs(10)).unwrap();
        let sql = "SELECT EXISTS (SELECT 1 FROM inbox JOIN runs ON key = run
                   WHERE runs.id = ?1 AND kind = 'resolve' AND body IS NOT NULL)";
        if said.query_row(sql, [&info.id], |row| row.get(0)).unwrap() {
            return;
        }
        let n: u64 = step.input.as_ref().unwrap().get().parse().unwrap();
        let (verdict, result) = match self.pen.ledger.was_done(&info.id, &step.id) {
            true => (Verdict::Landed, Some(json(&(n + 1)).unwrap())),
            false => (Verdict::Retry, None),
        };
        // Somebody else may have taken the run up at this very moment: then it is said the next time.
        let _ = run.resolve(&step.id, verdict, result, None).await;
    }

    /// Looks after all runs. True if all have ended.
    async fn look_after(&self) -> bool {
        let runs = self.abide.list(100_000).unwrap();
        for info in &runs {
            match info.waiting_for {
                Some("signal") => self.signal(info).await,
                Some("in_doubt") if self.pen.who.starts_with("0.") => self.resolve(info).await,
                _ => {}
            }
        }
        runs.iter().all(|info| ["completed", "failed", "cancelled"].contains(&info.status))
    }
}

async fn work(folder: PathBuf) {
    let pen = Arc::new(Pen { ledger: Ledger::of(&folder), who: std::env::var(WHO).unwrap() });
    let leaves: u64 = std::env::var(LEAVES).map_or(u64::MAX, |loops| loops.parse().unwrap());
    let abide = open(&folder).resource(pen.clone()).start().await.unwrap();
    let mut worker = Worker { abide, folder, pen, results: Vec::new() };
    let mut n = 0;
    for _ in 0..leaves {
        worker.start(&mut n).await;
        let over = is_over(&worker.folder);
        if worker.look_after().await && over {
            for result in worker.results.drain(..) {
                result.await.unwrap();
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    worker.abide.shutdown().await;
}

#[test]
fn worker() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(folder));
}
