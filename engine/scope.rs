//! Branches of a run with a step numbering of their own: `scope`, `map`, `race`. They never start a thread or a run.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::FusedFuture;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::Ctx;
use crate::durable::Op;
use crate::step::BoxFuture;

type Body<T> = Box<dyn FnOnce(Ctx, usize) -> BoxFuture<T> + Send>;

/// A branch of a run as a future; what `ctx.scope`, `ctx.map` and `ctx.race` return.
#[must_use = "futures do nothing unless awaited"]
pub struct Scoped<T> {
    stage: Stage<T>,
    at_once: usize,
}

enum Stage<T> {
    Opening(Op, Body<T>),
    Running(BoxFuture<T>),
    Done,
}

impl<T> Scoped<T> {
    pub(crate) fn new(op: Op, body: Body<T>) -> Self {
        Self { stage: Stage::Opening(op, body), at_once: usize::MAX }
    }

    /// Tells this one from others of the same name that are made at the same moment.
    pub fn key(mut self, key: impl std::fmt::Display) -> Self {
        if let Stage::Opening(op, _) = &mut self.stage {
            op.edit(|new| new.key = Some(key.to_string()));
        }
        self
    }

    /// For `map`: at most this many branches at a time (at least 1).
    pub fn concurrency(mut self, at_once: usize) -> Self {
        self.at_once = at_once.max(1);
        self
    }
}

impl<T> Future for Scoped<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        if let Stage::Opening(op, _) = &mut this.stage {
            // The machine numbers scopes at rest and wakes this future: then the path is known.
            let Some(slot) = op.slot(cx) else { return Poll::Pending };
            let Some(mut state) = op.shared.inside("a scope") else { return Poll::Pending };
            let Some(scope) = state.entries.get(slot).and_then(|e| e.opened) else {
                state.poll(slot, cx.waker());
                return Poll::Pending;
            };
            state.forget(slot);
            drop(state);
            op.finish();
            let ctx = Ctx::in_scope(op.shared.clone(), scope);
            let Stage::Opening(_, body) = std::mem::replace(&mut this.stage, Stage::Done) else { return Poll::Pending };
            this.stage = Stage::Running(body(ctx, this.at_once));
        }
        let Stage::Running(future) = &mut this.stage else { return Poll::Pending };
        let out = std::task::ready!(future.as_mut().poll(cx));
        this.stage = Stage::Done;
        Poll::Ready(out)
    }
}

impl<T> FusedFuture for Scoped<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

impl<T> Unpin for Scoped<T> {}

/// Runs `branch` for each item, at most `at_once` at a time; results in the order of the items.
pub(crate) async fn map_all<I, T, F, Fut>(ctx: Ctx, at_once: usize, items: Vec<I>, branch: F) -> Vec<T>
where
    F: Fn(Ctx, I) -> Fut + Send,
    Fut: Future<Output = T> + Send,
    I: Send,
    T: Send,
{
    let mut out: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut waiting = items.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < at_once {
            let Some((i, item)) = waiting.next() else { break };
            let work = branch(ctx.branch(i), item);
            running.push(async move { (i, work.await) });
        }
        let Some((i, value)) = running.next().await else { break };
        if let Some(place) = out.get_mut(i) {
            *place = Some(value);
        }
    }
    out.into_iter().flatten().collect()
}

/// Runs `branch` for each item; the first to finish wins and the others are dropped.
pub(crate) async fn race_all<I, T, F, Fut>(ctx: Ctx, items: Vec<I>, branch: F) -> (usize, T)
where
    F: Fn(Ctx, I) -> Fut + Send,
    Fut: Future<Output = T> + Send,
    I: Send,
    T: Send,
{
    let mut running: FuturesUnordered<_> = items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            let work = branch(ctx.branch(i), item);
            async move { (i, work.await) }
        })
        .collect();
    match running.next().await {
        Some(first) => first,
        // A race without branches is never won; the machine notices that nothing is outstanding.
        None => std::future::pending().await,
    }
}
