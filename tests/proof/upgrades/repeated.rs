//! `Builder::check_replay`: code that does not repeat itself is noticed while it is tested, before anything of it is kept; code that does
//! goes on as ever. It cannot notice what happens to repeat itself within one process.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use abide::prelude::*;
use futures_util::future::join_all;

use super::acts::act;
use super::{Desk, flows, stories, within};

/// Runs a workflow whose steps depend on what this draws; its exit code and what is said.
async fn checked(draw: impl Fn() -> u64 + Send + Sync + 'static, at_once: bool, check: bool) -> (u8, String) {
    let (desk, draw) = (Desk::new(), Arc::new(draw));
    let flow = move |ctx: Ctx, (): ()| {
        let draw = draw.clone();
        async move {
            let plus = |n: u64| async move { Ok::<u64, Error>(n + 1) };
            if !at_once {
                ctx.step("first", 0, plus).await?;
            }
            ctx.step("drawn", draw(), plus).await?;
            ctx.step("last", 0, plus).await
        }
    };
    let abide = desk.open().check_replay(check).workflow("flow", flow).start().await.unwrap();
    let run = within(async { abide.run("flow", &()).await }).await.unwrap();
    let said = match within(run.result::<u64>()).await {
        Ok(_) => (0, String::new()),
        Err(error) => (error.exit_code(), format!("{error}; {}", error.help())),
    };
    if said.0 == 5 {
        assert!(
            run.report().unwrap().steps.iter().all(|step| step.id != "drawn"),
            "what does not repeat itself was kept"
        );
    }
    abide.shutdown().await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_does_not_repeat_itself_is_noticed() {
    let began = Instant::now();
    let clock = move || began.elapsed().as_nanos() as u64;
    let hash_order = || *(0..1_000_u64).collect::<HashSet<_>>().iter().next().unwrap() + 1_000 * random();
    let global = || {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        COUNT.fetch_add(1, Ordering::SeqCst)
    };
    for (what, said) in [
        ("a clock", checked(clock, false, true).await),
        ("a clock, at once", checked(clock, true, true).await),
        ("a HashSet's order", checked(hash_order, false, true).await),
        ("a global", checked(global, false, true).await),
    ] {
        assert_eq!(said.0, 5, "{what}: {said:?}");
        for words in ["step `drawn`", "replayed at once", "ctx.now()"] {
            assert!(said.1.contains(words), "{what}: {said:?}");
        }
    }
    assert_eq!(checked(global, false, false).await.0, 0, "unchecked, it is noticed by nobody");
    assert_eq!(checked(|| 1, true, true).await.0, 0);
}

/// What a hasher with keys of its own says.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(1) % 1_000_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_repeats_itself_goes_on_as_ever() {
    let mut held = 0;
    // The one that breaks a rule is told apart by it.
    for story in stories::all().into_iter().filter(|story| story.name != "diverged") {
        let desk = Desk::new();
        let builder = flows::register(desk.open()).resource(Arc::new(flows::Recording(desk.gate.clone())));
        let abide = builder.check_replay(true).start().await.unwrap();
        for one in &story.before {
            act(&desk, &abide, one).await;
        }
        let diverged = abide.list(99).unwrap().into_iter().find(|run| run.status == "diverged");
        assert!(diverged.is_none(), "{}: {diverged:?}", story.name);
        desk.gate.send_replace(true);
        abide.shutdown().await;
        held += 1;
    }
    assert!(held > 20, "only {held}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_that_come_together_come_in_any_order() {
    let flow = |ctx: Ctx, (): ()| async move {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let one = |i: u64| {
            let (ctx, order) = (ctx.clone(), order.clone());
            async move {
                ctx.step("one", i, |i| async move { Ok::<u64, Error>(i) }).await.unwrap();
                order.lock().unwrap().push(i);
            }
        };
        join_all((0..16).map(one)).await;
        let order = order.lock().unwrap().clone();
        Ok::<Vec<u64>, Error>(order)
    };
    let mut orders = HashSet::new();
    for _ in 0..10 {
        let desk = Desk::new();
        let abide = desk.open().check_replay(true).workflow("flow", flow).start().await.unwrap();
        let run = abide.run("flow", &()).await.unwrap();
        orders.insert(within(run.result::<Vec<u64>>()).await.unwrap());
        assert!(within(abide.replay(run.id())).await.unwrap().is_same());
        abide.shutdown().await;
    }
    assert!(orders.len() > 1, "{orders:?}");
}
