//! A handle to a run: its result, and everything that can be said to it. It never works the run itself.

use std::sync::Arc;
use std::time::Duration;

use abide_engine::event::Verdict;
use abide_engine::{Error, Json, event};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::RunInfo;
use super::doubt::Resolve;
use super::inner::{Definition, Inner};
use super::mail::Bound;
use super::shard::Msg;
use crate::report::Spending;
use crate::report::{Report, StepReport};
use crate::store::{Raise, RunKey, Sent, hold_dead, is_ended};
use crate::{HostError, crash};

/// How often the end of a run that another process works on is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What a run has come to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Settled {
    /// It completed with this result.
    Completed(Json),
    /// It failed.
    Failed(Error),
    /// It was cancelled.
    Cancelled,
    /// Nothing of it moves by itself, or it was paused.
    Parked {
        /// `waiting`, `paused` or `diverged`.
        status: &'static str,
        /// What it waits for.
        waiting_for: Option<&'static str>,
        /// Until when, in Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// This process no longer works on it, and why.
    Stopped(HostError),
    /// Another process took it over.
    TakenOver,
}

/// A run of this database, wherever it is worked on.
#[derive(Clone)]
pub struct Run {
    pub(crate) inner: Arc<Inner>,
    pub(crate) key: RunKey,
    pub(crate) id: String,
}

impl Run {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is known of it now.
    pub fn inspect(&self) -> Result<RunInfo, HostError> {
        self.inner.read(|reader| {
            let row = reader.run(self.key)?.ok_or_else(|| HostError::NoSuchRun { run: self.id.clone() })?;
            Ok(RunInfo::of(reader, row))
        })
    }

    /// Its steps and everything `abide show` tells.
    pub fn report(&self) -> Result<Report, HostError> {
        self.inner.read(|reader| {
            let row = reader.run(self.key)?.ok_or_else(|| HostError::NoSuchRun { run: self.id.clone() })?;
            Report::read(reader, &row)
        })
    }

    /// What it carries besides its input.
    pub fn definition(&self) -> Result<Definition, HostError> {
        self.inner.read(|reader| {
            let row = reader.run(self.key)?.ok_or_else(|| HostError::NoSuchRun { run: self.id.clone() })?;
            let body = reader.definition_of(&row)?;
            Ok(Definition { body, root: row.root })
        })
    }

