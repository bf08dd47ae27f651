//! How fast abide commits steps and replays journals, beside what raw SQLite does on the same disk in the same minute.
//! Ratios matter, not absolute figures: machines are noisy. Run with `cargo bench --bench steps`.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::pedantic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abide::prelude::*;

#[allow(dead_code)]
#[path = "../tests/support/model.rs"]
mod model;
#[path = "parts/mod.rs"]
mod parts;

fn main() {
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    if parts::child() {
        return;
    }
    let dir = tempfile::tempdir_in(std::env::var_os("ABIDE_BENCH_DIR").unwrap_or_else(|| ".".into())).unwrap();
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    steps(dir.path(), &runtime, &wanted);
    if wanted("replay") {
        runtime.block_on(replay(dir.path()));
    }
    parts::measure(dir.path(), &wanted);
}

fn steps(dir: &Path, runtime: &tokio::runtime::Runtime, wanted: &dyn Fn(&str) -> bool) {
    println!(
        "\nsteps/s (each dependent on the one before it; raw commits are measured right before and after, several times; medians)"
    );
    for (runs, rounds) in [(1_u64, 9), (50, 3), (200, 3), (1_000, 3)] {
        if !wanted(&format!("steps {runs}")) {
            continue;
        }
        let (group, of) = if runs == 1 { (1, "single commits") } else { (128, "rows in commits of 128") };
        let raw = |n: usize| raw_commits(&dir.join(format!("raw{runs}-{n}.db")), group, Duration::from_millis(300));
        let mut rates = Vec::new();
        let (mut raws, mut ratios) = (vec![raw(0)], Vec::new());
        for round in 1..=rounds {
            let rate = runtime.block_on(many_runs(&dir.join(format!("runs{runs}-{round}.db")), runs));
            raws.push(raw(round));
            ratios.push(rate / f64::midpoint(raws[round - 1], raws[round]));
            rates.push(rate);
        }
        let [rates, raws, ratios] = [rates, raws, ratios].map(sorted);
        println!(
            "  {runs:>5} runs: {:>9.0} steps/s (best {:.0})   {:.2} of raw {of} ({:.0}/s; {:.0} to {:.0})",
            median(&rates),
            rates[rates.len() - 1],
            median(&ratios),
            median(&raws),
            raws[0],
            raws[raws.len() - 1],
        );
    }
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Rows a second that plain SQLite commits durably in groups of this size.
fn raw_commits(path: &Path, group: usize, time: Duration) -> f64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)",
    )
    .unwrap();
    let body = "x".repeat(200);
    let mut rows = 0_usize;
    let began = Instant::now();
    while began.elapsed() < time {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..group {
            conn.prepare_cached("INSERT INTO t (body) VALUES (?1)").unwrap().execute([&body]).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
        rows += group;
    }
    rows as f64 / began.elapsed().as_secs_f64()
}

async fn count(n: u64) -> Result<u64> {
    Ok(n + 1)
}

async fn many_runs(path: &Path, runs: u64) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    let steps_each = if runs == 1 { 1_500 } else { (400_000 / runs).min(2_000) };
    let abide = Abide::open(path)
        .workflow("count", move |ctx: Ctx, steps: u64| {
            let counted = counted.clone();
            async move {
                let mut n = 0;
                while n < steps {
                    n = ctx.step("count", n, count).await?;
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Error>(n)
            }
        })
        .start()
        .await
        .unwrap();
    let began = Instant::now();
    let mut handles = Vec::new();
    for _ in 0..runs {
        handles.push(abide.run("count", &steps_each).await.unwrap());
    }
    // Rates are taken while all runs work: from a tenth of the steps to nine tenths.
    let total = steps_each * runs;
    let at = |share: u64| total * share / 10;
    let mark = async |target: u64| {
        while done.load(Ordering::Relaxed) < target {
            assert!(began.elapsed() < Duration::from_secs(120), "too slow");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (Instant::now(), done.load(Ordering::Relaxed))
    };
    let (from, first) = mark(at(1)).await;
    let (to, last) = mark(at(9)).await;
    for run in handles {
        run.result::<u64>().await.unwrap();
    }
    abide.shutdown().await;
    (last - first) as f64 / (to - from).as_secs_f64()
}

/// Rebuilds runs from their journals: events a second, read, checked, compared and replayed.
async fn replay(dir: &Path) {
    const STEPS: u64 = 50_000;
    let path = dir.join("replay.db");
    let open = || {
        Abide::open(&path).recover(false).workflow("long", |ctx: Ctx, steps: u64| async move {
            let mut n = 0;
            while n < steps {
                n = ctx.step("count", n, count).await?;
            }
            ctx.signal::<u64>("go").await
        })
    };
    let abide = open().start().await.unwrap();
    let run = abide.run("long", &STEPS).id("long").await.unwrap();
    run.settled().await.unwrap();
    abide.shutdown().await;
    let mut best = f64::MAX;
    for _ in 0..3 {
        let abide = open().start().await.unwrap();
        let began = Instant::now();
        let run = abide.resume("long", false).await.unwrap();
        best = best.min(began.elapsed().as_secs_f64());
        drop(run);
        abide.shutdown().await;
    }
    println!(
        "\nreplay: {:.0} events/s ({STEPS} steps of two events each; the best of three, warm)",
        (STEPS * 2) as f64 / best
    );
}
