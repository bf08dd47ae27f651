//! The writes that are no turns: starting a run, sending to one, claiming one, registering a process. It never waits.

use rusqlite::{OptionalExtension, params};

use super::admit::{Dealings, Dealt};
use super::append::send;
use super::queue::{self, Queue};
use super::rows::is_ended;
use super::writer::{Job, Tx};
use super::{Hash, RunKey};
use crate::HostError;

/// What was read from files for a run, by content.
#[derive(Debug, Clone)]
pub(crate) struct DefinitionRow {
    pub(crate) hash: Hash,
    pub(crate) body: String,
}

/// What came of starting a run.
#[derive(Debug, Clone)]
pub(crate) enum Started {
    /// It was begun.
    New { key: RunKey, head: i64, dealt: Dealt },
    /// There is a run of that id.
    Exists { key: RunKey, same: bool },
}

/// What a start waits for.
pub(crate) type StartDone = Box<dyn FnOnce(Result<Started, HostError>) + std::marker::Send>;

/// Begins a run with its first turn, or only with its creation.
pub(crate) struct StartRun {
    pub(crate) id: String,
    pub(crate) workflow: String,
    pub(crate) definition: Option<DefinitionRow>,
    pub(crate) root: Option<String>,
    pub(crate) input_hash: Hash,
    pub(crate) body: String,
    pub(crate) hash: Hash,
    pub(crate) owner: Option<i64>,
    pub(crate) status: &'static str,
    pub(crate) waiting_for: Option<&'static str>,
    pub(crate) until_ms: Option<i64>,
    pub(crate) note: Option<String>,
    /// The queue in which it waits for its turn; its first turn is nobody's yet.
    pub(crate) queue: Option<Queue>,
    /// Why it is parked from the start, and what to do.
    pub(crate) error: Option<(String, &'static str)>,
    pub(crate) now_ms: i64,
    /// What its first turn asks of services and budgets.
    pub(crate) dealings: Dealings,
    /// What came of it, set by `apply`.
    pub(crate) started: Option<Started>,
    pub(crate) done: StartDone,
}

impl StartRun {
    fn existing(&self, tx: &Tx<'_>) -> rusqlite::Result<Option<Started>> {
        tx.conn
            .prepare_cached("SELECT key, workflow, input_hash FROM runs WHERE id = ?1")?
            .query_row([&self.id], |row| {
                let same = row.get_ref(1)?.as_str()? == self.workflow && row.get_ref(2)?.as_blob()? == self.input_hash;
                Ok(Started::Exists { key: row.get(0)?, same })
            })
            .optional()
    }

    fn definition_key(&self, tx: &Tx<'_>) -> rusqlite::Result<Option<i64>> {
        let Some(definition) = &self.definition else { return Ok(None) };
        tx.conn
            .prepare_cached("INSERT INTO definitions (hash, body) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING")?
            .execute(params![definition.hash.as_slice(), definition.body])?;
        tx.conn
            .prepare_cached("SELECT key FROM definitions WHERE hash = ?1")?
            .query_row([definition.hash.as_slice()], |row| row.get(0))
            .map(Some)
    }
}

impl Job for StartRun {
    fn apply(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        self.started = None;
        if let Some(existing) = self.existing(tx)? {
            self.started = Some(existing);
            return Ok(());
        }
        let definition = self.definition_key(tx)?;
        tx.conn
            .prepare_cached(
                "INSERT INTO runs (id, workflow, definition, root, input_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.id, self.workflow, definition, self.root, self.input_hash.as_slice(), self.now_ms])?;
        let key = tx.conn.last_insert_rowid();
        let head = tx.next_log_id();
        tx.conn
            .prepare_cached("INSERT INTO log (id, run, prev, hash, body) VALUES (?1, ?2, NULL, ?3, ?4)")?
            .execute(params![head, key, self.hash.as_slice(), self.body])?;
        tx.conn
            .prepare_cached(
                "INSERT INTO heads (run, base, head, epoch, owner, status, waiting_for, until_ms, updated_ms)
                 VALUES (?1, ?2, ?2, 1, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                key,
                head,
                self.owner.filter(|_| self.queue.is_none()),
                self.status,
                self.waiting_for,
                self.until_ms,
                self.now_ms
            ])?;
        if self.note.is_some() || self.error.is_some() {
            let (error, help) = self.error.clone().unzip();
            tx.conn
                .prepare_cached("INSERT INTO notes (run, status, error, help) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![key, self.note, error, help])?;
        }
        if let Some(queue) = &self.queue {
            queue.enter(tx, key)?;
            // Whoever starts it has it, if its turn is now.
            let sql = "UPDATE heads SET owner = ?2 WHERE run = ?1 AND waiting_for IS NULL";
            tx.conn.prepare_cached(sql)?.execute(params![key, self.owner])?;
        }
        let dealt = self.dealings.apply(tx, key, self.owner.unwrap_or(0), false)?;
        self.started = Some(Started::New { key, head, dealt });
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), HostError>) {
        let Self { started, done, .. } = *self;
        done(committed.and_then(|()| started.ok_or(HostError::ShuttingDown)));
    }
}

/// What came of sending a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is in the inbox.
    Kept,
    /// The same sender's message was there before.
    Duplicate,
    /// The run has ended.
    Ended,
}

impl Sent {
    /// Puts a message into a run's inbox, if the run has not ended.
    pub(crate) fn message(
        tx: &Tx<'_>,
        run: RunKey,
        kind: &str,
        name: &str,
        body: &str,
        sender: Option<&str>,
        at_ms: i64,
    ) -> rusqlite::Result<Self> {
        let status: String =
            tx.conn.prepare_cached("SELECT status FROM heads WHERE run = ?1")?.query_row([run], |row| row.get(0))?;
        if is_ended(&status) {
            return Ok(Self::Ended);
        }
        Ok(if send(tx, run, kind, name, body, sender, at_ms)? { Self::Kept } else { Self::Duplicate })
    }
}

/// What came of claiming a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is ours, from this epoch on, or was already.
    Ours { epoch: i64 },
    /// Somebody else has it.
    Theirs,
    /// It waits in line for a place in its queue.
    InLine,
    /// It has ended.
    Ended,
}

