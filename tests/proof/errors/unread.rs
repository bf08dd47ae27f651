//! A message that was committed and cannot be read: nobody tells of it twice, so it must be read again when that is possible. It looks at one
//! moment only.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use abide::prelude::*;
use futures_util::future::select;
use rusqlite::ffi::{SQLITE_IOERR_READ, SQLITE_IOERR_WRITE};

use super::work::{FILE, is_clear, within};
use crate::proof::vfs::{self, Call, Watch};

/// A message is told of twice, by whoever sent it and by whoever watches the file: both times it cannot be read.
const TOLD: u64 = 2;

/// So often it is tried to read a run before it is given up.
const TRIES: u64 = 11;

/// Those who work on runs cannot read so many times; the writer can.
#[derive(Default)]
struct Unreadable {
    left: AtomicU64,
    /// What is written next, once they can read, takes longer than to try again.
    slow: AtomicBool,
    /// The writer cannot write so many times.
    unwritable: AtomicU64,
}

fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Watch for Unreadable {
    fn call(&self, _: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int {
        let engine = std::thread::current().name().is_some_and(|name| name.starts_with("abide-engine"));
        if engine && matches!(call, Call::Read) && takes_one(&self.left) {
            return SQLITE_IOERR_READ;
        }
        if matches!(call, Call::Write { .. }) && takes_one(&self.unwritable) {
            return SQLITE_IOERR_WRITE;
        }
        let last = || self.left.load(Ordering::SeqCst) == 0;
        if matches!(call, Call::Write { .. }) && last() && self.slow.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(300));
        }
        real()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read_is_read_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let busy = Arc::new(AtomicBool::new(false));
    let begins = busy.clone();
    // Something of it is under way, so that it stays in memory.
    let flow = move |ctx: Ctx, (): ()| {
        let begins = begins.clone();
        async move {
            let never = ctx.step("busy", (), move |()| {
                begins.store(true, Ordering::SeqCst);
                std::future::pending::<Result<u32>>()
            });
            select(ctx.signal::<u32>("more"), never).await.factor_first().0
        }
    };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    until("its step begins", || busy.load(Ordering::SeqCst)).await;
    disk.left.store(TOLD, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    until("it cannot be read", || disk.left.load(Ordering::SeqCst) == 0).await;
    assert_eq!(within("delivering", run.result::<u32>()).await.unwrap(), 7);
    abide.shutdown().await;
    drop(guard);
}

/// Longer than a run that only waits stays in memory: it is not let out while its inbox is to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_only_waits_is_kept_until_its_message_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let here = Arc::new(AtomicBool::new(false));
    let began = here.clone();
    let flow = move |ctx: Ctx, (): ()| {
        let began = began.clone();
        async move {
            let first = ctx.signal::<u32>("first").await?;
            began.store(true, Ordering::SeqCst);
            // With a time to wait for, it stays this process's.
            Ok::<_, Error>(first + ctx.signal::<u32>("more").timeout(Duration::from_secs(3_600)).await?)
        }
    };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    run.signal("first", &1).await.unwrap();
    let waits = || run.inspect().unwrap().status == "waiting";
    until("it is in memory, and waits", || here.load(Ordering::SeqCst) && waits()).await;
    // Each further try waits twice as long: before the last of these a run would have been let out of memory.
    disk.left.store(TOLD + 9, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    assert_eq!(within("delivering", run.result::<u32>()).await.unwrap(), 8);
    assert_eq!(disk.left.load(Ordering::SeqCst), 0);
    abide.shutdown().await;
    drop(guard);
}

/// A message that was sent in time comes before the end of the wait, also if it can be read only after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_does_not_time_out_while_its_messages_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let here = Arc::new(AtomicBool::new(false));
    let began = here.clone();
    let flow = move |ctx: Ctx, (): ()| {
        let began = began.clone();
        async move {
            let never = ctx.step("busy", (), move |()| {
                began.store(true, Ordering::SeqCst);
                std::future::pending::<Result<u32>>()
            });
            select(ctx.signal::<u32>("more").timeout(Duration::from_secs(2)), never).await.factor_first().0
        }
    };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    until("its step begins", || here.load(Ordering::SeqCst)).await;
    // It is tried after 5 ms, after 10 more and so on: what fails is over in two and a half seconds.
    disk.left.store(TOLD + 9, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    assert_eq!(within("delivering", run.result::<u32>()).await.unwrap(), 7);
    assert_eq!(disk.left.load(Ordering::SeqCst), 0);
    abide.shutdown().await;
    drop(guard);
}

/// Nobody tells of a child a second time either: not the commit that began it, and not its parent, which waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_cannot_be_read_is_begun_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let (failing, armed) = (disk.clone(), Arc::new(AtomicBool::new(false)));
    let parent = move |ctx: Ctx, (): ()| {
        let (failing, armed) = (failing.clone(), armed.clone());
        async move {
            ctx.step("first", (), |()| async { Ok::<_, Error>(()) }).await?;
            // The turn that asks for the child: what is read next is the child.
            if !armed.swap(true, Ordering::SeqCst) {
                failing.left.store(1, Ordering::SeqCst);
            }
            ctx.child::<u32>("seven", &()).id("c").await
        }
    };
    let child = |ctx: Ctx, (): ()| async move { ctx.step("seven", (), |()| async { Ok::<_, Error>(7_u32) }).await };
    let opened = Abide::open(folder.path().join(FILE)).workflow("parent", parent).workflow("seven", child);
    let abide = opened.start().await.unwrap();
    let run = abide.run("parent", &()).id("r").await.unwrap();
    assert_eq!(within("the child", run.result::<u32>()).await.unwrap(), 7);
    assert_eq!(disk.left.load(Ordering::SeqCst), 0);
    abide.shutdown().await;
    drop(guard);
}

