//! Runs that wait: messages at any moment and from anywhere, eviction and waking, clocks that jump, thousands asleep (DESIGN rules 4, 5, 10).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use abide::engine::event::{Verdict, Wait};
use abide::prelude::*;
use abide::{ErrorKind, Settled};
use futures_util::future::{Either, join_all, select};

use super::rig::{Gate, Rig, until, until_rebuilt, within};

const HOUR: Duration = Duration::from_secs(3_600);

async fn in_time(ctx: Ctx, (): ()) -> Result<String> {
    match ctx.signal::<String>("go").timeout(HOUR).await {
        Ok(sent) => Ok(sent),
        Err(late) if late.is_timeout() => Ok("late".to_owned()),
        Err(other) => Err(other),
    }
}

async fn first_of_both(ctx: Ctx, (): ()) -> Result<String> {
    match select(ctx.sleep(HOUR), ctx.signal::<String>("go")).await {
        Either::Left(_) => Ok("timer".to_owned()),
        Either::Right((sent, _)) => sent,
    }
}

/// A process slept through both: what came first by the clock comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_jump_of_the_clock_messages_and_due_times_come_in_the_order_of_time() {
    for (sent_after, with_time_out, with_timer) in [(HOUR / 2, "sent", "sent"), (HOUR * 2, "late", "timer")] {
        for restart in [true, false] {
            let rig = Rig::new();
            let open = || rig.open_at_clock().workflow("time-out", in_time).workflow("timer", first_of_both);
            let mut abide = open().recover(false).start().await.unwrap();
            abide.run("time-out", &()).id("a").await.unwrap();
            abide.run("timer", &()).id("b").await.unwrap();
            if restart {
                abide.shutdown().await;
                rig.advance(sent_after);
                abide = open().recover(false).start().await.unwrap();
                for id in ["a", "b"] {
                    abide.get(id).unwrap().signal("go", "sent").await.unwrap();
                }
                rig.advance(HOUR * 3);
                for id in ["a", "b"] {
                    abide.resume(id, false).await.unwrap();
                }
            } else {
                // The messages are committed at that time although nobody has looked at the clock yet.
                let at = 1_000_000 + sent_after.as_millis() as i64;
                let sql = "INSERT INTO inbox (run, kind, name, body, at_ms) SELECT key, 'signal', 'go', '\"sent\"', ?1 FROM runs";
                let conn = rig.sqlite();
                rig.advance(HOUR * 3);
                conn.execute(sql, [at]).unwrap();
            }
            for (id, expected) in [("a", with_time_out), ("b", with_timer)] {
                let result: String = within(abide.get(id).unwrap().result()).await.unwrap();
                if restart || expected != "sent" {
                    assert_eq!(result, expected, "{id} {sent_after:?} {restart}");
                }
            }
            abide.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_reach_an_evicted_run_early_late_and_once() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, (): ()| async move {
        let mut got = Vec::new();
        for name in ["first", "second", "third"] {
            got.push(ctx.signal::<u32>(name).timeout(HOUR * 100).await?);
        }
        let left = ctx.signal::<u32>("first").timeout(Duration::from_secs(1)).await;
        Ok::<_, Error>((got, left.is_err()))
    };
    let nothing = |_: Ctx, (): ()| async move { Ok::<_, Error>(()) };
    let abide = rig.open_at_clock().workflow("wait", flow).workflow("nothing", nothing).start().await.unwrap();
    let other = rig.open_at_clock().recover(false).start().await.unwrap();
    let mut progress = abide.progress();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    let from_elsewhere = other.get("r").unwrap();
    assert!(from_elsewhere.signal_once("second", &2, "b").await.unwrap());
    assert!(!from_elsewhere.signal_once("second", &22, "b").await.unwrap());
    // The third wakes it from its eviction, and is of no use yet.
    until(|| run.inspect().unwrap().status == "waiting").await;
    rig.advance(Duration::from_secs(60));
    let evicted = async {
        let mut n = 0;
        loop {
            n += 1;
            assert!(from_elsewhere.signal_once("third", &3, "c").await.unwrap() || n > 1);
            from_elsewhere.signal("nobody", &n).await.unwrap();
            // Others make its shard look at the clock when no message has just come.
            for _ in 0..4 {
                rig.advance(Duration::from_secs(60));
                tokio::time::sleep(Duration::from_millis(20)).await;
                abide.run("nothing", &()).await.unwrap().result::<()>().await.unwrap();
            }
        }
    };
    tokio::select! {
        () = evicted => unreachable!(),
        () = until_rebuilt(&mut progress, 2) => {}
    }
    from_elsewhere.signal_once("first", &1, "a").await.unwrap();
    from_elsewhere.signal_once("first", &11, "a").await.unwrap();
    until(|| run.report().unwrap().steps.len() == 4).await;
    assert!(!from_elsewhere.signal_once("first", &111, "a").await.unwrap());
    rig.advance(HOUR);
    assert_eq!(within(run.result::<(Vec<u32>, bool)>()).await.unwrap(), (vec![1, 2, 3], true));
    other.shutdown().await;
    abide.shutdown().await;
}

/// Whatever the moment: before the run parks, while it does, after it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signal_never_falls_between_parking_and_waking() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, n: u32| async move {
        let go: u32 = ctx.signal("go").await?;
        let more: u32 = ctx.step("more", n, |n| async move { Ok::<_, Error>(n) }).await?;
        Ok::<_, Error>(ctx.signal::<u32>("go").await? + go + more)
    };
    let abide = rig.open().workflow("wait", flow).start().await.unwrap();
    let works = (0..400_u32).map(|n| {
        let abide = &abide;
        async move {
            let run = abide.run("wait", &n).await.unwrap();
            for _ in 0..n % 7 {
                tokio::task::yield_now().await;
            }
            run.signal("go", &1).await.unwrap();
            if n % 2 == 0 {
                run.signal("go", &2).await.unwrap();
            } else {
                until(|| run.report().unwrap().steps.len() > 1).await;
                run.signal("go", &2).await.unwrap();
            }
            assert_eq!(within(run.result::<u32>()).await.unwrap(), n + 3);
        }
    });
    join_all(works).await;
    abide.shutdown().await;
}

