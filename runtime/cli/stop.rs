//! Ctrl-C, heard from the moment on that there is something to stop, so that none falls between two listeners. It stops nothing itself.

use tokio::sync::Mutex;

use crate::os::StopSignals;

/// Hears each request that this process should end, once.
pub(crate) struct Stop(Mutex<StopSignals>);

impl Stop {
    /// From here on such a request does not end the process by itself; those that come before somebody waits are kept.
    pub(crate) fn listen() -> Self {
        Self(Mutex::new(StopSignals::listen()))
    }

    /// Waits for the next.
    pub(crate) async fn asked(&self) {
        self.0.lock().await.next().await;
    }
}
