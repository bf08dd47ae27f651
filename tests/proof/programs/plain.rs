//! The oracle: a plain interpreter of programs, which knows the rules of DESIGN section 4 and nothing of abide's code. From what was done to a
//! program, in order, it says what each of its runs must have been told and have asked for. It reads no journal but for ids, by which the
//! rules order some things.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use abide::engine::event::Verdict;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, select_all};

use super::ast::{Kind, Node, Program, StepSpec, Try, child_uid, value_of};
use super::book::{Asked, Decision, Told};
use super::flow::{Code, Generation, Ops, Out, eval, generation};

/// Something that was done to a program.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// A step came to what its script says.
    Settle(u32),
    Signal {
        run: u32,
        name: String,
        value: u64,
    },
    Cancel,
    /// The clock moved here.
    Time(i64),
}

/// How ids order leaves: by the length and text of the id, by its text, and by the place of the command.
pub(super) trait Ids {
    fn id(&self, run: u32, uid: u32) -> (String, usize);
}

#[derive(Clone, PartialEq)]
enum Is {
    Step { local: bool },
    Timer { due: i64 },
    Signal { name: String, due: Option<i64> },
    Child,
}

struct Leaf {
    is: Is,
    fresh: bool,
    settled: Option<(u64, Out)>,
    awaited: bool,
    waker: Waker,
}

#[derive(Default)]
struct Inside {
    leaves: BTreeMap<u32, Leaf>,
    revealed: Option<u32>,
    seq: u64,
    now: i64,
    asked: BTreeSet<Asked>,
    versions: HashSet<String>,
    cancelled: bool,
    kept: Vec<(String, Out)>,
}

type Cell = Arc<Mutex<Inside>>;

#[derive(Clone)]
struct Plain(Cell);

struct Wait {
    cell: Cell,
    uid: u32,
    is: Is,
    made: bool,
    done: bool,
}

impl Future for Wait {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        let cell = self.cell.clone();
        let mut inside = cell.lock().unwrap();
        if !self.made {
            self.made = true;
            let mut is = self.is.clone();
            match &mut is {
                Is::Timer { due } | Is::Signal { due: Some(due), .. } => *due += inside.now,
                _ => {}
            }
            let leaf = Leaf { is, fresh: true, settled: None, awaited: true, waker: cx.waker().clone() };
            inside.leaves.insert(self.uid, leaf);
            return Poll::Pending;
        }
        if inside.revealed == Some(self.uid) {
            inside.revealed = None;
            self.done = true;
            let (_, out) = inside.leaves.remove(&self.uid).unwrap().settled.unwrap();
            return Poll::Ready(out);
        }
        let leaf = inside.leaves.get_mut(&self.uid).unwrap();
        (leaf.awaited, leaf.waker) = (true, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.made || self.done {
            return;
        }
        let mut inside = self.cell.lock().unwrap();
        let Some(leaf) = inside.leaves.remove(&self.uid) else { return };
        match (leaf.settled, leaf.is) {
            (None, _) if leaf.fresh => {}
            (None, _) => drop(inside.asked.insert(Asked::Cancel(self.uid))),
            (Some((_, Ok(value))), Is::Signal { name, .. }) => inside.kept.insert(0, (name, Ok(value))),
            (Some(_), _) => {}
        }
    }
}

impl Plain {
    fn wait(&self, uid: u32, is: Is) -> BoxFuture<'static, Out> {
        Box::pin(Wait { cell: self.0.clone(), uid, is, made: false, done: false })
    }
}

impl Ops for Plain {
    fn step(&self, spec: &StepSpec) -> BoxFuture<'static, Out> {
        self.wait(spec.uid, Is::Step { local: spec.kind == Kind::Local })
    }

    fn sleep(&self, uid: u32, ms: u64) -> BoxFuture<'static, Out> {
        self.wait(uid, Is::Timer { due: ms as i64 })
    }

    fn signal(&self, uid: u32, name: &str, timeout: Option<u64>) -> BoxFuture<'static, Out> {
        self.wait(uid, Is::Signal { name: name.to_owned(), due: timeout.map(|ms| ms as i64) })
    }

    fn child(&self, run: u32) -> BoxFuture<'static, Out> {
        self.wait(child_uid(run), Is::Child)
    }

    fn version(&self, change: &str, newest: u32) -> u64 {
        let mut inside = self.0.lock().unwrap();
        if inside.versions.insert(change.to_owned()) {
            inside.asked.insert(Asked::Version(change.to_owned(), newest));
        }
        u64::from(newest)
    }

    fn scope(&self, _: u32, body: Node) -> BoxFuture<'static, Out> {
        eval(self.clone(), body)
    }

    fn map(&self, _: u32, at_once: usize, branches: Vec<Node>) -> BoxFuture<'static, Vec<Out>> {
        let ops = self.clone();
        Box::pin(async move {
            let work = branches.into_iter().enumerate().map(|(i, node)| {
                let work = eval(ops.clone(), node);
                async move { (i, work.await) }
            });
            let mut all: Vec<_> = futures_util::stream::iter(work).buffer_unordered(at_once).collect().await;
            all.sort_by_key(|(i, _)| *i);
            all.into_iter().map(|(_, out)| out).collect()
        })
    }

    fn race(&self, _: u32, branches: Vec<Node>) -> BoxFuture<'static, (usize, Out)> {
        let ops = self.clone();
        Box::pin(async move {
            let (out, first, rest) = select_all(branches.into_iter().map(|node| eval(ops.clone(), node))).await;
            drop(rest);
            (first, out)
        })
    }
}