/// What was sent while no process worked is taken up by the next that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_parked_run_waits_for_the_next_process() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("go").await };
    let abide = rig.open().workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    assert!(matches!(within(run.settled()).await.unwrap(), Settled::Parked { waiting_for: Some("signal"), .. }));
    abide.shutdown().await;
    let sender = rig.open().recover(false).start().await.unwrap();
    sender.get("r").unwrap().signal("go", &4).await.unwrap();
    sender.shutdown().await;
    let abide = rig.open().workflow("wait", flow).start().await.unwrap();
    assert_eq!(within(abide.get("r").unwrap().result::<u32>()).await.unwrap(), 4);
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_in_doubt_are_resolved_one_by_one_beside_a_timer() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, (): ()| async move {
        let lost = |n: u32| async move {
            match abide::step_attempt() {
                Some(1) => Err(Error::new(ErrorKind::Plain, "connection lost")),
                _ => Ok(n),
            }
        };
        let all = join_all((0..4_u32).map(|n| ctx.step("pay", n, lost).once()));
        let (paid, slept) = futures_util::future::join(all, ctx.sleep(HOUR)).await;
        slept?;
        Ok::<_, Error>(paid.into_iter().map(|one| one.map_err(|e| e.message().to_owned())).collect::<Vec<_>>())
    };
    let abide = rig.open_at_clock().workflow("pay", flow).start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    until(|| run.inspect().unwrap().waiting_for == Some("in_doubt")).await;
    assert_eq!(run.inspect().unwrap().until_ms, Some(1_000_000 + 3_600_000));
    let in_doubt = || run.report().unwrap().steps.iter().filter(|s| s.status == "in_doubt").count();
    assert_eq!(in_doubt(), 4);
    rig.advance(HOUR * 2);
    until(|| run.inspect().unwrap().until_ms.is_none()).await;
    assert!(matches!(within(run.settled()).await.unwrap(), Settled::Parked { waiting_for: Some("in_doubt"), .. }));
    let landed = abide::engine::event::json(&40).unwrap();
    run.resolve("pay", Verdict::Landed, Some(landed), None).await.unwrap();
    until(|| in_doubt() == 3).await;
    run.resolve("pay#2", Verdict::Fail, None, Some("never mind")).await.unwrap();
    until(|| in_doubt() == 2).await;
    assert!(matches!(run.resolve("pay", Verdict::Retry, None, None).await, Err(HostError::Step { .. })));
    run.resolve("pay#3", Verdict::Retry, None, None).await.unwrap();
    run.resolve("pay#4", Verdict::Retry, None, None).await.unwrap();
    let result: Vec<Result<u32, String>> = within(run.result()).await.unwrap();
    let retried: Vec<_> = result.iter().filter(|r| matches!(r, Ok(n) if *n < 4)).collect();
    assert!(result.contains(&Ok(40)) && result.contains(&Err("never mind".into())) && retried.len() == 2, "{result:?}");
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_sleep_and_wake() {
    const MANY: u32 = 3_000;
    let (rig, gate) = (Rig::new(), Gate::new());
    gate.open();
    let held = gate.clone();
    let abide = rig.open_at_clock().workflow("nap", move |ctx: Ctx, n: u32| {
        let held = held.clone();
        async move {
            ctx.sleep(HOUR * (1 + n % 3)).await?;
            ctx.step("awake", (), held.step(n)).await
        }
    });
    let abide = abide.start().await.unwrap();
    let runs = join_all((0..MANY).map(|n| async move { (n, abide_run(n)) })).await;
    let mut started = Vec::new();
    for (n, id) in runs {
        started.push((n, abide.run("nap", &n).id(id).await.unwrap()));
    }
    let asleep = |status: &str| abide.list(MANY).unwrap().iter().filter(|run| run.status == status).count() as u32;
    until(|| asleep("waiting") == MANY).await;
    assert_eq!(gate.reached(), 0);
    rig.advance(HOUR);
    until(|| asleep("completed") == MANY / 3).await;
    rig.advance(HOUR * 2);
    for (n, run) in &started {
        assert_eq!(within(run.result::<u32>()).await.unwrap(), *n);
    }
    assert_eq!(gate.reached(), MANY);
    abide.shutdown().await;
}

