//! A disk that fails at one operation, or from one operation on until it is mended, or that has a limited size. It loses nothing that it took.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi;

use crate::proof::vfs::{Call, Watch};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Once, with nothing done.
    Error,
    /// Once, although it was done.
    ErrorAfter,
    /// Writes find no room, this once.
    Full,
    /// Everything from here on.
    Broken,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Error, Self::ErrorAfter, Self::Full, Self::Broken];
}

/// The operation that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub at: u64,
    pub kind: Kind,
}

/// A disk with a fault.
pub struct Faults {
    fault: Option<Fault>,
    calls: AtomicU64,
    hits: AtomicU64,
}

impl Faults {
    pub fn new(fault: Option<Fault>) -> Self {
        Self { fault, calls: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }

    /// How often it has failed.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    /// How many operations there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn error_of(call: Call<'_>) -> c_int {
    match call {
        Call::Open => ffi::SQLITE_CANTOPEN,
        Call::Close => ffi::SQLITE_IOERR_CLOSE,
        Call::Read => ffi::SQLITE_IOERR_READ,
        Call::Write { .. } => ffi::SQLITE_IOERR_WRITE,
        Call::Truncate { .. } => ffi::SQLITE_IOERR_TRUNCATE,
        Call::Sync => ffi::SQLITE_IOERR_FSYNC,
        Call::Size => ffi::SQLITE_IOERR_FSTAT,
        Call::Lock => ffi::SQLITE_IOERR_LOCK,
        Call::Shm => ffi::SQLITE_IOERR_SHMMAP,
        Call::Delete => ffi::SQLITE_IOERR_DELETE,
        Call::Access => ffi::SQLITE_IOERR_ACCESS,
    }
}

impl Watch for Faults {
    fn call(&self, _: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int {
        // A file that is closed is closed, whatever is said of it.
        if matches!(call, Call::Close) {
            return real();
        }
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let Some(fault) = self.fault else { return real() };
        let writes = matches!(call, Call::Write { .. } | Call::Shm);
        // A full disk fails at the first write from there on.
        let fails = match fault.kind {
            Kind::Broken => n >= fault.at,
            Kind::Full => n >= fault.at && writes && self.hits() == 0,
            Kind::Error | Kind::ErrorAfter => n == fault.at,
        };
        if !fails {
            return real();
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        let took =
            fault.kind == Kind::ErrorAfter && matches!(call, Call::Write { .. } | Call::Truncate { .. } | Call::Sync);
        if took {
            real();
        }
        if fault.kind == Kind::Full { ffi::SQLITE_FULL } else { error_of(call) }
    }
}

/// A disk of limited size.
pub struct Quota {
    sizes: Mutex<HashMap<String, u64>>,
    most: AtomicU64,
    pub refused: AtomicBool,
}

impl Quota {
    pub fn new(most: u64) -> Self {
        Self { sizes: Mutex::default(), most: AtomicU64::new(most), refused: AtomicBool::new(false) }
    }

    /// The disk is larger from now on.
    pub fn grow(&self, most: u64) {
        self.most.store(most, Ordering::SeqCst);
    }
}

impl Watch for Quota {
    fn call(&self, file: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let size = sizes.entry(file.to_owned()).or_default();
        let (before, after) = match call {
            Call::Write { at, data } => (*size, (*size).max(at + data.len() as u64)),
            Call::Truncate { size: cut } => (*size, cut),
            Call::Delete => (*size, 0),
            _ => (*size, *size),
        };
        *size = after;
        if after > before && sizes.values().sum::<u64>() > self.most.load(Ordering::SeqCst) {
            sizes.insert(file.to_owned(), before);
            self.refused.store(true, Ordering::SeqCst);
            return ffi::SQLITE_FULL;
        }
        drop(sizes);
        real()
    }
}