/// Takes a run: one that nobody owns, or that `from` owns.
pub(crate) struct Claim {
    pub(crate) run: RunKey,
    pub(crate) owner: i64,
    /// The owner it may be taken from: its lock is held by us, or it is to be stolen.
    pub(crate) from: Option<i64>,
    /// Somebody asked for it: it is not to be paused by what was said before.
    pub(crate) asked: bool,
    pub(crate) now_ms: i64,
}

impl Claim {
    pub(crate) fn apply(&self, tx: &Tx<'_>) -> rusqlite::Result<Claimed> {
        let found: Option<(Option<i64>, String, i64)> = tx
            .conn
            .prepare_cached("SELECT owner, status, epoch FROM heads WHERE run = ?1")?
            .query_row([self.run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((owner, status, epoch)) = found else { return Ok(Claimed::Ended) };
        if is_ended(&status) {
            return Ok(Claimed::Ended);
        }
        if owner == Some(self.owner) {
            return Ok(Claimed::Ours { epoch });
        }
        if owner.is_some() && owner != self.from {
            return Ok(Claimed::Theirs);
        }
        if !queue::may_go(tx, self.run)? {
            return Ok(Claimed::InLine);
        }
        // Only in a damaged file; without a further epoch there is no fence.
        let next = epoch.checked_add(1).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, epoch))?;
        tx.conn
            .prepare_cached(
                "UPDATE heads SET owner = ?1, epoch = ?2, status = 'running', waiting_for = NULL, until_ms = NULL, updated_ms = ?3
                 WHERE run = ?4",
            )?
            .execute(params![self.owner, next, self.now_ms, self.run])?;
        tx.conn.prepare_cached("UPDATE notes SET error = NULL WHERE run = ?1")?.execute([self.run])?;
        if self.asked {
            tx.conn.prepare_cached("DELETE FROM inbox WHERE run = ?1 AND kind = 'pause'")?.execute([self.run])?;
        }
        Ok(Claimed::Ours { epoch: next })
    }
}

/// Lets go of the runs for which `which` holds, as they stand. One that has a message stands as interrupted: those who were told of the
/// message when it had an owner look at it no more.
pub(crate) fn release(tx: &Tx<'_>, which: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<usize> {
    let interrupt = format!(
        "UPDATE heads SET status = 'running', waiting_for = NULL, until_ms = NULL WHERE {which} AND status = 'waiting'
         AND EXISTS (SELECT 1 FROM inbox WHERE inbox.run = heads.run AND body IS NOT NULL)"
    );
    tx.conn.execute(&interrupt, values)?;
    // Who waited in line keeps the place, and nobody waits for it.
    let aside = format!(
        "UPDATE admissions SET due_ms = 0 WHERE at_ms IS NULL AND run IN (SELECT run FROM heads WHERE {which})"
    );
    tx.conn.execute(&aside, values)?;
    tx.conn.execute(&format!("UPDATE heads SET owner = NULL WHERE {which}"), values)
}
