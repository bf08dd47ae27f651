//! What a machine and the futures of its workflow share: open operations, their numbering and the one completion that is
//! revealed. It never polls and never talks to a host.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use slab::Slab;

use crate::asked::{Asked, What};
use crate::bell::Bell;
use crate::event::{Json, Wait};
use crate::id::{StepId, fault_of_name};
use crate::{Error, ErrorKind, Fault, Resources, Result, Seed};

pub(crate) struct Shared {
    pub(crate) bell: Arc<Bell>,
    pub(crate) run: String,
    pub(crate) resources: Resources,
    state: Mutex<State>,
}

/// An operation that a future of the workflow stands for.
pub(crate) struct Entry {
    pub(crate) asked: Asked,
    /// Set when it was numbered.
    pub(crate) id: Option<StepId>,
    /// For a scope: its index, set when it was numbered.
    pub(crate) opened: Option<u32>,
    waker: Option<Waker>,
    /// Polled since it was last revealed (DESIGN rule 5).
    polled: bool,
    settled: Option<(u64, Result<Json>)>,
}

pub(crate) struct Scope {
    pub(crate) path: Arc<str>,
    ordinals: HashMap<Box<str>, u32>,
    draws: HashMap<String, u64>,
}

pub(crate) struct State {
    pub(crate) now_ms: i64,
    pub(crate) seed: Seed,
    scopes: Vec<Scope>,
    pub(crate) entries: Slab<Entry>,
    by_id: HashMap<StepId, usize>,
    /// Made since the last rest, not numbered yet.
    fresh: Vec<usize>,
    /// Dropped unfinished since the last rest.
    dropped: Vec<StepId>,
    revealed: Option<usize>,
    /// Completions not taken yet whose future was polled since its last reveal, in journal order.
    ready: BTreeMap<u64, usize>,
    next_seq: u64,
    /// Operations that are numbered and not settled.
    pub(crate) open: usize,
    /// Signals that reached a waiter who was dropped before it looked: the next waiter of that name gets them.
    kept: HashMap<(Wait, String), VecDeque<Result<Json>>>,
    pub(crate) versions: HashMap<String, u32>,
    /// While a recorded delivery is replayed: the gates it recorded.
    pub(crate) recorded_versions: Option<HashMap<String, u32>>,
    /// Version gates taken since the last delivery.
    pub(crate) new_versions: Vec<(String, u32)>,
    pub(crate) next_input: Option<Json>,
    pub(crate) status: Option<Json>,
    pub(crate) cancelled: bool,
    pub(crate) fault: Option<Fault>,
}

/// What came of a rest: the operations that were numbered, in canonical order, and the ids that were dropped.
#[derive(Default)]
pub(crate) struct Rest {
    pub(crate) numbered: Vec<usize>,
    pub(crate) dropped: Vec<StepId>,
    pub(crate) to_wake: Vec<Waker>,
}

