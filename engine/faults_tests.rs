//! Tests that drive the machine alone: changed code, misuse, panics, and what reaches the journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::future::join;

use crate::event::Command;
use crate::sim::{Sim, double, fault_of, raw, survives};
use crate::{Ctx, Effect, Error, Fault, Machine, OpenWhat, Resources, Retry, Row, Seed, WorkflowFn, workflow};

fn gated(has_gate: bool) -> WorkflowFn {
    workflow(move |ctx: Ctx, (): ()| async move {
        let _: u32 = ctx.step("a", 1, double).await?;
        let version = if has_gate { ctx.version("new", 1..=2) } else { 1 };
        if version == 2 {
            let _: u32 = ctx.step("extra", 1, double).await?;
        }
        let _: u32 = ctx.step("b", 1, double).await?;
        Ok::<_, Error>(version)
    })
}

#[test]
fn a_version_gate_lets_old_and_new_runs_both_finish() {
    let mut old = Sim::new(gated(false), "null").unwrap();
    for _ in 0..2 {
        let completion = old.next().unwrap();
        if old.rows.len() < 2 {
            old.machine.deliver(completion, 2_000).unwrap();
            old.commit();
        }
    }
    old.workflow = gated(true);
    let old = old.run(true).unwrap();
    assert_eq!(old.outcome(), "1");
    let new = survives(|| Sim::new(gated(true), "null").unwrap());
    assert_eq!(new.outcome(), "2");
    assert!(new.rows.iter().any(|row| row.contains(r#""version":{"change":"new","value":2}"#)));
}

#[test]
fn changed_code_diverges_and_names_step_recorded_and_asked() {
    let at = |name: &'static str, input: u32, ms: u64| {
        workflow(move |ctx: Ctx, (): ()| async move {
            let _: u32 = ctx.step(name, input, double).await?;
            ctx.sleep(Duration::from_millis(ms)).await
        })
    };
    let recorded = Sim::new(at("a", 1, 50), "null").unwrap().run(false).unwrap();
    let replay_with = |flow: WorkflowFn| {
        let mut sim = Sim::new(flow, "null").unwrap();
        sim.rows.clone_from(&recorded.rows);
        sim.crash().unwrap_err().to_string()
    };
    assert_eq!(replay_with(at("a", 2, 50)), "step `a`: the journal recorded input 1, the code now asks for input 2");
    assert!(replay_with(at("b", 1, 50)).starts_with("step `b`: the journal recorded nothing"));
    assert!(
        replay_with(at("a", 1, 60))
            .contains("`sleep`: the journal recorded a sleep of 50 ms, the code now asks for a sleep of 60 ms")
            || replay_with(at("a", 1, 60)).contains("one of 60 ms")
    );
    let shorter = workflow(|ctx: Ctx, (): ()| async move { ctx.step("a", 1, double).await.map(|_: u32| ()) });
    assert!(replay_with(shorter).contains("that the run completed"));
}

#[test]
fn foreign_awaits_and_other_misuse_are_faults_not_hangs() {
    let never = workflow(|_: Ctx, (): ()| async move {
        std::future::pending::<()>().await;
        Ok::<_, Error>(())
    });
    assert!(matches!(fault_of(never), Fault::ForeignAwait { .. }));
    let spins = workflow(|_: Ctx, (): ()| async move {
        loop {
            futures_util::pending!();
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
            .await;
        }
        #[allow(unreachable_code)]
        Ok::<_, Error>(())
    });
    assert!(matches!(fault_of(spins), Fault::ForeignAwait { .. }));
    let twice = workflow(|ctx: Ctx, (): ()| async move {
        let (a, _) = join(ctx.step("same", 1, double), ctx.step("same", 1, double)).await;
        a
    });
    assert!(matches!(fault_of(twice), Fault::Ambiguous { .. }));
    let keyed = workflow(|ctx: Ctx, (): ()| async move {
        let (a, b) = join(ctx.step("same", 1, double).key("l"), ctx.step("same", 1, double).key("r")).await;
        Ok::<_, Error>(a? + b?)
    });
    assert_eq!(survives(|| Sim::new(keyed.clone(), "null").unwrap()).outcome(), "4");
    let bad_name = workflow(|ctx: Ctx, (): ()| async move { ctx.step("a/b", 1, double).await });
    assert!(matches!(fault_of(bad_name), Fault::BadRequest { .. }));
    let wrong_type = workflow(|ctx: Ctx, (): ()| async move {
        // JSON has no NaN: it is written as null, which is no number.
        ctx.step("x", 1, |_: u32| async move { Ok::<_, Error>(f32::NAN) }).await
    });
    let sim = Sim::new(wrong_type, "null").unwrap();
    assert!(matches!(sim.run(false).err(), Some(Fault::Unreadable { .. })));
}

#[test]
fn a_signal_that_does_not_fit_is_an_error_of_the_workflow() {
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let bad = ctx.signal::<String>("x").await.unwrap_err();
        Ok::<_, Error>((bad.message().contains("signal `x`"), ctx.signal::<u32>("x").await?))
    });
    let sim = survives(|| {
        let mut sim = Sim::new(flow.clone(), "null").unwrap();
        sim.signals = [("x".into(), raw("5")), ("x".into(), raw("6"))].into();
        sim
    });
    assert_eq!(sim.outcome(), "[true,6]");
}

