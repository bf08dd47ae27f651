//! Checks the chains of a database: that every row of every run is there, in order and unchanged. It repairs nothing.
//! It cannot notice a tail that was cut off together with the head that names it (DESIGN rule 15).

use serde::Serialize;

use super::Reading;
use crate::HostError;
use crate::store::Reader;

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
        match reader.whole_journal(&run) {
            Ok(rows) => {
                out.rows += rows.len();
                let mut reading = Reading::default();
                let from = rows.iter().position(|row| row.id == run.base).unwrap_or(0);
                for row in rows.into_iter().skip(from) {
                    if let Err(why) = reading.row(row) {
                        out.broken.push(Broken { run: run.id.clone(), why });
                        break;
                    }
                }
            }
            Err(HostError::Journal { why, .. }) => out.broken.push(Broken { run: run.id, why }),
            Err(other) => return Err(other),
        }
    }
    Ok(out)
}