/// A run that was parked is brought back for a message; that fails, and nobody who waits for the run hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_run_that_cannot_be_read_is_brought_back_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("more").await };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    within("parking", run.settled()).await.unwrap();
    disk.left.store(3, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    assert_eq!(within("delivering", run.result::<u32>()).await.unwrap(), 7);
    assert_eq!(disk.left.load(Ordering::SeqCst), 0);
    abide.shutdown().await;
    drop(guard);
}

/// It is given up when the disk has failed for long, and that is written slowly: as long as it is not, the run seems to be worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_being_given_up_is_taken_up_after_that() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("more").await };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    within("parking", run.settled()).await.unwrap();
    disk.left.store(TRIES, Ordering::SeqCst);
    disk.slow.store(true, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    let stopped = within("giving up", run.result::<u32>()).await.unwrap_err();
    is_clear(&stopped, "giving up");
    until("it is taken up", || run.inspect().unwrap().status == "completed").await;
    assert_eq!(within("its end", run.result::<u32>()).await.unwrap(), 7);
    abide.shutdown().await;
    drop(guard);
}

/// Nor is it kept when it is to be let go of meanwhile, and that cannot be written at once either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_can_be_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("more").await };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    within("parking", run.settled()).await.unwrap();
    disk.left.store(u64::MAX, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    until("it cannot be read", || disk.left.load(Ordering::SeqCst) < u64::MAX).await;
    // The commit, and the same once more with each of its parts alone.
    disk.unwritable.store(2, Ordering::SeqCst);
    within("letting go", run.release()).await.unwrap();
    assert_eq!(disk.unwritable.load(Ordering::SeqCst), 0);
    disk.left.store(0, Ordering::SeqCst);
    let run = abide.resume("r", false).await.unwrap();
    assert_eq!(within("going on", run.result::<u32>()).await.unwrap(), 7);
    abide.shutdown().await;
    drop(guard);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, waiting).await;
}
