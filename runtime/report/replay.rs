//! What replaying a recorded run against the code of this process came to: plain data. It replays nothing itself.

use abide_engine::Fault;
use serde::Serialize;

/// A run that was replayed: each of its generations from its own first row, as far as code and journal agree.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// The run.
    pub id: String,
    /// Its workflow's name.
    pub workflow: String,
    /// Generations that have begun; 0 for a run that was created and has not.
    pub generations: u32,
    /// Rows that were replayed, host events included.
    pub rows: usize,
    /// Where code and journal part: at most one place a generation, for nothing after it can be compared.
    pub divergences: Vec<Divergence>,
}

/// A place at which the code asks for something other than the journal holds, or breaks a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// In which generation: 0 for the first.
    pub generation: u32,
    /// The step, timer, signal, child or version gate; `end` for the end of the run; none if it is about the whole run.
    pub step: Option<String>,
    /// What the journal holds.
    pub recorded: Option<String>,
    /// What the code asks for.
    pub asked: Option<String>,
    /// All of it in a sentence.
    pub why: String,
    /// What to do about it.
    pub help: &'static str,
}

impl Replayed {
    /// True if the code does what was recorded.
    pub fn is_same(&self) -> bool {
        self.divergences.is_empty()
    }
}

impl Divergence {
    pub(crate) fn of(generation: u32, fault: &Fault) -> Self {
        let (step, recorded, asked) = match fault {
            Fault::Diverged { id, recorded, asked } => (Some(id.clone()), Some(recorded.clone()), Some(asked.clone())),
            Fault::Unreadable { id, .. } => (Some(id.clone()), None, None),
            _ => (None, None, None),
        };
        Self { generation, step, recorded, asked, why: fault.to_string(), help: fault.help() }
    }
}
