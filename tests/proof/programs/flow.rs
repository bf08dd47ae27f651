//! What a program means, written once over a small trait: what a workflow can ask for. `Live` asks abide; `plain` asks nobody.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use abide::engine::Wait;
use abide::prelude::*;
use abide::{ErrorKind, Retry};
use futures_util::future::{BoxFuture, Either, join_all, select, try_join_all};

use super::ast::{Kind, Node, Other, RunSpec, StepSpec, in_lane, mix};
use super::world::World;

/// An error, reduced to what a program can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    TimedOut,
    Cancelled,
    Terminal,
    Failed,
}

pub(super) type Out = Result<u64, Code>;

pub(super) fn code_of(error: &Error) -> Code {
    match error.kind() {
        ErrorKind::TimedOut => Code::TimedOut,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Terminal => Code::Terminal,
        _ => Code::Failed,
    }
}

fn error_of(code: Code) -> Error {
    let kind = match code {
        Code::TimedOut => ErrorKind::TimedOut,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Terminal => ErrorKind::Terminal,
        Code::Failed => ErrorKind::Failed,
    };
    Error::new(kind, format!("{code:?}"))
}

pub(super) fn told(out: Out) -> u64 {
    out.unwrap_or_else(|code| 1_000 + code as u64)
}

/// What a workflow can ask for.
pub(super) trait Ops: Clone + Send + Sync + Unpin + 'static {
    fn step(&self, spec: &StepSpec) -> BoxFuture<'static, Out>;
    fn sleep(&self, uid: u32, ms: u64) -> BoxFuture<'static, Out>;
    fn signal(&self, uid: u32, name: &str, timeout: Option<u64>) -> BoxFuture<'static, Out>;
    fn child(&self, run: u32) -> BoxFuture<'static, Out>;
    fn version(&self, change: &str, newest: u32) -> u64;
    fn scope(&self, uid: u32, body: Node) -> BoxFuture<'static, Out>;
    fn map(&self, uid: u32, at_once: usize, branches: Vec<Node>) -> BoxFuture<'static, Vec<Out>>;
    fn race(&self, uid: u32, branches: Vec<Node>) -> BoxFuture<'static, (usize, Out)>;
    /// The order in which so many futures are polled: any will do (DESIGN rule 6), and each process has its own.
    fn order(&self, count: usize) -> Vec<usize> {
        (0..count).collect()
    }
}

/// The parts of a join as futures, in the order in which they are polled, each with its place.
fn in_any_order<O: Ops>(ops: &O, parts: Vec<Node>) -> Vec<(usize, BoxFuture<'static, Out>)> {
    let mut work: Vec<_> = parts.into_iter().map(|part| Some(eval(ops.clone(), part))).collect();
    // Above 30 the order of a `try_join_all` is the order in which it looks.
    let order = if work.len() > 30 { (0..work.len()).collect() } else { ops.order(work.len()) };
    order.into_iter().filter_map(|i| Some((i, work[i].take()?))).collect()
}

fn in_place<T>(mut results: Vec<(usize, T)>) -> Vec<T> {
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn all_of(results: Vec<Out>) -> Out {
    results.into_iter().try_fold(7, |acc, one| one.map(|value| mix(acc, value)))
}

pub(super) fn eval<O: Ops>(ops: O, node: Node) -> BoxFuture<'static, Out> {
    Box::pin(async move {
        match node {
            Node::Step(spec) => ops.step(&spec).await,
            Node::Sleep { uid, ms } => ops.sleep(uid, ms).await,
            Node::Signal { uid, name, timeout } => ops.signal(uid, &name, timeout).await,
            Node::Child { run } => ops.child(run).await,
            Node::Version { change, newest } => Ok(ops.version(&change, newest)),
            Node::Catch(body) => Ok(told(eval(ops, *body).await)),
            Node::Scope { uid, body } => ops.scope(uid, *body).await,
            Node::Seq(parts) => {
                let mut acc = 3;
                for part in parts {
                    acc = mix(acc, eval(ops.clone(), part).await?);
                }
                Ok(acc)
            }
            Node::Join(parts) => {
                let work = in_any_order(&ops, parts).into_iter().map(|(i, part)| async move { (i, part.await) });
                all_of(in_place(join_all(work).await))
            }
            Node::TryJoin(parts) => {
                let work = in_any_order(&ops, parts);
                let work = work.into_iter().map(|(i, part)| async move { part.await.map(|value| (i, value)) });
                Ok(in_place(try_join_all(work).await?).into_iter().fold(11, mix))
            }
            Node::Race { uid, branches } => {
                let (winner, out) = ops.race(uid, branches).await;
                Ok(mix(winner as u64, told(out)))
            }
            Node::Map { uid, at_once, branches } => all_of(ops.map(uid, at_once, branches).await),
            Node::Select { first, second, then, other } => {
                let (first, second) = (eval(ops.clone(), *first), eval(ops.clone(), *second));
                let swapped = ops.order(2)[0] == 1;
                let both = if swapped { select(second, first) } else { select(first, second) };
                let (left, out, rest) = match both.await {
                    Either::Left((out, rest)) => (true, out, rest),
                    Either::Right((out, rest)) => (false, out, rest),
                };
                let side = if left == swapped { 2 } else { 1 };
                let won = mix(side, told(out));
                if other == Other::DropNow {
                    drop(rest);
                    return Ok(mix(won, eval(ops, *then).await?));
                }
                let between = eval(ops, *then).await;
                let late = if other == Other::Await { told(rest.await) } else { 0 };
                Ok(mix(mix(won, between?), late))
            }
        }
    })
}

