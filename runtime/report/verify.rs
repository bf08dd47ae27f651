//! Checks the journals of a database: that every row of every run is there, in order and unchanged, that none was put in, and that what is kept
//! beside the journal agrees with it: where it ends, how it ended, workflow, input, definition. It repairs nothing.
//!
//! It cannot notice a tail that was cut off together with the head that names it (DESIGN rule 15); what is in no journal: messages not delivered yet,
//! times, owners, which definition and parent a run names; and whoever writes all hashes anew, for no key is in them.

use abide_engine::event::{Happened, Outcome};
use serde::Serialize;

use super::Reading;
use crate::HostError;
use crate::store::{LogRow, Reader, RunKey, RunRow};

/// How often a run that moves meanwhile is counted again.
const TRIES: usize = 50;

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Runs that were checked.
    pub runs: usize,
    /// Rows that were checked.
    pub rows: usize,
    /// What is wrong.
    pub broken: Vec<Broken>,
}

/// A run whose journal is not whole.
#[derive(Debug, Clone, Serialize)]
pub struct Broken {
    /// The run.
    pub run: String,
    /// Where and why.
    pub why: String,
}

pub(crate) fn verify(reader: &Reader, only: Option<&str>) -> Result<Verified, HostError> {
    let mut out = Verified { runs: 0, rows: 0, broken: Vec::new() };
    if let Some(why) = reader.integrity()? {
        out.broken.push(Broken { run: String::new(), why: format!("SQLite finds the file damaged: {why}") });
    }
    let mut counts = reader.row_counts()?;
    let runs = match only {
        Some(id) => vec![reader.find(id)?],
        None => reader.list(-1)?,
    };
    for run in runs {
        out.runs += 1;
        let counted = counts.remove(&run.key);
        let checked = match check(reader, &run)? {
            Ok(rows) if counted != Some(rows) => strays(reader, run.key)?.map_or(Ok(rows), Err),
            other => other,
        };
        match checked {
            Ok(rows) => out.rows += rows,
            Err(why) => out.broken.push(Broken { run: run.id, why }),
        }
    }
    if only.is_none() {
        for (key, rows) in counts {
            // It may have begun meanwhile.
            if reader.run(key)?.is_none() {
                out.broken.push(Broken { run: String::new(), why: format!("{rows} rows are no run's") });
            }
        }
    }
    Ok(out)
}

/// Rows that say they are of this run, and are not in its chain.
fn strays(reader: &Reader, key: RunKey) -> Result<Option<String>, HostError> {
    for _ in 0..TRIES {
        let Some(run) = reader.run(key)? else { return Ok(None) };
        let rows = match check(reader, &run)? {
            Ok(rows) => rows,
            Err(why) => return Ok(Some(why)),
        };
        let counted = reader.row_count(key)?;
        // Counted while nothing was appended.
        if reader.run(key)?.is_some_and(|now| now.head == run.head) {
            let stray = counted.abs_diff(rows);
            return Ok((stray > 0).then(|| {
                format!("{stray} rows are not in its chain: they were put in, or its head was set back from them")
            }));
        }
    }
    Ok(None)
}

/// Checks one run: how many rows it has, or what is wrong with it.
fn check(reader: &Reader, run: &RunRow) -> Result<Result<usize, String>, HostError> {
    let checked = reader.whole_journal(run).and_then(|rows| {
        reader.definition_of(run)?;
        Ok((reader.input_hash(run.key)?, rows))
    });
    match checked {
        Ok((input, rows)) => Ok(read(run, input.as_ref(), &rows).map(|()| rows.len())),
        Err(HostError::Journal { why, .. }) => Ok(Err(why)),
        Err(other) => Err(other),
    }
}

/// Reads a run from its first row to its last, and compares it with what is kept beside it.
fn read(run: &RunRow, input: Option<&crate::store::Hash>, rows: &[LogRow]) -> Result<(), String> {
    let mut reading = Reading::default();
    let mut base = rows.first().map_or(0, |first| first.id);
    for (i, row) in rows.iter().enumerate() {
        if begins_generation(row) {
            reading = Reading::default();
            base = row.id;
        }
        reading.row(row)?;
        if i == 0
            && reading.input.as_ref().map(|input| *blake3::hash(input.get().as_bytes()).as_bytes()).as_ref() != input
        {
            return Err("its input is not the one that it was created with".to_owned());
        }
        if reading.workflow.as_ref() != Some(&run.workflow) {
            return Err(format!("row {} was written by another workflow than `{}`", row.id, run.workflow));
        }
    }
    if base != run.base {
        return Err(format!("its generation is said to begin with row {}, and begins with row {base}", run.base));
    }
    let ended = match &reading.outcome {
        Some(Outcome::Completed(_)) => Some("completed"),
        Some(Outcome::Failed(_)) => Some("failed"),
        Some(Outcome::Cancelled(_)) => Some("cancelled"),
        Some(Outcome::Continued(_)) => return Err("its next generation is missing".to_owned()),
        None => None,
    };
    let said = crate::store::is_ended(&run.status).then_some(run.status.as_str());
    if ended != said {
        let how = |status: Option<&str>| status.map_or_else(|| "has not ended".to_owned(), |s| format!("is {s}"));
        return Err(format!("it is said that it {}, and its journal says that it {}", how(said), how(ended)));
    }
    Ok(())
}

/// True for the first row of every generation but the run's first, which may have been created in a row of its own.
fn begins_generation(row: &LogRow) -> bool {
    let Ok(row) = serde_json::from_str::<abide_engine::Row>(&row.body) else { return false };
    matches!(row.deliveries.first().map(|first| &first.on), Some(Happened::Start(start)) if start.seed.generation > 0)
}
