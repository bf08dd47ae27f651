//! What repeating a step would do, and what kind of step it is. It decides nothing: `retry` does.

use serde::{Deserialize, Serialize};

/// What running a step a second time would do to the world (DESIGN rule 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing: repeat freely.
    Pure,
    /// Repeating with the same idempotency key changes nothing more.
    #[default]
    Idempotent,
    /// Repeating may do it twice: a start without a recorded outcome is in doubt.
    Once,
}

/// What a step is to a reader of the journal; the engine treats all kinds alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// A plain function of the workflow's author.
    #[default]
    Step,
    /// A call of a language model.
    Llm,
    /// A call of an MCP tool.
    Tool,
}
