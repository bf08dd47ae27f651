//! A run that never ends by itself, and the process that works on such runs: it races the others for whatever an owner leaves or has stolen
//! from it, by a clock that jumps. It judges nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use abide::prelude::*;
use abide::{Builder, RunInfo};

use crate::proof::kills::ledger::Ledger;

/// The folder that a worker works in.
pub const FOLDER: &str = "ABIDE_OWNERS_FOLDER";

struct Pen {
    folder: PathBuf,
    ledger: Ledger,
}

/// A step that leaves a line before it is over, and says whether all is over.
fn tick(ctx: &Ctx, name: String, n: u64) -> abide::engine::Step<bool> {
    let pen = ctx.resource::<Pen>().unwrap();
    let line = format!("did {} {} {name}", std::process::id(), ctx.run_id());
    ctx.step(name, n, move |n| {
        pen.ledger.write(&line);
        let over = pen.folder.join("over").exists();
        async move {
            tokio::time::sleep(Duration::from_micros(500 + n * 100)).await;
            Ok::<_, Error>(over)
        }
    })
}

async fn walk(ctx: Ctx, (n, round): (u64, u64)) -> Result<u64> {
    for k in 0..4 {
        if tick(&ctx, format!("tick{round}.{k}"), n).await? {
            return Ok(round);
        }
    }
    if has_timer(n) {
        ctx.sleep(Duration::from_millis(3)).await?;
    }
    tick(&ctx, format!("pay{round}"), n).once().await?;
    ctx.continue_as_new(&(n, round + 1))
}

/// Runs that wait for the clock: they stand still while it has jumped back.
pub fn has_timer(n: u64) -> bool {
    n.is_multiple_of(3)
}

/// Runs that may be stolen from a living process.
pub fn may_be_stolen(run: &str) -> bool {
    number(run).is_multiple_of(2)
}

pub fn number(run: &str) -> u64 {
    run.trim_start_matches('w').parse().unwrap()
}

/// Where in its run a step stands.
pub fn stage(step: &str) -> u32 {
    let (round, k) = match step.strip_prefix("pay") {
        Some(round) => (round, "9"),
        None => step.strip_prefix("tick").and_then(|rest| rest.split_once('.')).unwrap(),
    };
    round.parse::<u32>().unwrap() * 10 + k.parse::<u32>().unwrap()
}

pub fn open(folder: &Path) -> Builder {
    let pen = Pen { folder: folder.to_owned(), ledger: Ledger::of(folder) };
    Abide::open(folder.join("runs.db")).workflow("walk", walk).resource(Arc::new(pen))
}

/// Follows the clock that the folder's file `clock` sets: so many milliseconds beside the true time.
fn clock(folder: &Path) -> impl Fn() -> i64 + Send + Sync + 'static {
    let offset = Arc::new(AtomicI64::new(0));
    let (file, set) = (folder.join("clock"), offset.clone());
    std::thread::spawn(move || {
        loop {
            if let Some(beside) = std::fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()) {
                set.store(beside, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    move || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.as_millis() as i64 + offset.load(Ordering::SeqCst)
    }
}

/// What a race is about: its number, and the process to steal from if there is one.
type Race = (u64, Option<u32>);

fn race(folder: &Path) -> Option<Race> {
    let text = std::fs::read_to_string(folder.join("race")).ok()?;
    let (number, pid) = text.split_once(' ')?;
    Some((number.parse().ok()?, pid.parse().ok()))
}

fn is_at_stake(info: &RunInfo, victim: Option<u32>) -> bool {
    match victim {
        None => info.status == "interrupted",
        Some(victim) => info.owner_pid == Some(victim) && may_be_stolen(&info.id),
    }
}

/// Tries to take every run that is at stake.
async fn take_part(abide: &Abide, folder: &Path, (number, victim): Race) {
    let races = Ledger::at(folder.join("races"));
    let mut runs = abide.list(1_000).unwrap();
    // Each process in an order of its own.
    let turn = std::process::id() as usize % runs.len();
    runs.rotate_left(turn);
    for info in runs.into_iter().filter(|info| is_at_stake(info, victim)) {
        races.write(&format!("{number} {} {}", info.id, std::process::id()));
        match abide.resume(&info.id, victim.is_some()).await {
            Ok(_) | Err(HostError::Owned { .. } | HostError::ShuttingDown) => {}
            Err(error) => panic!("{}: {error}", info.id),
        }
    }
}

async fn work(folder: PathBuf) {
    let abide = open(&folder).clock(clock(&folder)).start().await.unwrap();
    let mut seen = race(&folder);
    for n in 0_u64.. {
        let now = race(&folder);
        if now != seen {
            seen = now;
            if let Some(race) = now {
                take_part(&abide, &folder, race).await;
            }
        }
        if n.is_multiple_of(16) {
            // A visitor: it registers as an owner, cleans up after others, and leaves.
            let visitor = Abide::open(folder.join("runs.db")).start().await.unwrap();
            visitor.shutdown().await;
        }
        let over = || abide.list(1_000).unwrap().iter().all(|info| info.status == "completed");
        if folder.join("over").exists() && over() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    abide.shutdown().await;
}

#[test]
fn worker() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(folder));
}
