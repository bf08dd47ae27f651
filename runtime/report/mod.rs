//! What a journal tells a person or a program: the document of `abide show`, the check of the chains, and what a replay came to. It reads only.

mod replay;
mod spending;
mod steps;
mod verify;

use abide_engine::event::{Command, HostEvent, Outcome};
use abide_engine::{ChunkTable, Json, Payload, Row};
use serde::Serialize;

use crate::HostError;
use crate::host::{RunInfo, Settled};
use crate::store::{LogRow, Reader, RunRow};

pub use replay::{Divergence, Replayed};
pub use spending::Spending;
pub use steps::StepReport;
pub(crate) use verify::verify;
pub use verify::{Broken, Verified};

/// A run and its steps: `{"run":{..},"steps":[..]}` of DESIGN section 7.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The run.
    pub run: RunReport,
    /// Its steps in the order in which they were asked for; those of the current generation.
    pub steps: Vec<StepReport>,
}

/// The run's part of a report.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// Its id.
    pub id: String,
    /// Its workflow's name.
    pub workflow: String,
    /// `running`, `waiting`, `interrupted`, `paused`, `completed`, `failed`, `cancelled` or `diverged`.
    pub status: &'static str,
    /// What it waits for.
    pub waiting_for: Option<&'static str>,
    /// The queue that it was started into, until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Until when, in Unix milliseconds.
    pub until_ms: Option<i64>,
    /// The input of the current generation.
    pub input: Option<Json>,
    /// The result, once there is one.
    pub output: Option<Json>,
    /// Why it failed or is parked.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub updated_ms: i64,
    /// How often it has changed hands.
    pub epoch: i64,
    /// The living process that works on it.
    pub owner_pid: Option<u32>,
    /// What its model calls used, and those of the runs below it.
    pub usage: UsageReport,
    /// What it last said of its progress.
    pub progress: Option<Json>,
    /// Which `continue_as_new` it is in: 0 for the first.
    pub generation: u32,
}

/// What a run's model calls used, as the providers reported it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UsageReport {
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// US dollars; unknown is null.
    pub cost_usd: Option<f64>,
}

impl Report {
    pub(crate) fn read(reader: &Reader, row: &RunRow) -> Result<Self, HostError> {
        let rows = reader.journal(row)?;
        let broken = |why: String| HostError::Journal { run: row.id.clone(), why };
        let mut reading = Reading::default();
        for log in rows {
            reading.row(&log).map_err(broken)?;
        }
        let mut run = RunReport::of(RunInfo::of(reader, row.clone()));
        run.generation = reading.generation;
        run.input = reading.input;
        match reading.outcome {
            Some(Outcome::Completed(payload)) => {
                run.output = Some(reading.table.decode(&payload).map_err(|e| broken(e.to_string()))?);
            }
            Some(Outcome::Failed(error) | Outcome::Cancelled(error)) => run.error = Some(error.message().to_owned()),
            _ => {}
        }
        let steps = reading.steps.finish(run.owner_pid.is_some());
        let spent = reader.spending(row.key)?.into_iter().find(|spending| spending.spender.is_none());
        if let Some(Spending { input_tokens, output_tokens, cost_usd, .. }) = spent {
            run.usage = UsageReport { input_tokens, output_tokens, cost_usd };
        }
        Ok(Self { run, steps })
    }

    /// What an ended run has come to.
    pub(crate) fn settled(self) -> Settled {
        let error =
            || abide_engine::Error::new(abide_engine::ErrorKind::Failed, self.run.error.clone().unwrap_or_default());
        match self.run.status {
            "completed" => Settled::Completed(self.run.output.unwrap_or_else(crate::host::null)),
            "cancelled" => Settled::Cancelled,
            _ => Settled::Failed(error()),
        }
    }
}

impl RunReport {
    /// What is known without reading the journal.
    pub(crate) fn of(info: RunInfo) -> Self {
        let raw = |text: String| serde_json::value::RawValue::from_string(text).ok();
        Self {
            id: info.id,
            workflow: info.workflow,
            status: info.status,
            waiting_for: info.waiting_for,
            queue: info.queue,
            until_ms: info.until_ms,
            input: None,
            output: None,
            error: info.error,
            created_ms: info.created_ms,
            updated_ms: info.updated_ms,
            epoch: info.epoch,
            owner_pid: info.owner_pid,
            usage: UsageReport::default(),
            progress: info.progress.and_then(raw),
            generation: 0,
        }
    }
}

/// A journal being read from its first row to its last.
#[derive(Default)]
struct Reading {
    table: ChunkTable,
    steps: steps::Steps,
    workflow: Option<String>,
    input: Option<Json>,
    outcome: Option<Outcome>,
    generation: u32,
}

impl Reading {
    fn row(&mut self, log: &LogRow) -> Result<(), String> {
        let row: Row =
            serde_json::from_str(&log.body).map_err(|e| format!("row {} is not a row of this version: {e}", log.id))?;
        // The input of a run that has not begun lies in chunks of its own.
        if let Some(HostEvent::Created(start)) = row.host.first() {
            let mut table = ChunkTable::default();
            table.learn(row.chunks);
            self.input = table.decode(&start.input).ok();
            self.workflow = Some(start.workflow.clone());
            return Ok(());
        }
        self.table.learn(row.chunks);
        for delivery in row.deliveries {
            if let abide_engine::event::Happened::Start(start) = &delivery.on {
                self.input = Some(self.value(&start.input)?);
                self.workflow = Some(start.workflow.clone());
                self.generation = start.seed.generation;
            }
            self.steps.happened(&delivery, &self.table).map_err(|e| format!("row {}: {e}", log.id))?;
            for command in delivery.commands {
                match command {
                    Command::End(outcome) => self.outcome = Some(outcome),
                    other => self
                        .steps
                        .command(other, delivery.at, &self.table)
                        .map_err(|e| format!("row {}: {e}", log.id))?,
                }
            }
        }
        for event in row.host {
            self.steps.host(event);
        }
        Ok(())
    }

    fn value(&self, payload: &Payload) -> Result<Json, String> {
        self.table.decode(payload).map_err(|e| e.to_string())
    }
}
