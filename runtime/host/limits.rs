//! How much a run may hold. It only says so: who takes in a payload or begins a turn refuses what is over.

use abide_engine::event::Row;
use abide_engine::{Error, Json, MOST_VALUE, terminal};

use crate::HostError;

/// What bounds every run of a host. A run that meets a limit can go on once it is raised, and nothing of it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of JSON of one input, one result of a step, or one signal. A larger input or signal is refused; a step with a
    /// larger result fails. No more than 256 MiB count. A turn may hold eight times that; one that asks for more parks the run.
    pub payload_bytes: usize,
    /// Events of a run since its start, or its last `continue_as_new`. At the limit it stops.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: 64 << 20, events: 1_000_000 }
    }
}

/// SQLite takes no row of more than a billion bytes.
const LARGEST_ROW: usize = 900_000_000;

impl Limits {
    /// The most bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.payload_bytes.saturating_mul(8).clamp(1 << 20, LARGEST_ROW)
    }

    fn over(&self, bytes: usize) -> Option<String> {
        let most = self.payload_bytes.min(MOST_VALUE);
        (bytes > most).then(|| {
            format!(
                "it is {bytes} bytes of JSON and the limit is {most}: keep it elsewhere and pass on where, or raise the limit \
                 (`payload_mib` under [limits] in abide.toml, `Builder::limits` in code)"
            )
        })
    }

    /// Refuses an input or a message that is too large.
    pub(crate) fn check(&self, what: &str, bytes: usize) -> Result<(), HostError> {
        self.over(bytes).map_or(Ok(()), |why| Err(HostError::Value { what: what.to_owned(), why }))
    }

    /// Makes an error of a step's result that is too large: it is not to be tried again.
    pub(crate) fn result(&self, out: Json) -> Result<Json, Error> {
        match self.over(out.get().len()) {
            Some(why) => Err(terminal(format!("the step was carried out, but its result was dropped: {why}"))),
            None => Ok(out),
        }
    }

    /// Why a run with so many events does not go on, if it does not.
    pub(crate) fn no_more(&self, events: usize) -> Option<String> {
        (events >= self.events).then(|| {
            format!(
                "it has {events} events and the limit is {}: does it go in circles? If not, raise `events` under [limits] \
                 in abide.toml (`Builder::limits` in code), or let it `continue_as_new` now and then",
                self.events
            )
        })
    }
}

/// How many events a row holds.
pub(crate) fn events_of(row: &Row) -> usize {
    let commands: usize = row.deliveries.iter().map(|delivery| delivery.commands.len()).sum();
    row.deliveries.len() + commands + row.host.len()
}
