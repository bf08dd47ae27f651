//! Taking runs: from nobody, from a dead process, or from a living one that is stuck. The fence decides who has a run; this never does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::inner::Inner;
use super::shard::Msg;
use crate::store::{Claim, Claimed, RunKey, RunRow, hold_dead, is_ended};
use crate::{HostError, crash};

impl Inner {
    /// Takes a run and works on it, or makes sure that it is worked on here if it is ours.
    pub(crate) async fn take(&self, row: RunRow, steal: bool) -> Result<(), HostError> {
        if is_ended(&row.status) {
            return Ok(());
        }
        if !self.knows(&row.workflow) {
            return Err(HostError::NoWorkflow { run: row.id, workflow: row.workflow });
        }
        let own = self.owner_id().await?;
        let (from, held) = match &row.owner {
            None => (None, None),
            Some(owner) if owner.id == own => return self.work_on(&row, row.epoch).await,
            // The dead owner's lock is held through the commit that bumps the epoch.
            Some(owner) => match hold_dead(&self.db, &owner.file) {
                Some(held) => (Some(owner.id), Some(held)),
                None if steal => (Some(owner.id), None),
                None => return Err(HostError::Owned { run: row.id, pid: owner.pid }),
            },
        };
        let claim = Claim { run: row.key, owner: own, from, now_ms: self.now_ms() };
        crash::point("claim.held");
        let claimed = self.writer.call(move |tx| claim.apply(tx)).await?;
        self.works_again();
        crash::point("claim.made");
        drop(held);
        match claimed {
            Claimed::InLine => {
                self.wait_in_line(row.key);
                Ok(())
            }
            Claimed::Ended => Ok(()),
            Claimed::Theirs => {
                let now = self.read(|reader| reader.run(row.key))?;
                let pid = now.and_then(|now| now.owner).map_or(0, |owner| owner.pid);
                Err(HostError::Owned { run: row.id, pid })
            }
            Claimed::Ours { epoch } => {
                self.no_longer_in_line(row.key);
                self.work_on(&row, epoch).await
            }
        }
    }

    /// Has a run that is ours brought into memory, if it is not there.
    async fn work_on(&self, row: &RunRow, epoch: i64) -> Result<(), HostError> {
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
        self.take(row, false).await
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