    /// Waits for its end, however long that takes, also through parking: what the run or one of its children waits for may come from anybody.
    /// An error if this process stopped working on it.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, HostError> {
        loop {
            match self.wait(false).await? {
                Settled::Completed(value) => {
                    return serde_json::from_str(value.get()).map_err(|e| HostError::Value {
                        what: format!("the result of run `{}`", self.id),
                        why: e.to_string(),
                    });
                }
                Settled::Failed(error) => {
                    return Err(HostError::Failed { run: self.id.clone(), error: error.message().to_owned() });
                }
                Settled::Cancelled => return Err(HostError::Cancelled { run: self.id.clone() }),
                Settled::Stopped(error) => return Err(error),
                Settled::Parked { .. } | Settled::TakenOver => {}
            }
        }
    }

    /// Waits until it has ended, or nothing of it moves by itself.
    pub async fn settled(&self) -> Result<Settled, HostError> {
        self.wait(true).await
    }

    async fn wait(&self, parked_too: bool) -> Result<Settled, HostError> {
        loop {
            let mut told = self.inner.wait_for(self.key, parked_too);
            if let Some(settled) = self.look(parked_too)? {
                return Ok(settled);
            }
            if self.inner.is_closed() {
                return Ok(Settled::Stopped(HostError::ShuttingDown));
            }
            loop {
                match tokio::time::timeout(LOOK, &mut told).await {
                    Ok(Ok(Settled::TakenOver) | Err(_)) => break,
                    Ok(Ok(settled)) => return Ok(settled),
                    // Worked on by this process, the end is told; by another, it is looked for.
                    Err(_) => {
                        if let Some(settled) = self.look(parked_too)?.or_else(|| self.inner.broken()) {
                            return Ok(settled);
                        }
                    }
                }
            }
        }
    }

    fn is_ours(&self) -> Result<bool, HostError> {
        let own = self.inner.own_id();
        let row = self.inner.read(|reader| reader.run(self.key))?;
        Ok(row.is_some_and(|row| row.owner.is_some_and(|o| o.id == own)))
    }

    /// What the database says it has come to.
    fn look(&self, parked_too: bool) -> Result<Option<Settled>, HostError> {
        self.inner.read(|reader| {
            let row = reader.run(self.key)?.ok_or_else(|| HostError::NoSuchRun { run: self.id.clone() })?;
            if is_ended(&row.status) {
                return Report::read(reader, &row).map(|report| Some(report.settled()));
            }
            if row.status == "diverged" {
                let why = row.error.clone().unwrap_or_default();
                let help = row.help.clone().unwrap_or_else(|| "mend the code, then `abide resume`".to_owned());
                return Ok(Some(Settled::Stopped(HostError::Diverged { run: row.id, why, help })));
            }
            let (key, nobodys) = (row.key, row.owner.is_none());
            let info = RunInfo::of(reader, row);
            // Its surroundings stopped it: whoever mends them resumes it. Who waits for its end was told so by the process that had it, or is now.
            if (parked_too || self.inner.is_stopped(key))
                && nobodys
                && info.status == "interrupted"
                && let Some(why) = info.error
            {
                return Ok(Some(Settled::Stopped(HostError::Environment { run: info.id, why })));
            }
            let stands = matches!(info.status, "waiting" | "paused") && info.until_ms.is_none();
            let parked = parked_too
                && stands
                && match info.waiting_for {
                    // It has its turn when others have ended.
                    Some("queue") => false,
                    Some("child") => reader.children_are_parked(key)?,
                    _ => info.owner_pid.is_none(),
                };
            Ok(parked.then_some(Settled::Parked { status: info.status, waiting_for: info.waiting_for, until_ms: None }))
        })
    }

    async fn send(
        &self,
        kind: &'static str,
        name: &str,
        body: String,
        sender: Option<&str>,
    ) -> Result<bool, HostError> {
        self.inner.limits.check(&format!("the {kind}"), body.len())?;
        let (key, now) = (self.key, self.inner.now_ms());
        let (name, sender) = (name.to_owned(), sender.map(str::to_owned));
        let sent = self
            .inner
            .writer
            .call(move |tx| Sent::message(tx, key, kind, &name, &body, sender.as_deref(), now))
            .await?;
        match sent {
            Sent::Ended => Err(HostError::Ended { run: self.id.clone(), status: self.inspect()?.status.to_owned() }),
            Sent::Duplicate => Ok(false),
            Sent::Kept => {
                crash::point("message.kept");
                self.inner.news(self.key);
                Ok(true)
            }
        }
    }

    /// Sends a signal. It is kept until the run waits for it, and delivered once.
    pub async fn signal<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), HostError> {
        self.send("signal", name, text_of("the signal", value)?, None).await.map(|_| ())
    }

    /// Like [`Self::signal`] with an id of the sender's choice: the same id is taken once. False if it was there before.
    pub async fn signal_once<T: Serialize + ?Sized>(&self, name: &str, value: &T, id: &str) -> Result<bool, HostError> {
        self.send("signal", name, text_of("the signal", value)?, Some(id)).await
    }

    /// Answers the question that this step asks: an approval or an answer.
    pub async fn answer<T: Serialize + ?Sized>(
        &self,
        wait: event::Wait,
        step: &str,
        value: &T,
    ) -> Result<(), HostError> {
        self.send(kind_of(wait), step, text_of("the answer", value)?, None).await.map(|_| ())
    }

    /// Like [`Self::answer`] with an id of the sender's choice: the same id is taken once. False if it was there before.
    pub async fn answer_once<T: Serialize + ?Sized>(
        &self,
        wait: event::Wait,
        step: &str,
        value: &T,
        id: &str,
    ) -> Result<bool, HostError> {
        self.send(kind_of(wait), step, text_of("the answer", value)?, Some(id)).await
    }

    /// Like [`Self::answer_once`], bound to what was shown: if the run asks something else under that id by now, or when it hears the
    /// answer, it is refused. An approval counts for the arguments that somebody has seen, and for no others.
    pub async fn answer_shown<T: Serialize + ?Sized>(
        &self,
        shown: &StepReport,
        value: &T,
        id: &str,
    ) -> Result<bool, HostError> {
        let report = self.report()?;
        let same = |s: &StepReport| s.id == shown.id && s.status == "scheduled" && s.hash == shown.hash;
        let about = shown.hash.clone().filter(|_| report.steps.iter().any(same));
        let (Some(kind), Some(about)) = (shown.asks, about) else {
            let why = format!(
                "step `{}` of run `{}` does not ask any more what it asked when it was shown",
                shown.id, self.id
            );
            return Err(HostError::Step { why, help: format!("look again: `abide show {}`", self.id) });
        };
        let answer =
            event::json(value).map_err(|e| HostError::Value { what: "the answer".to_owned(), why: e.to_string() })?;
        self.send(kind, &shown.id, text_of("the answer", &Bound { about, answer })?, Some(id)).await
    }

    /// Says what became of a step in doubt, which it must be now: it did not happen and is to be tried again, it happened with this
    /// result, or it fails with this message. False if something was said of this attempt before: the first word counts.
    pub async fn resolve(
        &self,
        step: &str,
        verdict: Verdict,
        result: Option<Json>,
        message: Option<&str>,
    ) -> Result<bool, HostError> {
        let report = self.report()?;
        let found = report.steps.iter().find(|s| s.id == step).cloned();
        let Some(shown) = found else {
            return Err(self.no_doubt(format!("run `{}` has no step `{step}`", self.id)));
        };
        self.resolve_shown(&shown, verdict, result, message).await
    }

    /// Like [`Self::resolve`], of the attempt that was shown: if another one is in doubt by now, or none, it is refused.
    pub async fn resolve_shown(
        &self,
        shown: &StepReport,
        verdict: Verdict,
        result: Option<Json>,
        message: Option<&str>,
    ) -> Result<bool, HostError> {
        let (step, report) = (&shown.id, self.report()?);
        let now = report.steps.iter().find(|s| s.id == *step);
        if shown.status != "in_doubt"
            || !now.is_some_and(|now| now.status == "in_doubt" && now.attempts == shown.attempts)
        {
            let is = now.map_or(shown.status, |now| now.status);
            return Err(self.no_doubt(format!("step `{step}` of run `{}` is not in doubt: it is {is}", self.id)));
        }
        let (generation, attempt, message) = (report.run.generation, shown.attempts, message.map(str::to_owned));
        let body = text_of("the verdict", &Resolve { verdict, result, message, generation, attempt })?;
        // A word that was refused leaves room for a better one.
        let sender = format!("resolve:{generation}:{step}:{attempt}:{}", shown.refused);
        self.send("resolve", step, body, Some(&sender)).await
    }

    fn no_doubt(&self, why: String) -> HostError {
        HostError::Step { why, help: format!("`abide show {}` lists its steps and their status", self.id) }
    }

    /// Raises the budgets of the run, of its spenders and of the runs above it. What waits for them is tried again when the run goes on:
    /// at once if somebody works on it, else with the next resume.
    pub async fn raise_budget(&self, by: Raise) -> Result<(), HostError> {
        self.send("budget", "", text_of("the raised budget", &by)?, None).await.map(|_| ())
    }

    /// What it has spent so far: with all runs below it first, then each of its own spenders.
    pub fn spending(&self) -> Result<Vec<Spending>, HostError> {
        self.inner.read(|reader| reader.spending(self.key))
    }

    /// Asks for the run to be cancelled: its open futures return an error, and it may clean up.
    pub async fn cancel(&self) -> Result<(), HostError> {
        self.send("cancel", "", "null".to_owned(), None).await.map(|_| ())
    }

    /// Asks for the run to be paused: what is under way ends or is ended, and it stays so until it is resumed.
    pub async fn pause(&self) -> Result<(), HostError> {
        let row = self.inner.read(|reader| reader.run(self.key))?;
        if let Some(row) = row
            && !is_ended(&row.status)
        {
            // A dead owner reads no messages; its lock is held through the commit.
            let held = row.owner.as_ref().map(|owner| hold_dead(&self.inner.db, &owner.file));
            if !matches!(held, Some(None)) && self.pause_unowned(row.owner.map(|owner| owner.id)).await? {
                return Ok(());
            }
        }
        self.send("pause", "", "null".to_owned(), None).await.map(|_| ())
    }

    /// Pauses a run that nobody living works on. False if somebody has taken it meanwhile.
    async fn pause_unowned(&self, dead: Option<i64>) -> Result<bool, HostError> {
        let (key, now) = (self.key, self.inner.now_ms());
        let paused = self.inner.writer.call(move |tx| {
            tx.conn.execute(
                "UPDATE heads SET status = 'paused', waiting_for = NULL, until_ms = NULL, owner = NULL, epoch = epoch + 1,
                        updated_ms = ?2
                 WHERE run = ?1 AND owner IS ?3 AND status IN ('running', 'waiting', 'paused')",
                rusqlite::params![key, now, dead],
            )
        });
        Ok(paused.await? == 1)
    }

    /// Lets go of the run in this process: it stays as it is, and anybody may go on with it.
    pub async fn release(&self) -> Result<(), HostError> {
        self.inner.leave_alone(self.key);
        while self.is_ours()? {
            // Again, in case that it was only on its way into memory.
            self.inner.send(self.inner.shard_of(&self.id), Msg::LetGo(Some(self.key)));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// The kind of message that answers such a question.
fn kind_of(wait: event::Wait) -> &'static str {
    match wait {
        event::Wait::Signal => "signal",
        event::Wait::Approval => "approval",
        event::Wait::Answer => "answer",
    }
}

fn text_of<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<String, HostError> {
    serde_json::to_string(value).map_err(|e| HostError::Value { what: what.to_owned(), why: e.to_string() })
}
