//! Answers that come in pieces: the events of a stream, put together into exactly the JSON that the same call would have been
//! answered without streaming, so that [`crate::parse`] and a journal know one shape only. It never calls anything, and never
//! passes a stream off as an answer that ended without its terminal event.
//!
//! One assembler a wire: `chat`, `responses`, `messages` (Anthropic), `gemini`, `ollama`; each is pure. `events` cuts bytes into
//! their events, `grow` adds one piece of JSON to another, `shown` passes pieces on to a watcher.

mod chat;
mod events;
mod gemini;
mod grow;
mod messages;
mod ollama;
mod responses;
#[cfg(test)]
mod samples;
mod shown;

use serde_json::Value;

pub(crate) use events::{Framing, ReadError, assemble};
pub(crate) use shown::Shown;

use crate::model::Provider;

/// A piece of an answer, for whoever watches. Together they are not the answer: that is what the call returns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta {
    /// More of the text.
    Text(String),
    /// More of what the model says to itself, as far as its provider shows it.
    Reasoning(String),
    /// A call of a tool begins.
    ToolCall {
        /// The tool's name.
        name: String,
    },
}

/// Why a stream is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// It could not be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It ended too early; the text is what was still to come.
    #[error("ended without {0}")]
    CutOff(&'static str),
    /// An event is not what the wire sends.
    #[error("{why}")]
    Malformed {
        /// What is wrong.
        why: String,
        /// The event, or an empty text.
        event: String,
    },
    /// The provider ended it with an error.
    #[error("the provider sent an error")]
    Refused {
        /// The event.
        body: String,
        /// Had anything else come before?
        begun: bool,
    },
}

/// What an assembler of a wire has to know.
trait Assemble: Send {
    /// Takes the next event in. An error is the text of what is wrong with it, as in "`index` is missing".
    fn take(&mut self, event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String>;

    /// The event `[DONE]`. Only Chat Completions ends with it; others add it after their end.
    fn done(&mut self) {}

    /// Is everything there, so that nothing more needs to be read?
    fn is_over(&self) -> bool;

    /// The whole answer, or what is missing.
    fn answer(self: Box<Self>) -> Result<Value, &'static str>;
}

/// What an event was.
enum Taken {
    /// A part of the answer, or nothing of interest.
    Part,
    /// The provider's error, as it would be the body of a refusal.
    Refusal(Value),
}

/// Puts the events of one answer together.
pub(crate) struct Assembler {
    wire: Box<dyn Assemble>,
    begun: bool,
}

impl Assembler {
    pub(crate) fn new(provider: Provider) -> Self {
        let wire: Box<dyn Assemble> = match provider {
            Provider::Openai => Box::<chat::Chat>::default(),
            Provider::OpenaiResponses => Box::<responses::Responses>::default(),
            Provider::Anthropic => Box::<messages::Messages>::default(),
            Provider::Gemini => Box::<gemini::Gemini>::default(),
            Provider::Ollama => Box::<ollama::Ollama>::default(),
        };
        Self { wire, begun: false }
    }

    /// Takes in one event: its name if it has one, and its data.
    pub(crate) fn event(&mut self, name: Option<&str>, data: &str, show: &mut dyn FnMut(Delta)) -> Result<(), Broken> {
        if data.trim() == "[DONE]" {
            self.wire.done();
            return Ok(());
        }
        let refused = |body: String, begun| Err(Broken::Refused { body, begun });
        let malformed = |why| Broken::Malformed { why, event: data.to_owned() };
        let event: Value = match serde_json::from_str(data) {
            Ok(event) => event,
            Err(_) if name == Some("error") => return refused(data.to_owned(), self.begun),
            Err(error) => return Err(malformed(format!("an event is not JSON ({error})"))),
        };
        let is_error = |event: &Value| {
            event.get("error").is_some_and(|error| !error.is_null())
                || event.get("type").and_then(Value::as_str) == Some("error")
        };
        if name == Some("error") || is_error(&event) {
            return refused(data.to_owned(), self.begun);
        }
        match self.wire.take(event, show).map_err(malformed)? {
            Taken::Part => self.begun = true,
            Taken::Refusal(body) => return refused(body.to_string(), self.begun),
        }
        Ok(())
    }

    /// Is everything there, so that nothing more needs to be read?
    pub(crate) fn is_over(&self) -> bool {
        self.wire.is_over()
    }

    /// The whole answer, or what is missing of it.
    pub(crate) fn answer(self) -> Result<Value, Broken> {
        self.wire.answer().map_err(Broken::CutOff)
    }
}

fn show_some(text: &str, delta: fn(String) -> Delta, show: &mut dyn FnMut(Delta)) {
    if !text.is_empty() {
        show(delta(text.to_owned()));
    }
}

/// The text at `key`, or an empty one.
fn text_at<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