struct Run {
    cell: Cell,
    future: Option<BoxFuture<'static, Result<Generation, Code>>>,
    /// Name, value and when it was sent.
    mail: Vec<(String, u64, i64)>,
    decisions: Vec<Decision>,
    generation: u32,
    next: Option<u64>,
    ended: bool,
    /// Children that it started, and runs whose cancel it asked for, in this turn.
    began: Vec<u32>,
    stopped: Vec<u32>,
}

enum Message {
    Begin(u32),
    Cancel(u32),
    Ended { child: u32, out: Out },
}

pub(super) struct Oracle<'a> {
    program: &'a Program,
    ids: &'a dyn Ids,
    runs: BTreeMap<u32, Run>,
    messages: VecDeque<Message>,
    clock: i64,
}

impl<'a> Oracle<'a> {
    /// What each run was told and asked for, if this was done to the program.
    pub(super) fn run(
        program: &'a Program,
        ids: &'a dyn Ids,
        clock: i64,
        actions: &[Action],
    ) -> BTreeMap<u32, Vec<Decision>> {
        let mut oracle = Self { program, ids, runs: BTreeMap::new(), messages: VecDeque::new(), clock };
        oracle.messages.push_back(Message::Begin(0));
        oracle.work();
        for action in actions {
            oracle.act(action);
            oracle.work();
        }
        oracle.runs.into_iter().map(|(run, state)| (run, state.decisions)).collect()
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Settle(uid) => {
                let at = self.runs.iter().find(|(_, run)| run.is_open(*uid)).map(|(number, _)| *number);
                if let Some(number) = at {
                    self.turn(number, vec![self.settles(*uid)]);
                }
            }
            Action::Signal { run, name, value } => {
                if let Some(state) = self.runs.get_mut(run) {
                    state.mail.push((name.clone(), *value, self.clock));
                    self.turn(*run, Vec::new());
                }
            }
            Action::Cancel => self.turn(0, vec![Told::Cancel]),
            Action::Time(clock) => {
                self.clock = *clock;
                let numbers: Vec<u32> = self.runs.keys().copied().collect();
                let due: Vec<_> = numbers.into_iter().map(|number| (number, self.runs[&number].due(*clock))).collect();
                for (number, batch) in due {
                    if !batch.is_empty() {
                        self.turn(number, batch);
                    }
                }
            }
        }
    }

    /// What a step comes to by its script.
    fn settles(&self, uid: u32) -> Told {
        let value = value_of(self.program.seed, uid);
        let script = &self.program.step(uid).expect("a step of the program").script;
        match script.last() {
            Some(Try::Ok | Try::Doubt(Verdict::Landed)) | None => Told::Done(uid, value),
            Some(Try::Terminal) => Told::Failed(uid, Code::Terminal),
            Some(_) => Told::Failed(uid, Code::Failed),
        }
    }

    fn work(&mut self) {
        while let Some(message) = self.messages.pop_front() {
            match message {
                Message::Begin(number) => {
                    self.runs.insert(number, Run::new());
                    self.begin(number, 5 * u64::from(number != 0));
                }
                Message::Cancel(number) => self.turn(number, vec![Told::Cancel]),
                Message::Ended { child, out } => {
                    let uid = child_uid(child);
                    let parent = self.runs.iter().find(|(_, run)| run.is_open(uid)).map(|(number, _)| *number);
                    let told = match out {
                        Ok(value) => Told::Done(uid, value),
                        Err(Code::Cancelled) => Told::Failed(uid, Code::Failed),
                        Err(code) => Told::Failed(uid, code),
                    };
                    if let Some(parent) = parent {
                        self.turn(parent, vec![told]);
                    }
                }
            }
        }
    }

    fn begin(&mut self, number: u32, acc: u64) {
        let spec = self.program.runs[number as usize].clone();
        let clock = self.clock;
        let run = self.runs.get_mut(&number).unwrap();
        let before = run.cell.lock().unwrap().now;
        run.cell = Arc::new(Mutex::new(Inside { now: clock.max(before), ..Inside::default() }));
        let ops = Plain(run.cell.clone());
        run.future = Some(Box::pin(generation(ops, spec, run.generation, acc)));
        let g = run.generation;
        self.deliver(number, Told::Start(g), clock);
        self.turn(number, Vec::new());
    }

    /// A turn: what came, then what waits for whoever takes it, then what the process computes by itself.
    fn turn(&mut self, number: u32, batch: Vec<Told>) {
        for told in batch {
            if self.deliver(number, told, self.clock) {
                self.read_mail(number);
            }
        }
        self.read_mail(number);
        loop {
            let local = self.local(number);
            if local.is_empty() {
                break;
            }
            for uid in local {
                self.deliver(number, Told::Done(uid, value_of(self.program.seed, uid)), self.clock);
            }
            self.read_mail(number);
        }
        let run = self.runs.get_mut(&number).unwrap();
        let (began, stopped) = (std::mem::take(&mut run.began), std::mem::take(&mut run.stopped));
        for child in &began {
            if !stopped.contains(child) {
                self.messages.push_back(Message::Begin(*child));
            }
        }
        let known = |child: &u32| self.runs.contains_key(child);
        let cancelled: Vec<u32> = stopped.into_iter().filter(|child| !began.contains(child) && known(child)).collect();
        self.messages.extend(cancelled.into_iter().map(Message::Cancel));
        let run = self.runs.get_mut(&number).unwrap();
        if let Some(acc) = run.next.take() {
            run.generation += 1;
            self.begin(number, acc);
        }
    }

    fn local(&self, number: u32) -> Vec<u32> {
        let inside = self.runs[&number].cell.lock().unwrap();
        let is_local = |leaf: &&Leaf| leaf.is == Is::Step { local: true } && leaf.settled.is_none();
        let mut local: Vec<u32> =
            inside.leaves.iter().filter(|(_, leaf)| is_local(leaf)).map(|(uid, _)| *uid).collect();
        local.sort_by_key(|uid| self.ids.id(number, *uid).1);
        local
    }

    fn read_mail(&mut self, number: u32) {
        loop {
            let run = &self.runs[&number];
            let found = run.mail.iter().enumerate().find_map(|(i, (name, value, at))| {
                let inside = run.cell.lock().unwrap();
                let waits = |leaf: &Leaf| {
                    leaf.settled.is_none() && matches!(&leaf.is, Is::Signal { name: other, .. } if other == name)
                };
                let waiters = inside.leaves.iter().filter(|(_, leaf)| waits(leaf)).map(|(uid, _)| *uid);
                let first = waiters.min_by_key(|uid| {
                    let id = self.ids.id(number, *uid).0;
                    (id.len(), id)
                });
                first.map(|uid| (i, Told::Signal(uid, *value), *at))
            });
            let Some((i, told, at)) = found else { return };
            if !self.deliver(number, told, at) {
                return;
            }
            self.runs.get_mut(&number).unwrap().mail.remove(i);
        }
    }

    /// False if nobody waits for it.
    fn deliver(&mut self, number: u32, told: Told, at: i64) -> bool {
        let ids = self.ids;
        let run = self.runs.get_mut(&number).unwrap();
        if run.future.is_none() {
            return false;
        }
        let cell = run.cell.clone();
        let mut inside = cell.lock().unwrap();
        match &told {
            Told::Start(_) => {}
            Told::Cancel if inside.cancelled => return false,
            Told::Cancel => {
                inside.now = inside.now.max(at);
                inside.cancelled = true;
                let mut open: Vec<u32> =
                    inside.leaves.iter().filter(|(_, leaf)| leaf.settled.is_none()).map(|(uid, _)| *uid).collect();
                open.sort_by_key(|uid| ids.id(number, *uid).0);
                for uid in open {
                    inside.settle(uid, Err(Code::Cancelled));
                    inside.asked.insert(Asked::Cancel(uid));
                }
            }
            Told::Done(uid, _) | Told::Failed(uid, _) | Told::Fired(uid) | Told::Signal(uid, _) => {
                let Some(leaf) = inside.leaves.get(uid).filter(|leaf| leaf.settled.is_none()) else { return false };
                let at = match (&leaf.is, &told) {
                    (Is::Timer { due }, _) | (Is::Signal { due: Some(due), .. }, Told::Failed(..)) => *due,
                    _ => at,
                };
                inside.now = inside.now.max(at);
                inside.settle(
                    *uid,
                    match &told {
                        Told::Done(_, value) | Told::Signal(_, value) => Ok(*value),
                        Told::Failed(_, code) => Err(*code),
                        _ => Ok(u64::from(*uid)),
                    },
                );
            }
        }
        drop(inside);
        let out = run.rest();
        run.ask(told);
        if let Some(out) = out
            && number != 0
        {
            self.messages.push_back(Message::Ended { child: number, out });
        }
        true
    }
}

