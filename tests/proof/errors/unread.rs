//! A message that was committed and cannot be read: nobody tells of it twice, so it must be read again when that is possible. It looks at one
//! moment only.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abide::prelude::*;
use rusqlite::ffi::SQLITE_IOERR_READ;

use super::work::{FILE, within};
use crate::proof::vfs::{self, Call, Watch};

/// Those who work on runs cannot read; the writer can.
#[derive(Default)]
struct Unreadable {
    on: AtomicBool,
    failed: AtomicU64,
}

impl Watch for Unreadable {
    fn call(&self, _: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int {
        let engine = std::thread::current().name().is_some_and(|name| name.starts_with("abide-engine"));
        if engine && matches!(call, Call::Read) && self.on.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return SQLITE_IOERR_READ;
        }
        real()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read_is_read_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let guard = vfs::watch(folder.path(), disk.clone());
    let flow = |ctx: Ctx, (): ()| async move { ctx.signal::<u32>("more").await };
    let abide = Abide::open(folder.path().join(FILE)).workflow("wait", flow).start().await.unwrap();
    let run = abide.run("wait", &()).id("r").await.unwrap();
    disk.on.store(true, Ordering::SeqCst);
    run.signal("more", &7).await.unwrap();
    let failed = async {
        while disk.failed.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    within("reading", failed).await;
    disk.on.store(false, Ordering::SeqCst);
    assert_eq!(within("delivering", run.result::<u32>()).await.unwrap(), 7);
    abide.shutdown().await;
    drop(guard);
}
