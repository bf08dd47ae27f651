//! What an agent is asked: a text, and images and documents with it. Plain data; it reads no file.

use serde::{Deserialize, Serialize};

use crate::rounds::PromptRef;
use crate::wire::{Part, Source};

/// What an agent is asked. As JSON it is a text, or `{"text": .., "attachments": [{"name": .., "mime": .., "data": base64}], "prompt":
/// {"server": .., "name": .., "arguments": {..}}}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Input {
    /// The text.
    pub text: String,
    /// What is shown with it.
    pub attachments: Vec<Attachment>,
    /// A prompt of a server's, which comes before the text.
    pub prompt: Option<PromptRef>,
    /// Texts that stand before it without anything in between, as patterns tell them. What somebody said is one of its own, word for word, so that
    /// a journal holds it once however often it is told.
    pub(crate) context: Vec<String>,
}

/// An image or a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its file name.
    pub name: String,
    /// Its MIME type, such as `image/png` or `application/pdf`.
    pub mime: String,
    /// Its bytes in standard base64.
    pub data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    With {
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<PromptRef>,
    },
}

impl From<Written> for Input {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => text.into(),
            Written::With { text, attachments, prompt } => Self { text, attachments, prompt, context: Vec::new() },
        }
    }
}

impl From<Input> for Written {
    fn from(input: Input) -> Self {
        let text = input.whole();
        let Input { attachments, prompt, .. } = input;
        let plain = attachments.is_empty() && prompt.is_none();
        if plain { Self::Text(text) } else { Self::With { text, attachments, prompt } }
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<&String> for Input {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// File endings and the MIME types that models take.
const KINDS: [(&str, &str); 9] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/plain"),
    ("csv", "text/plain"),
];

impl Attachment {
    /// The MIME type of a file by its ending; the error names those that are known.
    pub fn mime_of(name: &str) -> Result<&'static str, String> {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
        KINDS.iter().find(|(known, _)| *known == ending).map(|(_, mime)| *mime).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|(ending, _)| *ending).collect();
            format!("`{name}` is not of a kind that models are shown: {}", known.join(", "))
        })
    }
}

impl Input {
    /// As the model is told.
    pub(crate) fn parts(self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.attachments.into_iter().map(Part::from).collect();
        parts.extend(self.context.into_iter().map(Part::Text));
        if !self.text.is_empty() || parts.is_empty() {
            let apart = parts.iter().any(|part| matches!(part, Part::Text(_)));
            parts.push(Part::Text(if apart { format!("\n\n{}", self.text) } else { self.text }));
        }
        parts
    }

    /// Tells two inputs apart.
    pub(crate) fn key(&self) -> String {
        if self.attachments.is_empty() && self.prompt.is_none() {
            return self.whole();
        }
        let prompt = self.prompt.as_ref().and_then(|prompt| serde_json::to_string(prompt).ok()).unwrap_or_default();
        let shown: Vec<String> = self.attachments.iter().map(|one| format!("{}:{}", one.name, one.data)).collect();
        let key = format!("{} {}", self.whole(), shown.join(" "));
        if prompt.is_empty() { key } else { format!("{key} {prompt}") }
    }

    /// All that it says, in one text.
    pub(crate) fn whole(&self) -> String {
        if self.context.is_empty() {
            return self.text.clone();
        }
        let mut all = self.context.concat();
        if !self.text.is_empty() {
            all.push_str("\n\n");
            all.push_str(&self.text);
        }
        all
    }
}

impl From<Attachment> for Part {
    fn from(Attachment { name, mime, data }: Attachment) -> Self {
        let source = Source::Base64(data);
        if mime.starts_with("image/") { Self::Image { mime, source } } else { Self::Document { mime, name, source } }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_stays_a_text_and_attachments_come_first() {
        let plain: Input = serde_json::from_value(json!("hello")).unwrap();
        assert_eq!((serde_json::to_value(&plain).unwrap(), plain.key()), (json!("hello"), "hello".to_owned()));
        let with = json!({"text": "what is this?", "attachments": [
            {"name": "a.png", "mime": "image/png", "data": "AAAA"},
            {"name": "b.pdf", "mime": "application/pdf", "data": "BBBB"}]});
        let input: Input = serde_json::from_value(with.clone()).unwrap();
        assert_eq!(serde_json::to_value(&input).unwrap(), with);
        let parts = input.parts();
        assert!(
            matches!(parts.as_slice(), [Part::Image { .. }, Part::Document { .. }, Part::Text(text)] if text == "what is this?")
        );
        assert!(Attachment::mime_of("x.exe").unwrap_err().contains("png"));
        assert_eq!(Attachment::mime_of("X.JPG"), Ok("image/jpeg"));
    }
}
