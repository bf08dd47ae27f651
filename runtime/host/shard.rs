//! A shard: the thread that polls its runs' workflows, outside any runtime's context (DESIGN rule 8). It never touches SQLite but to load
//! a run or read its inbox.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use abide_engine::{Arrival, Error, Json, Notify, OpenWhat, StepId};
use tokio::sync::oneshot;

use super::act::{After, Alarm};
use super::begin::StartReply;
use super::doubt::Answer;
use super::inner::Inner;
use super::load::{LoadReply, Wanted, Why};
use super::resident::{Arrived, Came, LettingGo, Resident, StepState};
use super::run::Settled;
use super::turn::Shop;
use crate::HostError;
use crate::hot::Hot;
use crate::store::{RunKey, Started, Tail};

/// Messages that are taken in before runs take their turns: what comes together is delivered together.
const TOGETHER: usize = 256;
/// The longest nap: clocks jump and laptops sleep, so due times are looked at again after it.
pub(crate) const NAP: Duration = Duration::from_secs(1);
/// The same where the clock is not the system's: it may run at any pace.
pub(crate) const SHORT_NAP: Duration = Duration::from_millis(10);

/// What a shard is told.
pub(crate) enum Msg {
    /// Begin a run.
    Start(Box<super::begin::StartRun>, StartReply),
    /// The commit of a run's start has returned.
    Begun { token: u64, result: Result<Started, HostError>, reply: StartReply },
    /// Bring this run, which is ours from this epoch on, into memory.
    Load { key: RunKey, epoch: i64, reply: Option<LoadReply> },
    /// The commit of a turn has returned.
    Committed { token: u64, result: Result<Tail, HostError>, fenced: bool },
    /// An attempt is over.
    StepDone { token: u64, id: StepId, n: u32, serial: u64, result: Result<Json, Error>, at_ms: i64 },
    /// The probe of a step in doubt has answered.
    Probed { token: u64, id: StepId, serial: u64, answer: Answer, at_ms: i64 },
    /// The run's inbox has something new.
    Inbox(RunKey),
    /// A place at a service may be free for what waits in this run.
    Poke(RunKey),
    /// Something outside its poll concerns this run.
    Alarm(u64),
    /// Let go of this run, or of all.
    LetGo(Option<RunKey>),
    /// The files are no longer where they were: every run stops here.
    Gone(HostError),
    /// End, when nothing is left to wait for.
    Stop(oneshot::Sender<()>),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timed {
    /// An operation of a resident run is due.
    Op(u64, StepId),
    /// A run that sleeps is to be woken.
    Wake(RunKey),
    /// A run may be let out of memory.
    Look(u64),
}

/// What came for a run before its start was known to be committed.
pub(crate) enum Early {
    /// A message.
    News(RunKey),
    /// It is to be loaded.
    Load(Wanted),
}

pub(crate) struct Shard {
    pub(crate) inner: Arc<Inner>,
    pub(crate) to: mpsc::Sender<Msg>,
    pub(crate) residents: HashMap<u64, Resident>,
    pub(crate) by_key: HashMap<RunKey, u64>,
    /// Runs that are ours and out of memory, and since which epoch they are ours.
    pub(crate) sleeping: HashMap<RunKey, i64>,
    pub(crate) timers: BinaryHeap<Reverse<(i64, Timed)>>,
    /// Runs whose commit failed, and when to rebuild them.
    pub(crate) mending: Vec<(Instant, u64)>,
    /// Runs whose inbox could not be read, when to read it again, and how often that was tried.
    pub(crate) unread: Vec<(Instant, u64, u32)>,
    /// Runs of ours that could not be read, and when to read them again.
    pub(crate) unloaded: Vec<(Instant, Wanted)>,
    /// Runs that are asked for while they are being let go of: they are taken up anew when they have left.
    pub(crate) leaving: Vec<Wanted>,
    /// How many timers there may be before those that are nobody's are thrown out.
    pub(crate) most_timers: usize,
    /// Runs whose start is being committed, and what came for runs that are not here meanwhile: their start may return after it.
    pub(crate) beginning: usize,
    pub(crate) early: Vec<Early>,
    /// Runs that may have something to do.
    touched: Vec<u64>,
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
            mending: Vec::new(),
            unread: Vec::new(),
            unloaded: Vec::new(),
            leaving: Vec::new(),
            most_timers: 0,
            beginning: 0,
            early: Vec::new(),
            touched: Vec::new(),
            next_token: 1,
            stopping: None,
            letting_go: false,
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, from: &mpsc::Receiver<Msg>) {
        let mut hot = Hot::default();
        loop {
            match hot.recv(from, self.nap()) {
                Ok(msg) => self.handle(msg),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            for msg in from.try_iter().take(TOGETHER) {
                self.handle(msg);
            }
            self.mend();
            self.fire();
            self.take_turns();
            if self.residents.is_empty()
                && let Some(reply) = self.stopping.take()
            {
                let _ = reply.send(());
                return;
            }
        }
    }

    fn nap(&self) -> Duration {
        if !self.touched.is_empty() {
            return Duration::ZERO;
        }
        let again = self.mending.iter().map(|(at, _)| at).chain(self.unread.iter().map(|(at, ..)| at));
        let mending =
            again.chain(self.unloaded.iter().map(|(at, _)| at)).map(|at| at.saturating_duration_since(Instant::now()));
        let due = self.timers.peek().map(|Reverse((at, _))| {
            let ms = at.saturating_sub(self.inner.now_ms());
            Duration::from_millis(u64::try_from(ms).unwrap_or(0))
        });
        mending.chain(due).fold(self.inner.nap, Duration::min)
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
                self.load(Wanted { reply, ..Wanted::new(key, epoch, Why::Claimed) });
            }
            Msg::Committed { token, result, fenced } => self.committed(token, result, fenced),
            Msg::StepDone { token, id, n, serial, result, at_ms } => {
                if let Some(run) = self.residents.get_mut(&token)
                    && (run.committing.is_some() || run.is_current(&id, serial))
                {
                    let what = Came::Attempt { id, n, serial, result };
                    run.arrived.push(Arrived { at: at_ms, order: Arrival::Outcome, what });
                    self.touch(token);
                }
            }
            Msg::Probed { token, id, serial, answer, at_ms } => {
                if let Some(run) = self.residents.get_mut(&token) {
                    let what = Came::Probed { id, serial, answer };
                    run.arrived.push(Arrived { at: at_ms, order: Arrival::Outcome, what });
                    self.touch(token);
                }
            }
            Msg::Inbox(key) => self.inbox(key),
            Msg::Poke(key) => self.poke(key),
            Msg::Alarm(token) => {
                if let Some(fault) = self.residents.get(&token).and_then(|run| run.machine.fault()) {
                    self.fault(token, fault);
                }
            }
            Msg::LetGo(key) => self.let_go(key),
            Msg::Gone(error) => self.stop_all(&error),
            Msg::Stop(reply) => {
                self.stopping = Some(reply);
                self.let_go(None);
            }
        }
    }

    /// Looks at everything that is due.
    fn fire(&mut self) {
        let now = self.inner.now_ms();
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, timed))) = self.timers.pop() else { break };
            match timed {
                Timed::Op(token, id) => self.due(token, id, now),
                Timed::Wake(key) => self.wake(key),
                Timed::Look(token) => self.maybe_evict(token),
            }
        }
    }

    /// Notes that an operation is due, if it still is.
    fn due(&mut self, token: u64, id: StepId, now: i64) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        let at = match run.steps.get(&id) {
            Some(StepState::RetryAt { at, .. } | StepState::Queued { at, .. }) => *at,
            Some(_) => return,
            None => match run.machine.find(&id).map(|open| open.what) {
                Some(OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. }) => due,
                _ => return,
            },
        };
        if at <= now {
            run.come_due(vec![Alarm { at, id }]);
            self.touch(token);
        }
    }

    /// This run may have something to do.
    pub(crate) fn touch(&mut self, token: u64) {
        self.touched.push(token);
    }

    fn take_turns(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for token in touched {
            self.turn(token);
        }
    }

    /// Lets a run take a turn; a disagreement with its journal or the rules parks it.
    fn turn(&mut self, token: u64) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        // What was sent before a wait ended comes before its end (DESIGN rule 5); while that cannot be read, the end is not told either.
        let is_due = run.committing.is_none() && run.arrived.iter().any(|a| matches!(a.what, Came::Due { .. }));
        let is_held = is_due && (self.is_unread(token) || !self.read_inbox(token));
        let Some(run) = self.residents.get_mut(&token) else { return };
        let shop = Shop { inner: &self.inner, to: &self.to };
        if !is_held && let Err(fault) = run.turn(&shop) {
            return self.fault(token, fault);
        }
        let idle = run.committing.is_none() && run.working == 0 && run.key != 0 && !run.mending;
        if idle && self.letting_go {
            self.inner.settled(run.key, &Settled::Stopped(HostError::ShuttingDown));
            self.remove(token);
        } else if idle {
            self.consider_eviction(token);
        }
    }

    /// The commit of a turn has returned.
    pub(crate) fn committed(&mut self, token: u64, result: Result<Tail, HostError>, fenced: bool) {
        if let Ok(tail) = &result {
            self.inner.works_again();
            self.follow(tail);
        }
        let Some(run) = self.residents.get_mut(&token) else { return };
        let Some(committing) = run.committing.take() else { return };
        let shop = Shop { inner: &self.inner, to: &self.to };
        match result {
            // Fenced off: somebody else has the run. Machine and attempts are dropped.
            Ok(_) if fenced => {
                let key = run.key;
                self.inner.governor.forget();
                self.remove(token);
                self.inner.settled(key, &Settled::TakenOver);
            }
            Ok(tail) => match run.committed(&shop, committing, &tail) {
                After::Leave => self.remove(token),
                After::Stay(alarms) => {
                    self.set_alarms(token, alarms);
                    if tail.own_inbox {
                        self.read_inbox(token);
                    }
                    self.touch(token);
                }
            },
            Err(error) => {
                self.inner.governor.forget();
                run.take_back(committing);
                self.commit_failed(token, &error);
            }
        }
    }

    /// What a commit brought to other runs.
    fn follow(&self, tail: &Tail) {
        for (key, id) in &tail.children {
            self.inner.send(self.inner.shard_of(id), Msg::Load { key: *key, epoch: 1, reply: None });
        }
        for key in tail.told.iter().chain(&tail.cancelled) {
            self.inner.news(*key);
        }
        for key in &tail.dealt.poked {
            self.inner.poke(*key);
        }
    }

    pub(crate) fn set_alarms(&mut self, token: u64, alarms: Vec<Alarm>) {
        for alarm in alarms {
            self.timers.push(Reverse((alarm.at, Timed::Op(token, alarm.id))));
        }
        self.clear_timers();
    }

    pub(crate) fn remove(&mut self, token: u64) {
        if let Some(run) = self.residents.remove(&token)
            && self.by_key.get(&run.key) == Some(&token)
        {
            self.by_key.remove(&run.key);
        }
    }

    fn let_go(&mut self, key: Option<RunKey>) {
        let tokens: Vec<u64> = match key {
            Some(key) => {
                if let Some(epoch) = self.sleeping.remove(&key) {
                    self.release_sleeping(key, epoch);
                    self.inner.settled(key, &Settled::Stopped(HostError::ShuttingDown));
                }
                for epoch in self.drop_unloaded(Some(key), &HostError::ShuttingDown) {
                    self.release_sleeping(key, epoch);
                }
                self.by_key.get(&key).copied().into_iter().collect()
            }
            None => {
                self.letting_go = true;
                for (key, _) in self.sleeping.drain() {
                    self.inner.settled(key, &Settled::Stopped(HostError::ShuttingDown));
                }
                self.drop_unloaded(None, &HostError::ShuttingDown);
                self.residents.keys().copied().collect()
            }
        };
        for token in tokens {
            if let Some(run) = self.residents.get_mut(&token) {
                run.let_go(LettingGo::Release);
            }
            self.touch(token);
        }
    }
}
