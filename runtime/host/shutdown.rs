//! Closing a database: runs are let go of, attempts that must not be cut off are waited for, the last row is written. It never fails a run.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Abide;
use super::inner::Inner;
use super::shard::Msg;
use super::watch::Watch;
use crate::crash;
use crate::store::{Tx, release};

/// How long a shutdown waits for attempts that must not be cut off.
const GRACE: Duration = Duration::from_secs(10);

/// What ends with a database.
pub(crate) struct Closing {
    pub(crate) writer: JoinHandle<()>,
    pub(crate) watch: Watch,
}

impl Abide {
    /// Lets go of all runs, waits a while for attempts that must not be cut off, and closes the database.
    pub async fn shutdown(mut self) {
        if let Some(closing) = self.closing.take() {
            let inner = self.inner.clone();
            let _ = tokio::task::spawn_blocking(move || closing.close(&inner)).await;
        }
    }
}

impl Drop for Abide {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            let inner = self.inner.clone();
            let _ = std::thread::Builder::new().name("abide-close".to_owned()).spawn(move || closing.close(&inner));
        }
    }
}

impl Closing {
    fn close(mut self, inner: &Arc<Inner>) {
        crash::point("shutdown.begun");
        self.watch.stop();
        let mut stopped = Vec::new();
        for shard in 0..inner.shards.len() {
            let (reply, done) = oneshot::channel();
            inner.send(shard, Msg::Stop(reply));
            stopped.push(done);
        }
        let until = Instant::now() + GRACE;
        while stopped.iter_mut().any(|done| matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty)))
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        crash::point("shutdown.stopped");
        if let Some((owner, id)) = inner.owner.get() {
            let id = *id;
            // Its row goes when the next process registers: no commit for that alone.
            let owns = inner.read(|reader| reader.owns_runs(id)).unwrap_or(true);
            let let_go = move |tx: &Tx<'_>| release(tx, "owner = ?1", &[&id]);
            if !owns || matches!(inner.writer.post(let_go).blocking_recv(), Ok(Ok(_))) {
                crash::point("shutdown.released");
                owner.leave();
            }
        }
        crash::point("shutdown.left");
        inner.close();
        inner.writer.stop();
        let _ = self.writer.join();
    }
}
