//! From SIGKILL of an owner to the first live step of its run, a thousand steps in, in a new process and in one that stands by. It measures processes of its own.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use abide::prelude::*;

use super::{again, folder};

const STEPS: u64 = 1_000;

pub(super) fn measure(dir: &Path) {
    for (what, standby) in [("new process included", false), ("in a process that was there already", true)] {
        let mut times: Vec<f64> =
            (0..7).map(|round| one(&dir.join(format!("kill{standby}{round}")), standby)).collect();
        times.sort_by(f64::total_cmp);
        println!(
            "SIGKILL to the first live step of a run {STEPS} steps in, {what}: {:.0} ms, median of 7, worst {:.0} ms (aim: under 100 ms)",
            times[3], times[6]
        );
    }
}

/// Milliseconds from the end of the owner to the step's line by another process, which stands by or is started then.
fn one(dir: &Path, standby: bool) -> f64 {
    std::fs::create_dir(dir).unwrap();
    let (mark, ready) = (dir.join("live"), dir.join("ready"));
    let mut first = again("kill", dir).spawn().unwrap();
    wait_for(&mark);
    let waiting = standby.then(|| again("standby", dir).spawn().unwrap());
    if standby {
        wait_for(&ready);
    }
    std::fs::remove_file(&mark).unwrap();
    first.kill().unwrap();
    let killed = SystemTime::now();
    let mut second = waiting.unwrap_or_else(|| again("kill", dir).spawn().unwrap());
    wait_for(&mark);
    let time = std::fs::metadata(&mark).unwrap().modified().unwrap().duration_since(killed).unwrap();
    second.kill().unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    time.as_secs_f64() * 1e3
}

fn wait_for(mark: &Path) {
    let began = Instant::now();
    while !mark.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no live step");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Works on the run, or stands by until its owner is dead.
pub(super) fn child(standby: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = folder().join("runs.db");
        let abide = Abide::open(&db)
            .workflow("long", |ctx: Ctx, mark: std::path::PathBuf| async move {
                for n in 0..STEPS {
                    let _: u64 = ctx.step("count", n, |n| async move { Ok::<_, Error>(n) }).await?;
                }
                let live = |mark: std::path::PathBuf| async move {
                    std::fs::write(&mark, "")?;
                    std::future::pending::<Result<()>>().await
                };
                ctx.step("live", mark, live).await
            })
            .start()
            .await
            .unwrap();
        if standby {
            std::fs::write(folder().join("ready"), "").unwrap();
            std::future::pending::<()>().await;
        }
        abide.run("long", &folder().join("live")).id("long").await.unwrap().result::<()>().await.unwrap();
    });
}
