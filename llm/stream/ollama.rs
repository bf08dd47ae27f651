//! Ollama's `api/chat` as a stream: lines of JSON that each are an answer with a little more of the message, until one is
//! `done`. It never takes silence for an end.

use serde_json::{Map, Value};

use super::grow::{grow_map, set_all};
use super::{Assemble, Delta, Taken, show_some, text_at};

#[derive(Default)]
pub(super) struct Ollama {
    /// Everything but the message.
    top: Map<String, Value>,
    message: Map<String, Value>,
    over: bool,
}

impl Assemble for Ollama {
    fn take(&mut self, event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String> {
        let Value::Object(mut line) = event else { return Err("a line is not an object".to_owned()) };
        match line.remove("message") {
            Some(Value::Object(mut message)) => {
                let more = Value::Object(message.clone());
                show_some(text_at(&more, "thinking"), Delta::Reasoning, show);
                show_some(text_at(&more, "content"), Delta::Text, show);
                for call in more.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                    let function = call.get("function").unwrap_or(&Value::Null);
                    show(Delta::ToolCall { name: text_at(function, "name").to_owned() });
                }
                // They come whole, and the `index` that some have is none of a piece.
                if let Some(Value::Array(calls)) = message.remove("tool_calls") {
                    let known = self.message.entry("tool_calls").or_insert_with(|| Value::Array(Vec::new()));
                    if let Some(known) = known.as_array_mut() {
                        known.extend(calls);
                    }
                }
                grow_map(&mut self.message, message);
            }
            None | Some(Value::Null) => {}
            Some(_) => return Err("`message` is not an object".to_owned()),
        }
        self.over = line.get("done").and_then(Value::as_bool).unwrap_or_default();
        set_all(&mut self.top, line);
        Ok(Taken::Part)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn answer(mut self: Box<Self>) -> Result<Value, &'static str> {
        if !self.over {
            return Err("a line that is `done`");
        }
        self.top.insert("message".to_owned(), Value::Object(self.message));
        Ok(Value::Object(self.top))
    }
}
