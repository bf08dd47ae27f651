//! A shard: the thread that polls its runs' workflows, outside any runtime's context (DESIGN rule 8). It never touches SQLite but to load
//! a run or read its inbox.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use abide_engine::{Arrival, Error, Fault, Json, Notify, OpenWhat, StepId};
use tokio::sync::oneshot;

use super::act::{After, Alarm};
use super::inner::Inner;
use super::resident::{Arrived, Came, LettingGo, Resident, StepState};
use super::run::Settled;
use super::turn::{Shop, diverged};
use crate::HostError;
use crate::hot::Hot;
use crate::store::{RunKey, Started, Tail};

/// A run that waits at least this long is let out of memory.
const EVICT_MS: i64 = 1_000;
/// Runs that a shard keeps in memory although they only wait; beyond it they are let out at once.
const KEEP_WAITING: usize = 128;
/// Failed commits in a row after which a run is stopped.
const MOST_FAILURES: u32 = 6;
/// The longest nap: clocks jump and laptops sleep, so due times are looked at again after it.
const NAP: Duration = Duration::from_secs(1);

/// What a shard is told.
pub(crate) enum Msg {
    /// Begin a run.
    Start(Box<super::run::StartRun>, oneshot::Sender<Result<Started, HostError>>),
    /// The commit of a run's start has returned.
    Begun { token: u64, result: Result<Started, HostError>, reply: oneshot::Sender<Result<Started, HostError>> },
    /// Bring this run, which is ours from this epoch on, into memory.
    Load { key: RunKey, epoch: i64, reply: Option<oneshot::Sender<Result<(), HostError>>> },
    /// The commit of a turn has returned.
    Committed { token: u64, result: Result<Tail, HostError>, fenced: bool },
    /// An attempt is over.
    StepDone { token: u64, id: StepId, attempt: u32, result: Result<Json, Error>, at_ms: i64 },
    /// The run's inbox has something new.
    Inbox(RunKey),
    /// Something outside its poll concerns this run.
    Alarm(u64),
    /// Let go of this run, or of all.
    LetGo(Option<RunKey>),
    /// End, when nothing is left to wait for.
    Stop(oneshot::Sender<()>),
}

