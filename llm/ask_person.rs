//! Asking a person as a tool of an agent: a call is a wait of the run, answered by `abide answer` or on the terminal, over any number of
//! restarts. A question that nobody answers in time is an error that the model is told, and the run goes on.

use std::time::Duration;

use abide_engine::{Result, Wait};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::agent_text::foreign;
use crate::function::refusal;
use crate::own_tools::{Place, own_spec};
use crate::tools::{ToolCall, ToolSpec};

/// The tool's name, unless told otherwise.
const NAME: &str = "ask_person";

/// An agent that may ask a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskPerson {
    /// The tool's name as the model sees it.
    #[serde(default = "name")]
    pub name: String,
    /// Seconds after which an answer is not waited for any more; without it for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
}

/// What a person is asked: what the wait is about, as `show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentQuestion {
    /// Who asks.
    pub agent: String,
    /// What it asks.
    pub question: String,
    /// Answers that it proposes; any other is an answer, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

#[derive(Deserialize)]
struct Arguments {
    question: String,
    #[serde(default)]
    options: Vec<String>,
}

impl Default for AskPerson {
    fn default() -> Self {
        Self { name: name(), timeout_s: None }
    }
}

impl Agent {
    /// It may ask a person, with a tool called `ask_person`. The run waits for the answer (`waiting_for: answer`); when this time is
    /// over, the model is told that nobody answered. Without a time it waits for ever.
    #[must_use]
    pub fn ask_person(self, timeout: impl Into<Option<Duration>>) -> Self {
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let ask = AskPerson { timeout_s: timeout.into().map(seconds), ..AskPerson::default() };
        Self { ask_person: Some(ask), ..self }
    }
}

impl AskPerson {
    pub(crate) fn spec(&self) -> ToolSpec {
        own_spec(
            &self.name,
            "Asks the person you work for, and gives you their answer. Ask only what you cannot find out yourself, one \
             question at a time.",
            json!({"type": "object", "required": ["question"], "properties": {
                "question": {"type": "string", "description": "The question, with all that is needed to answer it"},
                "options": {"type": "array", "items": {"type": "string"}, "description": "Answers to choose from, if there are some"}}}),
        )
    }

    pub(crate) async fn call(&self, agent: &Agent, place: &Place<'_>, call: ToolCall) -> Result<Value> {
        let question = match serde_json::from_value::<Arguments>(call.arguments) {
            Ok(Arguments { question, .. }) if question.trim().is_empty() => {
                return Ok(refusal("nobody was asked, for `question` is empty"));
            }
            Ok(Arguments { question, options }) => AgentQuestion { agent: agent.name.clone(), question, options },
            Err(error) => return Ok(refusal(&format!("nobody was asked, for the arguments do not fit: {error}"))),
        };
        let wait = place.ctx.signal::<Value>(self.name.clone()).ask(Wait::Answer, &question).key(place.index);
        let wait = match self.timeout_s {
            Some(seconds) => wait.timeout(Duration::from_secs(seconds)),
            None => wait,
        };
        match wait.await {
            Ok(answer) => Ok(told(&answer)),
            Err(error) if error.is_timeout() => {
                let seconds = self.timeout_s.unwrap_or_default();
                Ok(refusal(&format!(
                    "nobody answered within {seconds} s: go on without an answer, and say what you assumed"
                )))
            }
            Err(error) => Err(error),
        }
    }
}

fn name() -> String {
    NAME.to_owned()
}

/// A person's words are nobody's written form: nothing in them is filled in.
fn told(answer: &Value) -> Value {
    let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
    let text = if text.trim().is_empty() { "(the answer is empty)".to_owned() } else { foreign(&text) };
    json!({"content": [{"type": "text", "text": text}]})
}
