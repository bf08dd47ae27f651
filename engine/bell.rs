//! The waker of a workflow, which tells our own wakes from foreign ones (DESIGN rule 8). It never schedules anything.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// Tells the host, from any thread, that a run noticed something outside its poll.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Bell {
    /// Woken by one of abide's own reveals, or by the workflow itself while it was polled.
    ours: AtomicBool,
    /// Woken by anybody else.
    foreign: AtomicBool,
    /// The machine is being taken down: nothing counts any more.
    closing: AtomicBool,
    notify: Notify,
}

thread_local! {
    static POLLING: Cell<*const Bell> = const { Cell::new(std::ptr::null()) };
}

impl Bell {
    pub(crate) fn new(notify: Notify) -> Arc<Self> {
        Arc::new(Self { ours: false.into(), foreign: false.into(), closing: false.into(), notify })
    }

    /// Runs `f` as part of this workflow's poll.
    pub(crate) fn while_polling<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        struct Restore(*const Bell);
        impl Drop for Restore {
            fn drop(&mut self) {
                POLLING.set(self.0);
            }
        }
        let _restore = Restore(POLLING.replace(Arc::as_ptr(self)));
        f()
    }

    /// True inside this workflow's own poll, on its thread.
    pub(crate) fn is_polling(self: &Arc<Self>) -> bool {
        POLLING.get() == Arc::as_ptr(self)
    }

    pub(crate) fn take_ours(&self) -> bool {
        self.ours.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tells the host that something outside the poll concerns this run.
    pub(crate) fn alarm(&self) {
        if !self.is_closing() {
            (self.notify)();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_polling() {
            self.ours.store(true, Ordering::Relaxed);
        } else if !self.is_closing() {
            self.foreign.store(true, Ordering::Release);
            (self.notify)();
        }
    }
}
