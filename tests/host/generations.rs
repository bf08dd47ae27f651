//! `continue_as_new` while something of the old generation is still open: nothing of it reaches the new one, and nothing sent is lost (DESIGN rule 18).

use std::time::Duration;

use abide::engine::Wait;
use abide::prelude::*;
use futures_util::future::{Either, select};

use super::rig::{Gate, Rig, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_that_end_in_their_first_turn_follow_each_other() {
    let rig = Rig::new();
    let count = |ctx: Ctx, n: u32| async move { if n < 50 { ctx.continue_as_new(&(n + 1)) } else { Ok(n) } };
    let abide = rig.open().workflow("count", count).start().await.unwrap();
    let run = abide.run("count", &0).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 50);
    let report = run.report().unwrap();
    assert_eq!((report.run.generation, report.run.output.unwrap().get()), (50, "50"));
    assert!(abide.verify(None).unwrap().broken.is_empty());
    abide.shutdown().await;
}

/// What was sent before a generation began is waiting for it, also if the generation begins by waiting for nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_begins_by_waiting_gets_what_was_sent_before() {
    let rig = Rig::new();
    let gate = Gate::new();
    let held = gate.clone();
    let flow = move |ctx: Ctx, again: bool| {
        let held = held.clone();
        async move {
            if again {
                return ctx.signal::<u32>("early").await;
            }
            ctx.step("held", (), held.step(())).await?;
            ctx.continue_as_new(&true)
        }
    };
    let abide = rig.open().workflow("flow", flow).start().await.unwrap();
    let run = abide.run("flow", &false).await.unwrap();
    gate.until_reached(1).await;
    run.signal("early", &7).await.unwrap();
    // By then everything in the process has seen the message, so that nothing takes it for new.
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.open();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 7);
    abide.shutdown().await;
}

fn may(run: &Run) -> abide::StepReport {
    run.report().unwrap().steps.into_iter().find(|step| step.id == "may").unwrap()
}

/// An approval was given for what the old generation asked: the new one asks something else under the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_is_bound_to_what_was_shown() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, cents: u32| async move {
        let ask = ctx.signal::<bool>("may").ask(Wait::Approval, &cents);
        match select(ask, ctx.signal::<u32>("instead")).await {
            Either::Left((allowed, _)) => allowed.map(|allowed| (cents, allowed)),
            Either::Right((next, _)) => ctx.continue_as_new(&next?),
        }
    };
    let abide = rig.open().workflow("pay", flow).start().await.unwrap();
    let run = abide.run("pay", &5).id("p").await.unwrap();
    within(run.settled()).await.unwrap();
    abide.shutdown().await;
    let abide = rig.open().recover(false).start().await.unwrap();
    let run = abide.get("p").unwrap();
    let shown = may(&run);
    assert!(run.signal_once("instead", &500, "s").await.unwrap());
    assert!(run.answer_shown(&shown, &true, "a").await.unwrap());
    abide.shutdown().await;
    let abide = rig.open().workflow("pay", flow).start().await.unwrap();
    let run = abide.resume("p", false).await.unwrap();
    until(|| run.report().unwrap().run.generation == 1).await;
    let parked = within(run.settled()).await.unwrap();
    assert!(matches!(parked, abide::Settled::Parked { waiting_for: Some("approval"), .. }), "{parked:?}");
    let refused = run.answer_shown(&shown, &true, "b").await.unwrap_err().to_string();
    assert!(refused.contains("does not ask any more what it asked"), "{refused}");
    let shown = may(&run);
    assert!(run.answer_shown(&shown, &true, "c").await.unwrap());
    assert_eq!(within(run.result::<(u32, bool)>()).await.unwrap(), (500, true));
    abide.shutdown().await;
}

/// What a step of this id gave in an old generation is not what the new one gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_of_an_old_generation_that_ends_late_is_nobodys() {
    let (rig, slow, quick, new) = (Rig::new(), Gate::new(), Gate::new(), Gate::new());
    let (began, gates) = (Gate::new(), (slow.clone(), quick.clone(), new.clone()));
    began.open();
    let begun = began.clone();
    let abide = rig.open().workflow("loops", move |ctx: Ctx, generation: u32| {
        let ((slow, quick, new), begun) = (gates.clone(), begun.clone());
        async move {
            if generation == 1 {
                begun.pass().await;
                return ctx.step("work", (), new.step(2_u32)).await;
            }
            let work = ctx.step("work", (), slow.step(1_u32));
            match select(work, ctx.step("quick", (), quick.step(0_u32))).await {
                Either::Left((work, _)) => work,
                Either::Right(_) => ctx.continue_as_new(&1),
            }
        }
    });
    let abide = abide.start().await.unwrap();
    let run = abide.run("loops", &0).await.unwrap();
    slow.until_reached(1).await;
    quick.until_reached(1).await;
    // While its commit is held, the new generation has begun and the old one's attempt ends.
    let held = rig.hold_commits();
    quick.open();
    began.until_reached(1).await;
    slow.open();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    drop(held);
    new.until_reached(1).await;
    new.open();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 2);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_old_generations_child_is_not_that_of_the_new_ones() {
    let rig = Rig::new();
    let abide = rig
        .open()
        .workflow("child", |ctx: Ctx, n: u32| async move {
            let told = ctx.signal::<u32>("go").await;
            Ok::<_, Error>(told.unwrap_or(1) + n)
        })
        .workflow("parent", |ctx: Ctx, generation: u32| async move {
            if generation == 1 {
                return ctx.child::<u32>("child", &20).id("new").await;
            }
            match select(ctx.child::<u32>("child", &10).id("old"), ctx.signal::<u32>("next")).await {
                Either::Left((child, _)) => child,
                Either::Right(_) => ctx.continue_as_new(&1),
            }
        });
    let abide = abide.start().await.unwrap();
    let run = abide.run("parent", &0).id("p").await.unwrap();
    // A child that is dropped in the turn that asks for it is never begun.
    until(|| abide.get("old").is_ok()).await;
    run.signal("next", &0).await.unwrap();
    until(|| abide.get("old").is_ok_and(|old| old.inspect().unwrap().status == "completed")).await;
    until(|| abide.get("new").is_ok()).await;
    abide.get("new").unwrap().signal("go", &2).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 22);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_and_a_signal_that_come_as_a_generation_ends_reach_the_next() {
    let rig = Rig::new();
    let open = || {
        rig.open_at_clock().recover(false).workflow("loops", |ctx: Ctx, generation: u32| async move {
            ctx.sleep(Duration::from_secs(3_600)).await?;
            if generation == 0 {
                return ctx.continue_as_new(&1);
            }
            ctx.signal::<u32>("late").await
        })
    };
    for (id, cancel) in [("cancelled", true), ("signalled", false)] {
        let abide = open().start().await.unwrap();
        abide.run("loops", &0).id(id).await.unwrap();
        abide.shutdown().await;
        rig.advance(Duration::from_secs(7_200));
        let abide = open().start().await.unwrap();
        let run = abide.get(id).unwrap();
        if cancel {
            run.cancel().await.unwrap()
        } else {
            run.signal("late", &5).await.unwrap()
        }
        rig.advance(Duration::from_secs(7_200));
        let run = abide.resume(id, false).await.unwrap();
        until(|| run.report().unwrap().run.generation == 1).await;
        rig.advance(Duration::from_secs(7_200));
        let result = within(run.result::<u32>()).await;
        if cancel {
            assert!(matches!(result, Err(HostError::Cancelled { .. })), "{result:?}");
        } else {
            assert_eq!(result.unwrap(), 5);
        }
        abide.shutdown().await;
    }
}
