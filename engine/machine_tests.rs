//! Tests that drive the machine alone: journal in, journal out. A tiny host in memory answers every command at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use serde_json::value::RawValue;

use super::*;
use crate::event::Command;
use crate::{Effect, ErrorKind, Retry, workflow};

/// A host in memory: its journal is text, its clock a counter, its order of completions a choice.
struct Sim {
    workflow: WorkflowFn,
    machine: Machine,
    rows: Vec<String>,
    clock: i64,
    signals: VecDeque<(String, Json)>,
    cancel_at: Option<usize>,
    last_first: bool,
    ran: Vec<String>,
}

fn raw(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn machine(workflow: &WorkflowFn) -> Machine {
    Machine::new("run", workflow.clone(), Resources::default(), Arc::new(|| {}))
}

impl Sim {
    fn new(workflow: WorkflowFn, input: &str) -> Result<Self, Fault> {
        let mut sim = Self {
            machine: machine(&workflow),
            workflow,
            rows: Vec::new(),
            clock: 1_000,
            signals: VecDeque::new(),
            cancel_at: None,
            last_first: false,
            ran: Vec::new(),
        };
        sim.machine.start("w", Seed { nonce: [3; 16], generation: 0 }, raw(input), sim.clock)?;
        sim.commit();
        Ok(sim)
    }

    fn commit(&mut self) {
        if let Some(row) = self.machine.take_row() {
            self.rows.push(serde_json::to_string(&row).unwrap());
        }
    }

    fn crash(&mut self) -> Result<(), Fault> {
        self.machine = machine(&self.workflow);
        for row in &self.rows {
            self.machine.replay(serde_json::from_str(row).unwrap())?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        if self.cancel_at == Some(self.rows.len()) {
            self.cancel_at = None;
            return Some(Completion::Cancel);
        }
        if let Some((name, _)) = self.signals.front()
            && self.machine.waits_for(Wait::Signal, name)
        {
            let (name, value) = self.signals.pop_front()?;
            return Some(Completion::Signal { wait: Wait::Signal, name, value });
        }
        let open = self.machine.open();
        let steps = open.iter().filter(|o| matches!(o.what, OpenWhat::Step(_)));
        let step =
            if self.last_first { steps.last() } else { open.iter().find(|o| matches!(o.what, OpenWhat::Step(_))) };
        if let Some(Open { id, what: OpenWhat::Step(step) }) = step {
            self.ran.push(id.to_string());
            let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();
            let out = pollster(AttemptFutureOf(step, key));
            return Some(match out {
                Ok(out) => Completion::Done { id: id.clone(), out },
                Err(error) => Completion::Failed { id: id.clone(), error },
            });
        }
        let due = open.iter().filter_map(|o| match &o.what {
            OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. } => Some((*due, o)),
            _ => None,
        });
        let (due, first) = due.min_by_key(|(due, _)| *due)?;
        self.clock = self.clock.max(due);
        Some(match first.what {
            OpenWhat::Timer { .. } => Completion::Fired { id: first.id.clone() },
            _ => Completion::Failed { id: first.id.clone(), error: Error::new(ErrorKind::TimedOut, "too late") },
        })
    }

    /// Runs to the end, crashing before every completion if asked.
    fn run(mut self, crash: bool) -> Result<Self, Fault> {
        while self.machine.outcome().is_none() {
            if crash {
                self.crash()?;
            }
            self.clock += 7;
            let Some(completion) = self.next() else { panic!("stuck: {:#?}", self.rows) };
            assert!(self.machine.deliver(completion, self.clock)?);
            self.commit();
        }
        Ok(self)
    }

    fn outcome(&self) -> String {
        match self.machine.outcome().unwrap() {
            Outcome::Completed(crate::Payload::Inline(value)) => value.get().to_owned(),
            other => format!("{other:?}"),
        }
    }
}

#[allow(non_snake_case)]
fn AttemptFutureOf(step: &StepAsked, key: Arc<str>) -> crate::AttemptFuture {
    crate::AttemptFuture::start(&step.run, crate::Attempt { key, number: 1 })
}

fn pollster<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut cx = std::task::Context::from_waker(Waker::noop());
    loop {
        if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut cx) {
            return out;
        }
    }
}

/// The same journal and result, whether it crashed before every completion or not.
fn survives(make: impl Fn() -> Sim) -> Sim {
    let whole = make().run(false).unwrap();
    let crashed = make().run(true).unwrap();
    assert_eq!(whole.rows, crashed.rows);
    assert_eq!(whole.outcome(), crashed.outcome());
    assert_eq!(whole.ran, crashed.ran, "a completed step ran again");
    whole
}

async fn double(n: u32) -> Result<u32> {
    Ok(n * 2)
}

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

fn fault_of(flow: WorkflowFn) -> Fault {
    match Sim::new(flow, "null") {
        Err(fault) => fault,
        Ok(sim) => match sim.run(false) {
            Err(fault) => fault,
            Ok(sim) => panic!("no fault: {}", sim.outcome()),
        },
    }
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
        let text: String = ctx.signal("x").await?;
        Ok::<_, Error>(text)
    });
    let mut sim = Sim::new(wrong_type, "null").unwrap();
    sim.signals = [("x".into(), raw("5"))].into();
    assert!(matches!(sim.run(false).err(), Some(Fault::Unreadable { .. })));
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
        if n == 2 {
            panic!("two");
        }
        Ok::<_, Error>(())
    });
    let sim = survives(|| Sim::new(panics.clone(), "null").unwrap());
    assert!(sim.outcome().contains("the workflow panicked: two"), "{}", sim.outcome());
    let tokio = workflow(|_: Ctx, (): ()| async move {
        if true {
            panic!("there is no reactor running, must be called from the context of a Tokio 1.x runtime");
        }
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
