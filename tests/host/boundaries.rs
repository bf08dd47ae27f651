//! The process is killed at every journal boundary of one workflow with everything in it, and resumed: same result, same journal,
//! no completed step again. The worker is this test binary itself, started anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use abide::prelude::*;
use abide::report::StepReport;
use futures_util::future::{Either, join_all, select};

const FOLDER: &str = "ABIDE_TEST_FOLDER";

/// What the outside world saw: one line a call, written before the call returns.
fn ledger(folder: &Path, what: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).create(true).open(folder.join("ledger")).unwrap();
    file.write_all(format!("{what}\n").as_bytes()).unwrap();
}

async fn everything(ctx: Ctx, folder: PathBuf) -> Result<u64> {
    let step = |name: &'static str, n: u64| {
        let at = folder.clone();
        ctx.step(name, n, move |n| {
            ledger(&at, &format!("{name} {n}"));
            async move { Ok::<_, Error>(n + 1) }
        })
    };
    let mut sum = 0;
    for i in 0..4 {
        sum = step("sequence", sum + i).await?;
    }
    for done in join_all((0..16).map(|i| step("fan", i))).await {
        sum += done?;
    }
    let long = ctx.sleep(Duration::from_secs(3600));
    if let Either::Right((quick, long)) = select(long, step("quick", 1)).await {
        sum += quick?;
        drop(long);
    }
    ctx.sleep(Duration::from_millis(3)).await?;
    sum += ctx.signal::<u64>("more").await?;
    sum += ctx.child::<u64>("child", &(folder.clone(), 5)).await?;
    step("last", sum).await
}

async fn child(ctx: Ctx, (folder, n): (PathBuf, u64)) -> Result<u64> {
    let at = folder.clone();
    let count = move |n: u64| {
        ledger(&at, &format!("child {n}"));
        async move { Ok::<_, Error>(n * 10) }
    };
    let first: u64 = ctx.step("child", n, count.clone()).await?;
    ctx.step("child", first, count).await
}

#[test]
fn worker() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let work = async {
        let abide = Abide::open(folder.join("runs.db")).workflow("everything", everything).workflow("child", child);
        let abide = abide.start().await.unwrap();
        let run = abide.run("everything", &folder).id("w").await.unwrap();
        run.signal_once("more", &100, "only").await.ok();
        let run = abide.resume("w", false).await.unwrap();
        let result: u64 = run.result().await.unwrap();
        std::fs::write(folder.join("result"), result.to_string()).unwrap();
        abide.shutdown().await;
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work);
}

/// Runs the worker, to be killed where `crash` says. True if it ended by itself.
fn work(folder: &Path, crash: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "host::boundaries::worker", "--nocapture"]).env(FOLDER, folder).env_remove("ABIDE_CRASH");
    if let Some(crash) = crash {
        command.env("ABIDE_CRASH", crash);
    }
    let out = command.output().unwrap();
    if crash.is_none() {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    out.status.success()
}

fn calls(folder: &Path) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("ledger")).unwrap_or_default().lines() {
        *calls.entry(line.to_owned()).or_default() += 1;
    }
    calls
}

/// The journal without what differs from run to run: times, and the order of what ran side by side.
fn journal(folder: &Path) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = Abide::open(folder.join("runs.db")).recover(false).start().await.unwrap();
        let mut lines = Vec::new();
        for info in abide.list(10).unwrap() {
            let report = abide.report(&info.id).unwrap();
            let text = |json: &Option<abide::engine::Json>| {
                json.as_ref().map(|j| j.get().replace(&*folder.to_string_lossy(), "F"))
            };
            lines.push(format!("{} {} {:?}", report.run.workflow, report.run.status, text(&report.run.output)));
            let line = |s: &StepReport| {
                format!(
                    "{} {} {} {:?} {:?} {:?} {:?}",
                    s.id,
                    s.kind,
                    s.status,
                    s.effect,
                    text(&s.input),
                    text(&s.output),
                    s.error
                )
            };
            lines.extend(report.steps.iter().map(line));
        }
        let verified = abide.verify(None).unwrap();
        assert!(verified.broken.is_empty(), "{:?}", verified.broken);
        abide.shutdown().await;
        lines.sort();
        lines
    })
}

/// The calls whose result the journal holds.
fn completed(folder: &Path) -> Vec<String> {
    if !folder.join("runs.db").exists() {
        return Vec::new();
    }
    journal(folder)
        .iter()
        .filter(|line| line.contains(" step completed "))
        .filter_map(|line| {
            let name = line.split(['#', ' ']).next()?;
            let input = line.split("Some(\"").nth(1)?.split('"').next()?;
            Some(format!("{name} {input}"))
        })
        .collect()
}

#[test]
fn killed_at_every_boundary_it_resumes_to_the_same_journal() {
    let whole = tempfile::tempdir().unwrap();
    assert!(work(whole.path(), None));
    let (result, steps) = (std::fs::read_to_string(whole.path().join("result")).unwrap(), journal(whole.path()));
    assert_eq!(calls(whole.path()).values().max(), Some(&1));
    let mut boundaries = 0;
    for point in ["commit.before", "commit.after"] {
        for n in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let ended = work(dir.path(), Some(&format!("{point}:{n}")));
            if !ended {
                boundaries += 1;
                let (held, before) = (completed(dir.path()), calls(dir.path()));
                assert!(work(dir.path(), None));
                let after = calls(dir.path());
                for call in held {
                    assert_eq!(
                        before.get(&call),
                        after.get(&call),
                        "{point}:{n}: `{call}` had completed and ran again"
                    );
                }
            }
            assert_eq!(std::fs::read_to_string(dir.path().join("result")).unwrap(), result, "{point}:{n}");
            assert_eq!(journal(dir.path()), steps, "{point}:{n}");
            if ended {
                break;
            }
        }
    }
    println!("{boundaries} boundaries, 0 differences, 0 completed steps repeated");
    assert!(boundaries > 20, "only {boundaries}");
}
