//! One attempt of a step: its future, its time-out, its panic. It never decides what follows.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use abide_engine::{Attempt, AttemptFuture, Error, ErrorKind, Json, StepAsked, StepId, Teller};
use futures_util::FutureExt;

use super::inner::Inner;
use super::limits::Limits;
use super::progress::{Progress, ProgressKind};
use super::shard::Msg;

/// An attempt that takes longer than this to be polled once is not polled on the shard's thread again.
const QUICK: Duration = Duration::from_micros(500);

type Work = Pin<Box<dyn Future<Output = Result<Json, Error>> + Send>>;

/// What came of starting an attempt.
pub(crate) enum Started {
    /// It was over at once.
    Done(Result<Json, Error>),
    /// It works; its outcome comes as a message.
    Working(tokio::task::AbortHandle),
}

/// A number that no other attempt of this process has: an id recurs in a later generation, and then the outcome of an old attempt must be nobody's.
pub(crate) fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Passes on what an attempt says of itself, as long as the host is there.
pub(crate) fn teller(inner: &Arc<Inner>, run: &Arc<str>, id: &StepId, attempt: u32) -> Teller {
    let (inner, run, id) = (Arc::downgrade(inner), run.clone(), id.clone());
    Teller::new(move |telling| {
        let Some(inner) = inner.upgrade() else { return };
        inner.tell(|| Progress { run: run.clone(), what: ProgressKind::Told { id: id.to_string(), attempt, telling } });
    })
}

fn work(step: &StepAsked, attempt: Attempt, limits: Limits) -> Work {
    let run = step.run.clone();
    let body = AssertUnwindSafe(async move { AttemptFuture::start(|| run(), attempt).await }).catch_unwind();
    let timeout = step.timeout_ms.map(Duration::from_millis);
    Box::pin(async move {
        let caught = match timeout {
            None => body.await,
            Some(limit) => match tokio::time::timeout(limit, body).await {
                Ok(caught) => caught,
                Err(_) => {
                    let text = format!("the attempt took longer than its time-out of {} s", limit.as_secs_f64());
                    return Err(Error::new(ErrorKind::TimedOut, text));
                }
            },
        };
        let result = caught.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Plain, format!("the step panicked: {}", text_of(&*panic))))
        });
        result.and_then(|out| limits.result(out))
    })
}

/// Starts an attempt. With `inline` it is polled once right here: most short steps are over then, without a task of their own.
pub(crate) fn start(
    inner: &Arc<Inner>,
    to: &mpsc::Sender<Msg>,
    (token, id, serial): (u64, &StepId, u64),
    step: &StepAsked,
    attempt: Attempt,
    inline: &mut bool,
) -> Started {
    let n = attempt.number;
    let _context = inner.runtime.enter();
    let mut work = work(step, attempt, inner.limits);
    if *inline {
        let began = Instant::now();
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        *inline = began.elapsed() < QUICK;
        if let Poll::Ready(result) = polled {
            return Started::Done(result);
        }
    }
    let (to, id, inner2) = (to.clone(), id.clone(), inner.clone());
    let task = inner.runtime.spawn(async move {
        let result = work.await;
        let _ = to.send(Msg::StepDone { token, id, n, serial, result, at_ms: inner2.now_ms() });
    });
    Started::Working(task.abort_handle())
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned())
}