impl Inside {
    fn settle(&mut self, uid: u32, out: Out) {
        self.seq += 1;
        let seq = self.seq;
        self.leaves.get_mut(&uid).unwrap().settled = Some((seq, out));
    }

    /// What is new counts from now on.
    fn number(&mut self) {
        let fresh: Vec<u32> = self.leaves.iter().filter(|(_, leaf)| leaf.fresh).map(|(uid, _)| *uid).collect();
        for uid in fresh {
            let leaf = self.leaves.get_mut(&uid).unwrap();
            leaf.fresh = false;
            let asked = match &leaf.is {
                Is::Step { .. } => Asked::Step(uid),
                Is::Timer { .. } => Asked::Sleep(uid),
                Is::Signal { .. } => Asked::Signal(uid),
                Is::Child => Asked::Child(uid),
            };
            let name = if let Is::Signal { name, .. } = &leaf.is { Some(name.clone()) } else { None };
            self.asked.insert(asked);
            if let Some(i) = name.and_then(|name| self.kept.iter().position(|(other, _)| *other == name)) {
                let (_, out) = self.kept.remove(i);
                self.settle(uid, out);
            }
        }
    }

    /// The earliest completion that somebody waits for.
    fn reveal(&mut self) -> Option<Waker> {
        let waiting = self.leaves.iter_mut().filter(|(_, leaf)| leaf.awaited);
        let (_, uid, leaf) =
            waiting.filter_map(|(uid, leaf)| Some((leaf.settled.as_ref()?.0, *uid, leaf))).min_by_key(|one| one.0)?;
        leaf.awaited = false;
        self.revealed = Some(uid);
        Some(leaf.waker.clone())
    }
}

