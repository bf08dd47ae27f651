//! A question in words, whoever asks it: a server with a form (`form`), or an agent (`question`). It prints nothing and reads nothing.

use abide_llm::AgentQuestion;
use serde_json::Value;

use super::candidates::Wants;
use super::form::{self, Dialog};
use super::question;
use crate::StepReport;

/// A question that is being answered.
pub(crate) enum Talk {
    Server(Box<Dialog>),
    Agent(AgentQuestion),
}

impl Talk {
    /// What the step asks, if somebody can answer it in words.
    pub(crate) fn of(step: &StepReport) -> Option<Self> {
        if !Wants::Answer.is(step) {
            return None;
        }
        let server = form::question_of(step.input.as_ref()).map(|asked| Self::Server(Box::new(Dialog::new(asked))));
        server.or_else(|| question::question_of(step).map(Self::Agent))
    }

    /// What is put before the person now.
    pub(crate) fn prompt(&self) -> String {
        match self {
            Self::Server(dialog) => dialog.prompt(),
            Self::Agent(asked) => question::prompt(asked),
        }
    }

    /// Takes what was typed; what the run is told, once it is whole.
    pub(crate) fn hear(&mut self, line: &str) -> Option<Value> {
        match self {
            Self::Server(dialog) => dialog.hear(line).map(|reply| form::result(&reply)),
            Self::Agent(asked) => question::heard(asked, line).map(Value::String),
        }
    }
}

/// What a step asks, on one line.
pub(crate) fn in_short(step: &StepReport) -> Option<String> {
    let server = form::question_of(step.input.as_ref()).map(|asked| form::in_short(&asked));
    server.or_else(|| question::question_of(step).map(|asked| question::in_short(&asked)))
}
