//! What is said to a model, apart from how a vendor spells it: plain data. It never holds a key or an address's value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CallRequest;
use crate::model::{ModelConfig, Provider};

/// Everything that decides a request's body, but for what the model's own entry says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// The instructions.
    pub system: Option<String>,
    /// The conversation so far; it begins with a [`Turn::User`].
    pub turns: Vec<Turn>,
    /// The tools that the model may call.
    pub tools: Vec<ToolDecl>,
    /// May, must or must not it call one? Keep `tools` when asking it to conclude with [`ToolChoice::None`]: Anthropic
    /// and Gemini want them with a history of calls, and the others are not shown them.
    pub tool_choice: ToolChoice,
    /// The most tokens the answer may have.
    pub max_tokens: Option<u32>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// The model stops before it would say one of these.
    pub stop: Vec<String>,
    /// The form of the final answer, if it is to be JSON. How it is asked for, [`ModelConfig::structured`] or else the wire
    /// decides; [`structured::read`](crate::structured::read) reads it, whichever way it came.
    pub output: Option<Output>,
}

/// An answer in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// What it is called, within `[A-Za-z0-9_-]{1,64}`: also the tool's name where the model has to call one to give it.
    pub name: String,
    /// The JSON schema that it has to fit: one of an object.
    pub schema: Value,
}

/// One piece of a conversation. A text makes a [`Turn::User`].
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// What the user, or abide in their place, says.
    User(Vec<Part>),
    /// What the model said: see [`Reply::into_turn`](super::Reply::into_turn).
    Assistant(Assistant),
    /// What the tools that it called have answered, one reply for each call.
    ToolResults(Vec<ToolReply>),
}

impl<T: Into<String>> From<T> for Turn {
    fn from(text: T) -> Self {
        Self::User(vec![Part::Text(text.into())])
    }
}

/// What a user or a tool says. Which wire can carry what is in [`request`](super::request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Its MIME type, such as `image/png`.
        mime: String,
        /// Where it is.
        source: Source,
    },
    /// A document, mostly a PDF.
    Document {
        /// Its MIME type, such as `application/pdf`.
        mime: String,
        /// Its file name.
        name: String,
        /// Where it is.
        source: Source,
    },
}

/// Where an image or a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here: its bytes in standard base64.
    Base64(String),
    /// At an address that the provider can reach.
    Url(String),
}

impl<T: Into<String>> From<T> for Part {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Part {
    /// What stands in its place where it cannot be shown.
    pub(crate) fn named(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Image { mime, .. } => Cow::Owned(format!("[image omitted: {mime}]")),
            Self::Document { mime, .. } => Cow::Owned(format!("[document omitted: {mime}]")),
        }
    }

    /// What it is, for an error: `an image (image/png) by its address`.
    pub(super) fn what(&self) -> String {
        let by = |source: &Source| if matches!(source, Source::Url(_)) { " by its address" } else { "" };
        match self {
            Self::Text(_) => "a text".to_owned(),
            Self::Image { mime, source } => format!("an image ({mime}){}", by(source)),
            Self::Document { mime, name, source } => format!("a document (`{name}`, {mime}){}", by(source)),
        }
    }
}

/// What a model said, in both forms that a conversation may need.
#[derive(Debug, Clone, PartialEq)]
pub struct Assistant {
    /// Who said it.
    pub origin: Origin,
    /// The wire's own JSON: it goes back verbatim to whom it came from, with signatures and reasoning that abide does not know.
    pub verbatim: Value,
    /// Its text, for another model.
    pub text: String,
    /// The tools it called, for another model.
    pub calls: Vec<CallRequest>,
}

/// One model at one address. Reasoning of another, even on the same wire, may be refused: signatures are bound to keys and models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The wire.
    pub provider: Provider,
    /// The address as a template text.
    pub base_url: String,
    /// The model's name.
    pub model: String,
}

impl Origin {
    /// Who answers when this model is asked.
    pub fn of(model: &ModelConfig) -> Self {
        Self { provider: model.provider, base_url: model.base_url_template().to_owned(), model: model.model.clone() }
    }

    pub(super) fn is(&self, model: &ModelConfig) -> bool {
        self.provider == model.provider && self.base_url == model.base_url_template() && self.model == model.model
    }
}

/// A tool's answer to one call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolReply {
    /// The [`CallRequest::id`] that this answers.
    pub call_id: String,
    /// The answer. What a wire cannot carry here is named in its place: `[image omitted: image/png]`.
    pub content: Vec<Part>,
    /// Did the tool fail? (Only Anthropic and Gemini have a place for this: the text has to say it.)
    pub is_error: bool,
}

impl ToolReply {
    /// An answer in words.
    pub fn text(call_id: impl Into<String>, text: impl Into<String>, is_error: bool) -> Self {
        Self { call_id: call_id.into(), content: vec![Part::Text(text.into())], is_error }
    }

    /// The whole as one text.
    pub(super) fn in_words(&self) -> String {
        self.content.iter().map(Part::named).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn is_text(&self) -> bool {
        self.content.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDecl {
    /// Its name, within `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What it does, or an empty string.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
}

/// May the model call tools in this turn?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It may not.
    None,
    /// It has to. (Ollama has no word for it and takes it as [`ToolChoice::Auto`].)
    Required,
}
