//! Tests that drive the machine alone, journal in, journal out: what workflows ask for, crashed before every completion.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};

use crate::sim::{Sim, double, raw, survives};
use crate::{Completion, Ctx, Error, Result, Wait, workflow};

#[test]
fn a_sequence_commits_once_per_step_and_once_more() {
    let flow = workflow(|ctx: Ctx, n: u32| async move {
        let a: u32 = ctx.step("a", n, double).await?;
        let b: u32 = ctx.step("b", a, double).await?;
        ctx.step("b", b, double).await
    });
    let sim = survives(|| Sim::new(flow.clone(), "1").unwrap());
    assert_eq!(sim.outcome(), "8");
    assert_eq!(sim.ran, ["a", "b", "b#2"]);
    assert_eq!(sim.rows.len(), 4, "N dependent steps cost N+1 commits");
}

#[test]
fn join_select_map_and_race_replay_whatever_the_order() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let (a, b) = join(ctx.step("x", 1, double), ctx.step("x", 2, double)).await;
        let all = join_all((0..40).map(|i| ctx.step("many", i, double))).await;
        let mapped = ctx
            .map("tasks", 0..16_u32, |ctx, i| async move {
                let first: u32 = ctx.step("inner", i, double).await?;
                ctx.step("inner", first, double).await
            })
            .concurrency(5)
            .await;
        let slow = ctx.sleep(Duration::from_secs(60));
        let first = match select(slow, ctx.step("quick", 5, double)).await {
            Either::Left(_) => 0,
            Either::Right((value, slow)) => {
                drop(slow);
                value?
            }
        };
        let (winner, _) =
            ctx.race("race", [30_u64, 10, 20], |ctx, s| async move { ctx.sleep(Duration::from_secs(s)).await }).await;
        let sum: u32 = all.into_iter().chain(mapped).collect::<Result<Vec<u32>>>()?.iter().sum();
        Ok::<_, Error>((a?, b?, sum, first, winner))
    });
    for last_first in [false, true] {
        let sim = survives(|| Sim { last_first, ..Sim::new(flow.clone(), "null").unwrap() });
        assert_eq!(sim.outcome(), "[2,4,2040,10,1]");
        let cancels = sim.rows.iter().map(|row| row.matches("\"cancel\"").count()).sum::<usize>();
        assert_eq!(cancels, 3, "the sleep and the two losers are cancelled in the journal");
        assert!(sim.rows.iter().any(|row| row.contains("tasks[15]/inner#2")));
    }
}

#[test]
fn signals_are_kept_delivered_once_and_time_out() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let first: String = ctx.signal("go").await?;
        let second: String = ctx.signal("go").timeout(Duration::from_secs(9)).await?;
        let third = ctx.signal::<String>("go").timeout(Duration::from_secs(9)).await;
        let late = third.unwrap_err();
        assert!(late.is_timeout());
        Ok::<_, Error>(format!("{first} {second}"))
    });
    let sim = survives(|| {
        let mut sim = Sim::new(flow.clone(), "null").unwrap();
        sim.signals = [("go".into(), raw("\"a\"")), ("go".into(), raw("\"b\""))].into();
        sim
    });
    assert_eq!(sim.outcome(), "\"a b\"");
}

#[test]
fn a_signal_that_reached_a_dropped_waiter_goes_to_the_next() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let mut early = ctx.signal::<u32>("n");
        let polled_once = futures_util::poll!(&mut early).is_ready();
        let _: u32 = ctx.step("other", 1, double).await?;
        let _: u32 = ctx.step("more", 1, double).await?;
        drop(early);
        let got: u32 = ctx.signal("n").await?;
        Ok::<_, Error>((polled_once, got))
    });
    let sim = survives(|| {
        let mut sim = Sim::new(flow.clone(), "null").unwrap();
        sim.signals = [("n".into(), raw("7"))].into();
        sim
    });
    assert_eq!(sim.outcome(), "[false,7]");
}

#[test]
fn an_approval_of_a_question_that_was_dropped_is_not_taken_for_another() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let mut first = ctx.signal::<bool>("may").ask(Wait::Approval, "pay 5");
        let _ = futures_util::poll!(&mut first);
        let _: u32 = ctx.step("other", 1, double).await?;
        drop(first);
        ctx.signal::<bool>("may").ask(Wait::Approval, "pay 500").await
    });
    let mut sim = Sim::new(flow, "null").unwrap();
    let allow = |name: &str| Completion::Signal { wait: Wait::Approval, name: name.into(), value: raw("true") };
    assert!(sim.machine.deliver(allow("may"), 2_000).unwrap());
    sim.commit();
    let step = sim.next().unwrap();
    assert!(sim.machine.deliver(step, 3_000).unwrap());
    sim.commit();
    assert!(sim.machine.outcome().is_none(), "nobody has allowed the second one");
    sim.crash().unwrap();
    assert!(sim.machine.waits_for(Wait::Approval, "may#2"));
}

#[test]
fn a_cancel_reaches_open_futures_once_and_leaves_room_for_clean_up() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let (a, b) = join(ctx.sleep(Duration::from_secs(50)), ctx.signal::<u32>("never")).await;
        assert!(a.is_err_and(|e| e.is_cancelled()) && ctx.cancelled());
        let _: u32 = ctx.step("clean up", 1, double).await?;
        b
    });
    let sim = survives(|| Sim { cancel_at: Some(1), ..Sim::new(flow.clone(), "null").unwrap() });
    assert!(sim.outcome().starts_with("Cancelled"), "{}", sim.outcome());
    assert_eq!(sim.ran, ["clean up"]);
}

#[test]
fn now_random_uuid_and_versions_are_the_same_on_replay() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let draws = (ctx.random("a"), ctx.random("a"), ctx.random("b"), ctx.uuid("a"));
        let before = ctx.now();
        let v = ctx.version("change", 1..=3);
        ctx.sleep(Duration::from_millis(500)).await?;
        let ms = ctx.now().duration_since(before)?.as_millis();
        Ok::<_, Error>((draws.0 != draws.1, draws, v, ctx.version("change", 1..=3), ms >= 500))
    });
    let sim = survives(|| Sim::new(flow.clone(), "null").unwrap());
    assert!(sim.outcome().ends_with(",3,3,true]"), "{}", sim.outcome());
}
