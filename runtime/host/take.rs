//! Taking runs: from nobody, from a dead process, or from a living one that is stuck. The fence decides who has a run; this never does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::inner::Inner;
use super::shard::Msg;
use crate::store::{Claim, Claimed, RunKey, RunRow, hold_dead, is_ended};
use crate::{HostError, crash};

/// Who wants a run to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// This process: nobody living works on it.
    Itself,
    /// Somebody who resumes it.
    Asking,
    /// The same, even from a living process.
    Stealing,
}

impl Inner {
    /// Takes a run and works on it, or makes sure that it is worked on here if it is ours.
    pub(crate) async fn take(&self, mut row: RunRow, by: By) -> Result<(), HostError> {
        while !self.take_as(&row, by).await? {
            let now = self.read(|reader| reader.run(row.key))?;
            row = now.ok_or(HostError::NoSuchRun { run: row.id })?;
        }
        Ok(())
    }

    /// Takes a run that stands like this. False if it was ours and no longer is: it stands differently by now.
    async fn take_as(&self, row: &RunRow, by: By) -> Result<bool, HostError> {
        if is_ended(&row.status) {
            return Ok(true);
        }
        if !self.knows(&row.workflow) {
            return Err(HostError::NoWorkflow { run: row.id.clone(), workflow: row.workflow.clone() });
        }
        let own = self.owner_id().await?;
        let (from, held) = match &row.owner {
            None => (None, None),
            Some(owner) if owner.id == own => return self.work_on(row, row.epoch).await,
            // The dead owner's lock is held through the commit that bumps the epoch.
            Some(owner) => match hold_dead(&self.db, &owner.file) {
                Some(held) => (Some(owner.id), Some(held)),
                None if by == By::Stealing => (Some(owner.id), None),
                None => return Err(HostError::Owned { run: row.id.clone(), pid: owner.pid }),
            },
        };
        let claim = Claim { run: row.key, owner: own, from, asked: by != By::Itself, now_ms: self.now_ms() };
        crash::point("claim.held");
        let claimed = self.writer.call(move |tx| claim.apply(tx)).await?;
        self.works_again();
        crash::point("claim.made");
        drop(held);
        match claimed {
            Claimed::InLine => {
                self.wait_in_line(row.key);
                Ok(true)
            }
            Claimed::Ended => Ok(true),
            Claimed::Theirs => {
                let now = self.read(|reader| reader.run(row.key))?;
                let pid = now.and_then(|now| now.owner).map_or(0, |owner| owner.pid);
                Err(HostError::Owned { run: row.id.clone(), pid })
            }
            Claimed::Ours { epoch } => {
                self.no_longer_in_line(row.key);
                self.work_on(row, epoch).await.map(|_| true)
            }
        }
    }

    /// Has a run that is ours brought into memory, if it is not there.
    async fn work_on(&self, row: &RunRow, epoch: i64) -> Result<bool, HostError> {
        let (reply, loaded) = oneshot::channel();
        self.send(self.shard_of(&row.id), Msg::Load { key: row.key, epoch, reply: Some(reply) });
        loaded.await.map_err(|_| HostError::ShuttingDown)?
    }

    /// Takes a run that nobody living works on, if this process has its workflow and was not told to leave it.
    pub(crate) async fn adopt(&self, key: RunKey) -> Result<(), HostError> {
        self.adopt_found(self.read(|reader| reader.run(key))?).await
    }

    async fn adopt_found(&self, found: Option<RunRow>) -> Result<(), HostError> {
        let Some(row) = found else { return Ok(()) };
        let key = row.key;
        let open = matches!(row.status.as_str(), "running" | "waiting");
        if !open || self.is_ours(&row) || !self.knows(&row.workflow) || self.was_left(key) {
            return Ok(());
        }
        self.take(row, By::Itself).await
    }

    fn is_ours(&self, row: &RunRow) -> bool {
        row.owner.as_ref().is_some_and(|owner| owner.id == self.own_id())
    }

    /// Like [`Self::adopt`], again and again while the database fails: nobody will tell of this run a second time.
    pub(crate) async fn adopt_in_the_end(&self, key: RunKey) {
        self.in_the_end(|| self.read(|reader| reader.run(key))).await;
    }

    async fn in_the_end(&self, find: impl Fn() -> Result<Option<RunRow>, HostError> + Send + Sync) {
        let mut wait = Duration::from_millis(10);
        loop {
            match find() {
                // It was given up, and is ours until that is written: then it can be taken up again.
                Ok(Some(row)) if self.is_ours(&row) && self.is_stopped(row.key) => {}
                Ok(found) => match self.adopt_found(found).await {
                    Err(error) if error.may_pass() => self.broken_for(wait, &error),
                    _ => return,
                },
                Err(error) if error.may_pass() => self.broken_for(wait, &error),
                Err(_) => return,
            }
            if self.is_closed() || self.place.check().is_err() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// After a while of errors, whoever waits for anything is told.
    fn broken_for(&self, wait: Duration, error: &HostError) {
        if wait > Duration::from_secs(1) {
            self.break_off(error);
        }
    }

    /// Like [`Self::adopt`] by id, in the background: a run whose children were left behind takes them along.
    pub(crate) fn adopt_by_id(self: &Arc<Self>, id: String) {
        let inner = self.clone();
        self.runtime.spawn(async move {
            inner.in_the_end(|| inner.read(|reader| reader.run_by_id(&id))).await;
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use abide_engine::Ctx;

    use super::By;
    use crate::Abide;

    /// Between the look at its row and its turn to be loaded a run may be let go of: whoever asked for it gets it all the same.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_was_ours_when_it_was_looked_at_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (open, gate) = tokio::sync::watch::channel(false);
        let abide = Abide::open(folder.path().join("runs.db")).workflow("work", move |ctx: Ctx, (): ()| {
            let gate = gate.clone();
            async move {
                let held = move |()| {
                    let mut gate = gate.clone();
                    async move { gate.wait_for(|open| *open).await.map(|_| ()).map_err(abide_engine::Error::from) }
                };
                ctx.step("held", (), held).await?;
                ctx.signal::<u32>("more").await
            }
        });
        let abide = abide.start().await.unwrap();
        let run = abide.run("work", &()).id("r").await.unwrap();
        let row = || abide.inner.read(|reader| reader.run(run.key)).unwrap().unwrap();
        let stale = row();
        assert!(stale.owner.is_some());
        open.send_replace(true);
        run.settled().await.unwrap();
        assert!(row().owner.is_none());
        abide.inner.take(stale, By::Asking).await.unwrap();
        assert_eq!(row().epoch, 2);
        abide.shutdown().await;
    }
}
