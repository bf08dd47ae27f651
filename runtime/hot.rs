//! Waiting for a message that comes soon: a thread that is woken pays more than a commit costs on a fast disk, so while messages follow
//! each other closely it looks again instead of sleeping. It never spins when there is little to do.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// How long to look before sleeping: about two commits of a good disk.
const LOOK: Duration = Duration::from_micros(400);

/// Whether messages have been following each other closely.
#[derive(Default)]
pub(crate) struct Hot {
    /// Looks in a row that were in vain: after a few, sleep at once until a message has come quickly again.
    vain: u8,
}

impl Hot {
    /// The next message, within `limit`.
    pub(crate) fn recv<T>(&mut self, from: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
        let began = Instant::now();
        let look = if self.vain < 2 { LOOK.min(limit) } else { Duration::ZERO };
        loop {
            match from.try_recv() {
                Ok(message) => {
                    self.vain = 0;
                    return Ok(message);
                }
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if began.elapsed() >= look {
                break;
            }
            std::thread::yield_now();
        }
        let got = from.recv_timeout(limit.saturating_sub(began.elapsed()));
        let quick = got.is_ok() && began.elapsed() < LOOK * 2;
        self.vain = if quick { 0 } else { self.vain.saturating_add(1) };
        got
    }
}
