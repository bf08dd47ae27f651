//! Sessions of the version that has them: what the client said at its beginning, what it is asked now, and which of its requests
//! are under way. They live in memory: a client of a server that was started again begins a new one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use abide_engine::hex;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::LEGACY;

/// Sessions that are kept, at most: the one that was silent for the longest makes room.
const MOST: usize = 1_000;

/// What a client said at the beginning.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) version: String,
    pub(super) capabilities: Value,
    /// The least severity that it wants to see.
    pub(super) level: String,
}

type Waiting = oneshot::Sender<Result<Value, Value>>;

/// One session.
pub(super) struct Session {
    pub(super) id: String,
    known: Mutex<Known>,
    asked: Mutex<HashMap<String, Waiting>>,
    under_way: Mutex<HashMap<String, oneshot::Sender<()>>>,
    next: AtomicU64,
    /// It says nothing any more.
    silent: AtomicBool,
    seen: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // No source of randomness (an early boot, a bare sandbox): nothing here is a secret by itself, but each has to be unique.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&now.to_le_bytes()).update(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
    }
    bytes
}

impl Session {
    pub(super) fn new() -> Arc<Self> {
        let id = hex::encode(&random::<16>());
        let known = Known { version: LEGACY[0].to_owned(), capabilities: json!({}), level: "info".to_owned() };
        Arc::new(Self {
            id,
            known: Mutex::new(known),
            asked: Mutex::default(),
            under_way: Mutex::default(),
            next: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            seen: Mutex::new(Instant::now()),
        })
    }

    pub(super) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// `initialize`.
    pub(super) fn begin(&self, version: &str, capabilities: Value) {
        let mut known = lock(&self.known);
        (known.version, known.capabilities) = (version.to_owned(), capabilities);
    }

    pub(super) fn set_level(&self, level: &str) {
        level.clone_into(&mut lock(&self.known).level);
    }

    /// Asks the client and waits for its answer, however long a person takes. None if it is gone.
    pub(super) async fn ask(
        &self,
        method: &str,
        params: &Value,
        out: &mpsc::Sender<Value>,
    ) -> Option<Result<Value, Value>> {
        let id = format!("abide-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        lock(&self.asked).insert(id.clone(), answer);
        let asked = Asked { session: self, id: &id };
        if self.silent.load(Ordering::SeqCst) {
            return None;
        }
        out.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await.ok()?;
        let answer = tokio::select! {
            answer = answered => answer.ok(),
            () = out.closed() => None,
        };
        drop(asked);
        answer
    }

    /// The client's answer. One that nobody waits for is nothing.
    pub(super) fn heard(&self, id: &str, outcome: Result<Value, Value>) {
        if let Some(waiting) = lock(&self.asked).remove(id) {
            let _ = waiting.send(outcome);
        }
    }

    /// The client will not answer anything any more.
    pub(super) fn falls_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
        lock(&self.asked).clear();
    }

    /// Works on a request until it is answered, or the client does not want that any more: then there is no answer.
    pub(super) async fn attend<T>(&self, id: &Value, work: impl Future<Output = T>) -> Option<T> {
        let (stop, stopped) = oneshot::channel();
        let id = id.to_string();
        lock(&self.under_way).insert(id.clone(), stop);
        // Also if its client goes away, and this is dropped.
        let _under_way = UnderWay { session: self, id };
        tokio::select! {
            done = work => Some(done),
            Ok(()) = stopped => None,
        }
    }

    /// `notifications/cancelled`.
    pub(super) fn cancelled(&self, params: &Map<String, Value>) {
        let stop = params.get("requestId").and_then(|id| lock(&self.under_way).remove(&id.to_string()));
        if let Some(stop) = stop {
            let _ = stop.send(());
        }
    }
}

/// A request that is not worked on any more is forgotten.
struct UnderWay<'s> {
    session: &'s Session,
    id: String,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.session.under_way).remove(&self.id);
    }
}

/// A question that is not waited for any more is forgotten.
struct Asked<'s> {
    session: &'s Session,
    id: &'s str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.session.asked).remove(self.id);
    }
}

/// All sessions of a server.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// A new one.
    pub(super) fn open(&self) -> Arc<Session> {
        let session = Session::new();
        let mut all = lock(&self.0);
        if all.len() >= MOST
            && let Some(oldest) = all.values().min_by_key(|session| *lock(&session.seen)).map(|s| s.id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(session.id.clone(), Arc::clone(&session));
        session
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let session = lock(&self.0).get(id).cloned()?;
        *lock(&session.seen) = Instant::now();
        Some(session)
    }

    /// Ends one. False if there is none.
    pub(super) fn close(&self, id: &str) -> bool {
        lock(&self.0).remove(id).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_request_whose_client_is_gone_is_not_kept() {
        let session = Session::new();
        for n in 0..3 {
            let id = json!(n);
            let mut work = Box::pin(session.attend(&id, std::future::pending::<()>()));
            assert!(futures_util::poll!(&mut work).is_pending());
            assert_eq!(lock(&session.under_way).len(), 1);
        }
        assert!(lock(&session.under_way).is_empty());
        let id = json!("a");
        let mut work = Box::pin(session.attend(&id, std::future::pending::<()>()));
        assert!(futures_util::poll!(&mut work).is_pending());
        session.cancelled(json!({"requestId": "a"}).as_object().unwrap());
        assert_eq!(work.await, None);
    }
}
