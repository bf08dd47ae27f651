//! Leaving off and going on: pause, release, shutdown, steps that panic, never end, or are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use abide::prelude::*;
use abide::{ErrorKind, Settled};
use futures_util::future::{Either, join, select};

use super::rig::{Gate, Rig, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_waits_for_its_once_step_and_starts_no_other_until_resumed() {
    let (rig, pay, after) = (Rig::new(), Gate::new(), Gate::new());
    after.open();
    let gates = (pay.clone(), after.clone());
    let abide = rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
        let (pay, after) = gates.clone();
        async move {
            let paid: u32 = ctx.step("pay", (), pay.step(1_u32)).once().await?;
            let more: u32 = ctx.step("after", (), after.step(10_u32)).once().await?;
            Ok::<_, Error>(paid + more)
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    pay.until_reached(1).await;
    run.pause().await.unwrap();
    pay.open();
    let settled = within(run.settled()).await.unwrap();
    assert!(matches!(settled, Settled::Parked { status: "paused", .. }), "{settled:?}");
    run.pause().await.unwrap();
    assert_eq!((after.reached(), run.inspect().unwrap().status), (0, "paused"));
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 11);
    assert_eq!((pay.reached(), after.reached()), (1, 1));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_run_stays_released_until_somebody_resumes_it() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let open = || {
        let held = gate.clone();
        rig.open().workflow("work", move |ctx: Ctx, (): ()| {
            let held = held.clone();
            async move { ctx.step("work", (), held.step(3_u32)).await }
        })
    };
    let abide = open().start().await.unwrap();
    let run = abide.run("work", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    within(run.release()).await.unwrap();
    let info = run.inspect().unwrap();
    assert_eq!((info.status, info.owner_pid, info.epoch), ("interrupted", None, 1));
    // Long enough for this handle to have looked for what nobody works on.
    let other = abide.run("work", &()).id("other").await.unwrap();
    gate.until_reached(2).await;
    within(other.release()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((run.inspect().unwrap().epoch, gate.reached()), (1, 2));
    gate.open();
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 3);
    abide.shutdown().await;
    let abide = open().start().await.unwrap();
    assert_eq!(within(abide.get("other").unwrap().result::<u32>()).await.unwrap(), 3);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_what_may_be_repeated_and_waits_for_what_may_not() {
    let (rig, endless, pay) = (Rig::new(), Gate::new(), Gate::new());
    let gates = (endless.clone(), pay.clone());
    let abide = rig.open().recover(false).workflow("work", move |ctx: Ctx, (): ()| {
        let (endless, pay) = gates.clone();
        async move {
            let both = join(ctx.step("endless", (), endless.step(1_u32)), ctx.step("pay", (), pay.step(2_u32)).once());
            let (a, b) = both.await;
            Ok::<_, Error>(a? + b?)
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("work", &()).id("r").await.unwrap();
    endless.until_reached(1).await;
    pay.until_reached(1).await;
    let waiter = tokio::spawn({
        let run = run.clone();
        async move { run.result::<u32>().await }
    });
    let opener = tokio::spawn(async move { pay.open() });
    within(abide.shutdown()).await;
    opener.await.unwrap();
    assert!(matches!(within(waiter).await.unwrap(), Err(HostError::ShuttingDown)));
    assert!(rig.journal("r").contains("\"done\":{\"id\":\"pay\""), "{}", rig.journal("r"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_for_a_sleeping_run_hear_of_the_shutdown() {
    let rig = Rig::new();
    let nap = |ctx: Ctx, (): ()| async move { ctx.sleep(Duration::from_secs(3_600)).await };
    let abide = rig.open_at_clock().workflow("nap", nap).start().await.unwrap();
    let run = abide.run("nap", &()).await.unwrap();
    until(|| run.inspect().unwrap().status == "waiting").await;
    rig.advance(Duration::from_secs(60));
    let waiter = tokio::spawn({
        let run = run.clone();
        async move { run.result::<()>().await }
    });
    tokio::task::yield_now().await;
    within(abide.shutdown()).await;
    assert!(matches!(within(waiter).await.unwrap(), Err(HostError::ShuttingDown)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_dropped_lets_go_of_its_runs() {
    let rig = Rig::new();
    let nap = |ctx: Ctx, (): ()| async move { ctx.sleep(Duration::from_secs(3_600)).await };
    let abide = rig.open().workflow("nap", nap).start().await.unwrap();
    abide.run("nap", &()).id("r").await.unwrap();
    drop(abide);
    let other = rig.open().recover(false).workflow("nap", nap).start().await.unwrap();
    let run = other.get("r").unwrap();
    until(|| run.inspect().unwrap().owner_pid.is_none()).await;
    other.resume("r", false).await.unwrap();
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_may_panic_outlast_their_time_and_be_dropped() {
    let (rig, endless, tries) = (Rig::new(), Gate::new(), Arc::new(AtomicU32::new(0)));
    let (held, counted) = (endless.clone(), tries.clone());
    let abide = rig.open().workflow("work", move |ctx: Ctx, (): ()| {
        let (held, counted) = (held.clone(), counted.clone());
        async move {
            let soon = Retry::attempts(2).backoff(Duration::from_millis(1), Duration::from_millis(1));
            let panics = ctx.step("panics", (), move |(): ()| {
                let n = counted.fetch_add(1, Ordering::SeqCst);
                async move { if n == 0 { panic!("oh") } else { Ok::<_, Error>(n) } }
            });
            let once: u32 = panics.retry(soon).await?;
            let limit = Duration::from_millis(5);
            let late = ctx.step("late", (), held.step(0_u32)).timeout(limit).retry(soon).await.unwrap_err();
            let endless = ctx.step("endless", (), held.step(0_u32)).once();
            match select(endless, ctx.sleep(Duration::from_millis(5))).await {
                Either::Left(_) => Err(terminal("it ended")),
                Either::Right((slept, endless)) => {
                    drop(endless);
                    slept.map(|()| (once, late.is_timeout()))
                }
            }
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("work", &()).await.unwrap();
    assert_eq!(within(run.result::<(u32, bool)>()).await.unwrap(), (1, true));
    let report = run.report().unwrap();
    let step = |id: &str| report.steps.iter().find(|s| s.id == id).unwrap();
    assert_eq!((step("panics").attempts, step("late").attempts), (2, 2));
    assert_eq!((step("late").status, step("endless").status), ("failed", "cancelled"));
    abide.shutdown().await;
}

/// Broken surroundings stop the run; nobody tries again before somebody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_surroundings_are_broken_stops_and_is_not_taken_up_by_itself() {
    let (rig, tries) = (Rig::new(), Arc::new(AtomicU32::new(0)));
    let counted = tries.clone();
    let abide = rig.open().workflow("work", move |ctx: Ctx, (): ()| {
        let counted = counted.clone();
        async move {
            let step = move |(): ()| {
                let n = counted.fetch_add(1, Ordering::SeqCst);
                async move { if n == 0 { Err(Error::new(ErrorKind::Environment, "no server")) } else { Ok(n) } }
            };
            ctx.step("call", (), step).once().await
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("work", &()).id("r").await.unwrap();
    let settled = within(run.settled()).await.unwrap();
    assert!(matches!(settled, Settled::Stopped(HostError::Environment { .. })), "{settled:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((tries.load(Ordering::SeqCst), run.inspect().unwrap().epoch), (1, 1));
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 1);
    abide.shutdown().await;
}
