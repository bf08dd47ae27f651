//! The calls that are under way on one connection: whose progress a notification is, and whom a server's question concerns.
//! It answers no question itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use abide_llm::ToolCall;
use rmcp::model::{ProgressToken, RequestId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::Driver;

/// How many questions a server may ask during one call: a server that never stops is told no.
const MOST_QUESTIONS: u32 = 20;

/// All calls of one connection.
#[derive(Default)]
pub(crate) struct Underway {
    calls: Mutex<HashMap<u64, Arc<Call>>>,
    next: AtomicU64,
}

/// One call.
pub(crate) struct Call {
    pub(crate) made: ToolCall,
    pub(crate) driver: Driver,
    sent: OnceLock<(RequestId, ProgressToken)>,
    pulse: watch::Sender<Pulse>,
    questions: AtomicU32,
}

/// The signs of life of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pulse {
    beats: u64,
    /// How many questions a person is being asked: meanwhile it is not the server that takes its time.
    pub(crate) asking: u32,
    /// Since when.
    since: Option<Instant>,
    /// How long that was before, altogether.
    pub(crate) asked: Duration,
}

/// A call that is under way until this is dropped.
pub(crate) struct Entry {
    calls: Arc<Underway>,
    number: u64,
    pub(crate) call: Arc<Call>,
}

impl Underway {
    /// From now on the call is under way.
    pub(crate) fn enter(self: &Arc<Self>, call: ToolCall, driver: Driver) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sent, questions) = (OnceLock::new(), AtomicU32::new(0));
        let call = Arc::new(Call { made: call, driver, sent, pulse: watch::Sender::default(), questions });
        self.lock().insert(number, Arc::clone(&call));
        Entry { calls: Arc::clone(self), number, call }
    }

    /// The call with this token of progress.
    pub(crate) fn of_token(&self, token: &ProgressToken) -> Option<Arc<Call>> {
        self.lock().values().find(|call| call.sent.get().is_some_and(|(_, known)| known == token)).cloned()
    }

    /// The call that a server's question belongs to: the one whose answer stream it came by, else the only one there is, or
    /// any of them if the same driver stands behind them all.
    pub(crate) fn concerned(&self, request: Option<&RequestId>) -> Option<Arc<Call>> {
        let calls = self.lock();
        if let Some(id) = request {
            return calls.values().find(|call| call.sent.get().is_some_and(|(known, _)| known == id)).cloned();
        }
        let first = calls.values().next()?;
        calls.values().all(|call| call.driver.is(&first.driver)).then(|| Arc::clone(first))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Call>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// It was given these by rmcp.
    pub(crate) fn sent(&self, id: RequestId, token: ProgressToken) {
        let _ = self.call.sent.set((id, token));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.number);
    }
}

impl Call {
    /// The server has shown that it is at work.
    pub(crate) fn beat(&self) {
        self.pulse.send_modify(|pulse| pulse.beats += 1);
    }

    /// Changes with every sign of life.
    pub(crate) fn pulse(&self) -> watch::Receiver<Pulse> {
        self.pulse.subscribe()
    }

    /// Asks something of the driver; `None` if too much was asked already.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        if self.questions.fetch_add(1, Ordering::Relaxed) >= MOST_QUESTIONS {
            return None;
        }
        let _asking = Asking::new(&self.pulse);
        Some(question.await)
    }
}

struct Asking<'p>(&'p watch::Sender<Pulse>);

impl<'p> Asking<'p> {
    fn new(pulse: &'p watch::Sender<Pulse>) -> Self {
        pulse.send_modify(|pulse| {
            pulse.asking += 1;
            pulse.since.get_or_insert_with(Instant::now);
        });
        Self(pulse)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|pulse| {
            pulse.asking = pulse.asking.saturating_sub(1);
            pulse.beats += 1;
            if pulse.asking == 0 {
                pulse.asked += pulse.since.take().map(|since| since.elapsed()).unwrap_or_default();
            }
        });
    }
}
