//! Runs from start to end: steps, timers, signals, children, generations, cancel, eviction, several handles on one file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use abide::prelude::*;
use abide::{ErrorKind, Settled};
use futures_util::FutureExt as _;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn double(n: u32) -> Result<u32> {
    Ok(n * 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_of_steps_gives_its_result_and_the_same_id_is_the_same_run() {
    let dir = folder();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("sum", move |ctx: Ctx, n: u32| {
            let counted = counted.clone();
            async move {
                let mut sum = 0;
                for i in 0..n {
                    let counted = counted.clone();
                    let step = move |i: u32| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        async move { Ok::<_, Error>(i) }
                    };
                    sum += ctx.step("add", i, step).await?;
                }
                Ok::<u32, Error>(sum)
            }
        })
        .start()
        .await
        .unwrap();
    let run = abide.run("sum", &10).id("ten").await.unwrap();
    assert_eq!(run.result::<u32>().await.unwrap(), 45);
    let again = abide.run("sum", &10).id("ten").await.unwrap();
    assert_eq!(again.result::<u32>().await.unwrap(), 45);
    assert_eq!(calls.load(Ordering::SeqCst), 10);
    assert!(matches!(abide.run("sum", &11).id("ten").await, Err(HostError::IdTaken { .. })));
    let report = run.report().unwrap();
    assert_eq!((report.steps.len(), report.run.status), (10, "completed"));
    assert_eq!(report.steps[3].id, "add#4");
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_signals_children_and_generations() {
    let dir = folder();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("child", |ctx: Ctx, n: u32| async move {
            ctx.sleep(Duration::from_millis(20)).await?;
            let n: u32 = ctx.step("double", n, double).await?;
            if n > 100 { Err(terminal("too big")) } else { Ok(n) }
        })
        .workflow("parent", |ctx: Ctx, (): ()| async move {
            let approved: bool = ctx.signal("approval").await?;
            let a: u32 = ctx.child("child", &4).await?;
            let b = ctx.child::<u32>("child", &400).await;
            Ok::<_, Error>((approved, a, b.unwrap_err().message().to_owned()))
        })
        .workflow("counter", |ctx: Ctx, n: u32| async move {
            let next: u32 = ctx.step("next", n, |n| async move { Ok::<_, Error>(n + 1) }).await?;
            if next < 5 { ctx.continue_as_new(&next) } else { Ok(next) }
        })
        .start()
        .await
        .unwrap();
    let run = abide.run("parent", &()).await.unwrap();
    run.signal("approval", &true).await.unwrap();
    let (approved, a, b): (bool, u32, String) = run.result().await.unwrap();
    assert!(approved && a == 8 && b.contains("too big"), "{b}");
    let counter = abide.run("counter", &0).await.unwrap();
    assert_eq!(counter.result::<u32>().await.unwrap(), 5);
    let report = counter.report().unwrap();
    assert_eq!((report.run.generation, report.steps.len()), (4, 1));
    assert!(abide.verify(None).unwrap().broken.is_empty());
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_reaches_children_and_leaves_room_for_clean_up() {
    let dir = folder();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("child", |ctx: Ctx, (): ()| async move { ctx.sleep(Duration::from_secs(3600)).await })
        .workflow("parent", |ctx: Ctx, (): ()| async move {
            let child = ctx.child::<()>("child", &()).id("the-child").await;
            let _: u32 = ctx.step("clean up", 1, double).await?;
            child
        })
        .start()
        .await
        .unwrap();
    let run = abide.run("parent", &()).await.unwrap();
    let child = loop {
        if let Ok(child) = abide.get("the-child") {
            break child;
        }
        tokio::task::yield_now().await;
    };
    run.cancel().await.unwrap();
    assert!(matches!(run.result::<()>().await, Err(HostError::Cancelled { .. })));
    assert!(matches!(child.result::<()>().await, Err(HostError::Cancelled { .. })));
    let report = run.report().unwrap();
    assert!(report.steps.iter().any(|s| s.id == "clean up" && s.status == "completed"));
    assert!(matches!(run.signal("x", &1).await, Err(HostError::Ended { .. })));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_are_journaled_and_once_steps_are_in_doubt() {
    let dir = folder();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("flaky", move |ctx: Ctx, (): ()| {
            let counted = counted.clone();
            async move {
                let step = move |(): ()| {
                    let n = counted.fetch_add(1, Ordering::SeqCst);
                    async move { if n < 2 { Err(Error::new(ErrorKind::Plain, "flaky")) } else { Ok(n) } }
                };
                let short = Retry::default().backoff(Duration::from_millis(5), Duration::from_millis(10));
                ctx.step("try", (), step).retry(short).await
            }
        })
        .workflow("pay", |ctx: Ctx, (): ()| async move {
            let pay = |(): ()| async move { Err::<u32, _>(Error::new(ErrorKind::Plain, "connection lost")) };
            ctx.step("pay", (), pay).once().await
        })
        .start()
        .await
        .unwrap();
    let run = abide.run("flaky", &()).await.unwrap();
    assert_eq!(run.result::<u32>().await.unwrap(), 2);
    assert_eq!(run.report().unwrap().steps[0].attempts, 3);
    let pay = abide.run("pay", &()).await.unwrap();
    let settled = pay.settled().await.unwrap();
    assert!(matches!(settled, Settled::Parked { waiting_for: Some("in_doubt"), .. }), "{settled:?}");
    let landed = abide::engine::event::json(&41).unwrap();
    pay.resolve("pay", abide::engine::event::Verdict::Landed, Some(landed), None).await.unwrap();
    assert_eq!(pay.result::<u32>().await.unwrap(), 41);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_awaits_park_the_run_as_diverged() {
    let dir = folder();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("sleeps", |_: Ctx, (): ()| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, Error>(())
        })
        .workflow("spawns", |ctx: Ctx, (): ()| async move {
            let (send, mut wait) = tokio::sync::oneshot::channel::<u32>();
            let (polled, seen) = std::sync::mpsc::channel();
            let step = move |(): ()| async move { Ok::<_, Error>(()) };
            ctx.step("before", (), step).await?;
            // What is there before the first poll wakes nobody.
            std::thread::spawn(move || seen.recv().is_ok() && send.send(1).is_ok());
            std::future::poll_fn(|cx| {
                let now = wait.poll_unpin(cx);
                let _ = polled.send(());
                now
            })
            .await?;
            Ok::<_, Error>(())
        })
        .start()
        .await
        .unwrap();
    for name in ["sleeps", "spawns"] {
        let run = abide.run(name, &()).id(name).await.unwrap();
        let error = run.result::<()>().await.unwrap_err();
        assert_eq!(run.inspect().unwrap().status, "diverged");
        assert_eq!(error.exit_code(), 5, "{error}");
        assert!(error.help().contains("ctx.step"), "{}", error.help());
    }
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_its_process_and_needs_only_its_id() {
    let dir = folder();
    let db = dir.path().join("runs.db");
    let open = || {
        Abide::open(&db).workflow("wait", |ctx: Ctx, (): ()| async move {
            let first: u32 = ctx.step("first", 1, double).await?;
            let go: u32 = ctx.signal("go").await?;
            ctx.step("last", first + go, double).await
        })
    };
    let abide = open().start().await.unwrap();
    let run = abide.run("wait", &()).id("w").await.unwrap();
    assert!(matches!(run.settled().await.unwrap(), Settled::Parked { waiting_for: Some("signal"), .. }));
    abide.shutdown().await;
    let abide = open().recover(false).start().await.unwrap();
    let run = abide.get("w").unwrap();
    assert_eq!(run.inspect().unwrap().status, "waiting");
    run.signal("go", &10).await.unwrap();
    let run = abide.resume("w", false).await.unwrap();
    assert_eq!(run.result::<u32>().await.unwrap(), 24);
    abide.shutdown().await;
    assert!(std::fs::read_dir(dir.path().join("runs.db-owners")).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_stopped_for_its_surroundings_is_left_alone_until_somebody_resumes_it() {
    let dir = folder();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let abide = Abide::open(dir.path().join("runs.db"))
        .workflow("needs", move |ctx: Ctx, (): ()| {
            let counted = counted.clone();
            async move {
                let step = move |(): ()| {
                    let n = counted.fetch_add(1, Ordering::SeqCst);
                    async move { if n == 0 { Err(Error::new(ErrorKind::Environment, "no server")) } else { Ok(n) } }
                };
                ctx.step("start", (), step).await
            }
        })
        .start()
        .await
        .unwrap();
    let run = abide.run("needs", &()).id("n").await.unwrap();
    assert_eq!(run.result::<u32>().await.unwrap_err().exit_code(), 8);
    // Longer than a host takes to look for orphans.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    assert_eq!(abide.resume("n", false).await.unwrap().result::<u32>().await.unwrap(), 1);
    abide.shutdown().await;
}
