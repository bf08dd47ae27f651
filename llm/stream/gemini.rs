//! Gemini `generateContent` as a stream: chunks that each are an answer with a few more parts, until one has a
//! `finishReason`. It never joins a part that is signed with another.

use serde_json::{Map, Value, json};

use super::grow::set_all;
use super::{Assemble, Delta, Taken, show_some, text_at};

/// More candidates than any model gives.
const MOST: usize = 64;

#[derive(Default)]
pub(super) struct Gemini {
    /// Everything but the candidates.
    top: Map<String, Value>,
    candidates: Vec<Candidate>,
}

struct Candidate {
    index: u64,
    /// Everything but the content.
    rest: Map<String, Value>,
    /// Everything but the parts.
    content: Map<String, Value>,
    parts: Vec<Value>,
}

impl Assemble for Gemini {
    fn take(&mut self, event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String> {
        let Value::Object(mut chunk) = event else { return Err("a chunk is not an object".to_owned()) };
        let candidates = chunk.remove("candidates");
        set_all(&mut self.top, chunk);
        let Some(Value::Array(candidates)) = candidates else { return Ok(Taken::Part) };
        for candidate in candidates {
            let Value::Object(mut candidate) = candidate else { return Err("a candidate is not an object".to_owned()) };
            let index = candidate.remove("index").as_ref().and_then(Value::as_u64).unwrap_or_default();
            let content = candidate.remove("content");
            let known = self.candidate(index)?;
            set_all(&mut known.rest, candidate);
            let Some(Value::Object(mut content)) = content else { continue };
            if let Some(Value::Array(parts)) = content.remove("parts") {
                for part in parts {
                    if index == 0 {
                        show_part(&part, show);
                    }
                    known.add(part);
                }
            }
            set_all(&mut known.content, content);
        }
        Ok(Taken::Part)
    }

    /// Never: older models say `STOP` in every chunk, so only the end of the stream is its end.
    fn is_over(&self) -> bool {
        false
    }

    fn answer(mut self: Box<Self>) -> Result<Value, &'static str> {
        let is_blocked =
            self.top.get("promptFeedback").is_some_and(|feedback| !text_at(feedback, "blockReason").is_empty());
        let ended = |candidate: &Candidate| candidate.rest.get("finishReason").is_some_and(Value::is_string);
        let has_ended = if self.candidates.is_empty() { is_blocked } else { self.candidates.iter().all(ended) };
        if !has_ended {
            return Err("a `finishReason`");
        }
        self.candidates.sort_by_key(|candidate| candidate.index);
        if !self.candidates.is_empty() {
            let candidates = self.candidates.into_iter().map(Candidate::whole).collect();
            self.top.insert("candidates".to_owned(), candidates);
        }
        Ok(Value::Object(self.top))
    }
}

impl Gemini {
    fn candidate(&mut self, index: u64) -> Result<&mut Candidate, String> {
        let at = self.candidates.iter().position(|known| known.index == index).unwrap_or(self.candidates.len());
        if at >= MOST {
            return Err(format!("more than {MOST} candidates"));
        }
        if at == self.candidates.len() {
            self.candidates.push(Candidate { index, rest: Map::new(), content: Map::new(), parts: Vec::new() });
        }
        self.candidates.get_mut(at).ok_or_else(|| "no candidate".to_owned())
    }
}

impl Candidate {
    /// At the end, or to the text that is there if both are of one kind and nothing but text.
    fn add(&mut self, part: Value) {
        if let Some(last) = self.parts.last_mut()
            && is_bare_text(last)
            && is_bare_text(&part)
            && last.get("thought") == part.get("thought")
            && let Some(Value::String(text)) = last.get_mut("text")
        {
            text.push_str(text_at(&part, "text"));
            return;
        }
        self.parts.push(part);
    }

    fn whole(mut self) -> Value {
        self.content.insert("parts".to_owned(), Value::Array(self.parts));
        self.rest.insert("content".to_owned(), Value::Object(self.content));
        self.rest.insert("index".to_owned(), json!(self.index));
        Value::Object(self.rest)
    }
}

/// A text, perhaps a thought, and nothing else: no signature, which belongs to its part alone.
fn is_bare_text(part: &Value) -> bool {
    part.get("text").is_some_and(Value::is_string)
        && part.as_object().is_some_and(|part| part.keys().all(|key| matches!(key.as_str(), "text" | "thought")))
}

fn show_part(part: &Value, show: &mut dyn FnMut(Delta)) {
    let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or_default();
    show_some(text_at(part, "text"), if is_thought { Delta::Reasoning } else { Delta::Text }, show);
    if let Some(call) = part.get("functionCall") {
        show(Delta::ToolCall { name: text_at(call, "name").to_owned() });
    }
}