/// A run that is ours and out of memory.
pub(crate) struct Sleeping {
    pub(crate) epoch: i64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Timed {
    Op(u64, StepId),
    Wake(RunKey),
    Look(u64),
}

pub(crate) struct Shard {
    pub(crate) inner: Arc<Inner>,
    pub(crate) to: mpsc::Sender<Msg>,
    pub(crate) residents: HashMap<u64, Resident>,
    pub(crate) by_key: HashMap<RunKey, u64>,
    sleeping: HashMap<RunKey, Sleeping>,
    timers: BinaryHeap<Reverse<(i64, Timed)>>,
    next_token: u64,
    stopping: Option<oneshot::Sender<()>>,
    letting_go: bool,
}

/// What a machine calls when something outside its poll concerns its run.
pub(crate) fn alarm(to: &mpsc::Sender<Msg>, token: u64) -> Notify {
    let to = to.clone();
    Arc::new(move || {
        let _ = to.send(Msg::Alarm(token));
    })
}

impl Shard {
    pub(crate) fn new(inner: Arc<Inner>, to: mpsc::Sender<Msg>) -> Self {
        Self {
            inner,
            to,
            residents: HashMap::new(),
            by_key: HashMap::new(),
            sleeping: HashMap::new(),
            timers: BinaryHeap::new(),
            next_token: 1,
            stopping: None,
            letting_go: false,
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, from: &mpsc::Receiver<Msg>) {
        let mut hot = Hot::default();
        loop {
            let nap = self.nap();
            match hot.recv(from, nap) {
                Ok(msg) => self.handle(msg),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            self.fire();
            if self.stopping.is_some() && self.residents.is_empty() {
                if let Some(reply) = self.stopping.take() {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    fn nap(&self) -> Duration {
        let Some(Reverse((at, _))) = self.timers.peek() else { return NAP };
        let ms = at.saturating_sub(self.inner.now_ms());
        Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(NAP)
    }

    pub(crate) fn is_letting_go(&self) -> bool {
        self.letting_go
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Start(start, reply) => self.begin(*start, reply),
            Msg::Begun { token, result, reply } => self.begun(token, result, reply),
            Msg::Load { key, epoch, reply } => {
                let result = self.load(key, epoch);
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
            }
            Msg::Committed { token, result, fenced } => self.committed(token, result, fenced),
            Msg::StepDone { token, id, attempt, result, at_ms } => {
                if let Some(run) = self.residents.get_mut(&token) {
                    let what = Came::Attempt { id, n: attempt, result };
                    run.arrived.push(Arrived { at: at_ms, order: Arrival::Outcome, what });
                    self.turn(token);
                }
            }
            Msg::Inbox(key) => self.inbox(key),
            Msg::Alarm(token) => {
                if let Some(fault) = self.residents.get(&token).and_then(|run| run.machine.fault()) {
                    self.park_diverged(token, &fault);
                }
            }
            Msg::LetGo(key) => self.let_go(key),
            Msg::Stop(reply) => {
                self.stopping = Some(reply);
                self.let_go(None);
            }
        }
    }

    /// Looks at everything that is due.
    fn fire(&mut self) {
        let now = self.inner.now_ms();
        let mut touched = Vec::new();
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, timed))) = self.timers.pop() else { break };
            match timed {
                Timed::Op(token, id) => {
                    if self.due(token, id, now) {
                        touched.push(token);
                    }
                }
                Timed::Wake(key) => self.wake(key),
                Timed::Look(token) => self.maybe_evict(token),
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for token in touched {
            self.turn(token);
        }
    }

    /// Notes that an operation is due, if it still is.
    fn due(&mut self, token: u64, id: StepId, now: i64) -> bool {
        let Some(run) = self.residents.get_mut(&token) else { return false };
        let (at, what) = match run.steps.get(&id) {
            Some(StepState::RetryAt { at, .. }) => (*at, Came::Retry { id }),
            Some(_) => return false,
            None => match run.machine.find(&id).map(|open| open.what) {
                Some(OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. }) => (due, Came::Due { id }),
                _ => return false,
            },
        };
        if at > now {
            return false;
        }
        run.arrived.push(Arrived { at, order: Arrival::Due, what });
        true
    }

    /// Reads the inbox before a wait ends: what was sent in time comes first (DESIGN rule 5).
    pub(crate) fn read_inbox(&mut self, token: u64) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        if run.key == 0 {
            return;
        }
        match self.inner.read(|reader| reader.inbox(run.key)) {
            Ok(rows) => {
                let seen = run.mail_seen;
                run.mail.extend(
                    rows.into_iter().filter(|m| m.id > seen).inspect(|m| run.mail_seen = run.mail_seen.max(m.id)),
                );
            }
            Err(error) => tracing::warn!(run = %run.id, %error, "its inbox cannot be read now"),
        }
    }

    fn inbox(&mut self, key: RunKey) {
        if let Some(token) = self.by_key.get(&key).copied() {
            self.read_inbox(token);
            self.turn(token);
        } else if self.sleeping.contains_key(&key) {
            self.wake(key);
        }
    }

    fn wake(&mut self, key: RunKey) {
        if let Some(sleeping) = self.sleeping.remove(&key)
            && let Err(error) = self.load(key, sleeping.epoch)
        {
            tracing::warn!(key, %error, "a run cannot be brought back into memory");
            self.inner.settled(key, &Settled::Stopped(error));
        }
    }

    /// Lets a run take a turn; a disagreement with its journal or the rules parks it.
    pub(crate) fn turn(&mut self, token: u64) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        if run.committing.is_none() && run.arrived.iter().any(|a| matches!(a.what, Came::Due { .. })) {
            self.read_inbox(token);
        }
        let Some(run) = self.residents.get_mut(&token) else { return };
        let shop = Shop { inner: &self.inner, to: &self.to };
        if let Err(fault) = run.turn(&shop) {
            self.park_diverged(token, &fault);
            return;
        }
        let idle = run.committing.is_none() && run.working == 0 && run.key != 0;
        if idle && self.letting_go {
            self.leave(token);
        }
    }

    fn committed(&mut self, token: u64, result: Result<Tail, HostError>, fenced: bool) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        let Some(committing) = run.committing.take() else { return };
        let shop = Shop { inner: &self.inner, to: &self.to };
        match result {
            // Fenced off: somebody else has the run. Machine and attempts are dropped.
            Ok(_) if fenced => {
                let key = run.key;
                self.remove(token);
                self.inner.settled(key, &Settled::TakenOver);
            }
            Ok(tail) => {
                let after = run.committed(&shop, committing, &tail);
                let epoch = run.epoch;
                let own_mail = tail.own_inbox;
                self.follow(&tail, epoch);
                match after {
                    After::Leave => self.remove(token),
                    After::Stay(alarms) => {
                        self.set_alarms(token, alarms);
                        if own_mail {
                            self.read_inbox(token);
                        }
                        self.turn(token);
                        self.consider_eviction(token);
                    }
                }
            }
            Err(error) => {
                run.take_back(committing);
                self.commit_failed(token, error);
            }
        }
    }

