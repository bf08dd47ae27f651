//! What others say to a run: signals, answers, the ends of its children, a cancel, a pause, a verdict on a doubt. It never takes a message out
//! of the inbox: the commit of the turn that delivers it does.

use abide_engine::event::Outcome;
use abide_engine::{Arrival, Completion, Error, Fault, Json, StepId, Wait};
use serde::{Deserialize, Serialize};

use super::inner::null;
use super::resident::{Arrived, Came, LettingGo, Resident};
use super::turn::Turn;
use crate::store::InboxRow;

/// What the end of a child brings.
#[derive(Serialize, Deserialize)]
pub(crate) struct ChildEnd {
    /// The child's run: the same step of an earlier generation had another.
    pub(crate) run: String,
    /// Its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ok: Option<Json>,
    /// Its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
}

impl Resident {
    /// Delivers a message. True if the workflow moved.
    pub(crate) fn read_mail(&mut self, message: InboxRow, turn: &mut Turn) -> Result<bool, Fault> {
        let at = message.at_ms;
        let wait = match message.kind.as_str() {
            "signal" => Some(Wait::Signal),
            "approval" => Some(Wait::Approval),
            "answer" => Some(Wait::Answer),
            _ => None,
        };
        let goes_on = matches!(self.machine.outcome(), Some(Outcome::Continued(_)));
        let moved = match (wait, message.kind.as_str()) {
            (Some(wait), _) => {
                let value = json_of(&message.body);
                if !self.machine.deliver(Completion::Signal { wait, name: message.name.clone(), value }, at)? {
                    self.mail.push(message);
                    return Ok(false);
                }
                true
            }
            // It is meant for the run, so it reaches the generation that comes now.
            (None, "cancel") if goes_on => {
                self.mail.push(message);
                return Ok(false);
            }
            (None, "cancel") => self.machine.deliver(Completion::Cancel, at)?,
            (None, "child") => self.child_ended(&message, at)?,
            (None, "resolve") => self.resolve(&message, at)?,
            (None, "pause") => {
                self.let_go(LettingGo::Pause);
                false
            }
            _ => false,
        };
        turn.consumed.push(message.id);
        turn.delivered.push(Arrived { at, order: Arrival::Inbox, what: Came::Mail(message) });
        Ok(moved)
    }

    fn child_ended(&mut self, message: &InboxRow, at: i64) -> Result<bool, Fault> {
        let id = StepId::from(message.name.as_str());
        let Ok(end) = serde_json::from_str::<ChildEnd>(&message.body) else {
            tracing::warn!(run = %self.id, child = %id, "the end of a child cannot be read");
            return Ok(false);
        };
        if self.children.get(&id) != Some(&end.run) {
            return Ok(false);
        }
        self.children.remove(&id);
        let completion = match end.error {
            Some(error) => Completion::Failed { id, error },
            None => Completion::Done { id, out: end.ok.unwrap_or_else(null) },
        };
        self.machine.deliver(completion, at)
    }
}

fn json_of(body: &str) -> Json {
    serde_json::value::RawValue::from_string(body.to_owned()).unwrap_or_else(|_| null())
}
