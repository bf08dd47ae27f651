//! Schedules: one run for each time, whoever dies, however many look, and however the clock jumps; what was missed, and what overlaps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use abide::prelude::*;
use abide::{Builder, ScheduleInfo};

use super::rig::{Gate, Rig, until, within, worker, worker_folder};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn every_ten_minutes() -> When {
    When::every(TEN_MINUTES).unwrap()
}

/// 26 November 2026, 3:00 UTC.
const THREE: i64 = 1_795_662_000_000;

fn at_three() -> Rig {
    let rig = Rig::new();
    rig.clock.store(THREE, Ordering::SeqCst);
    rig
}

fn noting(open: Builder) -> Builder {
    open.workflow("note", |ctx: Ctx, text: String| async move {
        ctx.step("write", text, |text| async move { Ok::<_, Error>(text) }).await
    })
}

/// The ids of all runs, the oldest first.
fn ids(abide: &Abide) -> Vec<String> {
    abide.list(1_000).unwrap().into_iter().rev().map(|run| run.id).collect()
}

async fn until_done(abide: &Abide, id: &str) {
    until(|| abide.get(id).is_ok_and(|run| run.inspect().unwrap().status == "completed")).await;
}

fn look(abide: &Abide, name: &str) -> ScheduleInfo {
    abide.scheduled(name).unwrap().inspect().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_time_is_a_run_of_its_own_however_many_processes_look() {
    let rig = at_three();
    // Three as three processes would be; one of them knows no workflow, and is in nobody's way.
    let hosts = [
        noting(rig.open_at_clock()).start().await.unwrap(),
        noting(rig.open_at_clock()).start().await.unwrap(),
        rig.open_at_clock().start().await.unwrap(),
    ];
    let kept = hosts[2].schedule("tick", every_ten_minutes(), "note", "hello").await.unwrap();
    assert_eq!(kept.inspect().unwrap().next_ms, Some(THREE + 600_000));
    for n in 1..=12 {
        rig.advance(TEN_MINUTES);
        let (hour, minute) = (3 + n / 6, n % 6 * 10);
        until_done(&hosts[0], &format!("tick-20261126T{hour:02}{minute:02}00Z")).await;
    }
    assert_eq!(ids(&hosts[1]).len(), 12);
    let info = kept.inspect().unwrap();
    assert_eq!((info.last_run.as_deref(), info.last_ms), (Some("tick-20261126T050000Z"), Some(THREE + 7_200_000)));
    assert_eq!((info.next_ms, info.note), (Some(THREE + 7_800_000), None));
    let run = hosts[0].get("tick-20261126T034000Z").unwrap();
    assert_eq!(run.result::<String>().await.unwrap(), "hello");
    assert_eq!(kept.runs(5).unwrap().first().unwrap().id, "tick-20261126T050000Z");
    assert_eq!((kept.runs(5).unwrap().len(), kept.runs(50).unwrap().len()), (5, 12));
    for host in hosts {
        host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_of_the_day_is_met_once_when_the_clocks_are_put_forward_and_back() {
    for (day, next) in [
        (1_774_699_200_000, ["daily-20260329T010000Z", "daily-20260330T003000Z"]),
        (1_792_843_200_000, ["daily-20261025T003000Z", "daily-20261026T013000Z"]),
    ] {
        let rig = Rig::new();
        // 12:00 UTC on the day before.
        rig.clock.store(day, Ordering::SeqCst);
        let abide = noting(rig.open_at_clock()).start().await.unwrap();
        let when = When::cron("30 2 * * *", Some("Europe/Berlin")).unwrap();
        abide.schedule("daily", when, "note", "good night").overlap(Overlap::Allow).await.unwrap();
        for _ in 0..48 {
            rig.advance(Duration::from_secs(3_600));
            until(|| look(&abide, "daily").next_ms.unwrap() > rig.clock.load(Ordering::SeqCst)).await;
        }
        assert_eq!(ids(&abide), next);
        abide.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_is_skipped_or_made_up_for_by_one_run_or_by_all() {
    let rig = at_three();
    let open = || noting(rig.open_at_clock());
    let abide = open().start().await.unwrap();
    for (name, missed) in [("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)] {
        let new = abide.schedule(name, every_ten_minutes(), "note", name);
        new.missed(missed).overlap(Overlap::Allow).await.unwrap();
    }
    abide.shutdown().await;
    rig.advance(Duration::from_secs(35 * 60));
    let abide = open().start().await.unwrap();
    until(|| ["skip", "once", "all"].iter().all(|name| look(&abide, name).next_ms == Some(THREE + 2_400_000))).await;
    let started: BTreeSet<String> = ids(&abide).into_iter().collect();
    let expected = ["once-20261126T033000Z", "all-20261126T031000Z", "all-20261126T032000Z", "all-20261126T033000Z"];
    assert_eq!(started, expected.map(str::to_owned).into());
    assert!(look(&abide, "skip").note.unwrap().contains("3 earlier or missed times"));
    assert!(look(&abide, "once").note.unwrap().contains("2 earlier or missed times"));
    assert!(look(&abide, "all").note.is_none());
    // On time again.
    rig.advance(Duration::from_secs(5 * 60));
    for name in ["skip", "once", "all"] {
        until_done(&abide, &format!("{name}-20261126T034000Z")).await;
        assert!(look(&abide, name).note.is_none());
    }
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_takes_longer_is_skipped_over_waited_for_or_joined() {
    let (rig, gate) = (at_three(), Gate::new());
    let held = gate.clone();
    let long = move |ctx: Ctx, (): ()| {
        let held = held.clone();
        async move { ctx.step("work", (), held.step(())).await }
    };
    let abide = rig.open_at_clock().workflow("long", long).start().await.unwrap();
    for (name, overlap) in [("skip", Overlap::Skip), ("queue", Overlap::Queue), ("allow", Overlap::Allow)] {
        abide.schedule(name, every_ten_minutes(), "long", &()).overlap(overlap).await.unwrap();
    }
    rig.advance(TEN_MINUTES);
    gate.until_reached(3).await;
    rig.advance(TEN_MINUTES);
    gate.until_reached(4).await;
    until(|| ["skip", "queue", "allow"].iter().all(|name| look(&abide, name).next_ms == Some(THREE + 1_800_000))).await;
    assert!(abide.get("skip-20261126T032000Z").is_err());
    assert!(look(&abide, "skip").note.unwrap().contains("run `skip-20261126T031000Z` has not ended"));
    let second = abide.get("queue-20261126T032000Z").unwrap();
    assert_eq!(second.inspect().unwrap().waiting_for, Some("queue"));
    gate.open();
    for id in ["skip-20261126T031000Z", "queue-20261126T031000Z", "queue-20261126T032000Z", "allow-20261126T032000Z"] {
        within(abide.get(id).unwrap().result::<()>()).await.unwrap();
    }
    rig.advance(TEN_MINUTES);
    until_done(&abide, "skip-20261126T033000Z").await;
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_paused_resumed_changed_triggered_and_removed() {
    let rig = at_three();
    let abide = noting(rig.open_at_clock()).start().await.unwrap();
    let keep = |text: &'static str| abide.schedule("tick", every_ten_minutes(), "note", text);
    let tick = keep("hello").await.unwrap();
    rig.advance(Duration::from_secs(60));
    // A program says the same each time it starts, and the times stay what they were.
    assert_eq!(keep("hello").await.unwrap().inspect().unwrap().next_ms, Some(THREE + 600_000));
    assert!(matches!(keep("other").await, Err(HostError::Schedule { .. })));
    assert!(matches!(keep("hello").missed(Missed::All).await, Err(HostError::Schedule { .. })));
    tick.pause().await.unwrap();
    assert_eq!((look(&abide, "tick").paused, look(&abide, "tick").next_ms), (true, None));
    rig.advance(TEN_MINUTES * 3);
    // A time that has come for another one shows that this one had its chance.
    abide.schedule("other", When::every(Duration::from_secs(60)).unwrap(), "note", "x").await.unwrap();
    rig.advance(Duration::from_secs(60));
    until_done(&abide, "other-20261126T033200Z").await;
    tick.resume().await.unwrap();
    assert_eq!(
        look(&abide, "tick").next_ms,
        Some(THREE + 2_400_000),
        "what was missed while it was paused is not made up for"
    );
    let triggered = tick.trigger().unwrap().await.unwrap();
    assert_eq!(triggered.id(), "tick-20261126T033200000Z");
    assert_eq!(within(triggered.result::<String>()).await.unwrap(), "hello");
    keep("changed").replace().await.unwrap();
    rig.advance(TEN_MINUTES);
    let id = look(&abide, "tick").next_ms.map(|_| "tick-20261126T034200Z").unwrap();
    until_done(&abide, id).await;
    assert_eq!(abide.get(id).unwrap().result::<String>().await.unwrap(), "changed");
    abide.scheduled("tick").unwrap().remove().await.unwrap();
    assert!(matches!(abide.scheduled("tick"), Err(HostError::NoSuchSchedule { .. })));
    assert!(matches!(tick.pause().await, Err(HostError::NoSuchSchedule { .. })));
    let names: Vec<String> = abide.schedules().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["other"]);
    for name in ["", "a b", "a/b", "-\n", &"x".repeat(101)] {
        assert!(matches!(abide.schedule(name, every_ten_minutes(), "note", "x").await, Err(HostError::Value { .. })));
    }
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_wrong_by_years_delays_nothing_and_starts_nothing_twice() {
    let rig = at_three();
    let abide = noting(rig.open_at_clock()).start().await.unwrap();
    abide.schedule("tick", every_ten_minutes(), "note", "x").await.unwrap();
    rig.advance(TEN_MINUTES);
    until_done(&abide, "tick-20261126T031000Z").await;
    // Ten years on, and back.
    rig.clock.store(THREE + 315_576_000_000, Ordering::SeqCst);
    until(|| look(&abide, "tick").next_ms.unwrap() > THREE + 315_000_000_000).await;
    rig.clock.store(THREE + 60_000, Ordering::SeqCst);
    until(|| look(&abide, "tick").next_ms == Some(THREE + 600_000)).await;
    rig.advance(TEN_MINUTES);
    until(|| look(&abide, "tick").next_ms == Some(THREE + 1_200_000)).await;
    rig.advance(TEN_MINUTES);
    until_done(&abide, "tick-20261126T032000Z").await;
    let all = ids(&abide);
    assert_eq!((all.len(), all.first().unwrap().as_str()), (3, "tick-20261126T031000Z"), "{all:?}");
    abide.shutdown().await;
}

const TIMES: i64 = 6;

#[test]
fn schedule_worker() {
    let Some(folder) = worker_folder() else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        // The clock of all workers.
        let file = folder.join("clock");
        let now = std::fs::read_to_string(&file).map_or(THREE, |text| text.parse().unwrap());
        let clock = Arc::new(AtomicI64::new(now));
        let open = || {
            let clock = clock.clone();
            noting(Abide::open(folder.join("runs.db"))).clock(move || clock.load(Ordering::SeqCst))
        };
        let hosts = [open().start().await.unwrap(), open().start().await.unwrap()];
        hosts[0].schedule("tick", every_ten_minutes(), "note", "x").overlap(Overlap::Allow).await.unwrap();
        while clock.load(Ordering::SeqCst) < THREE + TIMES * 600_000 {
            let now = clock.fetch_add(300_000, Ordering::SeqCst) + 300_000;
            std::fs::write(folder.join("new"), now.to_string()).unwrap();
            std::fs::rename(folder.join("new"), &file).unwrap();
            until(|| look(&hosts[0], "tick").next_ms.unwrap() > now).await;
        }
        for id in ids(&hosts[0]) {
            hosts[0].get(&id).unwrap().result::<String>().await.unwrap();
        }
        for host in hosts {
            host.shutdown().await;
        }
    });
}

/// Killed between the time and the start, within the commit that is both, after it, and at every other commit: one run for each time.
#[test]
fn no_time_is_met_twice_or_not_at_all_whoever_is_killed() {
    let mut kills = 0;
    for (point, step) in
        [("schedule.due", 1), ("commit.within", 3), ("schedule.met", 1), ("commit.after", 5), ("claim.made", 2)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut at = 1;
        while !worker("host::schedules::schedule_worker", dir.path(), Some(&format!("{point}:{at}"))) {
            kills += 1;
            at += step;
        }
        let conn = rusqlite::Connection::open(dir.path().join("runs.db")).unwrap();
        let ids: Vec<String> = conn
            .prepare(
                "SELECT r.id FROM runs r JOIN heads h ON h.run = r.key WHERE h.status = 'completed' ORDER BY r.key",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let expected = ["0310", "0320", "0330", "0340", "0350", "0400"].map(|time| format!("tick-20261126T{time}00Z"));
        assert_eq!(ids, expected, "{point}");
    }
    assert!(kills >= 15, "only {kills} kills");
}
