//! The work that errors interrupt, and what must hold of it: what was told is kept, steps never go back, everything ends once the disk is well.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use abide::prelude::*;
use futures_util::future::join_all;

use crate::proof::power::{Ack, Recorder, Syncs, history};

pub use history::FILE;

/// The longest that anything is waited for: a hang fails.
const PATIENCE: Duration = Duration::from_secs(90);
/// The runs, by what they are asked for; the last has a child.
const SIZES: [u64; 3] = [3, 2, 4];

/// Notes what is told, and records no disk.
pub fn teller() -> Arc<Recorder> {
    Recorder::new(FILE, Syncs::Honest)
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what}: it hangs"))
}

/// Does this error say that the disk is at fault?
pub fn is_clear(error: &HostError, what: &str) {
    let known = matches!(error.code(), "storage" | "database" | "environment");
    assert!(known && error.exit_code() == 8, "{what}: {error:?}");
    assert!(!error.help().is_empty(), "{what}: {error:?}");
}

/// Starts the runs and waits for them. True if anything was stopped.
pub async fn work(folder: &Path, told: &Arc<Recorder>, what: &str) -> bool {
    let abide = match within(&format!("{what}, opening"), history::open(folder, told, 20).start()).await {
        Ok(abide) => abide,
        Err(error) => {
            is_clear(&error, what);
            return true;
        }
    };
    let runs = SIZES.into_iter().enumerate().map(|(n, size)| {
        let id = format!("r{n}");
        let until_told = one(&abide, told, id.clone(), size);
        async move { within(&format!("{what}, working, {id}"), until_told).await }
    });
    let ends = join_all(runs).await;
    let mut stopped = false;
    for error in ends.into_iter().filter_map(std::result::Result::err) {
        is_clear(&error, what);
        stopped = true;
    }
    within(&format!("{what}, closing"), abide.shutdown()).await;
    stopped
}

async fn one(abide: &Abide, told: &Arc<Recorder>, id: String, size: u64) -> std::result::Result<(), HostError> {
    let run = abide.run("work", &(&id, size)).id(&id).await?;
    told.ack(Ack::Started(id.clone()));
    history::see_through(abide, &run, size, told).await
}

/// On a disk that is well again: everything that was told is there, everything ends, and the file is whole.
pub async fn finish(folder: &Path, told: &Arc<Recorder>, what: &str) {
    let acks = told.acks();
    let abide = within(&format!("{what}, mended, opening"), history::open(folder, told, 1_000).start()).await;
    let abide = abide.unwrap_or_else(|error| panic!("{what}: it does not open any more: {error}"));
    for ack in &acks {
        match ack {
            Ack::Started(run) | Ack::Intent(run, _) | Ack::Sent(run, _) => {
                abide.get(run).unwrap_or_else(|error| panic!("{what}: {ack:?} was told: {error}"));
            }
            Ack::Ended(run) => {
                let status = abide.get(run).unwrap().inspect().unwrap().status;
                assert_eq!(status, "completed", "{what}: {ack:?} was told");
            }
        }
    }
    let sql = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    sql.busy_timeout(PATIENCE).unwrap();
    for run in acks.iter().filter_map(|ack| if let Ack::Sent(run, _) = ack { Some(run) } else { None }) {
        let count =
            "SELECT count(*) FROM inbox JOIN runs ON runs.key = inbox.run WHERE runs.id = ?1 AND sender = 'only'";
        let kept: i64 = sql.query_row(count, [run], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1, "{what}: a message to {run} was told to be kept");
    }
    for (n, size) in SIZES.into_iter().enumerate() {
        let id = format!("r{n}");
        if abide.get(&id).is_ok() {
            within(what, abide.resume(&id, false)).await.unwrap_or_else(|error| panic!("{what}: {id}: {error}"));
        }
        let done = within(&format!("{what}, mended, {id}"), one(&abide, told, id.clone(), size)).await;
        done.unwrap_or_else(|error| panic!("{what}: {id} does not end: {error}"));
    }
    let verified = abide.verify(None).unwrap();
    assert!(verified.broken.is_empty(), "{what}: {:?}", verified.broken);
    drop(sql);
    within(&format!("{what}, mended, closing"), abide.shutdown()).await;
    never_back(&told.acks(), what);
}

/// A step that begins has those before it completed and committed: none of them may begin again.
fn never_back(acks: &[Ack], what: &str) {
    let mut reached: HashMap<&str, u64> = HashMap::new();
    for ack in acks {
        let (run, rank) = match ack {
            Ack::Intent(run, step) if step == "first" => (run, 0),
            Ack::Intent(run, step) if step == "last" => (run, 20),
            Ack::Intent(run, step) if step.starts_with("fan") => (run, 10),
            Ack::Intent(run, step) => (run, 1 + step.trim_start_matches("next").parse::<u64>().unwrap()),
            Ack::Ended(run) => (run, 30),
            Ack::Started(_) | Ack::Sent(..) => continue,
        };
        let so_far = reached.entry(run).or_default();
        assert!(rank >= *so_far, "{what}: {ack:?} after {so_far} was reached: a completed step ran again");
        *so_far = rank;
    }
}
