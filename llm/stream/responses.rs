//! `OpenAI` Responses as a stream: typed events, of which the last one holds the whole response. It never puts a response
//! together that its server has not finished.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Assemble, Delta, Taken, show_some, text_at};

#[derive(Default)]
pub(super) struct Responses {
    /// The items that are done, for servers that leave them out of the last event.
    items: BTreeMap<u64, Value>,
    response: Option<Value>,
}

impl Assemble for Responses {
    fn take(&mut self, mut event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String> {
        let kind = text_at(&event, "type").to_owned();
        let delta = text_at(&event, "delta");
        match kind.as_str() {
            "response.output_text.delta" | "response.refusal.delta" => show_some(delta, Delta::Text, show),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                show_some(delta, Delta::Reasoning, show);
            }
            "response.output_item.added" => {
                let item = event.get("item").unwrap_or(&Value::Null);
                if text_at(item, "type") == "function_call" {
                    show(Delta::ToolCall { name: text_at(item, "name").to_owned() });
                }
            }
            "response.output_item.done" => {
                let item = event.get_mut("item").map(Value::take).ok_or("an item that is done is missing")?;
                // llama.cpp does not number them: they are done in their order.
                let next = || self.items.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
                let index = event.get("output_index").and_then(Value::as_u64).unwrap_or_else(next);
                self.items.insert(index, item);
            }
            "response.completed" | "response.incomplete" => {
                let response = event.get_mut("response").map(Value::take).filter(Value::is_object);
                self.response = Some(response.ok_or_else(|| format!("{kind} has no response"))?);
            }
            "response.failed" | "response.cancelled" => {
                let error = event.pointer("/response/error").filter(|error| !error.is_null());
                let error =
                    error.cloned().unwrap_or_else(|| json!({"message": format!("it sent `{kind}`"), "type": kind}));
                return Ok(Taken::Refusal(json!({"error": error})));
            }
            // What these events say comes again with an item, and more types are announced.
            _ => {}
        }
        Ok(Taken::Part)
    }

    fn is_over(&self) -> bool {
        self.response.is_some()
    }

    fn answer(self: Box<Self>) -> Result<Value, &'static str> {
        let mut response = self.response.ok_or("`response.completed`")?;
        let is_empty = response.get("output").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if is_empty
            && !self.items.is_empty()
            && let Some(response) = response.as_object_mut()
        {
            response.insert("output".to_owned(), self.items.into_values().collect());
        }
        Ok(response)
    }
}
