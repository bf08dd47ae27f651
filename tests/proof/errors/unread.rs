//! A message that was committed and cannot be read: nobody tells of it twice, so it must be read again when that is possible. It looks at one
//! moment only.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use abide::prelude::*;
use abide::{Builder, Run};
use futures_util::future::select;
use rusqlite::ffi::{SQLITE_IOERR_READ, SQLITE_IOERR_WRITE};
use tempfile::TempDir;

use super::work::{FILE, is_clear, within};
use crate::proof::vfs::{self, Call, Guard, Watch};

/// A message is told of twice, by whoever sent it and by whoever watches the file: both times it cannot be read.
const TOLD: u64 = 2;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

/// Those who work on runs cannot read so many times; the writer can.
#[derive(Default)]
struct Unreadable {
    left: AtomicU64,
    /// What is written next takes longer than to try again.
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
        if matches!(call, Call::Write { .. }) && self.slow.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(300));
        }
        real()
    }
}

/// A host whose disk can be made unreadable, and a run of its first workflow.
struct Bench {
    disk: Arc<Unreadable>,
    abide: Abide,
    run: Run,
    _guard: Guard,
    folder: TempDir,
}

impl Bench {
    /// Begins a run of `name` where `open` has brought the workflows.
    async fn new(name: &str, open: impl FnOnce(Builder, &Arc<Unreadable>) -> Builder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Unreadable::default());
        let guard = vfs::watch(folder.path(), disk.clone());
        let abide = open(Abide::open(folder.path().join(FILE)), &disk).start().await.unwrap();
        let run = abide.run(name, &()).id("r").await.unwrap();
        Self { disk, abide, run, _guard: guard, folder }
    }

    /// The same with a run that is parked, waiting for `more`.
    async fn parked() -> Self {
        let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("more").await };
        let bench = Self::new("wait", |open, _| open.workflow("wait", flow)).await;
        within("parking", bench.run.settled()).await.unwrap();
        bench
    }

    /// Its result, at last.
    async fn ends_with(self, what: &str, result: u32) {
        assert_eq!(within(what, self.run.result::<u32>()).await.unwrap(), result);
        assert_eq!(self.disk.left.load(Ordering::SeqCst), 0);
        self.abide.shutdown().await;
        drop(self.folder);
    }
}

/// Waits for `more`, with something under way so that the run stays in memory; `begins` becomes true when that begins.
async fn busily(ctx: Ctx, begins: Arc<AtomicBool>, patience: Duration) -> Result<u32> {
    let never = ctx.step("busy", (), move |()| {
        begins.store(true, Ordering::SeqCst);
        std::future::pending::<Result<u32>>()
    });
    let more = ctx.signal::<u32>("more").timeout(patience);
    select(more, never).await.factor_first().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read_is_read_later() {
    let busy = Arc::new(AtomicBool::new(false));
    let begins = busy.clone();
    let flow = move |ctx: Ctx, (): ()| busily(ctx, begins.clone(), LONG);
    let bench = Bench::new("wait", |open, _| open.workflow("wait", flow)).await;
    until("its step begins", || busy.load(Ordering::SeqCst)).await;
    bench.disk.left.store(TOLD, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    until("it cannot be read", || bench.disk.left.load(Ordering::SeqCst) == 0).await;
    bench.ends_with("delivering", 7).await;
}

/// Longer than a run that only waits stays in memory: it is not let out while its inbox is to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_only_waits_is_kept_until_its_message_is_read() {
    let here = Arc::new(AtomicBool::new(false));
    let began = here.clone();
    let flow = move |ctx: Ctx, (): ()| {
        let began = began.clone();
        async move {
            let first = ctx.signal::<u32>("first").await?;
            began.store(true, Ordering::SeqCst);
            // With a time to wait for, it stays this process's.
            Ok::<_, Error>(first + ctx.signal::<u32>("more").timeout(LONG).await?)
        }
    };
    let bench = Bench::new("wait", |open, _| open.workflow("wait", flow)).await;
    bench.run.signal("first", &1).await.unwrap();
    let waits = || bench.run.inspect().unwrap().status == "waiting";
    until("it is in memory, and waits", || here.load(Ordering::SeqCst) && waits()).await;
    // Each further try waits twice as long: before the last of these a run would have been let out of memory.
    bench.disk.left.store(TOLD + 9, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    bench.ends_with("delivering", 8).await;
}

/// A message that was sent in time comes before the end of the wait, also if it can be read only after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_does_not_time_out_while_its_messages_cannot_be_read() {
    let here = Arc::new(AtomicBool::new(false));
    let began = here.clone();
    let flow = move |ctx: Ctx, (): ()| busily(ctx, began.clone(), Duration::from_secs(2));
    let bench = Bench::new("wait", |open, _| open.workflow("wait", flow)).await;
    until("its step begins", || here.load(Ordering::SeqCst)).await;
    // It is tried after 5 ms, after 10 more and so on: what fails is over in two and a half seconds.
    bench.disk.left.store(TOLD + 9, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    bench.ends_with("delivering", 7).await;
}

/// Nobody tells of a child a second time either: not the commit that began it, and not its parent, which waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_cannot_be_read_is_begun_later() {
    let armed = Arc::new(AtomicBool::new(false));
    let parent = move |ctx: Ctx, failing: Arc<Unreadable>| {
        let armed = armed.clone();
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
    let bench = Bench::new("parent", |open, disk| {
        let disk = disk.clone();
        open.workflow("parent", move |ctx, (): ()| parent(ctx, disk.clone())).workflow("seven", child)
    });
    bench.await.ends_with("the child", 7).await;
}

/// A run that was parked is brought back for a message; that fails, and nobody who waits for the run hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_run_that_cannot_be_read_is_brought_back_later() {
    let bench = Bench::parked().await;
    bench.disk.left.store(3, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    bench.ends_with("delivering", 7).await;
}

/// It is given up when the disk has failed for long, and that is written slowly: as long as it is not, the run seems to be worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_being_given_up_is_taken_up_after_that() {
    let bench = Bench::parked().await;
    bench.disk.left.store(u64::MAX, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    until("it cannot be read", || bench.disk.left.load(Ordering::SeqCst) < u64::MAX).await;
    // It has been claimed: what is written next is that it is given up.
    bench.disk.slow.store(true, Ordering::SeqCst);
    let stopped = within("giving up", bench.run.result::<u32>()).await.unwrap_err();
    is_clear(&stopped, "giving up");
    bench.disk.left.store(0, Ordering::SeqCst);
    until("it is taken up", || bench.run.inspect().unwrap().status == "completed").await;
    bench.ends_with("its end", 7).await;
}

/// Nor is it kept when it is to be let go of meanwhile, and that cannot be written at once either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_can_be_let_go_of() {
    let bench = Bench::parked().await;
    let disk = &bench.disk;
    disk.left.store(u64::MAX, Ordering::SeqCst);
    bench.run.signal("more", &7).await.unwrap();
    until("it cannot be read", || disk.left.load(Ordering::SeqCst) < u64::MAX).await;
    // The commit, and the same once more with each of its parts alone.
    disk.unwritable.store(2, Ordering::SeqCst);
    within("letting go", bench.run.release()).await.unwrap();
    assert_eq!(disk.unwritable.load(Ordering::SeqCst), 0);
    disk.left.store(0, Ordering::SeqCst);
    bench.abide.resume("r", false).await.unwrap();
    bench.ends_with("going on", 7).await;
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, waiting).await;
}