#[test]
fn a_wake_from_another_thread_is_foreign() {
    let rings = Arc::new(AtomicU32::new(0));
    let flow = workflow(|ctx: Ctx, (): ()| async move {
        let (done, wait) = futures_channel(30);
        std::thread::spawn(done);
        let _ = join(wait, ctx.sleep(Duration::from_secs(5))).await;
        Ok::<_, Error>(())
    });
    let counted = rings.clone();
    let mut machine = Machine::new(
        "run",
        flow,
        Resources::default(),
        Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    );
    machine.start("w", Seed { nonce: [0; 16], generation: 0 }, raw("null"), 0).unwrap();
    while rings.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert!(matches!(machine.fault(), Some(Fault::ForeignAwait { .. })));
}

/// A future that only another thread can wake.
fn futures_channel(value: u32) -> (impl FnOnce() + Send, impl Future<Output = u32> + Send) {
    type Slot = Arc<std::sync::Mutex<(Option<u32>, Option<Waker>)>>;
    let slot: Slot = Arc::default();
    let other = slot.clone();
    let send = move || {
        loop {
            let mut guard = other.lock().unwrap();
            if let Some(waker) = guard.1.take() {
                guard.0 = Some(value);
                drop(guard);
                waker.wake();
                return;
            }
        }
    };
    let wait = std::future::poll_fn(move |cx| {
        let mut guard = slot.lock().unwrap();
        match guard.0 {
            Some(value) => std::task::Poll::Ready(value),
            None => {
                guard.1 = Some(cx.waker().clone());
                std::task::Poll::Pending
            }
        }
    });
    (send, wait)
}

#[test]
fn a_panic_fails_the_run_and_a_missing_runtime_is_foreign() {
    let panics = workflow(|ctx: Ctx, (): ()| async move {
        let n: u32 = ctx.step("a", 1, double).await?;
        assert!(n != 2, "two");
        Ok::<_, Error>(())
    });
    let sim = survives(|| Sim::new(panics.clone(), "null").unwrap());
    assert!(sim.outcome().contains("the workflow panicked: two"), "{}", sim.outcome());
    let tokio = workflow(|_: Ctx, (): ()| async move {
        let text = "there is no reactor running, must be called from the context of a Tokio 1.x runtime";
        std::panic::resume_unwind(Box::new(text));
        #[allow(unreachable_code)]
        Ok::<_, Error>(())
    });
    assert!(matches!(fault_of(tokio), Fault::ForeignAwait { .. }));
}

#[test]
fn options_of_a_step_reach_the_journal_and_the_stricter_effect_wins() {
    let with = |once: bool| {
        workflow(move |ctx: Ctx, (): ()| async move {
            let step = ctx.step("pay", 1, double).retry(Retry::attempts(2)).timeout(Duration::from_secs(3));
            if once { step.once().await } else { step.await }
        })
    };
    let mut sim = Sim::new(with(true), "null").unwrap();
    let row: Row = serde_json::from_str(&sim.rows[0]).unwrap();
    let Command::Step(step) = &row.deliveries[0].commands[0] else { panic!("{row:?}") };
    assert_eq!((step.effect, step.timeout_ms, step.retry.attempts), (Effect::Once, Some(3_000), Some(2)));
    sim.workflow = with(false);
    sim.crash().unwrap();
    let OpenWhat::Step(open) = sim.machine.open().remove(0).what else { panic!("no step") };
    assert_eq!(open.effect, Effect::Once);
}

#[test]
fn children_and_generations_end_as_commands() {
    let flow = workflow(|ctx: Ctx, n: u32| async move {
        let mut child = ctx.child::<u32>("other", &n);
        let polled = futures_util::poll!(&mut child).is_ready();
        ctx.status(&"half way");
        ctx.sleep(Duration::from_secs(1)).await?;
        drop(child);
        if polled { Ok(1) } else { ctx.continue_as_new(&(n + 1)) }
    });
    let mut sim = Sim::new(flow, "1").unwrap().run(true).unwrap();
    assert_eq!(sim.machine.take_status().unwrap().get(), "\"half way\"");
    assert!(sim.outcome().starts_with("Continued"));
    let all = sim.rows.join("\n");
    assert!(all.contains(r#"{"cancel":{"id":"other"}}"#) && all.contains(r#""continued":{"v":2}"#), "{all}");
}

#[test]
fn a_context_that_leaves_the_poll_is_a_fault() {
    let out = Arc::new(std::sync::Mutex::new(None));
    let kept = out.clone();
    let flow = workflow(move |ctx: Ctx, (): ()| {
        *kept.lock().unwrap() = Some(ctx.clone());
        async move { ctx.sleep(Duration::from_secs(1)).await }
    });
    let sim = Sim::new(flow, "null").unwrap();
    let ctx = out.lock().unwrap().take().unwrap();
    assert_eq!(ctx.random("x"), 0);
    assert!(matches!(sim.machine.fault(), Some(Fault::OutsidePoll { .. })));
}
