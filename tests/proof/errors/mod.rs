//! Errors of the disk: input and output errors and a full disk at every operation, files that are limited, read-only or taken away. The runs stop
//! with an error that says why, go on when the cause is gone, and nothing is acknowledged that is not kept.

mod faults;
mod full;
mod gone;
mod unread;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::{Fault, Faults, Kind};
use futures_util::StreamExt as _;

use crate::proof::dice::Dice;
use crate::proof::vfs;

/// Folders that are worked in at once: most of the time goes by in waiting before a commit is tried again.
const AT_ONCE: usize = 8;

/// What was seen of all folders.
#[derive(Default)]
struct Seen {
    hit: AtomicU64,
    stopped: AtomicU64,
}

/// Works with this fault, then without any.
async fn try_fault(fault: Option<Fault>, seen: &Seen) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let told = work::teller();
    let faults = Arc::new(Faults::new(fault));
    let what = format!("{fault:?}");
    let guard = vfs::watch(folder.path(), faults.clone());
    let stopped = work::work(folder.path(), &told, &what).await;
    drop(guard);
    let hit = faults.hits();
    seen.hit.fetch_add(u64::from(hit > 0), Ordering::Relaxed);
    seen.stopped.fetch_add(u64::from(stopped), Ordering::Relaxed);
    assert!(fault.is_some() || !stopped, "it stopped without any fault");
    finish(folder.path(), &told, &what).await;
    faults.calls()
}

async fn finish(folder: &Path, told: &Arc<super::power::Recorder>, what: &str) {
    // The fault is gone; what it left behind may need the rewriting that the error asks for, once the failed opening has let go of it.
    let file = folder.join(work::FILE);
    let alone = async {
        while let Err(error) = abide::Abide::repair(&file) {
            assert!(error.to_string().contains("another process has it open"), "{what}: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    if file.exists() {
        work::within(&format!("{what}, repairing"), alone).await;
    }
    work::finish(folder, told, what).await;
}

#[test]
fn an_error_at_any_operation_stops_runs_cleanly() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seen = Seen::default();
    let calls = runtime.block_on(try_fault(None, &seen));
    let most = super::count("errors", 48, calls * 4);
    let mut dice = Dice::new(super::seed());
    // Whole: each operation with each kind. Small: some of each.
    let all: Vec<Fault> = (0..most)
        .map(|n| {
            let kind = Kind::ALL[(n % 4) as usize];
            let at = if most >= calls * 4 { n / 4 } else { dice.below(calls) };
            Fault { at, kind }
        })
        .collect();
    // `ABIDE_ERRORS_AT=N` tries the operations about that one alone, again and again.
    let only: Option<u64> = std::env::var("ABIDE_ERRORS_AT").ok().map(|at| at.parse().unwrap());
    let about = |at: u64| {
        let near = (at.saturating_sub(6)..at + 6).flat_map(|at| Kind::ALL.map(|kind| Fault { at, kind }));
        near.collect::<Vec<Fault>>()
    };
    let all = only.map_or(all, about);
    runtime.block_on(async {
        let tried = futures_util::stream::iter(all.into_iter().map(|fault| try_fault(Some(fault), &seen)));
        tried.buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
    });
    println!(
        "{} of {most} faults in {calls} operations hit, {} stopped a run or its start: 0 false acknowledgements, 0 completed steps repeated",
        seen.hit.load(Ordering::Relaxed),
        seen.stopped.load(Ordering::Relaxed)
    );
    assert!(only.is_some() || seen.hit.load(Ordering::Relaxed) * 2 > most);
}
