//! Disks and files that have no more room: a quota of our own, a real disk of three megabytes where one can be mounted, and the system's limit on
//! the size of files. It frees room as a person would, and goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abide::prelude::*;

use super::faults::Quota;
use super::work::{FILE, is_clear, within};
use crate::proof::vfs;

const LIMIT: u64 = 3 << 20;

fn open(folder: &Path) -> abide::Builder {
    Abide::open(folder.join(FILE)).workflow("fill", |ctx: Ctx, n: u64| async move {
        let mut size = 0;
        for i in 0..3_u64 {
            let page: String = ctx
                .step("page", (n, i), |(n, i)| async move {
                    let mut dice = crate::proof::dice::Dice::new(n * 10 + i);
                    Ok::<_, Error>((0..4_000).map(|_| format!("{:016x}", dice.roll())).collect())
                })
                .await?;
            size += page.len();
        }
        Ok::<_, Error>(size)
    })
}

/// Works until there is no more room, has some made, and goes on.
async fn fill(folder: &Path, make_room: impl FnOnce()) -> u64 {
    // Without recovery: what it stopped, it leaves to others.
    let abide = open(folder).recover(false).start().await.unwrap();
    let mut n = 0;
    let stopped = loop {
        let one = async { abide.run("fill", &n).id(format!("r{n}")).await?.result::<usize>().await };
        match within("filling", one).await {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 1_000, "there is no end to it");
    };
    is_clear(&stopped, "full");
    let said = format!("{stopped}");
    assert!(["full", "disk I/O error"].iter().any(|why| said.contains(why)), "{said}");
    make_room();
    if let Ok(run) = abide.get(&format!("r{n}")) {
        // It is let go of by itself, for anybody to resume.
        let free = async {
            while run.inspect().unwrap().owner_pid.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        within("letting go", free).await;
    }
    // The same process goes on, with the run that was stopped and with a new one.
    let again = match abide.resume(&format!("r{n}"), false).await {
        Ok(run) => run,
        Err(HostError::NoSuchRun { .. }) => abide.run("fill", &n).id(format!("r{n}")).await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(within("again", again.result::<usize>()).await.unwrap(), 192_000);
    let more = abide.run("fill", &1_000).id("more").await.unwrap();
    assert_eq!(within("more", more.result::<usize>()).await.unwrap(), 192_000);
    for i in 0..=n {
        assert_eq!(abide.get(&format!("r{i}")).unwrap().inspect().unwrap().status, "completed");
    }
    assert!(abide.verify(None).unwrap().broken.is_empty());
    within("closing", abide.shutdown()).await;
    n
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_disk_of_three_megabytes_stops_runs_until_it_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let quota = Arc::new(Quota::new(LIMIT));
    let guard = vfs::watch(folder.path(), quota.clone());
    let runs = wait(fill(folder.path(), || quota.grow(4 * LIMIT)));
    drop(guard);
    assert!(quota.refused.load(Ordering::SeqCst) && runs > 2, "{runs} runs");
}

#[cfg(unix)]
mod unix {
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::{LIMIT, fill, wait};

    const FOLDER: &str = "ABIDE_FULL_WORKER";
    const WAY: &str = "ABIDE_FULL_WAY";

    /// The process that works: on a small disk with ballast to throw out, or under a limit to lift.
    #[test]
    fn worker() {
        let (Some(folder), Ok(way)) = (std::env::var_os(FOLDER), std::env::var(WAY)) else { return };
        let folder = std::path::PathBuf::from(folder);
        if way == "limit" {
            let before = getrlimit(Resource::Fsize);
            setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum: before.maximum }).unwrap();
            wait(fill(&folder, || setrlimit(Resource::Fsize, before).unwrap()));
        } else {
            let ballast = folder.join("ballast");
            std::fs::write(&ballast, vec![1; 1_500_000]).unwrap();
            wait(fill(&folder, || std::fs::remove_file(&ballast).unwrap()));
        }
    }

    fn worker_command() -> Vec<String> {
        let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        vec![own, "--exact".into(), "proof::errors::full::unix::worker".into(), "--nocapture".into()]
    }

    #[test]
    fn a_limit_on_the_size_of_files_stops_runs_until_it_is_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let command = worker_command();
        let mut worker = Command::new(&command[0]);
        let out = worker.args(&command[1..]).env(FOLDER, folder.path()).env(WAY, "limit").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    #[test]
    fn a_real_disk_of_three_megabytes_stops_runs_until_it_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let mount = "mount -t tmpfs -o size=3m tmpfs \"$0\" || exit 77; exec \"$@\"";
        let mut worker = Command::new("unshare");
        worker.args(["--user", "--mount", "--map-root-user", "sh", "-c", mount]).arg(folder.path());
        worker.args(worker_command()).env(FOLDER, folder.path()).env(WAY, "disk");
        match worker.output() {
            Ok(out) if out.status.success() && String::from_utf8_lossy(&out.stdout).contains("1 passed") => {}
            Ok(out) if out.status.code() == Some(77) || String::from_utf8_lossy(&out.stderr).contains("unshare") => {
                println!("no disk can be mounted here; the quota stands for it");
            }
            Ok(out) => panic!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
            Err(_) => println!("there is no unshare here; the quota stands for it"),
        }
    }
}
