//! What is said to one run reaches that run alone: signals, early or late, and cancels.

use std::time::Duration;

use abide::prelude::*;

const WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_before_anybody_waits_is_kept_and_delivered_once_to_that_run_only() {
    let dir = tempfile::tempdir().unwrap();
    let wait = |ctx: Ctx, before: Duration| async move {
        ctx.sleep(before).await?;
        let first = ctx.signal::<u32>("go").await?;
        let second = ctx.signal::<u32>("go").timeout(Duration::from_millis(1)).await;
        Ok::<_, Error>((first, second.ok()))
    };
    let abide = Abide::open(dir.path().join("runs.db")).workflow("wait", wait).start().await.unwrap();
    let other = abide.run("wait", &Duration::ZERO).id("other").await.unwrap();
    let early = abide.run("wait", &Duration::from_millis(300)).id("early").await.unwrap();
    // It sleeps, so nobody waits for the signal yet, while the other one does.
    early.signal("go", &1).await.unwrap();
    let got: (u32, Option<u32>) = tokio::time::timeout(WAIT, early.result()).await.unwrap().unwrap();
    assert_eq!(got, (1, None), "kept, and delivered once");
    assert_eq!(other.inspect().unwrap().status, "waiting", "it was not for the other");
    other.signal("go", &2).await.unwrap();
    let got: (u32, Option<u32>) = tokio::time::timeout(WAIT, other.result()).await.unwrap().unwrap();
    assert_eq!(got, (2, None));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_one_run_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let wait = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("go").await };
    let abide = Abide::open(dir.path().join("runs.db")).workflow("wait", wait).start().await.unwrap();
    let mut runs = Vec::new();
    for n in 0..5 {
        runs.push(abide.run("wait", &()).id(format!("r{n}")).await.unwrap());
    }
    runs[2].cancel().await.unwrap();
    let cancelled = tokio::time::timeout(WAIT, runs[2].result::<u32>()).await.unwrap();
    assert!(matches!(cancelled, Err(HostError::Cancelled { .. })), "{cancelled:?}");
    for (n, run) in runs.iter().enumerate().filter(|(n, _)| *n != 2) {
        run.signal("go", &n).await.unwrap();
        assert_eq!(tokio::time::timeout(WAIT, run.result::<usize>()).await.unwrap().unwrap(), n);
    }
    abide.shutdown().await;
}
