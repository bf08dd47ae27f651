//! A history to lose power in: two owners with several connections each work runs of all kinds on one file, while everything they write and
//! everything they tell is recorded. It never looks at what is on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use abide::Run;
use abide::prelude::*;
use futures_util::future::{Either, join_all, select, try_join_all};

use super::record::{Ack, Recorder, Syncs, Tape};
use crate::proof::dice::Dice;
use crate::proof::vfs;

/// The file that is worked on.
pub const FILE: &str = "runs.db";

/// What a history was and left.
pub struct History {
    /// The database as it was before.
    pub before: Vec<u8>,
    pub tape: Tape,
}

/// What a run is asked to do.
pub type Ask = (String, u64);

/// Everything that a run may wait for, in its own order; each attempt of a step says that its intent is known by now.
pub async fn workflow(ctx: Ctx, ask: Ask, told: Arc<Recorder>) -> Result<u64> {
    let (id, size) = ask;
    let step = |name: String, n: u64| {
        let (told, id, key) = (told.clone(), id.clone(), name.clone());
        ctx.step(name, (n, "x".repeat((size * 97 % 900) as usize)), move |(n, _)| {
            told.ack(Ack::Intent(id.clone(), key.clone()));
            async move { Ok::<_, Error>(n + 1) }
        })
    };
    let mut sum = step("first".to_owned(), size).await?;
    for n in 0..size % 3 {
        sum = step(format!("next{n}"), sum).await?;
    }
    if size.is_multiple_of(2) {
        for done in join_all((0..3).map(|n| step(format!("fan{n}"), n))).await {
            sum += done?;
        }
    }
    sum += ctx.signal::<u64>("more").await?;
    ctx.sleep(Duration::from_millis(1)).await?;
    if size.is_multiple_of(4) {
        sum += ctx.child::<u64>("work", &(format!("{id}-c"), 1_u64)).id(format!("{id}-c")).await?;
    }
    step("last".to_owned(), sum).await
}

/// Opens the file of a folder with the workflow.
pub fn open(folder: &Path, told: &Arc<Recorder>, checkpoint: u32) -> abide::Builder {
    let told = told.clone();
    let flow = move |ctx: Ctx, ask: Ask| workflow(ctx, ask, told.clone());
    Abide::open(folder.join(FILE)).checkpoint_pages(checkpoint).workflow("work", flow)
}

/// Sends a run what it waits for, and waits for its end.
pub async fn drive(run: &Run, told: &Recorder) -> std::result::Result<u64, HostError> {
    match run.signal_once("more", &10, "only").await {
        Ok(_) => told.ack(Ack::Sent(run.id().to_owned(), "only".to_owned())),
        Err(HostError::Ended { .. }) => {}
        Err(error) => return Err(error),
    }
    let result = run.result().await;
    if result.is_ok() {
        told.ack(Ack::Ended(run.id().to_owned()));
    }
    result
}

/// The child of a run waits for a signal, too, once it is there.
pub async fn feed_child(abide: &Abide, run: &str) -> std::result::Result<(), HostError> {
    loop {
        match abide.get(&format!("{run}-c")) {
            Ok(child) => match child.signal_once("more", &10, "only").await {
                Ok(_) | Err(HostError::Ended { .. }) => return Ok(()),
                Err(error) => return Err(error),
            },
            Err(HostError::NoSuchRun { .. }) => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Drives a run and its child, if it has one, to their ends, or to the first error.
pub async fn see_through(abide: &Abide, run: &Run, size: u64, told: &Recorder) -> std::result::Result<(), HostError> {
    let child = async { if size.is_multiple_of(4) { feed_child(abide, run.id()).await } else { Ok(()) } };
    let ended = drive(run, told);
    futures_util::pin_mut!(child, ended);
    match select(ended, child).await {
        // A run that has ended, or has stopped, needs no child any more.
        Either::Left((ended, _)) => ended.map(|_| ()),
        Either::Right((fed, ended)) => {
            fed?;
            ended.await.map(|_| ())
        }
    }
}

/// Starts some runs and drives all to their ends.
async fn work(abide: &Abide, told: &Arc<Recorder>, name: &str, dice: &mut Dice) -> std::result::Result<(), HostError> {
    let sizes: Vec<u64> = (0..4).map(|_| dice.below(12)).collect();
    let one = |n: usize, size: u64| async move {
        let id = format!("{name}{n}");
        let run = abide.run("work", &(&id, size)).id(&id).await?;
        told.ack(Ack::Started(id.clone()));
        see_through(abide, &run, size, told).await
    };
    try_join_all(sizes.into_iter().enumerate().map(|(n, size)| one(n, size))).await.map(|_| ())
}

/// Lives a history through in this folder.
pub async fn live(folder: &Path, seed: u64, syncs: Syncs) -> History {
    let mut dice = Dice::new(seed);
    let told = Recorder::new(FILE, if syncs == Syncs::Lying { syncs } else { Syncs::Honest });
    // Made and closed first: what a new file begins as is not SQLite's to sync.
    open(folder, &told, 1_000).start().await.unwrap().shutdown().await;
    until_closed(folder).await;
    let before = std::fs::read(folder.join(FILE)).unwrap();
    let guard = vfs::watch(folder, told.clone());
    let checkpoint = 10 + dice.below(60) as u32;
    let one = open(folder, &told, checkpoint).start().await.unwrap();
    let other = open(folder, &told, checkpoint / 2).start().await.unwrap();
    // From here on: nobody opens a file while a sync of it has failed.
    told.set(syncs);
    let mut more = Dice::new(dice.roll());
    let both = futures_util::future::join(work(&one, &told, "a", &mut dice), work(&other, &told, "b", &mut more)).await;
    [both.0, both.1].into_iter().for_each(|worked| bear(worked, syncs));
    one.shutdown().await;
    other.shutdown().await;
    if !markers(folder).is_empty() {
        // The database itself failed to be synced: nobody opens it before it is rewritten.
        drop(guard);
        return History { before, tape: told.stop() };
    }
    // Everybody has left, so the log was removed; it is made anew.
    let again = open(folder, &told, checkpoint).start().await.unwrap();
    bear(work(&again, &told, "c", &mut dice).await, syncs);
    again.shutdown().await;
    if markers(folder).is_empty() {
        until_closed(folder).await;
    }
    drop(guard);
    History { before, tape: told.stop() }
}

/// A commit that fails twice is an error to whoever waits for it: what was told before counts all the same.
fn bear(worked: std::result::Result<(), HostError>, syncs: Syncs) {
    match worked {
        Err(HostError::Storage { .. }) if matches!(syncs, Syncs::FailingNowAndThen(_)) => {}
        other => other.unwrap(),
    }
}

/// The words of failed syncs beside the file.
pub fn markers(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found.filter(|path| path.to_string_lossy().contains(&format!("{FILE}-unsynced"))).collect()
}

/// Waits until the last connection has removed the log. Of two that close at the same moment neither is the last for SQLite, and the log stays:
/// then one more comes and goes.
pub async fn until_closed(folder: &Path) {
    let log = folder.join(format!("{FILE}-wal"));
    for n in 1..30_000 {
        if !log.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        if n % 200 == 0
            && let Ok(conn) = rusqlite::Connection::open(folder.join(FILE))
        {
            let _ = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
        }
    }
    panic!("a connection stays open");
}
