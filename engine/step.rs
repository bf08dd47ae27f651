//! A step's closure behind one type, and what it can learn about its own attempt. It never runs anything by itself.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;

use crate::event::{Json, json};
use crate::{Error, ErrorKind, Result};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A step's closure: each call is a new attempt.
pub type StepFn = Arc<dyn Fn() -> BoxFuture<Result<Json>> + Send + Sync>;

/// What an attempt knows about itself.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The idempotency key: the same for every attempt of the step, also after a crash.
    pub key: Arc<str>,
    /// 1 for the first.
    pub number: u32,
    /// Whom it tells how far it is.
    pub teller: Teller,
    /// Until when it may use the place that it was given at a service.
    pub place: Place,
}

impl Attempt {
    /// One that tells nobody anything, and may take its time.
    pub fn new(key: Arc<str>, number: u32) -> Self {
        Self { key, number, teller: Teller::default(), place: Place::default() }
    }
}

/// The place at a service with limits that an attempt was given: it counts from the moment of the grant, so a request that leaves much
/// later would be counted in the wrong minute.
#[derive(Clone, Default)]
pub struct Place(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Place {
    /// One that this function knows: true while it may be used.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(holds)))
    }

    fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|holds| holds())
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.holds()).finish()
    }
}

/// What an attempt says of itself while it works: shown to whoever watches, and kept nowhere.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Telling {
    /// A further piece of the text that it is about to return.
    Text(String),
    /// A further piece of what led to that text.
    Reasoning(String),
    /// It is about to ask for a call of this tool.
    Call(String),
    /// How far it is.
    Progress {
        /// So much is done.
        done: f64,
        /// Of so much, if that is known.
        of: Option<f64>,
        /// In words.
        message: Option<String>,
    },
}

/// Takes what an attempt says of itself. It may be kept, cloned and used from anywhere; nothing waits for it.
#[derive(Clone, Default)]
pub struct Teller(Option<Arc<dyn Fn(Telling) + Send + Sync>>);

impl Teller {
    /// One that hands it to this function.
    pub fn new(tell: impl Fn(Telling) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Says it.
    pub fn tell(&self, what: Telling) {
        if let Some(tell) = &self.0 {
            tell(what);
        }
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Teller").field(&self.0.is_some()).finish()
    }
}

thread_local! {
    static ATTEMPT: RefCell<Option<Attempt>> = const { RefCell::new(None) };
}

/// The idempotency key of the step whose closure is running here; `None` outside a step.
///
/// Hand it to whatever is called (an `Idempotency-Key` header): a step that is repeated after a crash sends the same one.
pub fn step_key() -> Option<Arc<str>> {
    ATTEMPT.with_borrow(|attempt| attempt.as_ref().map(|a| a.key.clone()))
}

/// 1 in a step's first attempt, 2 in its second; `None` outside a step.
pub fn step_attempt() -> Option<u32> {
    ATTEMPT.with_borrow(|attempt| attempt.as_ref().map(|a| a.number))
}

/// Whom the step whose closure is running here tells how far it is; outside a step nobody.
pub fn step_teller() -> Teller {
    ATTEMPT.with_borrow(|attempt| attempt.as_ref().map(|a| a.teller.clone())).unwrap_or_default()
}

/// To be called right before a request leaves, in the attempt's own future.
///
/// # Errors
/// [`ErrorKind::TooLate`] if the attempt's place is no longer good. Return it at once: its host asks for another place, and starts
/// the attempt anew.
pub fn step_may_leave() -> Result<()> {
    let place = ATTEMPT.with_borrow(|attempt| attempt.as_ref().map(|a| a.place.clone())).unwrap_or_default();
    if place.holds() { Ok(()) } else { Err(Error::new(ErrorKind::TooLate, "its place at the service has lapsed")) }
}

/// An attempt of a step, or its probe, as a future, which lets [`step_key`] answer while it is polled.
pub struct AttemptFuture<T = Json> {
    attempt: Option<Attempt>,
    future: BoxFuture<Result<T>>,
}

impl<T> AttemptFuture<T> {
    /// Calls the closure. A panic in the call itself is the caller's to catch.
    pub fn start(run: impl FnOnce() -> BoxFuture<Result<T>>, attempt: Attempt) -> Self {
        let mut slot = Some(attempt);
        let future = Self::with(&mut slot, run);
        Self { attempt: slot, future }
    }

    fn with<R>(slot: &mut Option<Attempt>, f: impl FnOnce() -> R) -> R {
        // Swapped back on the way out, also when `f` panics.
        struct Swap<'a>(&'a mut Option<Attempt>);
        impl Drop for Swap<'_> {
            fn drop(&mut self) {
                ATTEMPT.with_borrow_mut(|here| std::mem::swap(here, self.0));
            }
        }
        ATTEMPT.with_borrow_mut(|here| std::mem::swap(here, slot));
        let _swap = Swap(slot);
        f()
    }
}

impl<T> Future for AttemptFuture<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let future = &mut this.future;
        Self::with(&mut this.attempt, || future.as_mut().poll(cx))
    }
}

/// Boxes a typed closure and its input.
pub(crate) fn erase<I, O, F, Fut, E>(input: I, f: F) -> StepFn
where
    I: Clone + Send + Sync + 'static,
    O: Serialize,
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
    E: Into<Error>,
{
    Arc::new(move || {
        let attempt = f(input.clone());
        Box::pin(async move {
            let out = attempt.await.map_err(Into::into)?;
            json(&out).map_err(|e| crate::terminal(format!("its result cannot be recorded as JSON: {e}")))
        })
    })
}
