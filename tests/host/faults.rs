//! Runs that cannot go on: foreign awaits at any moment, factories that fail or panic, ids and values that do not fit. None hangs, none loses what is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use abide::engine::workflow;
use abide::host::Made;
use abide::prelude::*;
use futures_util::future::join;

use super::rig::{Gate, Rig, until, within};

/// The foreign wake comes before the commit of the start has returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_wake_during_the_first_commit_parks_the_run() {
    let (rig, woken) = (Rig::new(), Gate::new());
    woken.open();
    let wakes = woken.clone();
    let abide = rig.open().workflow("spawns", move |ctx: Ctx, (): ()| {
        let wakes = wakes.clone();
        async move {
            let (send, wait) = tokio::sync::oneshot::channel::<u32>();
            let outside = async move {
                let out = wait.await;
                wakes.pass().await;
                out
            };
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                send.send(1)
            });
            let _ = join(ctx.sleep(Duration::from_secs(3_600)), outside).await;
            drop(thread);
            Ok::<_, Error>(())
        }
    });
    let abide = abide.start().await.unwrap();
    let held = rig.hold_commits();
    let release = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        drop(held);
    };
    let (run, ()) = join(within(async { abide.run("spawns", &()).id("r").await }), release).await;
    let error = within(run.unwrap().result::<()>()).await.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    abide.shutdown().await;
}

/// The code is mended after a rule was broken: what was known by then is known still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_once_step_that_completed_in_the_turn_that_broke_a_rule_does_not_run_again_and_is_not_in_doubt() {
    let (rig, pay, beside, mended) = (Rig::new(), Gate::new(), Gate::new(), Arc::new(AtomicBool::new(false)));
    let (gates, is_mended) = ((pay.clone(), beside.clone()), mended.clone());
    let abide = rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
        let ((pay, beside), is_mended) = (gates.clone(), is_mended.clone());
        async move {
            let foreign = async {
                let paid: u32 = ctx.step("pay", (), pay.step(7_u32)).once().await?;
                if !is_mended.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, Error>(paid)
            };
            let (a, b) = join(foreign, ctx.step("beside", (), beside.step(1_u32)).once()).await;
            Ok::<_, Error>(a? + b?)
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    pay.until_reached(1).await;
    beside.until_reached(1).await;
    pay.open();
    // Once steps under way are waited for.
    tokio::task::yield_now().await;
    beside.open();
    let error = within(run.result::<u32>()).await.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let report = run.report().unwrap();
    assert!(report.steps.iter().all(|s| s.status != "in_doubt"), "{report:?}");
    mended.store(true, Ordering::SeqCst);
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 8);
    assert_eq!((pay.reached(), beside.reached()), (1, 1));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_whose_id_is_taken_or_impossible_fails_and_the_parent_goes_on() {
    let rig = Rig::new();
    let abide = rig.open().workflow("child", |_: Ctx, n: u32| async move { Ok::<_, Error>(n) }).workflow(
        "parent",
        |ctx: Ctx, (): ()| async move {
            let long = "x".repeat(300);
            let mut failed = Vec::new();
            for id in ["taken", "", &long, "p", "line\nbreak"] {
                failed.push(ctx.child::<u32>("child", &1).id(id).await.is_err());
            }
            Ok::<_, Error>((failed, ctx.child::<u32>("child", &1).await?))
        },
    );
    let abide = abide.start().await.unwrap();
    abide.run("child", &5).id("taken").await.unwrap();
    let run = abide.run("parent", &()).id("p").await.unwrap();
    assert_eq!(within(run.result::<(Vec<bool>, u32)>()).await.unwrap(), (vec![true; 5], 1));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_does_not_fit_is_an_error_and_not_the_end_of_the_run() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, (): ()| async move {
        let bad = ctx.signal::<u32>("n").await.unwrap_err();
        Ok::<_, Error>((bad.message().to_owned(), ctx.signal::<u32>("n").await?))
    };
    let abide = rig.open().workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).await.unwrap();
    run.signal("n", "seven").await.unwrap();
    run.signal("n", &7).await.unwrap();
    let (why, n): (String, u32) = within(run.result()).await.unwrap();
    assert!(n == 7 && why.contains("signal `n`"), "{why}");
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_factory_that_fails_or_panics_leaves_the_run_resumable() {
    let rig = Rig::new();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = broken.clone();
    let abide = rig.open().factory(
        "made",
        Arc::new(move |run, _, resources| {
            if is_broken.load(Ordering::SeqCst) {
                if run.ends_with("panics") {
                    panic!("what a factory");
                }
                return Err(HostError::Environment { run: run.to_owned(), why: "no file".to_owned() });
            }
            let flow = workflow(|ctx: Ctx, (): ()| async move { ctx.signal::<u32>("go").await });
            Ok(Made { workflow: flow, resources })
        }),
    );
    let abide = abide.start().await.unwrap();
    for id in ["it-fails", "it-panics"] {
        let run = abide.run("made:x", &()).id(id).await.unwrap();
        within(run.settled()).await.unwrap();
        broken.store(true, Ordering::SeqCst);
        assert_eq!(within(abide.resume(id, false)).await.map(|_| ()).unwrap_err().exit_code(), 8);
        run.signal("go", &3).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(run.inspect().unwrap().epoch < 5, "it is taken up again and again");
        assert!(run.inspect().unwrap().error.is_some());
        broken.store(false, Ordering::SeqCst);
        let run = abide.resume(id, false).await.unwrap();
        assert_eq!(within(run.result::<u32>()).await.unwrap(), 3);
    }
    until(|| abide.list(9).unwrap().iter().all(|run| run.status == "completed")).await;
    abide.shutdown().await;
}
