//! When a run cannot go on: its commit failed, it cannot be loaded, its code and its journal disagree. Nothing acknowledged is lost, and whoever
//! waits is told. It never retries a step: that follows from the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abide_engine::Fault;

use super::inner::Inner;
use super::load::{Wanted, Why, answer};
use super::run::Settled;
use super::shard::Shard;
use crate::HostError;
use crate::store::{RunKey, Tx, step_aside};

/// Failed commits or reads in a row after which a run is stopped: about five seconds.
const MOST_FAILURES: u32 = 10;
/// The longest wait before it is tried again to let go of a run.
const MOST_PATIENCE: Duration = Duration::from_secs(2);

impl Shard {
    /// A commit failed: the machine is thrown away and rebuilt, after a while; in the end the run stops (DESIGN rule 3).
    pub(crate) fn commit_failed(&mut self, token: u64, error: &HostError) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        run.failures += 1;
        run.mending = true;
        tracing::warn!(run = %run.id, %error, failures = run.failures, "a commit failed");
        let (key, epoch, failures) = (run.key, run.epoch, run.failures);
        // A file that was taken away does not come back by itself.
        let over = matches!(error, HostError::ShuttingDown) || self.inner.place.check().is_err();
        if over || failures >= MOST_FAILURES {
            self.remove(token);
            return self.give_up(key, epoch, error);
        }
        self.mending.push((Instant::now() + Duration::from_millis(5 << failures), token));
    }

    /// An inbox could not be read: it is read again, after a while; in the end the run stops.
    pub(crate) fn inbox_unread(&mut self, token: u64, tries: u32, error: &HostError) {
        let Some(run) = self.residents.get(&token) else { return };
        if self.is_unread(token) {
            return;
        }
        if tries >= MOST_FAILURES && run.committing.is_none() {
            let (key, epoch) = (run.key, run.epoch);
            self.remove(token);
            return self.give_up(key, epoch, error);
        }
        self.unread.push((Instant::now() + Duration::from_millis(5 << tries.min(MOST_FAILURES)), token, tries + 1));
    }

    /// A run could not be read: it is read again, after a while, for nobody asks for it twice; in the end it stops.
    pub(crate) fn run_unread(&mut self, wanted: Wanted, error: &HostError) {
        let (key, epoch, tries) = (wanted.key, wanted.epoch, wanted.tries);
        tracing::warn!(key, %error, tries, "a run cannot be read now");
        self.unloaded.push((Instant::now() + Duration::from_millis(5 << tries.min(MOST_FAILURES)), wanted));
        if self.is_letting_go() {
            self.drop_unloaded(Some(key), &HostError::ShuttingDown);
        } else if tries >= MOST_FAILURES || !error.may_pass() || self.inner.place.check().is_err() {
            let epoch = self.drop_unloaded(Some(key), error).into_iter().fold(epoch, i64::max);
            self.give_up(key, epoch, error);
        }
    }

    /// Forgets that this run, or any, is to be read again, and tells whoever waits for it; since which epochs it was ours.
    pub(crate) fn drop_unloaded(&mut self, key: Option<RunKey>, why: &HostError) -> Vec<i64> {
        let is_meant = |wanted: &Wanted| key.is_none_or(|key| wanted.key == key);
        let (dropped, kept): (Vec<_>, Vec<_>) = self.unloaded.drain(..).partition(|(_, wanted)| is_meant(wanted));
        self.unloaded = kept;
        let drop_one = |(_, wanted): (Instant, Wanted)| {
            self.inner.settled(wanted.key, &Settled::Stopped(why.clone()));
            answer(wanted.key, wanted.reply, Err(why.clone()));
            wanted.epoch
        };
        dropped.into_iter().map(drop_one).collect()
    }

    fn read_runs(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.unloaded.drain(..).partition(|(at, _)| *at <= now);
        self.unloaded = later;
        for (_, wanted) in due {
            self.load(Wanted { tries: wanted.tries + 1, ..wanted });
        }
    }

    fn read_inboxes(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.unread.drain(..).partition(|(at, ..)| *at <= now);
        self.unread = later;
        for (_, token, tries) in due {
            self.read_inbox_again(token, tries);
            self.touch(token);
        }
    }

    /// Rebuilds the runs whose time has come, and reads what could not be read.
    pub(crate) fn mend(&mut self) {
        for wanted in std::mem::take(&mut self.leaving) {
            self.load(wanted);
        }
        if !self.unloaded.is_empty() {
            self.read_runs();
        }
        if !self.unread.is_empty() {
            self.read_inboxes();
        }
        if self.mending.is_empty() {
            return;
        }
        let now = Instant::now();
        let (due, later) = self.mending.drain(..).partition(|(at, _)| *at <= now);
        self.mending = later;
        let due: Vec<(Instant, u64)> = due;
        for (_, token) in due {
            self.rebuild(token);
        }
    }

    fn rebuild(&mut self, token: u64) {
        let Some(run) = self.residents.get(&token) else { return };
        let (key, epoch) = (run.key, run.epoch);
        match self.read_run(key, epoch) {
            Err(error) => self.commit_failed(token, &error),
            Ok(None) => {
                self.remove(token);
                self.inner.settled(key, &Settled::TakenOver);
            }
            Ok(Some(read)) => {
                let Some(old) = self.residents.remove(&token) else { return };
                self.by_key.remove(&key);
                if let Err(error) = self.bring(read, Why::Mended(Box::new(old))) {
                    tracing::warn!(key, %error, "a run cannot be rebuilt");
                }
            }
        }
    }

    /// Stops working on a run: whoever resumes it tries again.
    pub(crate) fn give_up(&self, key: RunKey, epoch: i64, error: &HostError) {
        let why = match error {
            HostError::Environment { why, .. } => why.clone(),
            other => other.to_string(),
        };
        self.inner.stopped(key);
        let inner = self.inner.clone();
        self.write_in_the_end(move || released(inner.clone(), key, epoch, why.clone()));
        self.inner.settled(key, &Settled::Stopped(error.clone()));
    }

    /// Writes that a run is let go of. As long as its row names us, nobody else can resume it: that is tried until the disk is well.
    pub(crate) fn write_in_the_end<F>(&self, make: impl Fn() -> F + Send + 'static)
    where
        F: FnMut(&Tx<'_>) -> rusqlite::Result<()> + Send + 'static,
    {
        let (inner, written) = (self.inner.clone(), self.inner.writer.post(make()));
        self.inner.runtime.spawn(async move {
            if let Ok(Err(error)) = written.await {
                inner.write_again(error, make).await;
            }
            inner.works_again();
        });
    }

    /// The files are gone: all runs stop, and whoever waits for one is told why.
    pub(crate) fn stop_all(&mut self, error: &HostError) {
        let resident = self.residents.drain().map(|(_, run)| run.key);
        let keys: Vec<RunKey> = resident.chain(self.sleeping.drain().map(|(key, _)| key)).collect();
        self.by_key.clear();
        self.mending.clear();
        self.unread.clear();
        self.drop_unloaded(None, error);
        for key in keys {
            self.inner.settled(key, &Settled::Stopped(error.clone()));
        }
    }

    /// A run breaks a rule: it is parked when nothing is under way that must not be cut off.
    pub(crate) fn fault(&mut self, token: u64, fault: Fault) {
        let Some(run) = self.residents.get_mut(&token) else { return };
        if run.fault.is_some() {
            return;
        }
        run.fault = Some(fault);
        run.end_repeatable();
        self.touch(token);
    }

    /// Writes that a run that is not in memory is parked as diverged, and why; then tells those who wait for it.
    pub(crate) fn write_diverged(&self, key: RunKey, epoch: i64, fault: &Fault, error: HostError) {
        let (why, help, now) = (fault.to_string(), fault.help(), self.inner.now_ms());
        let make = move || {
            let why = why.clone();
            move |tx: &Tx<'_>| {
                let changed = tx.conn.execute(
                    "UPDATE heads SET status = 'diverged', waiting_for = NULL, until_ms = NULL, owner = NULL, updated_ms = ?3
                     WHERE run = ?1 AND epoch = ?2 AND owner IS NOT NULL",
                    [key, epoch, now],
                )?;
                if changed == 1 {
                    step_aside(tx, key)?;
                    note(tx, key, &why, Some(help))?;
                }
                Ok(changed == 1)
            }
        };
        let (inner, written) = (self.inner.clone(), self.inner.writer.post(make()));
        self.inner.runtime.spawn(async move {
            let written = written.await;
            let taken_over = matches!(written, Ok(Ok(false)));
            // Whoever waits is told what is wrong even while the disk is not well.
            inner.settled(key, &if taken_over { Settled::TakenOver } else { Settled::Stopped(error) });
            if let Ok(Err(error)) = written {
                inner.write_again(error, make).await;
                inner.works_again();
            }
        });
    }
}

