//! Commits that fail for a while, or for good, or for one run only: nothing known is lost and nothing runs twice (DESIGN rule 3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use abide::Settled;
use abide::prelude::*;

use super::rig::{Gate, Rig, until, until_rebuilt, within};

const FAIL: &str = "CREATE TRIGGER fail BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_once_step_whose_outcome_cannot_be_committed_for_a_while_runs_once_and_is_not_in_doubt() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let pay = gate.clone();
    let abide = rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
        let pay = pay.clone();
        async move { ctx.step("pay", (), pay.step(7_u32)).once().await }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    let mut progress = abide.progress();
    let sqlite = rig.sqlite();
    sqlite.execute_batch(FAIL).unwrap();
    gate.open();
    until_rebuilt(&mut progress, 3).await;
    sqlite.execute_batch("DROP TRIGGER fail").unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 7);
    assert_eq!(gate.reached(), 1);
    assert!(!rig.journal("r").contains("in_doubt"));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_under_way_outlives_the_rebuilding_of_its_machine() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let pay = gate.clone();
    let abide = rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
        let pay = pay.clone();
        async move {
            let waits = ctx.signal::<u32>("more");
            let (paid, more) = futures_util::future::join(ctx.step("pay", (), pay.step(7_u32)).once(), waits).await;
            Ok::<_, Error>(paid? + more?)
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    let mut progress = abide.progress();
    let sqlite = rig.sqlite();
    sqlite.execute_batch(FAIL).unwrap();
    run.signal("more", &3).await.unwrap();
    until_rebuilt(&mut progress, 2).await;
    sqlite.execute_batch("DROP TRIGGER fail").unwrap();
    gate.open();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 10);
    assert_eq!(gate.reached(), 1);
    assert!(!rig.journal("r").contains("in_doubt"));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_once_step_that_says_it_did_not_happen_is_not_in_doubt_because_that_could_not_be_committed() {
    let (rig, gate, tries) = (Rig::new(), Gate::new(), Arc::new(AtomicU32::new(0)));
    let (held, counted) = (gate.clone(), tries.clone());
    let abide = rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
        let (held, counted) = (held.clone(), counted.clone());
        async move {
            let step = move |(): ()| {
                let (held, n) = (held.clone(), counted.fetch_add(1, Ordering::SeqCst));
                async move {
                    held.pass().await;
                    if n == 0 { Err(did_not_happen("refused at the door")) } else { Ok(n) }
                }
            };
            let soon = Retry::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
            ctx.step("pay", (), step).once().retry(soon).await
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    let mut progress = abide.progress();
    let sqlite = rig.sqlite();
    sqlite.execute_batch(FAIL).unwrap();
    gate.open();
    until_rebuilt(&mut progress, 2).await;
    sqlite.execute_batch("DROP TRIGGER fail").unwrap();
    let settled = within(run.settled()).await.unwrap();
    assert!(matches!(settled, Settled::Completed(_)), "{settled:?}");
    assert_eq!((tries.load(Ordering::SeqCst), run.report().unwrap().steps[0].attempts), (2, 2));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nothing_can_be_committed_for_long_the_run_stops_and_goes_on_when_told() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let held = gate.clone();
    let abide = rig.open().recover(false).workflow("work", move |ctx: Ctx, (): ()| {
        let held = held.clone();
        async move { ctx.step("work", (), held.step(5_u32)).await }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("work", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    let sqlite = rig.sqlite();
    sqlite.execute_batch(FAIL).unwrap();
    gate.open();
    let error = within(run.result::<u32>()).await.unwrap_err();
    assert_eq!(error.exit_code(), 8, "{error}");
    sqlite.execute_batch("DROP TRIGGER fail").unwrap();
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 5);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_committed_does_not_stop_the_others() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let held = gate.clone();
    let abide = rig.open().recover(false).workflow("work", move |ctx: Ctx, n: u32| {
        let held = held.clone();
        async move {
            let first: u32 = ctx.step("held", (), held.step(n)).await?;
            ctx.step("more", first, |n| async move { Ok::<_, Error>(n + 1) }).await
        }
    });
    let abide = abide.start().await.unwrap();
    let mut runs = Vec::new();
    for n in 0..20_u32 {
        runs.push(abide.run("work", &n).id(format!("r{n}")).await.unwrap());
    }
    gate.until_reached(20).await;
    let key: i64 = rig.sqlite().query_row("SELECT key FROM runs WHERE id = 'r7'", [], |row| row.get(0)).unwrap();
    let trigger = FAIL.replace("INSERT ON log", &format!("INSERT ON log WHEN NEW.run = {key}"));
    rig.sqlite().execute_batch(&trigger).unwrap();
    let mut progress = abide.progress();
    gate.open();
    for (n, run) in runs.iter().enumerate() {
        if n != 7 {
            assert_eq!(within(run.result::<u32>()).await.unwrap(), n as u32 + 1);
        }
    }
    while let Ok(told) = progress.try_recv() {
        if matches!(told.what, abide::ProgressKind::Replayed { .. }) {
            assert_eq!(&*told.run, "r7");
        }
    }
    rig.sqlite().execute_batch("DROP TRIGGER fail").unwrap();
    if within(runs[7].result::<u32>()).await.is_err() {
        let again = abide.resume("r7", false).await.unwrap();
        assert_eq!(within(again.result::<u32>()).await.unwrap(), 8);
    }
    until(|| runs[7].inspect().unwrap().status == "completed").await;
    abide.shutdown().await;
}