/// What a generation comes to.
pub(super) enum Generation {
    Done(u64),
    Next(u64),
}

pub(super) async fn generation<O: Ops>(ops: O, run: RunSpec, g: u32, acc: u64) -> Result<Generation, Code> {
    let acc = match &run.first {
        Some(first) if g == 0 => mix(acc, told(ops.step(first).await)),
        _ => acc,
    };
    let node = Node::clone(&run.generations[g as usize]);
    let out = eval(ops.clone(), node).await;
    if let Ok(value) = out
        && (g as usize) + 1 < run.generations.len()
    {
        return Ok(Generation::Next(mix(acc, value)));
    }
    let last = match &run.last {
        Some(last) => ops.step(last).await,
        None => Ok(0),
    };
    Ok(Generation::Done(mix(mix(acc, out?), last?)))
}

/// Abide as the one who is asked.
#[derive(Clone)]
struct Live {
    ctx: Ctx,
    world: Arc<World>,
    program: u32,
    run: u32,
}

impl Live {
    /// How long a wait that begins now takes.
    fn wait(&self, ms: u64) -> Duration {
        let now = self.ctx.now().duration_since(SystemTime::UNIX_EPOCH).expect("a time of the programs' clock");
        Duration::from_millis(in_lane(self.run, now.as_millis() as i64, ms))
    }
}

fn known<T>(result: Result<T>) -> Result<T, Code> {
    result.map_err(|error| code_of(&error))
}

impl Ops for Live {
    fn step(&self, spec: &StepSpec) -> BoxFuture<'static, Out> {
        let drawn = if spec.drawn { self.ctx.random(&format!("draw{}", spec.uid)) >> 12 } else { 0 };
        let (world, local) = (self.world.clone(), spec.kind == Kind::Local);
        let step = self.ctx.step(spec.name, (self.program, spec.uid, drawn), move |(p, uid, _)| {
            if local { world.here(p, uid) } else { world.arrive(p, uid, abide::step_attempt().unwrap_or(0)) }
        });
        let retry = Retry::attempts(3).backoff(Duration::from_millis(4), Duration::from_millis(4));
        let step = match spec.kind {
            Kind::Idempotent => step.retry(retry),
            Kind::Pure => step.pure().retry(retry),
            Kind::Once => step.once().retry(retry),
            Kind::Local => step.local(),
        };
        Box::pin(async move { known(step.await) })
    }

    fn sleep(&self, uid: u32, ms: u64) -> BoxFuture<'static, Out> {
        let live = self.clone();
        Box::pin(async move {
            let sleep = live.ctx.sleep(live.wait(ms)).key(uid);
            known(sleep.await).map(|()| u64::from(uid))
        })
    }

    fn signal(&self, uid: u32, name: &str, timeout: Option<u64>) -> BoxFuture<'static, Out> {
        let (live, name) = (self.clone(), name.to_owned());
        Box::pin(async move {
            let mut signal = live.ctx.signal::<u64>(name).ask(Wait::Signal, &uid);
            if let Some(ms) = timeout {
                signal = signal.timeout(live.wait(ms));
            }
            let out = known(signal.await);
            if let Ok(value) = out {
                live.world.took(live.program, uid, value);
            }
            out
        })
    }

    fn child(&self, run: u32) -> BoxFuture<'static, Out> {
        let child = self.ctx.child::<u64>("program", &(self.program, run, 0_u32, 5_u64));
        // Half of them have an id of their own.
        let child = if run.is_multiple_of(2) { child.id(format!("p{}-r{run}", self.program)) } else { child };
        Box::pin(async move { known(child.await) })
    }

    fn version(&self, change: &str, newest: u32) -> u64 {
        u64::from(self.ctx.version(change, 1..=newest))
    }

    fn order(&self, count: usize) -> Vec<usize> {
        let mut dice = self.world.dice.lock().unwrap();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_cached_key(|_| dice.next());
        order
    }

    fn scope(&self, uid: u32, body: Node) -> BoxFuture<'static, Out> {
        let live = self.clone();
        Box::pin(self.ctx.scope(format!("in{uid}"), move |ctx| eval(Self { ctx, ..live }, body)))
    }

    fn map(&self, uid: u32, at_once: usize, branches: Vec<Node>) -> BoxFuture<'static, Vec<Out>> {
        let live = self.clone();
        let branch = move |ctx, node| eval(Self { ctx, ..live.clone() }, node);
        Box::pin(self.ctx.map(format!("map{uid}"), branches, branch).concurrency(at_once))
    }

    fn race(&self, uid: u32, branches: Vec<Node>) -> BoxFuture<'static, (usize, Out)> {
        let live = self.clone();
        Box::pin(
            self.ctx.race(format!("race{uid}"), branches, move |ctx, node| eval(Self { ctx, ..live.clone() }, node)),
        )
    }
}

/// The workflow: program, run, generation, and what the generations before it came to.
pub(super) async fn program(ctx: Ctx, (p, r, g, acc): (u32, u32, u32, u64)) -> Result<u64> {
    let world = ctx.resource::<World>().expect("the world is lent");
    let spec = world.programs[p as usize].runs[r as usize].clone();
    let live = Live { ctx: ctx.clone(), world, program: p, run: r };
    match generation(live, spec, g, acc).await {
        Ok(Generation::Done(value)) => Ok(value),
        Ok(Generation::Next(acc)) => ctx.continue_as_new(&(p, r, g + 1, acc)),
        Err(code) => Err(error_of(code)),
    }
}
