//! Resident memory with ten thousand runs that sleep. It measures a process of its own.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use abide::prelude::*;

use super::{again, folder, memory_mb, show_mb};

const RUNS: usize = 10_000;

pub(super) fn measure(dir: &Path) {
    let mut child = again("sleepers", dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let (now, peak) = (memory_mb(child.id(), "VmRSS"), memory_mb(child.id(), "VmHWM"));
    drop(child.stdin.take());
    child.wait().unwrap();
    println!("{RUNS} sleeping runs: {} resident, {} at the peak (aim: under 60 MB)", show_mb(now), show_mb(peak));
}

pub(super) fn child() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = Abide::open(folder().join("sleepers.db"))
            .workflow("sleep", |ctx: Ctx, n: u64| async move {
                let n: u64 = ctx.step("before", n, |n| async move { Ok::<_, Error>(n) }).await?;
                ctx.sleep(Duration::from_secs(86_400)).await?;
                Ok::<_, Error>(n)
            })
            .start()
            .await
            .unwrap();
        for chunk in 0..RUNS / 100 {
            let starts = (0..100).map(|i| std::future::IntoFuture::into_future(abide.run("sleep", &(chunk * 100 + i))));
            futures_util::future::join_all(starts).await.into_iter().for_each(|run| drop(run.unwrap()));
        }
        while abide.list(RUNS as u32).unwrap().iter().filter(|run| run.status == "waiting").count() < RUNS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Those that were let in last are let out of memory a second later.
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("!");
        use std::io::Read as _;
        let _ = std::io::stdin().read(&mut [0]);
        abide.shutdown().await;
    });
}
