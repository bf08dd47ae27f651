//! What goes on in the fixture after it has been answered: in memory, as long as the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abide_mcp::serve::{Refusal, Status, Task};
use serde_json::{Map, Value};

struct One {
    created_ms: i64,
    until: Instant,
    asks: BTreeMap<String, Value>,
    outcome: Result<Value, Refusal>,
    cancelled: bool,
}

#[derive(Default)]
pub(super) struct Lasting(Mutex<HashMap<String, One>>);

impl Lasting {
    fn all(&self) -> MutexGuard<'_, HashMap<String, One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        takes: Duration,
        asks: BTreeMap<String, Value>,
        outcome: Result<Value, Refusal>,
    ) -> Task {
        let id = {
            let mut all = self.all();
            let id = format!("lasting-{}", all.len());
            let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let created_ms = i64::try_from(created.as_millis()).unwrap_or(i64::MAX);
            all.insert(id.clone(), One { created_ms, until: Instant::now() + takes, asks, outcome, cancelled: false });
            id
        };
        let task = self.look(&id).expect("it was put there just now");
        Task { status: Status::Working, ..task }
    }

    pub(super) fn look(&self, id: &str) -> Result<Task, Refusal> {
        let all = self.all();
        let one = all.get(id).ok_or_else(|| Refusal::unknown_task(id))?;
        let status = match &one.outcome {
            _ if one.cancelled => Status::Cancelled,
            _ if !one.asks.is_empty() => Status::Asks(one.asks.clone()),
            _ if Instant::now() < one.until => Status::Working,
            Ok(result) => Status::Completed(result.clone()),
            Err(refusal) => Status::Failed(refusal.clone()),
        };
        let (id, created_ms) = (id.to_owned(), one.created_ms);
        Ok(Task { id, status, message: None, created_ms, updated_ms: created_ms, poll_ms: 100 })
    }

    pub(super) fn answer(&self, id: &str, responses: &Map<String, Value>) -> Result<(), Refusal> {
        let mut all = self.all();
        let one = all.get_mut(id).ok_or_else(|| Refusal::unknown_task(id))?;
        one.asks.retain(|key, _| !responses.contains_key(key));
        Ok(())
    }

    pub(super) fn cancel(&self, id: &str) -> Result<(), Refusal> {
        let mut all = self.all();
        let one = all.get_mut(id).ok_or_else(|| Refusal::unknown_task(id))?;
        // What is over stays what it is.
        one.cancelled |= Instant::now() < one.until || !one.asks.is_empty();
        Ok(())
    }
}
