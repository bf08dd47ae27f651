//! Syncs that fail: what was acknowledged survives the connection that writes anew, and a process that comes after it is kept away until the file
//! was rewritten. A disk that failed to sync keeps what it wants of the data, whatever later syncs say.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use abide::prelude::*;

use super::check::Whole;
use super::history::{self, FILE, History};
use super::record::{Ack, Op, Recorder, Syncs, Which};
use super::{Found, live, lose_power};
use crate::proof::dice::Dice;
use crate::proof::vfs;

#[test]
fn a_failed_sync_is_made_good_by_the_connection_that_knows() {
    let most = crate::proof::count("failed syncs", 1_500, 500_000);
    let (mut found, mut dice) = (Found::default(), Dice::new(crate::proof::seed()));
    let mut failed = 0;
    while found.states < most {
        let (history, whole) = live(dice.roll(), Syncs::FailingNowAndThen(2 + dice.below(5)));
        failed += history.tape.ops.iter().filter(|op| matches!(op, Op::FailedSync { .. })).count();
        // Many histories rather than many states of each: what matters is who failed when.
        lose_power(&history, &whole, 2, most, &mut dice, &mut found);
        assert!(found.first.is_none(), "{found:?}\nagain with ABIDE_SEED={}", crate::proof::seed());
    }
    println!(
        "{} states after {failed} failed syncs: {} lost acknowledged events, {} corrupt files",
        found.states, found.lost, found.corrupt
    );
    assert!(failed > 2, "only {failed} syncs failed");
}

/// One run is done, the next cannot be started, and the process ends.
async fn fail(folder: &Path) -> (Arc<Recorder>, Vec<u8>) {
    let told = Recorder::new(FILE, Syncs::Honest);
    history::open(folder, &told, 1_000).start().await.unwrap().shutdown().await;
    history::until_closed(folder).await;
    let before = std::fs::read(folder.join(FILE)).unwrap();
    let guard = vfs::watch(folder, told.clone());
    let abide = history::open(folder, &told, 1_000).start().await.unwrap();
    finish(&abide, &told, "before").await;
    told.set(Syncs::Failing);
    let error = match abide.run("work", &("never", 3)).id("never").await {
        Ok(_) => panic!("a start was acknowledged although it was not synced"),
        Err(error) => error,
    };
    assert_eq!((error.code(), error.exit_code()), ("storage", 8), "{error}");
    abide.shutdown().await;
    drop(guard);
    told.set(Syncs::Honest);
    (told, before)
}

async fn finish(abide: &Abide, told: &Arc<Recorder>, id: &str) {
    let run = abide.run("work", &(id, 3)).id(id).await.unwrap();
    told.ack(Ack::Started(id.to_owned()));
    history::drive(&run, told).await.unwrap();
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Works on with a new process, as it were, and loses power at every moment.
fn go_on(folder: &Path, told: &Arc<Recorder>, before: Vec<u8>) -> Found {
    let guard = vfs::watch(folder, told.clone());
    wait(async {
        let abide = history::open(folder, told, 1_000).start().await.unwrap();
        finish(&abide, told, "after").await;
        abide.shutdown().await;
        history::until_closed(folder).await;
    });
    drop(guard);
    let (history, whole) = (History { before, tape: told.stop() }, Whole::read(&folder.join(FILE)));
    let mut found = Found::default();
    lose_power(&history, &whole, 8, u64::MAX, &mut Dice::new(crate::proof::seed()), &mut found);
    found
}

#[test]
fn a_file_that_nobody_made_good_is_refused_until_it_is_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let (told, _) = wait(fail(folder.path()));
    let markers = history::markers(folder.path());
    let [marker] = &markers[..] else { panic!("not one marker was left: {markers:?}") };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(marker.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let refused = wait(Abide::open(&file).start()).err().unwrap();
    assert!(refused.exit_code() == 8 && refused.help().contains("abide verify --repair"), "{refused:?}");
    let abide =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_abide")).args(args).arg("--db").arg(&file).output().unwrap();
    let out = abide(&["ls"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(8) && said.contains("abide verify --repair"), "{said}");
    let out = abide(&["verify", "--repair"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("rewritten"), "{said}");
    assert!(!marker.exists() && !Abide::repair(&file).unwrap());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("repair")), "{left:?}");
    // What lies there now was synced whole.
    told.stop();
    told.ack(Ack::Ended("before".to_owned()));
    let before = std::fs::read(&file).unwrap();
    let found = go_on(folder.path(), &told, before);
    assert!(found.first.is_none() && found.states > 100, "{found:?}");
}

/// Of two processes one fails to sync the database, then the other the log: that it makes good its own says nothing of the first.
#[test]
fn one_that_makes_good_what_it_owes_leaves_the_warning_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let told = Recorder::new(FILE, Syncs::Honest);
    let before = wait(async {
        history::open(folder.path(), &told, 1_000).start().await.unwrap().shutdown().await;
        history::until_closed(folder.path()).await;
        std::fs::read(folder.path().join(FILE)).unwrap()
    });
    let guard = vfs::watch(folder.path(), told.clone());
    wait(async {
        let one = history::open(folder.path(), &told, 10).start().await.unwrap();
        let other = history::open(folder.path(), &told, 20).start().await.unwrap();
        told.set(Syncs::FailingOnce(Which::Db));
        let mut runs = 0..;
        while history::markers(folder.path()).is_empty() {
            finish(&one, &told, &format!("one{}", runs.next().unwrap())).await;
        }
        told.set(Syncs::FailingOnce(Which::Log));
        for n in 0..10 {
            finish(&other, &told, &format!("other{n}")).await;
        }
        assert!(!history::markers(folder.path()).is_empty(), "the warning of the first is gone");
        one.shutdown().await;
        other.shutdown().await;
    });
    drop(guard);
    let (history, whole) = (History { before, tape: told.stop() }, Whole::read(&folder.path().join(FILE)));
    let failed = history.tape.ops.iter().filter(|op| matches!(op, Op::FailedSync { .. })).count();
    let mut found = Found::default();
    lose_power(&history, &whole, 3, 20_000, &mut Dice::new(crate::proof::seed()), &mut found);
    assert!(found.first.is_none() && failed == 2, "{failed} syncs failed: {found:?}");
}

/// The harness would notice if the marker were not heeded.
#[test]
fn trusting_what_a_failed_sync_left_loses_events() {
    let folder = tempfile::tempdir().unwrap();
    let (told, before) = wait(fail(folder.path()));
    history::markers(folder.path()).into_iter().for_each(|marker| std::fs::remove_file(marker).unwrap());
    let found = go_on(folder.path(), &told, before);
    println!("without the marker: {} of {} states have lost something", found.lost, found.states);
    assert!(found.lost > 0, "{found:?}");
}
