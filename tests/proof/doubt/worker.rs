//! The process that is killed: a fan-out of calls of every effect, whose fates follow from a seed. What reaches the outside stands in a
//! ledger beside the database before it happens, and is told on stdout. It judges nothing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide::prelude::*;
use futures_util::future::join_all;

use super::super::dice::Dice;

/// Calls side by side.
pub const WIDE: u64 = 16;
/// The variables that make a process of this binary a worker.
pub const FOLDER: &str = "ABIDE_TEST_DOUBT_FOLDER";
pub const SEED: &str = "ABIDE_TEST_DOUBT_SEED";
/// How lines for the driver begin.
pub const MARK: &str = "! ";

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pure,
    Idempotent,
    Once,
    /// Once, and the outside can be asked about it.
    Probed,
}

/// The kind of the call of this number.
pub fn kind(seed: u64, i: u64) -> Kind {
    *dice(seed, &[i]).one(&[Kind::Pure, Kind::Idempotent, Kind::Once, Kind::Probed, Kind::Once, Kind::Probed])
}

/// What a call gives if it ends well, what its probe says it gave, and what a person says.
pub fn value(i: u64) -> u64 {
    i
}
pub fn probed_value(i: u64) -> u64 {
    1_000 + i
}
pub fn said_value(i: u64) -> u64 {
    2_000 + i
}

/// Dice of its own for each thing.
fn dice(seed: u64, of: &[u64]) -> Dice {
    let mut mixed = Dice::new(seed).roll();
    for part in of {
        mixed = Dice::new(mixed ^ part.wrapping_mul(0x1000_0000_01b3)).roll();
    }
    Dice::new(mixed)
}

/// What the outside has seen.
struct World {
    seed: u64,
    file: Mutex<File>,
    path: PathBuf,
}

impl World {
    /// Writes a line down, then tells the driver. Returns how often just this was written before.
    fn note(&self, line: &str) -> u64 {
        let mut file = self.file.lock().unwrap();
        let before = std::fs::read_to_string(&self.path).unwrap().lines().filter(|known| *known == line).count();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{MARK}{line}").and_then(|()| out.flush());
        before as u64
    }

    async fn call(self: Arc<Self>, i: u64) -> Result<u64> {
        let (key, n) = (step_key().unwrap(), abide::step_attempt().unwrap());
        let before = self.note(&format!("begin {i} {n} {key}"));
        let mut dice = dice(self.seed, &[i, u64::from(n), before]);
        match dice.below(12) {
            0..4 => std::future::pending::<()>().await,
            4..6 => tokio::time::sleep(Duration::from_millis(dice.below(4))).await,
            6..8 if matches!(kind(self.seed, i), Kind::Once | Kind::Probed) => {
                self.note(&format!("error {i} {n}"));
                return Err(in_doubt("the line went dead"));
            }
            8 if kind(self.seed, i) == Kind::Probed => panic!("the line burnt down"),
            _ => {}
        }
        self.note(&format!("end {i} {n}"));
        Ok(value(i))
    }

    async fn probe(self: Arc<Self>, i: u64, key: Arc<str>) -> Result<Reconciled<u64>> {
        let n = abide::step_attempt().unwrap();
        let before = self.note(&format!("asked {i} {n} {key}"));
        match dice(self.seed, &[i, u64::from(n), before, 77]).below(7) {
            0 | 1 => {
                self.note(&format!("landed {i} {n}"));
                Ok(Reconciled::Landed(probed_value(i)))
            }
            2 | 3 => {
                self.note(&format!("not {i} {n}"));
                Ok(Reconciled::DidNotHappen)
            }
            4 => std::future::pending().await,
            5 => Err(terminal("nobody answers")),
            _ => Ok(Reconciled::Unknown),
        }
    }
}

/// All calls side by side; what became of each, whatever that is.
async fn fan(ctx: Ctx, (folder, seed): (PathBuf, u64)) -> Result<Vec<Result<u64, String>>> {
    let path = folder.join("ledger");
    let file = Mutex::new(File::options().append(true).create(true).open(&path).unwrap());
    let world = Arc::new(World { seed, file, path });
    let calls = (0..WIDE).map(|i| {
        let (calling, probing) = (world.clone(), world.clone());
        let step = ctx.step(format!("s{i}"), i, move |i| calling.clone().call(i));
        let step = step.retry(Retry::attempts(1_000).backoff(Duration::from_millis(1), Duration::from_millis(2)));
        let step = if i % 5 == 0 { step.timeout(Duration::from_millis(20)) } else { step };
        match kind(seed, i) {
            Kind::Pure => step.pure(),
            Kind::Idempotent => step,
            Kind::Once => step.once(),
            Kind::Probed => step.once().reconcile(move |i, key| probing.clone().probe(i, key)),
        }
    });
    let done = join_all(calls).await;
    Ok(done.into_iter().map(|one| one.map_err(|e| e.message().to_owned())).collect())
}

async fn work(folder: &Path, seed: u64) {
    let abide = Abide::open(folder.join("runs.db")).workflow("fan", fan).start().await.unwrap();
    abide.run("fan", &(folder, seed)).id("r").await.unwrap();
    // Again, in case that it was there and is parked.
    if let Ok(run) = abide.resume("r", false).await {
        let _ = run.settled().await;
    }
    abide.shutdown().await;
}

#[test]
fn worker() {
    let (Some(folder), Ok(seed)) = (std::env::var_os(FOLDER).map(PathBuf::from), std::env::var(SEED)) else { return };
    // The panics of calls are part of the play.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(&folder, seed.parse().unwrap()));
}
