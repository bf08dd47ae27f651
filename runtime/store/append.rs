//! Appending a turn to a run, fenced by its epoch and head, with everything that must commit together with it. It never reads a body.

use rusqlite::params;

use super::admit::{Dealings, Dealt};
use super::rows::is_ended;
use super::writer::{Job, Tx};
use super::{Hash, RunKey, queue};
use crate::HostError;

/// What becomes of a run's row in `heads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadState {
    pub(crate) status: &'static str,
    pub(crate) waiting_for: Option<&'static str>,
    pub(crate) until_ms: Option<i64>,
    /// The run has no owner after this.
    pub(crate) release: bool,
}

/// A run that is begun by this turn.
pub(crate) struct ChildStart {
    pub(crate) step: String,
    pub(crate) run_id: String,
    /// No run can have that id.
    pub(crate) impossible: bool,
    pub(crate) workflow: String,
    pub(crate) input_hash: Hash,
    pub(crate) body: String,
    /// What the parent hears at once if that id is taken or impossible.
    pub(crate) taken_body: String,
}

/// Why a run is parked, and what to do about it if that is not plain. Nothing clears what was kept before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    pub(crate) error: Option<String>,
    pub(crate) help: Option<&'static str>,
}

/// What the end of a run brings to its parent.
pub(crate) struct Ending {
    pub(crate) parent: RunKey,
    pub(crate) step: String,
    pub(crate) body: String,
}

/// Where a run's journal ends after an append.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    pub(crate) head: i64,
    pub(crate) hash: Hash,
    /// The children that were begun.
    pub(crate) children: Vec<(RunKey, String)>,
    /// The parent that was told of the end.
    pub(crate) told: Option<RunKey>,
    /// Runs that were sent a cancel.
    pub(crate) cancelled: Vec<RunKey>,
    /// True if the run's own inbox has a message that it has not seen.
    pub(crate) own_inbox: bool,
    /// True if the run was to be parked and keeps its owner, because of that message.
    pub(crate) kept: bool,
    /// What services and budgets allow.
    pub(crate) dealt: Dealt,
}

/// What an append waits for.
pub(crate) type Done = Box<dyn FnOnce(Result<Tail, HostError>, bool) + Send>;

/// One turn to append.
pub(crate) struct Append {
    pub(crate) run: RunKey,
    pub(crate) epoch: i64,
    pub(crate) head: i64,
    pub(crate) hash: Hash,
    /// The row's body and its hash; none if only the state changes.
    pub(crate) row: Option<(String, Hash)>,
    /// The first row of the next generation, in the same commit.
    pub(crate) next_generation: Option<(String, Hash)>,
    pub(crate) state: Option<HeadState>,
    pub(crate) now_ms: i64,
    /// Messages that this turn delivers.
    pub(crate) consumed: Vec<i64>,
    pub(crate) children: Vec<ChildStart>,
    /// Ids of runs whose step in this run was cancelled.
    pub(crate) cancel_runs: Vec<String>,
    pub(crate) ending: Option<Ending>,
    /// For a run that parks: the newest message that it has seen. It does not park over a newer one, which nobody would tell it of.
    pub(crate) parks_after: Option<i64>,
    /// It is let go of whatever came: over a message that it has not seen it stands as interrupted, so that somebody goes on with it.
    pub(crate) lets_go: bool,
    pub(crate) owner: i64,
    /// What the run says of itself.
    pub(crate) note: Option<String>,
    /// Why it is parked now, if that changes.
    pub(crate) trouble: Option<Trouble>,
    /// What it asks of services and budgets.
    pub(crate) dealings: Dealings,
    /// What came of it, set by `apply`.
    pub(crate) tail: Tail,
    pub(crate) fenced: bool,
    pub(crate) done: Done,
}

