//! The errors of the host and its client API: each with a code, what to do next, and an exit code. Errors of workflows are `Error`.

use std::path::PathBuf;

use crate::shell::quote;

/// An error of the host or the client API.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The database cannot be used.
    #[error("the database {path} cannot be used: {why}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
        /// What to do.
        help: String,
    },
    /// Reading or writing the database failed; what was acknowledged before is safe.
    #[error("the database failed: {why}")]
    Storage {
        /// What SQLite says.
        why: String,
    },
    /// There is no such run.
    #[error("there is no run `{run}`")]
    NoSuchRun {
        /// What was asked for.
        run: String,
    },
    /// More than one run begins like that.
    #[error("`{prefix}` is the beginning of several runs: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some of the runs.
        candidates: Vec<String>,
    },
    /// A living process works on this run.
    #[error("run `{run}` is being worked on by the living process {pid}")]
    Owned {
        /// The run.
        run: String,
        /// The process.
        pid: u32,
    },
    /// The run has ended: nothing can be sent to it.
    #[error("run `{run}` has already ended ({status})")]
    Ended {
        /// The run.
        run: String,
        /// How.
        status: String,
    },
    /// The id was used before with another workflow or input.
    #[error("run `{run}` exists already, with {differs}")]
    IdTaken {
        /// The run.
        run: String,
        /// What differs.
        differs: &'static str,
    },
    /// No code for the run's workflow is registered in this process.
    #[error("this program has no workflow `{workflow}`, which run `{run}` needs")]
    NoWorkflow {
        /// The run.
        run: String,
        /// Its workflow.
        workflow: String,
    },
    /// The run is parked because its code and its journal, or its code and the rules, disagree.
    #[error("run `{run}` cannot go on: {why}")]
    Diverged {
        /// The run.
        run: String,
        /// Which step, what was recorded, what was asked.
        why: String,
        /// What to do.
        help: String,
    },
    /// The run failed.
    #[error("run `{run}` failed: {error}")]
    Failed {
        /// The run.
        run: String,
        /// The workflow's error.
        error: String,
    },
    /// The run was cancelled.
    #[error("run `{run}` was cancelled")]
    Cancelled {
        /// The run.
        run: String,
    },
    /// The run stopped because its surroundings are broken; it can be resumed.
    #[error("run `{run}` stopped: {why}")]
    Environment {
        /// The run.
        run: String,
        /// What is broken.
        why: String,
    },
    /// A value cannot be turned into JSON, or the result does not fit the type that is expected.
    #[error("{what} does not fit: {why}")]
    Value {
        /// Which value.
        what: String,
        /// Why.
        why: String,
    },
    /// A step is not in the state that was assumed.
    #[error("{why}")]
    Step {
        /// What is the case.
        why: String,
        /// What to do.
        help: String,
    },
    /// There is no such schedule.
    #[error("there is no schedule `{schedule}`")]
    NoSuchSchedule {
        /// What was asked for.
        schedule: String,
    },
    /// A schedule cannot be kept or met like that.
    #[error("{why}")]
    Schedule {
        /// What is the case.
        why: String,
        /// What to do.
        help: String,
    },
    /// The journal of this run cannot be read.
    #[error("the journal of run `{run}` cannot be read: {why}")]
    Journal {
        /// The run.
        run: String,
        /// Where and why.
        why: String,
    },
    /// The host was shut down.
    #[error("abide is shutting down")]
    ShuttingDown,
}

impl HostError {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Database { .. } => "database",
            Self::Storage { .. } => "storage",
            Self::NoSuchRun { .. } => "no_such_run",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Owned { .. } => "owned",
            Self::Ended { .. } => "ended",
            Self::IdTaken { .. } => "id_taken",
            Self::NoWorkflow { .. } => "no_workflow",
            Self::Diverged { .. } => "diverged",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::Environment { .. } => "environment",
            Self::Value { .. } => "value",
            Self::Step { .. } => "step",
            Self::NoSuchSchedule { .. } => "no_such_schedule",
            Self::Schedule { .. } => "schedule",
            Self::Journal { .. } => "journal",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Database { help, .. }
            | Self::Diverged { help, .. }
            | Self::Step { help, .. }
            | Self::Schedule { help, .. } => help.clone(),
            Self::Storage { .. } => {
                "free some space or mend the disk, then `abide resume`: nothing acknowledged is lost".into()
            }
            Self::NoSuchRun { .. } => "`abide ls` lists the runs of this database; --db names another".into(),
            Self::NoSuchSchedule { .. } => {
                "`abide schedule ls` lists those of this database; --db names another".into()
            }
            Self::Ambiguous { .. } => "give more characters of the id".into(),
            Self::Owned { run, pid } => format!(
                "watch it with `abide show {0}`; if process {pid} is stuck, `abide resume {0} --steal` takes it over",
                quote(run)
            ),
            Self::Ended { run, .. } => {
                format!("`abide show {}` tells how it ended; start a new run instead", quote(run))
            }
            Self::IdTaken { .. } => "use another --id, or the same workflow and input to get that run".into(),
            Self::NoWorkflow { .. } => "resume it with the program that has this workflow, or register it there".into(),
            Self::Failed { run, .. } | Self::Cancelled { run } => {
                format!("`abide show {}` lists its steps", quote(run))
            }
            Self::Environment { run, .. } => {
                format!("mend that, then `abide resume {}`: nothing is lost", quote(run))
            }
            Self::Value { .. } => "check the types against what was recorded".into(),
            Self::Journal { .. } => "run `abide verify`; keep a copy of the database before anything else".into(),
            Self::ShuttingDown => "resume the run with a new process".into(),
        }
    }

    /// The exit code of a command that ends with this error (DESIGN section 7).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Ambiguous { .. }
            | Self::Ended { .. }
            | Self::IdTaken { .. }
            | Self::Value { .. }
            | Self::Step { .. }
            | Self::Schedule { .. } => 2,
            Self::Cancelled { .. } => 4,
            Self::Diverged { .. } => 5,
            Self::NoSuchRun { .. } | Self::NoSuchSchedule { .. } => 6,
            Self::Owned { .. } => 7,
            Self::Database { .. }
            | Self::Storage { .. }
            | Self::NoWorkflow { .. }
            | Self::Environment { .. }
            | Self::Journal { .. } => 8,
            Self::ShuttingDown => 130,
        }
    }
}

impl HostError {
    /// Is it the database's, so that it may pass by itself?
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Database { .. })
    }
}

impl From<rusqlite::Error> for HostError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage { why: error.to_string() }
    }
}