fn abide_run(n: u32) -> String {
    format!("nap-{n}")
}

/// An answer to a question that nobody asks stays in the inbox, and is no reason to take the run up again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_waits_for_leaves_the_run_parked() {
    let rig = Rig::new();
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("ask").ask(Wait::Answer, "how many?").await };
    let abide = rig.open().workflow("ask", flow).start().await.unwrap();
    let run = abide.run("ask", &()).id("r").await.unwrap();
    within(run.settled()).await.unwrap();
    run.answer(Wait::Answer, "another", &1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let info = run.inspect().unwrap();
    assert!(info.epoch <= 3 && info.status == "waiting", "{info:?}");
    run.answer(Wait::Answer, "ask", &2).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 2);
    abide.shutdown().await;
}

/// What only a person or a signal can move is parked, also if it is a child that waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_is_settled_when_all_that_its_children_wait_for_is_somebody() {
    let rig = Rig::new();
    let abide = rig
        .open()
        .workflow("child", |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("go").await })
        .workflow("middle", |ctx: Ctx, (): ()| async move { ctx.child::<u32>("child", &()).id("c").await })
        .workflow("parent", |ctx: Ctx, (): ()| async move {
            let nap = ctx.child::<u32>("child", &()).id("other");
            let (a, b) = futures_util::future::join(nap, ctx.child::<u32>("middle", &())).await;
            Ok::<_, Error>(a? + b?)
        });
    let abide = abide.start().await.unwrap();
    let run = abide.run("parent", &()).id("p").await.unwrap();
    for id in ["other", "c"] {
        let settled = within(run.settled()).await.unwrap();
        assert!(matches!(settled, Settled::Parked { waiting_for: Some("child"), .. }), "{settled:?}");
        abide.get(id).unwrap().signal("go", &4).await.unwrap();
        within(abide.get(id).unwrap().result::<u32>()).await.unwrap();
    }
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 8);
    abide.shutdown().await;
}

/// Messages of the same millisecond reach those who wait in the order of the inbox, also when one of them made the others' waiters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_the_same_time_come_in_the_order_in_which_they_were_sent() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let held = gate.clone();
    let flow = move |ctx: Ctx, (): ()| {
        let held = held.clone();
        async move {
            ctx.step("held", (), held.step(())).await?;
            ctx.signal::<u32>("go").await?;
            let (Either::Left((first, _)) | Either::Right((first, _))) =
                select(ctx.signal::<u32>("a"), ctx.signal::<u32>("b")).await;
            first
        }
    };
    let abide = rig.open_at_clock().workflow("flow", flow).start().await.unwrap();
    let run = abide.run("flow", &()).await.unwrap();
    gate.until_reached(1).await;
    for (name, value) in [("b", 2), ("go", 0), ("a", 1)] {
        run.signal(name, &value).await.unwrap();
    }
    gate.open();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 2);
    abide.shutdown().await;
}

/// A message that comes in the moment in which its run is let out of memory is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::await_holding_lock, reason = "that is what holds the shards")]
async fn a_message_that_meets_an_eviction_is_delivered() {
    let rig = Rig::new();
    let (entered, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(RwLock::new(())));
    let (count, closed) = (entered.clone(), open.clone());
    let hold = move |_: Ctx, block: bool| {
        let (count, closed) = (count.clone(), closed.clone());
        async move {
            if block {
                count.fetch_add(1, Ordering::SeqCst);
                drop(closed.read().unwrap());
            }
            Ok::<_, Error>(())
        }
    };
    let abide = rig.open_at_clock().workflow("hold", hold).workflow("wait", first_of_both).start().await.unwrap();
    let abide = Arc::new(abide);
    let run = abide.run("wait", &()).await.unwrap();
    for _ in 0..16 {
        within(abide.run("hold", &false).await.unwrap().result::<()>()).await.unwrap();
    }
    // Every shard stands still while the clock moves on and the message is sent.
    let held = open.write().unwrap();
    let blocked: Vec<_> = (0..16)
        .map(|_| {
            let abide = abide.clone();
            tokio::spawn(async move { abide.run("hold", &true).await.map(|_| ()) })
        })
        .collect();
    let shards = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    until(|| entered.load(Ordering::SeqCst) >= shards).await;
    rig.advance(Duration::from_secs(5));
    run.signal("go", "sent").await.unwrap();
    drop(held);
    assert_eq!(within(run.result::<String>()).await.unwrap(), "sent");
    for one in blocked {
        within(one).await.unwrap().unwrap();
    }
}
