//! A run without abide: leaves as plain futures, and the little that polls them by the rules of DESIGN section 4. It knows nothing of other
//! runs: `oracle` does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, select_all};

use super::ast::{Kind, Node, StepSpec, child_uid, in_lane};
use super::book::{Asked, Decision, Told};
use super::flow::{Code, Generation, Ops, Out, eval};

#[derive(Clone, PartialEq)]
pub(super) enum Is {
    Step { local: bool },
    Timer { due: i64 },
    Signal { name: String, due: Option<i64> },
    Child,
}

pub(super) struct Leaf {
    pub(super) is: Is,
    pub(super) fresh: bool,
    pub(super) settled: Option<(u64, Out)>,
    pub(super) awaited: bool,
    pub(super) waker: Waker,
}

#[derive(Default)]
pub(super) struct Inside {
    pub(super) run: u32,
    pub(super) leaves: BTreeMap<u32, Leaf>,
    pub(super) revealed: Option<u32>,
    pub(super) seq: u64,
    pub(super) now: i64,
    pub(super) asked: BTreeSet<Asked>,
    pub(super) versions: HashSet<String>,
    pub(super) cancelled: bool,
    pub(super) kept: Vec<(String, Out)>,
}

pub(super) type Cell = Arc<Mutex<Inside>>;

#[derive(Clone)]
pub(super) struct Plain(pub(super) Cell);

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
                Is::Timer { due } | Is::Signal { due: Some(due), .. } => {
                    *due = inside.now + in_lane(inside.run, inside.now, *due as u64) as i64;
                }
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

/// Whether somebody asked for another poll.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls until nothing in it asks to be polled again, as a `FuturesUnordered` does that has looked at much.
fn poll_to_rest<T>(future: &mut BoxFuture<'static, T>) -> Poll<T> {
    let bell = Arc::new(Bell::default());
    let waker = bell.clone().into();
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() || !bell.0.swap(false, Ordering::SeqCst) {
            return polled;
        }
    }
}

pub(super) struct Run {
    pub(super) cell: Cell,
    pub(super) future: Option<BoxFuture<'static, Result<Generation, Code>>>,
    /// Name, value and when it was sent.
    pub(super) mail: Vec<(String, u64, i64)>,
    pub(super) decisions: Vec<Decision>,
    pub(super) generation: u32,
    pub(super) next: Option<u64>,
    pub(super) ended: bool,
    /// Children that it started, and runs whose cancel it asked for, in this turn.
    pub(super) began: Vec<u32>,
    pub(super) stopped: Vec<u32>,
}

impl Inside {
    pub(super) fn settle(&mut self, uid: u32, out: Out) {
        self.seq += 1;
        let seq = self.seq;
        self.leaves.get_mut(&uid).unwrap().settled = Some((seq, out));
    }

    /// What is new counts from now on.
    pub(super) fn number(&mut self) {
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
    pub(super) fn reveal(&mut self) -> Option<Waker> {
        let waiting = self.leaves.iter_mut().filter(|(_, leaf)| leaf.awaited);
        let (_, uid, leaf) =
            waiting.filter_map(|(uid, leaf)| Some((leaf.settled.as_ref()?.0, *uid, leaf))).min_by_key(|one| one.0)?;
        leaf.awaited = false;
        self.revealed = Some(uid);
        Some(leaf.waker.clone())
    }
}

impl Run {
    pub(super) fn new() -> Self {
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

    pub(super) fn is_open(&self, uid: u32) -> bool {
        let inside = self.cell.lock().unwrap();
        !self.ended && inside.leaves.get(&uid).is_some_and(|leaf| leaf.settled.is_none())
    }

    /// What is due by now, in the order of time.
    pub(super) fn due(&self, clock: i64) -> Vec<Told> {
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
    pub(super) fn rest(&mut self) -> Option<Out> {
        let mut over = None;
        loop {
            if let Some(future) = &mut self.future
                && let Poll::Ready(out) = poll_to_rest(future)
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

    pub(super) fn ask(&mut self, told: Told) {
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
