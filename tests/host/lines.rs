//! Lines at services: whoever stands in one goes as soon as there is room, whatever became of those before. The clock stands still, so that
//! nobody goes because of having looked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use abide::engine::{Rates, step_may_leave};
use abide::prelude::*;

use super::admissions::{Service, admission, caller, opened, start};
use super::rig::{Gate, Rig, until, within};

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// Waits until so many runs stand in line.
async fn until_in_line(runs: &[Run], count: usize) {
    within(async {
        while runs.iter().filter(|run| run.inspect().unwrap().waiting_for == Some("rate_limit")).count() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Places that are given back together are all taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_go_as_there_is_room_for() {
    let rig = Rig::new();
    let (first, second) = (Gate::new(), Gate::new());
    let service = Service::default();
    let rates = Rates { concurrency: Some(5), ..Rates::default() };
    let asks = move |_: &str| admission(rates, 0, Vec::new());
    let builder = rig
        .open_at_clock()
        .workflow("caller", caller(&service, &first, &rig.clock, asks, 1))
        .workflow("later", caller(&service, &second, &rig.clock, asks, 1));
    let (abide, _) = start(builder, &NAMES[..5]).await;
    first.until_reached(5).await;
    let mut later = Vec::new();
    for name in &NAMES[5..] {
        later.push(abide.run("later", *name).id(*name).await.unwrap());
    }
    until_in_line(&later, 7).await;
    first.open();
    second.until_reached(5).await;
    assert_eq!(&service.names()[5..].iter().map(String::as_str).max(), &Some("j"), "first come, first served");
    second.open();
    for run in &later {
        within(run.result::<u64>()).await.unwrap();
    }
    abide.shutdown().await;
}

/// A service of which nobody knows anything is asked by a few at first, and by the others as it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_answers_is_asked_by_those_who_wait() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let asks = |_: &str| admission(Rates::default(), 0, Vec::new());
    let builder = rig.open_at_clock().workflow("caller", caller(&service, &gate, &rig.clock, asks, 1));
    let (abide, runs) = start(builder, &NAMES).await;
    gate.until_reached(8).await;
    until_in_line(&runs, 4).await;
    assert_eq!(service.names().len(), 8);
    gate.open();
    for run in &runs {
        within(run.result::<u64>()).await.unwrap();
    }
    abide.shutdown().await;
}

/// A run that is paused or cancelled in line is not waited for; the paused one has its turn later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_line_is_not_waited_for() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let rates = Rates { concurrency: Some(1), ..Rates::default() };
    let builder = rig
        .open_at_clock()
        .workflow("caller", caller(&service, &gate, &rig.clock, move |_| admission(rates, 0, Vec::new()), 1));
    let (abide, mut runs) = start(builder, &NAMES[..1]).await;
    gate.until_reached(1).await;
    for name in &NAMES[1..5] {
        runs.push(abide.run("caller", *name).id(*name).await.unwrap());
        until_in_line(&runs, runs.len() - 1).await;
    }
    runs[1].pause().await.unwrap();
    within(async {
        while runs[1].inspect().unwrap().status != "paused" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    runs[2].cancel().await.unwrap();
    within(runs[2].result::<u64>()).await.unwrap_err();
    gate.open();
    for run in [&runs[0], &runs[3], &runs[4]] {
        within(run.result::<u64>()).await.unwrap();
    }
    abide.resume("b", false).await.unwrap();
    within(runs[1].result::<u64>()).await.unwrap();
    assert_eq!(service.names(), ["a", "d", "e", "b"]);
    let open = "SELECT count(*) FROM admissions WHERE ended_ms IS NULL";
    assert_eq!(rig.sqlite().query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    abide.shutdown().await;
}

/// Another process's places, too, are taken as soon as they are free, by those who wait here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_go_from_process_to_process() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let rates = Rates { concurrency: Some(1), ..Rates::default() };
    let work = |gate: &Gate| {
        rig.open_at_clock()
            .recover(false)
            .workflow("caller", caller(&service, gate, &rig.clock, move |_| admission(rates, 0, Vec::new()), 1))
    };
    let (one, first) = start(work(&gate), &NAMES[..1]).await;
    gate.until_reached(1).await;
    let (two, second) = start(work(&opened(&Gate::new())), &NAMES[1..4]).await;
    until_in_line(&second, 3).await;
    gate.open();
    within(first[0].result::<u64>()).await.unwrap();
    for run in &second {
        within(run.result::<u64>()).await.unwrap();
    }
    until(|| service.names().len() == 4).await;
    assert_eq!(service.names(), ["a", "b", "c", "d"]);
    one.shutdown().await;
    two.shutdown().await;
}

/// A request that has not left soon after its place was given would be counted in another minute by its service: it takes another place, and the
/// first counts for nobody. Where nothing is ever in time it leaves all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_leave_in_time_asks_for_another_place() {
    for (late, tries) in [(2, 3), (1_000, 5)] {
        let rig = Rig::new();
        let started = Arc::new(AtomicU32::new(0));
        let rates = Rates { requests: Some(1), ..Rates::default() };
        let counted = started.clone();
        let workflow = move |ctx: Ctx, (): ()| {
            let started = counted.clone();
            let call = move |()| {
                let nth = started.fetch_add(1, Ordering::SeqCst);
                async move {
                    if nth < late {
                        tokio::time::sleep(Duration::from_millis(600)).await;
                    }
                    step_may_leave()?;
                    Ok::<_, abide::Error>(10)
                }
            };
            async move { ctx.step("call", (), call).admission(admission(rates, 0, Vec::new())).await }
        };
        let abide = rig.open_at_clock().workflow("late", workflow).start().await.unwrap();
        let run = abide.run("late", &()).id("r").await.unwrap();
        assert_eq!(within(run.result::<u64>()).await.unwrap(), 10);
        assert_eq!(started.load(Ordering::SeqCst), tries);
        assert_eq!(run.report().unwrap().steps[0].attempts, 1, "it is one attempt");
        let spending = run.spending().unwrap();
        assert!(spending.iter().all(|s| (s.calls, s.input_tokens) == (1, 10)), "{spending:?}");
        abide.shutdown().await;
    }
}