impl Run {
    fn new() -> Self {
        Self {
            cell: Arc::default(),
            future: None,
            mail: Vec::new(),
            decisions: Vec::new(),
            generation: 0,
            next: None,
            ended: false,
            began: Vec::new(),
            stopped: Vec::new(),
        }
    }

    fn is_open(&self, uid: u32) -> bool {
        let inside = self.cell.lock().unwrap();
        !self.ended && inside.leaves.get(&uid).is_some_and(|leaf| leaf.settled.is_none())
    }

    /// What is due by now, in the order of time.
    fn due(&self, clock: i64) -> Vec<Told> {
        let inside = self.cell.lock().unwrap();
        let open = inside.leaves.iter().filter(|(_, leaf)| leaf.settled.is_none());
        let mut due: Vec<(i64, Told)> = open
            .filter_map(|(uid, leaf)| match &leaf.is {
                Is::Timer { due } => Some((*due, Told::Fired(*uid))),
                Is::Signal { due: Some(due), .. } => Some((*due, Told::Failed(*uid, Code::TimedOut))),
                _ => None,
            })
            .filter(|(at, _)| *at <= clock)
            .collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, told)| told).collect()
    }

    /// Lets it run until nothing more happens; what it came to, if it ended.
    fn rest(&mut self) -> Option<Out> {
        let mut over = None;
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Some(future) = &mut self.future
                && let Poll::Ready(out) = future.as_mut().poll(&mut cx)
            {
                self.future = None;
                over = Some(out);
            }
            let mut inside = self.cell.lock().unwrap();
            inside.revealed = None;
            inside.number();
            if self.future.is_none() {
                break;
            }
            let Some(waker) = inside.reveal() else { break };
            drop(inside);
            waker.wake();
        }
        let over = over?;
        let mut inside = self.cell.lock().unwrap();
        let (asked, out) = match over {
            Ok(Generation::Next(acc)) => {
                self.next = Some(acc);
                inside.asked.insert(Asked::Continued);
                return None;
            }
            Ok(Generation::Done(value)) => (Asked::Completed(value), Ok(value)),
            Err(Code::Cancelled) if inside.cancelled => (Asked::Cancelled, Err(Code::Cancelled)),
            Err(code) => (Asked::Failed(code), Err(code)),
        };
        inside.asked.insert(asked);
        self.ended = true;
        Some(out)
    }

    fn ask(&mut self, told: Told) {
        let asked = std::mem::take(&mut self.cell.lock().unwrap().asked);
        for one in &asked {
            match one {
                Asked::Child(uid) => self.began.push(uid - 1_000),
                Asked::Cancel(uid) if *uid >= 1_000 => self.stopped.push(uid - 1_000),
                _ => {}
            }
        }
        self.decisions.push((told, asked));
    }
}
