//! How much a run may hold: what is over a limit is refused or stops the run, which goes on once the limit is raised.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abide::prelude::*;
use abide::{Builder, Limits, Settled};

use super::rig::{Rig, within};

fn limited(rig: &Rig, limits: Limits, calls: &Arc<AtomicU32>) -> Builder {
    let counted = calls.clone();
    let counting = move |ctx: Ctx, (n, once): (u32, bool)| {
        let counted = counted.clone();
        async move {
            let mut sum = 0;
            for i in 0..n {
                let counted = counted.clone();
                let add = move |i: u32| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    async move { Ok::<_, Error>(i) }
                };
                let step = ctx.step("add", i, add);
                sum += if once { step.once().await? } else { step.await? };
            }
            Ok::<u32, Error>(sum)
        }
    };
    let local = |ctx: Ctx, n: u32| async move {
        for i in 0..n {
            ctx.step("local", i, |i| async move { Ok::<_, Error>(i) }).local().await?;
        }
        Ok::<u32, Error>(n)
    };
    let large = |ctx: Ctx, (size, input): (usize, bool)| async move {
        let text = if input { "x".repeat(size) } else { String::new() };
        let made = ctx.step("make", text, move |_| async move { Ok::<_, Error>("y".repeat(size)) }).once().await?;
        let heard: String = ctx.signal("word").await?;
        Ok::<usize, Error>(made.len() + heard.len())
    };
    rig.open().limits(limits).workflow("counting", counting).workflow("local", local).workflow("large", large)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_too_many_events_stops_and_goes_on_when_the_limit_is_raised() {
    for once in [false, true] {
        let (rig, calls) = (Rig::new(), Arc::new(AtomicU32::new(0)));
        let few = Limits { events: 50, ..Limits::default() };
        let abide = limited(&rig, few, &calls).start().await.unwrap();
        let run = abide.run("counting", &(100, once)).id("r").await.unwrap();
        for _ in 0..2 {
            let Settled::Stopped(error @ HostError::Environment { .. }) = run.settled().await.unwrap() else {
                panic!("it did not stop")
            };
            assert!(error.to_string().contains("the limit is 50") && error.to_string().contains("[limits]"), "{error}");
            assert_eq!((error.exit_code(), run.inspect().unwrap().status), (8, "interrupted"));
            let again = abide.resume("r", false).await.map(drop).unwrap_err();
            assert!(again.to_string().contains("the limit is 50"), "{again}");
            // Who waits for its end only now hears of it, too.
            let late = within(run.result::<u32>()).await.unwrap_err();
            assert!(late.to_string().contains("the limit is 50"), "{late}");
        }
        abide.shutdown().await;
        let abide = limited(&rig, Limits::default(), &calls).start().await.unwrap();
        let run = abide.resume("r", false).await.unwrap();
        assert_eq!(run.result::<u32>().await.unwrap(), 4950);
        assert_eq!(calls.load(Ordering::SeqCst), 100, "no step ran twice");
        assert!(abide.verify(None).unwrap().broken.is_empty());
        abide.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_steps_without_an_end_meet_the_limit_too() {
    let (rig, calls) = (Rig::new(), Arc::new(AtomicU32::new(0)));
    let abide = limited(&rig, Limits { events: 5_000, ..Limits::default() }, &calls).start().await.unwrap();
    let run = abide.run("local", &u32::MAX).await.unwrap();
    assert!(matches!(run.settled().await.unwrap(), Settled::Stopped(HostError::Environment { .. })));
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_the_limit_named() {
    let (rig, calls) = (Rig::new(), Arc::new(AtomicU32::new(0)));
    let small = Limits { payload_bytes: 1_000, ..Limits::default() };
    let abide = limited(&rig, small, &calls).start().await.unwrap();
    let long = "x".repeat(2_000);
    let told = |error: HostError| {
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("the limit is 1000") && error.to_string().contains("payload_mib"),
            "{error}"
        );
    };
    told(abide.run("large", &long).await.map(drop).unwrap_err());
    let run = abide.run("large", &(10, false)).await.unwrap();
    told(run.signal("word", &long).await.unwrap_err());
    run.signal("word", "short").await.unwrap();
    assert_eq!(run.result::<usize>().await.unwrap(), 15);
    let run = abide.run("large", &(2_000, false)).await.unwrap();
    let error = run.result::<usize>().await.unwrap_err().to_string();
    assert!(
        error.contains("was carried out, but its result was dropped") && error.contains("the limit is 1000"),
        "{error}"
    );
    let run = abide.run("large", &(2_000_000, true)).await;
    let error = run.map(drop).unwrap_err().to_string();
    assert!(error.contains("give steps less at once"), "{error}");
    abide.shutdown().await;
}
