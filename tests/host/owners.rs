//! Who may work on a run: a living owner's is refused, a stolen one fences it off, a dead one's is taken over with its children (DESIGN rules 4, 17).

use std::time::Duration;

use abide::engine::event::{Verdict, json};
use abide::prelude::*;
use abide::{Builder, Settled};

use super::rig::{Gate, Rig, until, within, worker, worker_folder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_owner_is_left_alone_and_a_stolen_run_is_fenced_off() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let open = || {
        let held = gate.clone();
        rig.open().recover(false).workflow("pay", move |ctx: Ctx, (): ()| {
            let held = held.clone();
            async move {
                let paid: u32 = ctx.step("pay", (), held.step(1_u32)).once().await?;
                ctx.step("after", paid, |n| async move { Ok::<_, Error>(n * 10) }).await
            }
        })
    };
    let (ours, theirs) = (open().start().await.unwrap(), open().start().await.unwrap());
    let run = ours.run("pay", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    assert!(matches!(theirs.resume("r", false).await, Err(HostError::Owned { pid, .. }) if pid == std::process::id()));
    assert_eq!(run.inspect().unwrap().epoch, 1);
    let stolen = theirs.resume("r", true).await.unwrap();
    let settled = within(stolen.settled()).await.unwrap();
    assert!(matches!(settled, Settled::Parked { waiting_for: Some("in_doubt"), .. }), "{settled:?}");
    // The first owner's attempt ends now: its outcome is fenced off, and its waiter hears of the end that the thief brings about.
    let waiter = tokio::spawn({
        let run = run.clone();
        async move { run.result::<u32>().await }
    });
    gate.open();
    stolen.resolve("pay", Verdict::Landed, Some(json(&2).unwrap()), None).await.unwrap();
    let stolen = theirs.resume("r", false).await.unwrap();
    assert_eq!(within(stolen.result::<u32>()).await.unwrap(), 20);
    assert_eq!(within(waiter).await.unwrap().unwrap(), 20);
    assert_eq!(gate.reached(), 1);
    ours.shutdown().await;
    theirs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_run_that_slept_is_followed_to_its_end() {
    let rig = Rig::new();
    let open = || {
        rig.open_at_clock().recover(false).workflow("nap", |ctx: Ctx, (): ()| async move {
            ctx.sleep(Duration::from_secs(3_600)).await?;
            Ok::<_, Error>(9)
        })
    };
    let (ours, theirs) = (open().start().await.unwrap(), open().start().await.unwrap());
    let run = ours.run("nap", &()).id("r").await.unwrap();
    rig.advance(Duration::from_secs(60));
    let waiter = tokio::spawn({
        let run = run.clone();
        async move { run.result::<u32>().await }
    });
    let stolen = theirs.resume("r", true).await.unwrap();
    rig.advance(Duration::from_secs(7_200));
    assert_eq!(within(stolen.result::<u32>()).await.unwrap(), 9);
    assert_eq!(within(waiter).await.unwrap().unwrap(), 9);
    ours.shutdown().await;
    theirs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_that_nobody_waits_for_any_more_goes_on() {
    let rig = Rig::new();
    let open = || {
        rig.open().recover(false).workflow("add", |ctx: Ctx, n: u32| async move {
            let more: u32 = ctx.signal("more").await?;
            ctx.step("add", n, move |n| async move { Ok::<_, Error>(n + more) }).await
        })
    };
    let ours = open().start().await.unwrap();
    ours.run("add", &1).id("r").await.unwrap();
    ours.shutdown().await;
    let theirs = open().start().await.unwrap();
    let run = theirs.get("r").unwrap();
    run.signal("more", &2).await.unwrap();
    // Polled once: it has asked for the run, and is dropped before it has it.
    assert!(futures_util::poll!(Box::pin(theirs.resume("r", false))).is_pending());
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 3);
    theirs.shutdown().await;
}

fn family(builder: Builder) -> Builder {
    builder
        .workflow("child", |ctx: Ctx, n: u32| async move {
            let go: u32 = ctx.signal("go").timeout(Duration::from_secs(36_000)).await?;
            ctx.step("add", n, move |n| async move { Ok::<_, Error>(n + go) }).await
        })
        .workflow("parent", |ctx: Ctx, (): ()| async move {
            let children = (0..3_u32).map(|n| ctx.child::<u32>("child", &n).id(format!("child{n}")));
            let all = futures_util::future::join_all(children).await;
            all.into_iter().sum::<Result<u32>>()
        })
        .workflow("wait", |ctx: Ctx, n: u32| async move {
            let go: u32 = ctx.signal("go").timeout(Duration::from_secs(36_000)).await?;
            Ok::<_, Error>(n + go)
        })
}

const WAITING: u32 = 300;

#[test]
fn worker_with_a_family() {
    let Some(folder) = worker_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = family(Abide::open(folder.join("runs.db"))).start().await.unwrap();
        for n in 0..WAITING {
            abide.run("wait", &n).id(format!("w{n}")).await.unwrap();
        }
        abide.run("parent", &()).id("p").await.unwrap();
        loop {
            // Until the process is killed.
            let _ = abide.run("wait", &0).await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_handle_takes_over_what_a_killed_process_left_with_all_its_children() {
    let rig = Rig::new();
    let abide = family(rig.open()).start().await.unwrap();
    let folder = rig.dir.path().to_owned();
    let killed = move || worker("host::owners::worker_with_a_family", &folder, Some("commit.after:420"));
    assert!(!tokio::task::spawn_blocking(killed).await.unwrap());
    let own = std::process::id();
    for n in 0..3 {
        let child = abide.get(&format!("child{n}")).unwrap();
        until(|| child.inspect().unwrap().owner_pid == Some(own)).await;
        child.signal_once("go", &100, "only").await.unwrap();
        child.signal_once("go", &700, "only").await.unwrap();
    }
    assert_eq!(within(abide.get("p").unwrap().result::<u32>()).await.unwrap(), 303);
    for n in 0..WAITING {
        let run = abide.get(&format!("w{n}")).unwrap();
        run.signal("go", &1).await.unwrap();
        assert_eq!(within(run.result::<u32>()).await.unwrap(), n + 1);
    }
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_of_a_dead_owners_run_is_never_refused_because_somebody_else_looks_at_that_owner() {
    let rig = Rig::new();
    let folder = rig.dir.path().to_owned();
    let killed = move || worker("host::owners::worker_with_a_family", &folder, Some("commit.after:420"));
    assert!(!tokio::task::spawn_blocking(killed).await.unwrap());
    let abide = std::sync::Arc::new(family(rig.open()).start().await.unwrap());
    let resumes = (0..WAITING).map(|n| {
        let abide = abide.clone();
        tokio::spawn(async move { abide.resume(&format!("w{n}"), false).await.map(|_| ()) })
    });
    for resumed in futures_util::future::join_all(resumes).await {
        resumed.unwrap().unwrap();
    }
}

/// The owner of a run leaves, and a message came while it was leaving: whoever was told of it then looks at it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_while_its_owner_leaves_is_not_forgotten() {
    let (rig, gate) = (Rig::new(), Gate::new());
    let open = || {
        let held = gate.clone();
        rig.open().workflow("wait", move |ctx: Ctx, (): ()| {
            let held = held.clone();
            async move {
                let paid = ctx.step("pay", (), held.step(1_u32)).once();
                let go = ctx.signal::<u32>("go").timeout(Duration::from_secs(36_000));
                let (paid, go) = futures_util::join!(paid, go);
                Ok::<_, Error>(paid? + go?)
            }
        })
    };
    let ours = open().start().await.unwrap();
    ours.run("wait", &()).id("r").await.unwrap();
    gate.until_reached(1).await;
    let theirs = open().start().await.unwrap();
    let run = theirs.get("r").unwrap();
    let leaving = tokio::spawn(ours.shutdown());
    // Time for it to begin to leave, and for the other to be told in vain; were it too little, the test would only see less.
    tokio::time::sleep(Duration::from_millis(150)).await;
    run.signal("go", &10).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    gate.open();
    leaving.await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 11);
    theirs.shutdown().await;
}
