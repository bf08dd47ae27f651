//! What this process knows of services with limits between two commits: limits that answers have named, and which other processes are
//! dead. The queue itself is in the database. It grants nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abide_engine::Rates;

/// Shared by all shards of a process.
#[derive(Default)]
pub(crate) struct Governor {
    learnt: Mutex<Learnt>,
    dead: Mutex<Arc<[i64]>>,
}

#[derive(Default)]
struct Learnt {
    known: HashMap<Arc<str>, Rates>,
    /// Not written yet.
    fresh: HashMap<Arc<str>, Rates>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Governor {
    /// An answer of this service has named these limits: kept with the next commit that has to do with services.
    pub(crate) fn learn(&self, service: &str, rates: Rates) {
        if rates == Rates::default() {
            return;
        }
        let mut learnt = lock(&self.learnt);
        if learnt.known.get(service) != Some(&rates) {
            let service: Arc<str> = service.into();
            learnt.known.insert(service.clone(), rates);
            learnt.fresh.insert(service, rates);
        }
    }

    pub(crate) fn take_fresh(&self) -> Vec<(Arc<str>, Rates)> {
        lock(&self.learnt).fresh.drain().collect()
    }

    /// A commit has failed, and limits that were to be kept with it may be lost: the next answer tells them again.
    pub(crate) fn forget(&self) {
        lock(&self.learnt).known.clear();
    }

    pub(crate) fn dead(&self) -> Arc<[i64]> {
        lock(&self.dead).clone()
    }

    pub(crate) fn set_dead(&self, dead: Vec<i64>) {
        *lock(&self.dead) = dead.into();
    }
}
