//! The steps of a journal, each with what became of it. It never guesses: what has no outcome says so.

use std::collections::HashMap;

use abide_engine::event::{By, Command, Delivery, Happened, HostEvent, Json, Verdict};
use abide_engine::{ChunkError, ChunkTable, Effect, StepId, StepKind, Wait, hex};
use serde::Serialize;

/// One step, timer, signal or child.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Its id: a path of scopes, name and ordinal.
    pub id: String,
    /// `llm`, `tool`, `step`, `timer`, `signal` or `child`.
    pub kind: &'static str,
    /// The name within the path.
    pub name: String,
    /// `scheduled`, `running`, `retrying`, `completed`, `failed`, `cancelled` or `in_doubt`.
    pub status: &'static str,
    /// `pure`, `idempotent` or `once`; null for what is no step.
    pub effect: Option<Effect>,
    /// Attempts so far.
    pub attempts: u32,
    /// Unix milliseconds.
    pub started_ms: i64,
    /// Unix milliseconds; null while it is open.
    pub ended_ms: Option<i64>,
    /// The input.
    pub input: Option<Json>,
    /// The result.
    pub output: Option<Json>,
    /// The last error.
    pub error: Option<String>,
    /// What a person or a probe decided about it, if it was in doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Verdict>,
    /// Who decided that: `person` or `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<By>,
    /// When, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<i64>,
    /// How often what a person gave as the result of this attempt did not fit.
    #[serde(skip)]
    pub(crate) refused: u32,
    /// Who is expected to answer, for approvals and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<&'static str>,
    /// Hash of what is asked: an answer is bound to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

#[derive(Default)]
pub(super) struct Steps {
    steps: Vec<StepReport>,
    by_id: HashMap<StepId, usize>,
}

impl Steps {
    pub(super) fn command(&mut self, command: Command, at: i64, table: &ChunkTable) -> Result<(), ChunkError> {
        let mut hash = None;
        let (id, kind, effect, input, asks) = match command {
            Command::Step(step) => {
                let kind = match step.kind {
                    StepKind::Step => "step",
                    StepKind::Llm => "llm",
                    StepKind::Tool => "tool",
                };
                (step.id, kind, Some(step.effect), Some(table.decode(&step.input)?), None)
            }
            Command::Sleep { id, ms, .. } => (id, "timer", None, abide_engine::event::json(&ms).ok(), None),
            Command::Signal(signal) => {
                let about = signal.about.as_ref().map(|about| table.decode(about)).transpose()?;
                let asks = match signal.wait {
                    Wait::Signal => None,
                    Wait::Approval => Some("approval"),
                    Wait::Answer => Some("answer"),
                };
                hash = asks.map(|_| hex::encode(&signal.hash));
                (signal.id, "signal", None, about, asks)
            }
            Command::Child(child) => (child.id, "child", None, Some(table.decode(&child.input)?), None),
            Command::Cancel { id } => {
                self.edit(&id, |step| {
                    if step.ended_ms.is_none() {
                        (step.status, step.ended_ms) = ("cancelled", Some(at));
                    }
                });
                return Ok(());
            }
            Command::Version { .. } | Command::End(_) => return Ok(()),
        };
        self.by_id.insert(id.clone(), self.steps.len());
        self.steps.push(StepReport {
            name: id.name().to_owned(),
            id: id.to_string(),
            kind,
            status: if matches!(kind, "timer" | "signal") { "scheduled" } else { "running" },
            effect,
            attempts: u32::from(effect.is_some()),
            started_ms: at,
            ended_ms: None,
            input,
            output: None,
            error: None,
            resolved: None,
            resolved_by: None,
            resolved_ms: None,
            refused: 0,
            asks,
            hash,
        });
        Ok(())
    }

    pub(super) fn happened(&mut self, delivery: &Delivery, table: &ChunkTable) -> Result<(), ChunkError> {
        let at = delivery.at;
        let (id, status, output, error) = match &delivery.on {
            Happened::Done { id, out } | Happened::Signal { id, value: out } => {
                (id, "completed", Some(table.decode(out)?), None)
            }
            Happened::Failed { id, error } => (id, "failed", None, Some(error.message().to_owned())),
            Happened::Fired { id } => (id, "completed", None, None),
            Happened::Start(_) | Happened::Cancel => return Ok(()),
        };
        self.edit(id, |step| {
            (step.status, step.ended_ms, step.output) = (status, Some(at), output);
            step.error = error;
        });
        Ok(())
    }

    pub(super) fn host(&mut self, event: HostEvent) {
        match event {
            HostEvent::Attempt { id, n, .. } => {
                self.edit(&id, |step| step.attempts = step.attempts.max(n));
                self.edit_open(&id, |step| step.status = "running");
            }
            HostEvent::Retry { id, n, error, .. } => self.edit_open(&id, |step| {
                (step.status, step.attempts) = ("retrying", n);
                step.error = Some(error.message().to_owned());
            }),
            HostEvent::InDoubt { id, n, why, .. } => self.edit_open(&id, |step| {
                (step.status, step.attempts, step.error, step.refused) = ("in_doubt", n, Some(why), 0);
            }),
            HostEvent::Undecided { id, by, why, .. } => self.edit_open(&id, |step| {
                step.refused += u32::from(by == By::Person);
                step.error = Some(step.error.take().map_or(why.clone(), |doubt| format!("{doubt}; {why}")));
            }),
            HostEvent::Parked { id, n, error, .. } => self.edit_open(&id, |step| {
                (step.status, step.attempts, step.error) = ("retrying", n, Some(error));
            }),
            HostEvent::Resolved { id, verdict, by, at } => self.edit(&id, |step| {
                (step.resolved, step.resolved_by, step.resolved_ms) = (Some(verdict), Some(by), Some(at));
            }),
            // Known, and taken as soon as the run goes on.
            HostEvent::Outcome { id, n, at, out: Some(out), .. } => self.edit_open(&id, |step| {
                (step.status, step.attempts, step.ended_ms, step.output) = ("completed", n, Some(at), Some(out));
            }),
            HostEvent::Outcome { id, n, error, .. } => self.edit_open(&id, |step| {
                (step.status, step.attempts, step.error) = ("retrying", n, error.map(|e| e.message().to_owned()));
            }),
            HostEvent::Held { id, .. } => self.edit_open(&id, |step| step.status = "scheduled"),
            _ => {}
        }
    }

    /// A row's deliveries come before what the host records with them: what has ended stays so.
    fn edit_open(&mut self, id: &StepId, change: impl FnOnce(&mut StepReport)) {
        self.edit(id, |step| {
            if step.ended_ms.is_none() {
                change(step);
            }
        });
    }

    fn edit(&mut self, id: &StepId, change: impl FnOnce(&mut StepReport)) {
        if let Some(step) = self.by_id.get(id).and_then(|i| self.steps.get_mut(*i)) {
            change(step);
        }
    }

    /// A `once` step that was under way when its process ended is in doubt, journaled so or not.
    pub(super) fn finish(mut self, owner_lives: bool) -> Vec<StepReport> {
        if !owner_lives {
            for step in &mut self.steps {
                if step.status == "running" && step.effect == Some(Effect::Once) {
                    step.status = "in_doubt";
                    step.error = Some("the process that ran it ended before an outcome was recorded".to_owned());
                }
            }
        }
        self.steps
    }
}