impl Inner {
    /// Writes what could not be written, again and again until the disk is well; it gives up when this process or the file is gone.
    async fn write_again<F, T>(&self, failed: HostError, make: impl Fn() -> F)
    where
        F: FnMut(&Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (mut failed, mut wait) = (failed, Duration::from_millis(50));
        while !matches!(failed, HostError::ShuttingDown) && !self.is_closed() && self.place.check().is_ok() {
            self.break_off(&failed);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MOST_PATIENCE);
            match self.writer.post(make()).await {
                Ok(Err(error)) => failed = error,
                _ => return,
            }
        }
    }
}

/// Lets go of a run that was given up, unless it was resumed since.
fn released(
    inner: Arc<Inner>,
    key: RunKey,
    epoch: i64,
    why: String,
) -> impl FnMut(&Tx<'_>) -> rusqlite::Result<()> + Send + 'static {
    move |tx| {
        let sql = "UPDATE heads SET owner = NULL WHERE run = ?1 AND epoch = ?2 AND owner IS NOT NULL";
        if inner.is_stopped(key) && tx.conn.execute(sql, [key, epoch])? == 1 {
            step_aside(tx, key)?;
            note(tx, key, &why, None)?;
        }
        Ok(())
    }
}

/// Keeps why a run does not go on.
fn note(tx: &Tx<'_>, key: RunKey, why: &str, help: Option<&str>) -> rusqlite::Result<usize> {
    tx.conn.execute(
        "INSERT INTO notes (run, error, help) VALUES (?1, ?2, ?3) ON CONFLICT (run) DO UPDATE SET error = ?2, help = ?3",
        rusqlite::params![key, why, help],
    )
}