impl Shared {
    pub(crate) fn new(bell: Arc<Bell>, run: String, resources: Resources) -> Arc<Self> {
        let root = Scope { path: "".into(), ordinals: HashMap::new(), draws: HashMap::new() };
        let state = State {
            now_ms: 0,
            seed: Seed { nonce: [0; 16], generation: 0 },
            scopes: vec![root],
            entries: Slab::new(),
            by_id: HashMap::new(),
            fresh: Vec::new(),
            dropped: Vec::new(),
            revealed: None,
            ready: BTreeMap::new(),
            next_seq: 0,
            open: 0,
            kept: HashMap::new(),
            versions: HashMap::new(),
            recorded_versions: None,
            new_versions: Vec::new(),
            next_input: None,
            status: None,
            cancelled: false,
            fault: None,
        };
        Arc::new(Self { bell, run, resources, state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if we are inside the workflow's own poll; otherwise a fault is recorded and the host told.
    pub(crate) fn inside(&self, what: &str) -> Option<MutexGuard<'_, State>> {
        if self.bell.is_polling() {
            return Some(self.lock());
        }
        if !self.bell.is_closing() {
            self.lock().fail(Fault::OutsidePoll { what: what.to_owned() });
            self.bell.alarm();
        }
        None
    }
}

impl Entry {
    /// Its id, and whether it is a signal.
    pub(crate) fn named(&self) -> Option<(StepId, bool)> {
        Some((self.id.clone()?, matches!(self.asked.what, What::Signal { .. })))
    }
}

impl Scope {
    fn next_ordinal(&mut self, name: &str) -> u32 {
        if let Some(count) = self.ordinals.get_mut(name) {
            *count += 1;
            return *count;
        }
        self.ordinals.insert(name.into(), 1);
        1
    }
}

impl State {
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub(crate) fn add(&mut self, asked: Asked, waker: &Waker) -> usize {
        if let Some(why) = fault_of_name(&asked.name) {
            self.fail(Fault::BadRequest { name: asked.name.to_string(), why: why.to_owned() });
        }
        let entry = Entry { asked, id: None, opened: None, waker: Some(waker.clone()), polled: true, settled: None };
        let slot = self.entries.insert(entry);
        self.fresh.push(slot);
        slot
    }

    /// Polls an operation: its completion if it is the one being revealed.
    pub(crate) fn poll(&mut self, slot: usize, waker: &Waker) -> Option<Result<Json>> {
        if self.revealed == Some(slot) {
            self.revealed = None;
            let entry = self.entries.remove(slot);
            if let Some(id) = &entry.id {
                self.by_id.remove(id);
            }
            return entry.settled.map(|(_, result)| result);
        }
        let entry = self.entries.get_mut(slot)?;
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        entry.polled = true;
        if let Some((seq, _)) = &entry.settled {
            self.ready.insert(*seq, slot);
        }
        None
    }

    /// A future was dropped before it was ready.
    pub(crate) fn forget(&mut self, slot: usize) {
        if !self.entries.contains(slot) {
            return;
        }
        let entry = self.entries.remove(slot);
        if self.revealed == Some(slot) {
            self.revealed = None;
        }
        let Some(id) = entry.id else {
            self.fresh.retain(|other| *other != slot);
            return;
        };
        self.by_id.remove(&id);
        match entry.settled {
            None if matches!(entry.asked.what, What::Scope) => {}
            None => {
                self.open -= 1;
                self.dropped.push(id);
            }
            Some((seq, result)) => {
                self.ready.remove(&seq);
                // What a person answered was meant for that question alone.
                if let (What::Signal { signal, wait: Wait::Signal, .. }, Ok(_)) = (&entry.asked.what, &result) {
                    self.kept.entry((Wait::Signal, signal.clone())).or_default().push_front(result);
                }
            }
        }
    }

    /// Numbers what was made since the last rest: per scope and name, sorted by hash (DESIGN rule 6).
    pub(crate) fn rest(&mut self) -> Rest {
        let mut rest = Rest { dropped: std::mem::take(&mut self.dropped), ..Rest::default() };
        rest.dropped.sort_unstable();
        let mut fresh = std::mem::take(&mut self.fresh);
        if fresh.len() > 1 {
            fresh.sort_by(|a, b| self.compare(&self.entries[*a].asked, &self.entries[*b].asked));
            self.refuse_equal(&fresh);
        }
        for slot in fresh {
            self.number(slot, &mut rest);
        }
        rest
    }

    /// By the paths of their scopes, not by the order in which those were opened: that may be random.
    fn compare(&self, a: &Asked, b: &Asked) -> std::cmp::Ordering {
        let scopes =
            if a.scope == b.scope { std::cmp::Ordering::Equal } else { self.path(a.scope).cmp(&self.path(b.scope)) };
        scopes.then_with(|| a.order().cmp(&b.order()))
    }

    fn refuse_equal(&mut self, sorted: &[usize]) {
        let same = |a: &Asked, b: &Asked| a.scope == b.scope && a.order() == b.order();
        let equal = sorted.windows(2).find(|w| same(&self.entries[w[0]].asked, &self.entries[w[1]].asked));
        if let Some(pair) = equal {
            let asked = &self.entries[pair[0]].asked;
            let scope = self.scopes[asked.scope as usize].path.to_string();
            let name = asked.name.to_string();
            self.fail(Fault::Ambiguous { scope, name });
        }
    }

    fn number(&mut self, slot: usize, rest: &mut Rest) {
        let entry = &mut self.entries[slot];
        let scope = &mut self.scopes[entry.asked.scope as usize];
        let ordinal = scope.next_ordinal(&entry.asked.name);
        let id = StepId::new(&scope.path, &entry.asked.name, ordinal);
        entry.id = Some(id.clone());
        if matches!(entry.asked.what, What::Scope) {
            let scope = self.add_scope(id.as_str());
            self.entries[slot].opened = Some(scope);
            rest.to_wake.extend(self.entries[slot].waker.take());
            return;
        }
        self.by_id.insert(id, slot);
        self.open += 1;
        rest.numbered.push(slot);
        self.give_kept_signal(slot);
    }

    fn give_kept_signal(&mut self, slot: usize) {
        if self.kept.is_empty() {
            return;
        }
        if let What::Signal { signal, wait, .. } = &self.entries[slot].asked.what
            && let Some(result) = self.kept.get_mut(&(*wait, signal.clone())).and_then(VecDeque::pop_front)
        {
            self.settle(slot, result);
        }
    }

    pub(crate) fn add_scope(&mut self, path: &str) -> u32 {
        self.scopes.push(Scope { path: path.into(), ordinals: HashMap::new(), draws: HashMap::new() });
        (self.scopes.len() - 1) as u32
    }

    pub(crate) fn path(&self, scope: u32) -> Arc<str> {
        self.scopes[scope as usize].path.clone()
    }

    /// The scoped name and count of the next draw of `random(name)` or `uuid(name)`.
    pub(crate) fn draw(&mut self, scope: u32, name: &str) -> (String, u64) {
        let scope = &mut self.scopes[scope as usize];
        let scoped = format!("{}/{name}", scope.path);
        let count = scope.draws.entry(name.to_owned()).or_default();
        *count += 1;
        (scoped, *count - 1)
    }

    pub(crate) fn find(&self, id: &StepId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Gives an open operation its completion. False if it has one.
    pub(crate) fn settle(&mut self, slot: usize, result: Result<Json>) -> bool {
        let entry = &mut self.entries[slot];
        if entry.settled.is_some() {
            return false;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        entry.settled = Some((seq, result));
        self.open -= 1;
        if entry.polled {
            self.ready.insert(seq, slot);
        }
        true
    }

    /// The earliest completion whose future was polled since its last reveal becomes the revealed one.
    pub(crate) fn reveal(&mut self) -> Option<Waker> {
        let (_, slot) = self.ready.pop_first()?;
        let entry = &mut self.entries[slot];
        entry.polled = false;
        self.revealed = Some(slot);
        Some(entry.waker.take().unwrap_or_else(|| Waker::noop().clone()))
    }

    pub(crate) fn hide(&mut self) {
        self.revealed = None;
    }

    /// Settles every open operation as cancelled, in the order of ids, and returns those ids.
    pub(crate) fn cancel_all(&mut self) -> Vec<StepId> {
        let mut ids: Vec<StepId> = self.open_slots().filter_map(|slot| self.entries[slot].id.clone()).collect();
        ids.sort_unstable();
        for id in &ids {
            if let Some(slot) = self.find(id) {
                self.settle(slot, Err(Error::new(ErrorKind::Cancelled, "the run was cancelled")));
            }
        }
        ids
    }

    /// The slots that are numbered and not settled, scopes left out.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries
            .iter()
            .filter(|(_, e)| e.id.is_some() && e.settled.is_none() && !matches!(e.asked.what, What::Scope))
            .map(|(slot, _)| slot)
    }

    /// The earliest waiter for a signal, by id.
    pub(crate) fn waiter(&self, kind: Wait, name: &str) -> Option<StepId> {
        self.open_slots()
            .map(|slot| &self.entries[slot])
            .filter(|e| match (&e.asked.what, kind) {
                (What::Signal { signal, wait, .. }, Wait::Signal) => *wait == kind && signal == name,
                // What a person is asked is answered by the id of the question.
                (What::Signal { wait, .. }, _) => *wait == kind && e.id.as_ref().is_some_and(|id| id.as_str() == name),
                _ => false,
            })
            .filter_map(|e| e.id.clone())
            .min_by_key(|id| (id.as_str().len(), id.clone()))
    }

    /// True if the entry at this slot has its completion.
    pub(crate) fn is_settled(&self, slot: usize) -> bool {
        self.entries.get(slot).is_some_and(|e| e.settled.is_some())
    }
}
