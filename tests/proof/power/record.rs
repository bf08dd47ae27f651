//! The recorder: everything that is written to a database and its log, in order, with what was acknowledged when. It decides no crash.

use std::collections::{HashMap, HashSet};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use rusqlite::ffi::{SQLITE_IOERR_FSYNC, SQLITE_OK};

use crate::proof::vfs::{Call, Watch};

/// The file that an operation is on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    Db,
    Log,
}

/// Something that changes what may lie on the disk.
#[derive(Clone, Debug)]
pub enum Op {
    Write {
        on: Which,
        at: u64,
        data: Arc<[u8]>,
    },
    Truncate {
        on: Which,
        size: u64,
    },
    Sync {
        on: Which,
    },
    /// The disk gave the data up: it may be there or not, and no later sync will bring it.
    FailedSync {
        on: Which,
    },
    /// The log was made, or made anew after it was removed.
    Appear,
    Vanish,
}

/// What somebody outside has learned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ack {
    /// The start of a run was answered.
    Started(String),
    /// An attempt of a step began: its intent is on the disk.
    Intent(String, String),
    /// A message to a run was taken.
    Sent(String, String),
    /// A run's result was told.
    Ended(String),
}

/// How the disk treats syncs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syncs {
    Honest,
    /// It says that everything is synced, and syncs nothing.
    Lying,
    /// Every one fails.
    Failing,
    /// The next one of this file fails, and no other.
    FailingOnce(Which),
    /// Every n-th fails, and the next commit of the same thread is synced, its header too if it begins the log anew.
    FailingNowAndThen(u64),
}

/// What was recorded.
#[derive(Default)]
pub struct Tape {
    pub ops: Vec<Op>,
    /// What was acknowledged, and how many operations there were by then.
    pub acks: Vec<(usize, Ack)>,
    log_exists: bool,
    syncs: u64,
    /// Threads whose sync failed, and how many of their next ones do not.
    failed_for: HashMap<ThreadId, u32>,
    /// Threads that have written to a file, each with a handle of its own.
    writers: HashSet<(ThreadId, Which)>,
    /// Those who are yet to be told that a sync of it failed: the system tells each handle once, at its next sync (Linux since 4.13).
    untold: HashSet<(ThreadId, Which)>,
}

/// Records the file of this name and its log; others are let through unrecorded.
pub struct Recorder {
    name: String,
    log: String,
    syncs: Mutex<Syncs>,
    tape: Mutex<Tape>,
}

impl Recorder {
    pub fn new(name: &str, syncs: Syncs) -> Arc<Self> {
        let log = format!("{name}-wal");
        Arc::new(Self { name: name.to_owned(), log, syncs: Mutex::new(syncs), tape: Mutex::default() })
    }

    fn which(&self, file: &str) -> Option<Which> {
        match file {
            _ if file == self.name => Some(Which::Db),
            _ if file == self.log => Some(Which::Log),
            _ => None,
        }
    }

    /// Notes that this is known outside by now.
    pub fn ack(&self, what: Ack) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tape.ops.len();
        tape.acks.push((at, what));
    }

    /// What was told so far, in order.
    pub fn acks(&self) -> Vec<Ack> {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        tape.acks.iter().map(|(_, ack)| ack.clone()).collect()
    }

    /// Ends the recording.
    pub fn stop(&self) -> Tape {
        std::mem::take(&mut *self.tape.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the disk treats syncs like this.
    pub fn set(&self, syncs: Syncs) {
        *self.syncs.lock().unwrap_or_else(PoisonError::into_inner) = syncs;
    }
}

impl Tape {
    fn sync(&mut self, on: Which, how: Syncs) -> c_int {
        self.syncs += 1;
        let thread = std::thread::current().id();
        let is_told = self.untold.remove(&(thread, on));
        let fails = match how {
            _ if is_told => {
                self.failed_for.insert(thread, 2);
                true
            }
            Syncs::Honest | Syncs::Lying => false,
            Syncs::Failing => true,
            Syncs::FailingOnce(which) => which == on,
            Syncs::FailingNowAndThen(n) => match self.failed_for.get_mut(&thread).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    false
                }
                None if self.syncs.is_multiple_of(n) => {
                    self.failed_for.insert(thread, 2);
                    true
                }
                None => false,
            },
        };
        if fails && !is_told {
            let others = self.writers.iter().filter(|(other, file)| *other != thread && *file == on);
            self.untold.extend(others);
        }
        if fails {
            self.ops.push(Op::FailedSync { on });
            return SQLITE_IOERR_FSYNC;
        }
        if how != Syncs::Lying {
            self.ops.push(Op::Sync { on });
        }
        SQLITE_OK
    }
}

impl Watch for Recorder {
    fn call(&self, file: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int {
        let Some(on) = self.which(file) else { return real() };
        if !matches!(call, Call::Open | Call::Write { .. } | Call::Truncate { .. } | Call::Sync | Call::Delete) {
            return real();
        }
        // Held through the call itself, so that the tape has the order of the disk.
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(call, Call::Sync) {
            // The real files are only what the page cache would hold: nothing is gained by syncing them.
            let mut how = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
            let result = tape.sync(on, *how);
            if matches!(*how, Syncs::FailingOnce(_)) && result != SQLITE_OK {
                *how = Syncs::Honest;
            }
            return result;
        }
        let result = real();
        if result != SQLITE_OK {
            return result;
        }
        match call {
            Call::Open if on == Which::Log && !tape.log_exists => {
                tape.log_exists = true;
                tape.ops.push(Op::Appear);
            }
            Call::Delete if on == Which::Log => {
                tape.log_exists = false;
                tape.ops.push(Op::Vanish);
            }
            Call::Write { at, data } => {
                tape.writers.insert((std::thread::current().id(), on));
                tape.ops.push(Op::Write { on, at, data: data.into() });
            }
            Call::Truncate { size } => tape.ops.push(Op::Truncate { on, size }),
            _ => {}
        }
        result
    }
}
