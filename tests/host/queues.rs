//! Queues of runs: never more than there are places, in the order of priority and start, over processes and kills.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide::prelude::*;
use abide::{Builder, Settled};

use super::rig::{Rig, until, within, worker, worker_folder};

/// The names of runs that have begun, in that order.
type Begun = Arc<Mutex<Vec<String>>>;

/// A run that notes that it has begun and waits for a word.
fn holder(open: Builder, begun: &Begun) -> Builder {
    let begun = begun.clone();
    open.workflow("hold", move |ctx: Ctx, name: String| {
        let begun = begun.clone();
        async move {
            let note = move |name: String| {
                begun.lock().unwrap().push(name);
                async { Ok::<_, Error>(()) }
            };
            ctx.step("begin", name, note).await?;
            ctx.signal::<String>("go").await
        }
    })
}

async fn go(run: &Run) {
    run.signal("go", "on").await.unwrap();
    assert_eq!(within(run.result::<String>()).await.unwrap(), "on");
}

fn waits_in_line(run: &Run) -> bool {
    let info = run.inspect().unwrap();
    (info.status, info.waiting_for, info.owner_pid) == ("waiting", Some("queue"), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_a_queue_begin_by_priority_and_then_in_the_order_of_their_start() {
    let (rig, begun) = (Rig::new(), Begun::default());
    let abide = holder(rig.open(), &begun).start().await.unwrap();
    let queue = Queue::new("q", 2);
    let mut runs = Vec::new();
    for (name, priority) in [("a", 0), ("b", 0), ("c", 0), ("d", 5), ("e", 0), ("f", 5), ("g", -1)] {
        let start = abide.run("hold", name).id(name).queue(queue.clone().priority(priority));
        runs.push((name, start.await.unwrap()));
        if name == "b" {
            // Those two begin side by side, in any order.
            until(|| begun.lock().unwrap().len() == 2).await;
        }
    }
    assert!(runs.iter().skip(2).all(|(_, run)| waits_in_line(run)));
    assert_eq!(runs[6].1.inspect().unwrap().queue.as_deref(), Some("q"));
    // It is in nobody's way outside of its queue.
    let other = abide.run("hold", "free").id("free").await.unwrap();
    until(|| begun.lock().unwrap().len() == 3).await;
    go(&other).await;
    for (ends, (then, so_far)) in
        ["a", "b", "d", "f", "c"].into_iter().zip([("d", 4), ("f", 5), ("c", 6), ("e", 7), ("g", 8)])
    {
        go(&runs.iter().find(|(name, _)| *name == ends).unwrap().1).await;
        until(|| begun.lock().unwrap().len() == so_far).await;
        assert_eq!(begun.lock().unwrap().last().unwrap(), then);
    }
    for name in ["e", "g"] {
        go(&runs.iter().find(|(other, _)| *other == name).unwrap().1).await;
    }
    assert!(abide.get("a").unwrap().inspect().unwrap().queue.is_none(), "an ended run is in no queue");
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_parks_keeps_its_place_and_one_in_line_can_be_cancelled_paused_and_let_in() {
    let (rig, begun) = (Rig::new(), Begun::default());
    let abide = holder(rig.open(), &begun).start().await.unwrap();
    let queue = Queue::new("q", 1);
    let mut runs = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        runs.push(abide.run("hold", name).id(name).queue(queue.clone()).await.unwrap());
    }
    let [a, b, c, d, e] = &runs[..] else { unreachable!() };
    // It waits for somebody, has no owner, and is on its way all the same.
    assert!(matches!(within(a.settled()).await.unwrap(), Settled::Parked { waiting_for: Some("signal"), .. }));
    assert!([b, c, d, e].into_iter().all(waits_in_line));
    b.cancel().await.unwrap();
    assert!(matches!(within(b.settled()).await.unwrap(), Settled::Cancelled));
    c.pause().await.unwrap();
    assert_eq!(c.inspect().unwrap().status, "paused");
    go(a).await;
    until(|| begun.lock().unwrap().len() == 2).await;
    abide.resume("c", false).await.unwrap();
    assert!(waits_in_line(c) && waits_in_line(e), "whoever goes on with it waits for its turn");
    abide.limit(&Queue::new("q", 2)).await.unwrap();
    until(|| begun.lock().unwrap().len() == 3).await;
    assert_eq!(*begun.lock().unwrap(), ["a", "d", "c"], "a cancelled one has never begun");
    assert!(waits_in_line(e));
    // A lower limit takes no place away.
    abide.limit(&queue).await.unwrap();
    go(c).await;
    assert!(waits_in_line(e));
    go(d).await;
    go(e).await;
    abide.shutdown().await;
}

/// Whoever was told to work on a run works on it when its turn comes, also if it leaves other runs alone; and the turn may be one that
/// another process brings about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_one_over_all_processes_of_a_file() {
    let (rig, begun) = (Rig::new(), Begun::default());
    let ours = holder(rig.open().recover(false), &begun).start().await.unwrap();
    let theirs = holder(rig.open().recover(false), &begun).start().await.unwrap();
    let queue = Queue::new("q", 1);
    let first = theirs.run("hold", "a").id("a").queue(queue.clone()).await.unwrap();
    let second = ours.run("hold", "b").id("b").queue(queue.clone()).await.unwrap();
    let recorded = ours.run("hold", "c").id("c").queue(queue.clone()).detached().await.unwrap();
    until(|| begun.lock().unwrap().len() == 1).await;
    assert!(waits_in_line(&second) && waits_in_line(&recorded));
    assert!(ours.due().unwrap().contains(&"c".to_owned()), "who takes up what is due waits for it, too");
    first.signal("go", "on").await.unwrap();
    theirs.resume("a", false).await.unwrap();
    until(|| begun.lock().unwrap().len() == 2).await;
    second.signal("go", "on").await.unwrap();
    ours.resume("b", false).await.unwrap();
    assert_eq!(within(second.result::<String>()).await.unwrap(), "on");
    // Nobody was told to work on this one.
    assert_eq!(recorded.inspect().unwrap().status, "interrupted");
    assert_eq!(*begun.lock().unwrap(), ["a", "b"]);
    ours.shutdown().await;
    theirs.shutdown().await;
}

const RUNS: usize = 6;
const PLACES: usize = 2;

/// Steps of a run write down that it has begun and that it is about to end.
fn booked(open: Builder, folder: &Path) -> Builder {
    let book = folder.join("book");
    open.workflow("booked", move |ctx: Ctx, name: String| {
        let book = book.clone();
        async move {
            for word in ["+", "-"] {
                let book = book.clone();
                let write = move |line: String| {
                    let file = std::fs::OpenOptions::new().create(true).append(true).open(&book);
                    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
                    async move { written.map_err(|error| terminal(error.to_string())) }
                };
                ctx.step("write", format!("{word}{name}\n"), write).await?;
                ctx.sleep(Duration::from_millis(3)).await?;
            }
            Ok::<_, Error>(())
        }
    })
}

#[test]
fn queue_worker() {
    let Some(folder) = worker_folder() else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let open = || booked(Abide::open(folder.join("runs.db")), &folder);
        // Two hosts, as two processes would be, and both die.
        let hosts = [open().start().await.unwrap(), open().start().await.unwrap()];
        for n in 0..RUNS {
            let start = hosts[n % 2].run("booked", &format!("r{n}")).id(format!("r{n}"));
            start.queue(Queue::new("q", PLACES as u32)).await.unwrap();
        }
        for n in 0..RUNS {
            hosts[0].get(&format!("r{n}")).unwrap().result::<()>().await.unwrap();
        }
        for host in hosts {
            host.shutdown().await;
        }
    });
}

