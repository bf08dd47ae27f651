//! What others say to a run: signals, answers, the ends of its children, a cancel, a pause, a verdict on a doubt. It never takes a message out
//! of the inbox: the commit of the turn that delivers it does.

use abide_engine::event::Outcome;
use abide_engine::{Arrival, Completion, Error, Fault, Json, OpenWhat, StepId, Wait, hex};
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

/// An answer, and the hash of what the one who gave it was shown.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bound {
    #[serde(rename = "io.abide/about")]
    pub(crate) about: String,
    pub(crate) answer: Json,
}

impl Bound {
    /// What a message is bound to, if it is, and what it says.
    fn split(body: &str) -> (Option<String>, Json) {
        match serde_json::from_str::<Self>(body) {
            Ok(bound) => (Some(bound.about), bound.answer),
            Err(_) => (None, json_of(body)),
        }
    }
}

impl Resident {
    /// Does the question of this id, if it is asked now, differ from the one that was answered?
    fn asks_otherwise(&self, id: &str, about: &str) -> bool {
        match self.machine.find(&StepId::from(id)).map(|open| open.what) {
            Some(OpenWhat::Signal { hash, .. }) => hex::encode(&hash) != about,
            _ => false,
        }
    }

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
                let (about, value) = Bound::split(&message.body);
                if about.is_some_and(|about| self.asks_otherwise(&message.name, &about)) {
                    tracing::warn!(run = %self.id, step = message.name, "an answer to what was asked before is left out");
                    false
                } else if self.machine.deliver(Completion::Signal { wait, name: message.name.clone(), value }, at)? {
                    true
                } else {
                    self.mail.push(message);
                    return Ok(false);
                }
            }
            // It is meant for the run, so it reaches the generation that comes now.
            (None, "cancel") if goes_on => {
                self.mail.push(message);
                return Ok(false);
            }
            (None, "cancel") => self.machine.deliver(Completion::Cancel, at)?,
            (None, "child") => self.child_ended(&message, at)?,
            (None, "resolve") => self.resolve(&message, at)?,
            (None, "budget") => {
                match serde_json::from_str(&message.body) {
                    Ok(raise) => self.raise_budget(raise, at),
                    Err(error) => tracing::warn!(run = %self.id, %error, "a raised budget cannot be read"),
                }
                false
            }
            (None, "pause") => {
                self.let_go(LettingGo::Pause);
                self.pauses.push(message.id);
                return Ok(false);
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
