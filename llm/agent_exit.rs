//! Tools whose call ends an agent's part of a conversation: nobody carries them out, somebody else goes on. Pure functions of a reply.

use serde_json::Value;

use crate::agent::Answer;
use crate::agent_text::Told;
use crate::wire::{Reply, ToolDecl, Turn};

/// What a conversation can be left by.
#[derive(Debug, Default)]
pub(crate) struct Exits(Vec<ToolDecl>);

/// A call that ended an agent's part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Left {
    /// The tool's name.
    pub(crate) tool: String,
    pub(crate) arguments: Value,
}

/// What a conversation came to.
#[derive(Debug)]
pub(crate) struct Talked {
    /// The answer; of one that was left only what it has used.
    pub(crate) answer: Answer,
    pub(crate) left: Option<Left>,
    /// All that was said.
    pub(crate) turns: Vec<Turn>,
}

impl Talked {
    pub(crate) fn over(answer: Answer, turns: Vec<Turn>) -> Self {
        Self { answer, left: None, turns }
    }
}

impl Exits {
    pub(crate) fn new(tools: Vec<ToolDecl>) -> Self {
        Self(tools)
    }

    pub(crate) fn tools(&self) -> impl Iterator<Item = ToolDecl> + '_ {
        self.0.iter().cloned()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|tool| tool.name == name)
    }

    /// The first exit that a reply takes, and what the model is told of its calls of exits in the place of what was told.
    pub(crate) fn take(&self, reply: &Reply, told: &mut [Told]) -> Option<Left> {
        let mut left: Option<Left> = None;
        let calls = reply.tool_calls.iter().zip(told).filter(|(call, _)| self.has(&call.name));
        for (call, told) in calls {
            *told = match (&call.arguments, &left) {
                (Err(why), _) => Told::error(&format!("`{}` was not called: {why}", call.name)),
                (Ok(_), Some(first)) => Told::error(&format!("`{}` was called already", first.tool)),
                (Ok(arguments), None) => {
                    left = Some(Left { tool: call.name.clone(), arguments: arguments.clone() });
                    Told {
                        content: vec!["done: go on with what the user wants".into()],
                        is_error: false,
                        session: None,
                    }
                }
            };
        }
        left
    }
}
