//! `OpenAI` Chat Completions as a stream: chunks with deltas of a message, until `[DONE]`. It never guesses what a model meant.

use serde_json::{Map, Value, json};

use super::grow::{grow_key, grow_map, set_all};
use super::{Assemble, Delta, Taken, show_some};

/// Where servers put what a model says to itself.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// More choices, or calls in one, than any model gives.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Chat {
    /// Everything but the choices.
    top: Map<String, Value>,
    choices: Vec<Choice>,
    over: bool,
}

struct Choice {
    index: u64,
    /// Everything but the message.
    rest: Map<String, Value>,
    /// Everything but the calls.
    message: Map<String, Value>,
    calls: Vec<Call>,
}

struct Call {
    index: Option<u64>,
    call: Map<String, Value>,
}

impl Assemble for Chat {
    fn take(&mut self, event: Value, show: &mut dyn FnMut(Delta)) -> Result<Taken, String> {
        let Value::Object(mut chunk) = event else { return Err("a chunk is not an object".to_owned()) };
        let choices = match chunk.remove("choices") {
            Some(Value::Array(choices)) => choices,
            // Only usage, or something that a server adds.
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("`choices` is not a list".to_owned()),
        };
        set_all(&mut self.top, chunk);
        for choice in choices {
            let Value::Object(mut choice) = choice else { return Err("a choice is not an object".to_owned()) };
            let index = choice.remove("index").as_ref().and_then(Value::as_u64).unwrap_or_default();
            let delta = choice.remove("delta");
            let known = self.choice(index)?;
            if let Some(logprobs) = choice.remove("logprobs") {
                grow_key(&mut known.rest, "logprobs", logprobs);
            }
            set_all(&mut known.rest, choice);
            match delta {
                Some(Value::Object(delta)) if index == 0 => known.take(delta, show)?,
                Some(Value::Object(delta)) => known.take(delta, &mut |_| ())?,
                None | Some(Value::Null) => {}
                Some(_) => return Err("`delta` is not an object".to_owned()),
            }
        }
        Ok(Taken::Part)
    }

    fn done(&mut self) {
        self.over = true;
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn answer(mut self: Box<Self>) -> Result<Value, &'static str> {
        if !self.over {
            return Err("`[DONE]`");
        }
        let mut answer = std::mem::take(&mut self.top);
        if answer.contains_key("object") {
            answer.insert("object".to_owned(), json!("chat.completion"));
        }
        self.choices.sort_by_key(|choice| choice.index);
        let choices: Result<Vec<Value>, _> = self.choices.into_iter().map(Choice::answer).collect();
        answer.insert("choices".to_owned(), Value::Array(choices?));
        Ok(Value::Object(answer))
    }
}

impl Chat {
    fn choice(&mut self, index: u64) -> Result<&mut Choice, String> {
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or(self.choices.len());
        if at >= MOST {
            return Err(format!("more than {MOST} choices"));
        }
        if at == self.choices.len() {
            self.choices.push(Choice { index, rest: Map::new(), message: Map::new(), calls: Vec::new() });
        }
        self.choices.get_mut(at).ok_or_else(|| "no choice".to_owned())
    }
}

impl Choice {
    fn take(&mut self, mut delta: Map<String, Value>, show: &mut dyn FnMut(Delta)) -> Result<(), String> {
        match delta.remove("tool_calls") {
            None | Some(Value::Null) => {}
            Some(Value::Array(calls)) => calls.into_iter().try_for_each(|call| self.call(call, show))?,
            Some(_) => return Err("`tool_calls` is not a list".to_owned()),
        }
        if let Some(text) = REASONING.iter().find_map(|key| delta.get(*key)).and_then(Value::as_str) {
            show_some(text, Delta::Reasoning, show);
        }
        for key in ["content", "refusal"] {
            match delta.get(key) {
                Some(Value::String(text)) => show_some(text, Delta::Text, show),
                Some(Value::Array(parts)) => {
                    let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
                    texts.for_each(|text| show_some(text, Delta::Text, show));
                }
                _ => {}
            }
        }
        grow_map(&mut self.message, delta);
        Ok(())
    }

    /// A piece of a call of a tool, for the call of the same `index`, or, from servers that give none, `id`.
    fn call(&mut self, piece: Value, show: &mut dyn FnMut(Delta)) -> Result<(), String> {
        let Value::Object(mut piece) = piece else { return Err("a call of a tool is not an object".to_owned()) };
        let index = piece.remove("index").as_ref().and_then(Value::as_u64);
        let id = |call: &Map<String, Value>| {
            call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned)
        };
        let begins = !name(&piece).is_empty();
        let known = match (index, id(&piece)) {
            // Some give every call the same index.
            (Some(index), given) => self.calls.iter().rposition(|call| {
                let other = begins && given.is_some() && id(&call.call).is_some_and(|known| Some(known) != given);
                call.index == Some(index) && !other
            }),
            (None, Some(given)) => self.calls.iter().position(|call| id(&call.call).as_ref() == Some(&given)),
            (None, None) if begins => None,
            (None, None) => self.calls.len().checked_sub(1),
        };
        let at = known.unwrap_or(self.calls.len());
        if at >= MOST {
            return Err(format!("more than {MOST} calls of tools"));
        }
        if known.is_none() {
            self.calls.push(Call { index, call: Map::new() });
        }
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        let (before, given) = (name(&call.call).to_owned(), name(&piece).to_owned());
        if before.is_empty() && begins {
            show(Delta::ToolCall { name: given.clone() });
        }
        // A name comes once, or in pieces, or whole in every piece.
        if given == before
            && let Some(function) = piece.get_mut("function").and_then(Value::as_object_mut)
        {
            function.remove("name");
        }
        grow_map(&mut call.call, piece);
        Ok(())
    }

    fn answer(mut self) -> Result<Value, &'static str> {
        if !self.rest.get("finish_reason").is_some_and(Value::is_string) {
            return Err("a `finish_reason`");
        }
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter().map(|call| Value::Object(call.call)).collect();
            self.message.insert("tool_calls".to_owned(), calls);
        }
        self.rest.insert("index".to_owned(), json!(self.index));
        self.rest.insert("message".to_owned(), Value::Object(self.message));
        Ok(Value::Object(self.rest))
    }
}

fn name(call: &Map<String, Value>) -> &str {
    call.get("function").and_then(|function| function.get("name")).and_then(Value::as_str).unwrap_or_default()
}
