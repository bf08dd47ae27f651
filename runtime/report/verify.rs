//! Checks the chains of a database: that every row of every run is there, in order and unchanged. It repairs nothing.
//! It cannot notice a tail that was cut off together with the head that names it (DESIGN rule 15).

use serde::Serialize;

use super::Reading;
use crate::HostError;
use crate::store::{Reader, RunRow};

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
    let runs = match only {
        Some(id) => vec![reader.find(id)?],
        None => reader.list(-1)?,
    };
    for run in runs {
        out.runs += 1;
        match check(reader, &run)? {
            Ok(rows) => out.rows += rows,
            Err(why) => out.broken.push(Broken { run: run.id, why }),
        }
    }
    Ok(out)
}

/// Checks one run: how many rows it has, or what is wrong with it.
fn check(reader: &Reader, run: &RunRow) -> Result<Result<usize, String>, HostError> {
    let rows = match reader.whole_journal(run) {
        Ok(rows) => rows,
        Err(HostError::Journal { why, .. }) => return Ok(Err(why)),
        Err(other) => return Err(other),
    };
    let count = rows.len();
    let mut reading = Reading::default();
    let mut generation = rows.into_iter().skip_while(|row| row.id != run.base);
    let began = generation.next().map_or(Ok(()), |first| reading.row(&first));
    if began.is_ok() && reading.input.is_none() {
        return Ok(Err(format!("its generation is said to begin with row {}, and does not", run.base)));
    }
    Ok(began.and_then(|()| generation.try_for_each(|row| reading.row(&row))).map(|()| count))
}