impl Append {
    fn has_news(&self, tx: &Tx<'_>) -> rusqlite::Result<bool> {
        let Some(seen) = self.parks_after else { return Ok(false) };
        tx.conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM inbox WHERE run = ?1 AND id > ?2 AND body IS NOT NULL)")?
            .query_row([self.run, seen], |row| row.get(0))
    }

    fn advance(&self, tx: &Tx<'_>, head: i64, base: Option<i64>) -> rusqlite::Result<bool> {
        let changed = match (&self.state, base) {
            (None, None) => tx
                .conn
                .prepare_cached(
                    "UPDATE heads SET head = ?1, updated_ms = ?2 WHERE run = ?3 AND epoch = ?4 AND head = ?5",
                )?
                .execute(params![head, self.now_ms, self.run, self.epoch, self.head])?,
            (state, base) => {
                let (keep, status, waiting_for, until_ms, release) = match state {
                    Some(s) => (false, s.status, s.waiting_for, s.until_ms, s.release && !self.tail.kept),
                    None => (true, "running", None, None, false),
                };
                tx.conn
                    .prepare_cached(
                        "UPDATE heads SET head = ?1, updated_ms = ?2, base = coalesce(?6, base),
                             status = iif(?7, status, ?8), waiting_for = iif(?7, waiting_for, ?9),
                             until_ms = iif(?7, until_ms, ?10), owner = iif(?11, NULL, owner)
                         WHERE run = ?3 AND epoch = ?4 AND head = ?5",
                    )?
                    .execute(params![
                        head,
                        self.now_ms,
                        self.run,
                        self.epoch,
                        self.head,
                        base,
                        keep,
                        status,
                        waiting_for,
                        until_ms,
                        release
                    ])?
            }
        };
        Ok(changed == 1)
    }

    fn insert(&self, tx: &Tx<'_>, id: i64, prev: i64, body: &str, hash: &Hash) -> rusqlite::Result<()> {
        tx.conn
            .prepare_cached("INSERT INTO log (id, run, prev, hash, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, self.run, prev, hash.as_slice(), body])?;
        Ok(())
    }

    fn consume(&self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        for id in &self.consumed {
            tx.conn.prepare_cached("DELETE FROM inbox WHERE id = ?1 AND sender IS NULL")?.execute([id])?;
            tx.conn.prepare_cached("UPDATE inbox SET body = NULL WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }

    fn begin_children(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        for child in &self.children {
            if child.impossible || !self.insert_child(tx, child)? {
                send(tx, self.run, "child", &child.step, &child.taken_body, None, self.now_ms)?;
                self.tail.own_inbox = true;
                continue;
            }
            let key = tx.conn.last_insert_rowid();
            let log = tx.next_log_id();
            let hash = super::row_hash(&super::run_hash(&child.run_id), &child.body);
            tx.conn
                .prepare_cached("INSERT INTO log (id, run, prev, hash, body) VALUES (?1, ?2, NULL, ?3, ?4)")?
                .execute(params![log, key, hash.as_slice(), child.body])?;
            tx.conn
                .prepare_cached(
                    "INSERT INTO heads (run, base, head, epoch, owner, status, updated_ms) VALUES (?1, ?2, ?2, 1, ?3, 'running', ?4)",
                )?
                .execute(params![key, log, self.owner, self.now_ms])?;
            self.tail.children.push((key, child.run_id.clone()));
        }
        Ok(())
    }

    /// False if the id is taken.
    fn insert_child(&self, tx: &Tx<'_>, child: &ChildStart) -> rusqlite::Result<bool> {
        let sql = "INSERT INTO runs (id, workflow, definition, root, parent, parent_step, input_hash, created_ms)
                   SELECT ?1, ?2, definition, root, key, ?3, ?4, ?5 FROM runs WHERE key = ?6
                   ON CONFLICT (id) DO NOTHING";
        let hash = child.input_hash.as_slice();
        let values = params![child.run_id, child.workflow, child.step, hash, self.now_ms, self.run];
        Ok(tx.conn.prepare_cached(sql)?.execute(values)? == 1)
    }

    fn tell_others(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        for id in &self.cancel_runs {
            if let Some(key) =
                open_run(tx, "SELECT h.run, h.status FROM runs r JOIN heads h ON h.run = r.key WHERE r.id = ?1", id)?
            {
                send(tx, key, "cancel", "", "null", None, self.now_ms)?;
                self.tail.cancelled.push(key);
            }
        }
        if let Some(ending) = &self.ending
            && let Some(key) = open_run(tx, "SELECT run, status FROM heads WHERE run = ?1", &ending.parent)?
        {
            send(tx, key, "child", &ending.step, &ending.body, None, self.now_ms)?;
            self.tail.told = Some(key);
        }
        Ok(())
    }

    fn keep_notes(&self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        if self.note.is_none() && self.trouble.is_none() {
            return Ok(());
        }
        let Trouble { error, help } = self.trouble.clone().unwrap_or_default();
        let sql = "INSERT INTO notes (run, status, error, help) VALUES (?1, ?2, ?3, ?5) ON CONFLICT (run) DO UPDATE SET
                   status = coalesce(?2, status), error = iif(?4, ?3, error), help = iif(?4, ?5, help)";
        tx.conn.prepare_cached(sql)?.execute(params![self.run, self.note, error, self.trouble.is_some(), help])?;
        Ok(())
    }
}

fn open_run(tx: &Tx<'_>, sql: &str, param: &dyn rusqlite::ToSql) -> rusqlite::Result<Option<RunKey>> {
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query([param])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let status: String = row.get(1)?;
    Ok(if is_ended(&status) { None } else { Some(row.get(0)?) })
}

/// Puts a message into a run's inbox. False if this sender's message is there already.
pub(super) fn send(
    tx: &Tx<'_>,
    run: RunKey,
    kind: &str,
    name: &str,
    body: &str,
    sender: Option<&str>,
    at_ms: i64,
) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO inbox (run, kind, name, body, sender, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (run, sender) WHERE sender IS NOT NULL DO NOTHING";
    Ok(tx.conn.prepare_cached(sql)?.execute(params![run, kind, name, body, sender, at_ms])? == 1)
}

impl Job for Append {
    fn apply(&mut self, tx: &Tx<'_>) -> rusqlite::Result<()> {
        let news = self.has_news(tx)?;
        if let Some(state) = self.state.as_mut().filter(|_| news && self.lets_go) {
            *state = HeadState { status: "running", waiting_for: None, until_ms: None, release: true };
        }
        let kept = news && !self.lets_go;
        self.tail = Tail { head: self.head, hash: self.hash, own_inbox: kept, kept, ..Tail::default() };
        self.fenced = false;
        let first = self.row.as_ref().map(|_| tx.next_log_id());
        let second = self.next_generation.as_ref().map(|_| tx.next_log_id());
        let head = second.or(first).unwrap_or(self.head);
        if !self.advance(tx, head, second)? {
            self.fenced = true;
            return Ok(());
        }
        if let (Some(id), Some((body, hash))) = (first, &self.row) {
            self.insert(tx, id, self.head, body, hash)?;
            self.tail.hash = *hash;
        }
        if let (Some(id), Some((body, hash))) = (second, &self.next_generation) {
            self.insert(tx, id, first.unwrap_or(self.head), body, hash)?;
            self.tail.hash = *hash;
        }
        self.tail.head = head;
        self.consume(tx)?;
        self.begin_children(tx)?;
        self.tell_others(tx)?;
        self.keep_notes(tx)?;
        if self.state.as_ref().is_some_and(|state| is_ended(state.status)) {
            queue::leave(tx, self.run)?;
        }
        let leaves = self.state.as_ref().is_some_and(|state| state.release) && !self.tail.kept;
        if leaves || !self.dealings.is_empty() {
            self.tail.dealt = self.dealings.apply(tx, self.run, self.owner, leaves)?;
        }
        Ok(())
    }

    fn savepoint(&self) -> bool {
        !self.children.is_empty() || !self.dealings.is_empty()
    }

    fn finish(self: Box<Self>, committed: Result<(), HostError>) {
        let Self { fenced, tail, done, .. } = *self;
        done(committed.map(|()| tail), fenced);
    }
}
