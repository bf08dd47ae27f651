//! Files that are read-only, removed or replaced while runs work on them. Nothing is acknowledged into a file without a name, and what lies at the
//! name is left alone.
#![cfg(unix)]

use std::path::Path;

use abide::prelude::*;

use super::work::{FILE, within};

async fn open(folder: &Path) -> Abide {
    let flow = |ctx: Ctx, (): ()| async move {
        let first: u32 = ctx.step("first", (), |()| async { Ok::<_, Error>(1) }).await?;
        Ok::<_, Error>(first + ctx.signal::<u32>("more").await?)
    };
    Abide::open(folder.join(FILE)).workflow("wait", flow).start().await.unwrap()
}

fn name(folder: &Path, suffix: &str) -> std::path::PathBuf {
    folder.join(format!("{FILE}{suffix}"))
}

/// Works, takes files away, and expects everything to be refused from then on.
async fn taken(folder: &Path, word: &str, take: impl FnOnce()) {
    let abide = open(folder).await;
    let run = abide.run("wait", &()).id("r").await.unwrap();
    take();
    let error = within("waiting", run.result::<u32>()).await.unwrap_err();
    assert!(error.code() == "database" && error.exit_code() == 8, "{error:?}");
    assert!(error.to_string().contains(word), "{error}");
    for error in [
        abide.run("wait", &()).id("other").await.err(),
        run.signal("more", &1).await.err(),
        abide.resume("r", false).await.err(),
    ] {
        let error = error.expect("something was acknowledged that nobody will find");
        assert_eq!(error.exit_code(), 8, "{error}");
    }
    within("closing", abide.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_stops_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    taken(folder.path(), "removed", || {
        for suffix in ["", "-wal"] {
            std::fs::rename(name(folder.path(), suffix), name(&aside, suffix)).unwrap();
        }
    })
    .await;
    // Put back with its log, it has everything that was told.
    for suffix in ["", "-wal"] {
        std::fs::rename(name(&aside, suffix), name(folder.path(), suffix)).unwrap();
    }
    goes_on(folder.path()).await;
}

async fn goes_on(folder: &Path) {
    let abide = open(folder).await;
    let run = abide.resume("r", false).await.unwrap();
    run.signal("more", &2).await.unwrap();
    assert_eq!(within("going on", run.result::<u32>()).await.unwrap(), 3);
    assert!(abide.verify(None).unwrap().broken.is_empty());
    abide.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_removed_stops_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    taken(folder.path(), "-wal was removed", || std::fs::remove_file(name(folder.path(), "-wal")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_stops_its_runs_and_the_other_is_left_alone() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = open(other.path()).await;
    theirs.run("wait", &()).id("r").await.unwrap();
    let moved = folder.path().to_owned();
    taken(folder.path(), "replaced", || {
        for suffix in ["", "-wal"] {
            std::fs::rename(name(other.path(), suffix), name(&moved, suffix)).unwrap();
        }
    })
    .await;
    theirs.shutdown().await;
    // The log of the other one is still there, and all that it held.
    assert!(name(folder.path(), "-wal").exists());
    goes_on(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_file_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).await.shutdown().await;
    let mode = |mode| std::fs::set_permissions(name(folder.path(), ""), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o400);
    let error = Abide::open(name(folder.path(), "")).start().await.err().unwrap();
    assert!(error.exit_code() == 8 && error.to_string().contains("read-only"), "{error}");
    mode(0o600);
    open(folder.path()).await.shutdown().await;
}