/// Killed at every n-th commit, claim and finding until all runs have ended: at no moment were more than two on their way.
#[test]
fn the_places_of_a_queue_are_never_exceeded_whoever_is_killed() {
    let (mut kills, mut all_places_used) = (0, false);
    for point in ["commit.before", "commit.after", "claim.made", "orphan.found", "end.committed"] {
        for first in [1, 2, 4, 7, 11] {
            let dir = tempfile::tempdir().unwrap();
            let mut at = first;
            while !worker("host::queues::queue_worker", dir.path(), Some(&format!("{point}:{at}"))) {
                kills += 1;
                at += 3;
            }
            let (mut on_their_way, mut most, mut ended) = (BTreeSet::new(), 0, BTreeSet::new());
            for line in std::fs::read_to_string(dir.path().join("book")).unwrap().lines() {
                match line.split_at(1) {
                    ("+", name) => {
                        on_their_way.insert(name.to_owned());
                    }
                    (_, name) => {
                        on_their_way.remove(name);
                        ended.insert(name.to_owned());
                    }
                }
                most = most.max(on_their_way.len());
            }
            assert!(most <= PLACES, "{point}:{first}: {most} at once");
            assert_eq!((ended.len(), on_their_way.len()), (RUNS, 0), "{point}:{first}");
            all_places_used |= most == PLACES;
        }
    }
    assert!(all_places_used);
    assert!(kills >= 25, "only {kills} kills");
}