    /// What a commit brought to other runs.
    fn follow(&self, tail: &Tail, _epoch: i64) {
        for key in &tail.children {
            let shard = usize::try_from(*key).unwrap_or(0) % self.inner.shards.len().max(1);
            self.inner.send(shard, Msg::Load { key: *key, epoch: 1, reply: None });
        }
        for key in tail.told.iter().chain(&tail.cancelled) {
            self.inner.news(*key);
        }
    }

    pub(crate) fn set_alarms(&mut self, token: u64, alarms: Vec<Alarm>) {
        for alarm in alarms {
            self.timers.push(Reverse((alarm.at, Timed::Op(token, alarm.id))));
        }
    }

    /// A commit failed: the machine is thrown away and rebuilt, after a while; in the end the run stops (DESIGN rule 3).
    fn commit_failed(&mut self, token: u64, error: HostError) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        run.failures += 1;
        tracing::warn!(run = %run.id, %error, failures = run.failures, "a commit failed");
        let (key, epoch, failures) = (run.key, run.epoch, run.failures);
        let ending = matches!(error, HostError::ShuttingDown) || failures >= MOST_FAILURES;
        let Some(mut old) = self.residents.remove(&token) else { return };
        self.by_key.remove(&key);
        if ending {
            self.inner.settled(key, &Settled::Stopped(error));
            return;
        }
        std::thread::sleep(Duration::from_millis(5 << failures));
        match self.load_keeping(key, epoch, Some(&mut old)) {
            // Counted on, or a commit that can never work would be tried for ever.
            Ok(()) => {
                if let Some(run) = self.residents.get_mut(&token) {
                    run.failures = failures;
                }
            }
            Err(error) => self.inner.settled(key, &Settled::Stopped(error)),
        }
    }

    /// Parks a run whose code and journal, or code and rules, disagree. Nothing of the turn is kept.
    pub(crate) fn park_diverged(&mut self, token: u64, fault: &Fault) {
        let Some(run) = self.residents.get(&token) else { return };
        let error = diverged(&run.id, fault);
        let (key, epoch) = (run.key, run.epoch);
        self.remove(token);
        self.write_diverged(key, epoch, fault, error);
    }

    pub(crate) fn remove(&mut self, token: u64) {
        if let Some(run) = self.residents.remove(&token) {
            self.by_key.remove(&run.key);
        }
    }

    fn let_go(&mut self, key: Option<RunKey>) {
        let tokens: Vec<u64> = match key {
            Some(key) => self.by_key.get(&key).copied().into_iter().collect(),
            None => {
                self.letting_go = true;
                self.sleeping.clear();
                self.residents.keys().copied().collect()
            }
        };
        if let Some(key) = key
            && let Some(sleeping) = self.sleeping.remove(&key)
        {
            self.release_sleeping(key, sleeping.epoch);
        }
        for token in tokens {
            if let Some(run) = self.residents.get_mut(&token) {
                run.let_go(LettingGo::Release);
            }
            self.turn(token);
        }
    }

    /// Leaves a run that has nothing more to write.
    fn leave(&mut self, token: u64) {
        if let Some(run) = self.residents.get(&token) {
            self.inner.settled(run.key, &Settled::Stopped(HostError::ShuttingDown));
        }
        self.remove(token);
    }

    fn consider_eviction(&mut self, token: u64) {
        let Some(run) = self.residents.get(&token) else { return };
        if run.committing.is_some() || run.state.status != "waiting" {
            return;
        }
        if self.residents.len() > KEEP_WAITING {
            self.maybe_evict(token);
        } else {
            self.timers.push(Reverse((self.inner.now_ms() + EVICT_MS, Timed::Look(token))));
        }
    }

    /// Lets a run out of memory if it only waits, and not for a moment only.
    fn maybe_evict(&mut self, token: u64) {
        let now = self.inner.now_ms();
        let crowded = self.residents.len() > KEEP_WAITING;
        let Some(run) = self.residents.get(&token) else { return };
        let quiet = crowded || now - run.idle_since >= EVICT_MS;
        let long = run.state.until_ms.is_none_or(|until| until - now > EVICT_MS);
        let still =
            run.committing.is_none() && run.arrived.is_empty() && run.working == 0 && run.state.status == "waiting";
        if !(quiet && long && still) {
            return;
        }
        let (key, until) = (run.key, run.state.until_ms);
        self.sleeping.insert(key, Sleeping { epoch: run.epoch });
        if let Some(until) = until {
            self.timers.push(Reverse((until, Timed::Wake(key))));
        }
        self.remove(token);
    }
}
