//! Anthropic Messages as a stream: a message that starts empty, blocks that start, grow and stop, until `message_stop`. It never
//! changes a block: thinking and its signature go back to the provider as they came.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::grow::{grow_key, set_all};
use super::{Assemble, Delta, Taken, show_some, text_at};

#[derive(Default)]
pub(super) struct Messages {
    /// Everything but the content.
    message: Option<Map<String, Value>>,
    blocks: BTreeMap<u64, Block>,
    over: bool,
}

struct Block {
    block: Map<String, Value>,
    /// A call's input, as far as it has come: JSON text.
    input: String,
}

impl Assemble for Messages {
    fn take(&mut self, event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String> {
        match text_at(&event, "type") {
            "message_start" => self.start(event)?,
            "content_block_start" => self.start_block(event, show)?,
            "content_block_delta" => self.grow_block(event, show)?,
            "message_delta" => self.end(event)?,
            "message_stop" => self.over = true,
            // `content_block_stop` and `ping` say nothing, and more types are announced.
            _ => {}
        }
        Ok(Taken::Part)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn answer(self: Box<Self>) -> Result<Value, &'static str> {
        if !self.over {
            return Err("`message_stop`");
        }
        let mut message = self.message.ok_or("`message_start`")?;
        if !message.get("stop_reason").is_some_and(Value::is_string) {
            return Err("a `stop_reason`");
        }
        message.insert("content".to_owned(), self.blocks.into_values().map(Block::whole).collect());
        Ok(Value::Object(message))
    }
}

impl Messages {
    fn start(&mut self, mut event: Value) -> Result<(), String> {
        let Some(Value::Object(message)) = event.get_mut("message").map(Value::take) else {
            return Err("message_start has no message".to_owned());
        };
        if self.message.is_some() {
            return Err("a second message_start".to_owned());
        }
        self.message = Some(message);
        Ok(())
    }

    fn start_block(&mut self, mut event: Value, show: &mut dyn FnMut(Delta)) -> Result<(), String> {
        let index = index(&event)?;
        let Some(Value::Object(block)) = event.get_mut("content_block").map(Value::take) else {
            return Err("content_block_start has no block".to_owned());
        };
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text" => show_some(text("text"), Delta::Text, show),
            "thinking" => show_some(text("thinking"), Delta::Reasoning, show),
            "tool_use" => show(Delta::ToolCall { name: text("name").to_owned() }),
            _ => {}
        }
        match self.blocks.insert(index, Block { block, input: String::new() }) {
            None => Ok(()),
            Some(_) => Err(format!("a second block {index}")),
        }
    }

    fn grow_block(&mut self, mut event: Value, show: &mut dyn FnMut(Delta)) -> Result<(), String> {
        let index = index(&event)?;
        let Some(known) = self.blocks.get_mut(&index) else {
            return Err(format!("a delta for block {index}, which has not started"));
        };
        let Some(Value::Object(mut delta)) = event.get_mut("delta").map(Value::take) else {
            return Err("content_block_delta has no delta".to_owned());
        };
        let kind = delta.remove("type");
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "input_json_delta" => {
                known.input.push_str(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default());
                return Ok(());
            }
            "text_delta" => show_some(text(&delta, "text"), Delta::Text, show),
            "thinking_delta" => show_some(text(&delta, "thinking"), Delta::Reasoning, show),
            // A signature comes whole.
            "signature_delta" => {
                set_all(&mut known.block, delta);
                return Ok(());
            }
            "citations_delta" => {
                let citation = delta.remove("citation").into_iter().collect();
                grow_key(&mut known.block, "citations", Value::Array(citation));
                return Ok(());
            }
            _ => {}
        }
        for (key, piece) in delta {
            grow_key(&mut known.block, &key, piece);
        }
        Ok(())
    }

    /// How the message ends, with what it has used in all.
    fn end(&mut self, mut event: Value) -> Result<(), String> {
        let Some(message) = &mut self.message else { return Err("message_delta before message_start".to_owned()) };
        let Some(event) = event.as_object_mut() else { return Ok(()) };
        event.remove("type");
        if let Some(Value::Object(delta)) = event.remove("delta") {
            set_all(message, delta);
        }
        if let Some(Value::Object(usage)) = event.remove("usage") {
            match message.get_mut("usage").and_then(Value::as_object_mut) {
                Some(known) => set_all(known, usage),
                None => {
                    message.insert("usage".to_owned(), Value::Object(usage));
                }
            }
        }
        set_all(message, std::mem::take(event));
        Ok(())
    }
}

impl Block {
    fn whole(mut self) -> Value {
        if !self.input.trim().is_empty() {
            // What is no JSON stays a text, which is then told to the model.
            let input = serde_json::from_str(&self.input).unwrap_or(Value::String(self.input));
            self.block.insert("input".to_owned(), input);
        }
        Value::Object(self.block)
    }
}

fn index(event: &Value) -> Result<u64, String> {
    event.get("index").and_then(Value::as_u64).ok_or_else(|| "an event for a block has no `index`".to_owned())
}

fn text<'m>(map: &'m Map<String, Value>, key: &str) -> &'m str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}
