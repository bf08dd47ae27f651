//! The world outside: gates at which attempts wait until they are told what they come to, and a watch over what may start at all.
//! It never decides an order.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use abide::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::ast::{Dice, Kind, Program, Try, value_of};
use super::book::{Attempt, Book, What};

pub(super) struct World {
    pub(super) programs: Vec<Program>,
    pub(super) state: Mutex<Outside>,
    pub(super) book: Mutex<Book>,
    /// For what must not matter.
    pub(super) dice: Mutex<Dice>,
}

#[derive(Default)]
pub(super) struct Outside {
    pub(super) gates: HashMap<(u32, u32), Gate>,
    /// How many attempts have come to a gate.
    next: u64,
    /// How many have left one.
    left: u64,
    /// Starts of each step, by the number of the attempt.
    pub(super) started: HashMap<(u32, u32), Vec<u32>>,
    /// Attempts that were under way when the process before this one ended.
    pub(super) cut_off: HashMap<(u32, u32), u32>,
    /// Steps that had an outcome then.
    pub(super) over: BTreeSet<(u32, u32)>,
    pub(super) faults: Vec<String>,
    /// The signals that waiters took, by value.
    pub(super) taken: HashMap<(u32, u32), u64>,
}

pub(super) struct Gate {
    pub(super) n: u32,
    serial: u64,
    to: oneshot::Sender<Try>,
}

/// An attempt leaves its gate, also when it is aborted.
struct Leave(Arc<World>, (u32, u32), u64);

impl Drop for Leave {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        if state.gates.get(&self.1).is_some_and(|gate| gate.serial == self.2) {
            state.gates.remove(&self.1);
        }
        state.left += 1;
    }
}

impl Outside {
    /// What changes when somebody comes or leaves.
    pub(super) fn version(&self) -> (u64, u64) {
        (self.next, self.left)
    }
}

impl World {
    /// A step that computes in the process.
    pub(super) fn here(&self, p: u32, uid: u32) -> BoxFuture<'static, Result<u64>> {
        let value = value_of(self.programs[p as usize].seed, uid);
        Box::pin(async move { Ok(value) })
    }

    /// A waiter took a signal. Of one that was kept for it no journal tells.
    pub(super) fn took(&self, p: u32, uid: u32, value: u64) {
        self.state.lock().unwrap().taken.insert((p, uid), value);
    }

    /// An attempt starts: may it? Then it waits to be told what it comes to.
    pub(super) fn arrive(self: &Arc<Self>, p: u32, uid: u32, n: u32) -> BoxFuture<'static, Result<u64>> {
        let why_not = self.may_start(p, uid, n).err();
        let (to, from) = oneshot::channel();
        let serial = {
            let mut state = self.state.lock().unwrap();
            state.faults.extend(why_not);
            state.next += 1;
            let serial = state.next;
            state.started.entry((p, uid)).or_default().push(n);
            if state.gates.insert((p, uid), Gate { n, serial, to }).is_some() {
                state.faults.push(format!("step {uid} of program {p} runs twice at a time"));
            }
            serial
        };
        let leave = Leave(self.clone(), (p, uid), serial);
        let value = value_of(self.programs[p as usize].seed, uid);
        async move {
            let told = from.await;
            drop(leave);
            match told.unwrap_or(Try::Terminal) {
                Try::Ok => Ok(value),
                Try::Terminal => Err(terminal("no")),
                Try::Plain | Try::Doubt(_) => Err(Error::new(abide::ErrorKind::Plain, "perhaps")),
                Try::RetryAfter(ms) => Err(retry_after(std::time::Duration::from_millis(ms), "later")),
                Try::DidNotHappen => Err(did_not_happen("not at all")),
            }
        }
        .boxed()
    }

    fn may_start(&self, p: u32, uid: u32, n: u32) -> Result<(), String> {
        let mut book = self.book.lock().unwrap();
        book.read(&self.programs);
        let what = |why: &str| format!("attempt {n} of step {uid} of program {p} started, {why}");
        let Some(op) = book.step(p, uid) else {
            // Between the commit of a cancel and the end of the attempt that it ends, the attempt may just be starting.
            let late = book.was_cancelled(p, uid);
            return if late { Ok(()) } else { Err(what("and no intent of it is committed")) };
        };
        let What::Step { attempt, resolved, .. } = &op.what else { return Err(what("which is no step")) };
        if *attempt != Attempt::Working(n) {
            return Err(what(&format!("although the journal says {attempt:?}")));
        }
        let resolved = *resolved;
        drop(book);
        let state = self.state.lock().unwrap();
        if state.over.contains(&(p, uid)) {
            return Err(what("although it had completed before the crash"));
        }
        if state.started.get(&(p, uid)).is_some_and(|started| started.contains(&n)) {
            return Err(what("for the second time"));
        }
        if let Some(before) = state.cut_off.get(&(p, uid)) {
            let once = self.programs[p as usize].step(uid).is_some_and(|step| step.kind == Kind::Once);
            if n <= *before || once && !resolved {
                return Err(what("although it was under way when the process ended, and nobody decided"));
            }
        }
        Ok(())
    }

    /// Lets the attempt at this gate end so.
    pub(super) fn open(&self, p: u32, uid: u32, how: Try) {
        let gate = self.state.lock().unwrap().gates.remove(&(p, uid));
        if let Some(gate) = gate {
            let _ = gate.to.send(how);
        }
    }
}
