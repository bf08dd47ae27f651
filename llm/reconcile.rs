//! What a read-only tool's answer says of a call in doubt (DESIGN rule 16): a pure function. It never calls the tool and never guesses:
//! what is not clearly one of the three answers is unknown.

use abide_engine::Reconciled;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent_text::text_of;

/// The tool that tells whether a call in doubt has happened, as the run has pinned it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The name by which the rules call it: `server_tool`.
    pub name: String,
    /// The server's name as configured.
    pub server: String,
    /// The tool's own name at its server.
    pub tool: String,
    /// Where in its answer the word stands: a JSON pointer, empty for the whole of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pointer: String,
    /// Seconds after which it is not waited for.
    pub timeout_s: u64,
}

impl Reconcile {
    /// Reads the tool's `CallToolResult`. What lies at the pointer decides: `{"status": "landed" | "did_not_happen" | "unknown",
    /// "result": ..}`, one of these words, or `true` (it happened) and `false` (it did not). Anything else is unknown.
    pub(crate) fn judge(&self, answer: &Value) -> Result<Reconciled<Value>, String> {
        if answer.get("isError") == Some(&Value::Bool(true)) {
            return Err(format!("`{}` answered with an error: {}", self.name, text_of(answer)));
        }
        // Structured, or the text if that is JSON: older servers have nothing else.
        let said = match answer.get("structuredContent") {
            Some(said) if !said.is_null() => Some(said.clone()),
            _ => answer.pointer("/content/0/text").and_then(Value::as_str).and_then(|t| serde_json::from_str(t).ok()),
        };
        let said = said.as_ref().and_then(|said| said.pointer(&self.pointer));
        let word = match said {
            Some(Value::Object(object)) => object.get("status").and_then(Value::as_str),
            Some(Value::String(word)) => Some(word.as_str()),
            Some(Value::Bool(true)) => Some("landed"),
            Some(Value::Bool(false)) => Some("did_not_happen"),
            _ => None,
        };
        match word {
            Some("landed") => Ok(Reconciled::Landed(self.result(said.and_then(|said| said.get("result")), answer))),
            Some("did_not_happen") => Ok(Reconciled::DidNotHappen),
            Some("unknown") => Ok(Reconciled::Unknown),
            _ => Err(format!("`{}` gave no answer that tells: {}", self.name, short(&text_of(answer)))),
        }
    }

    /// The result that the call in doubt completes with.
    fn result(&self, given: Option<&Value>, answer: &Value) -> Value {
        match given {
            Some(result) if result.get("content").is_some_and(Value::is_array) => result.clone(),
            None | Some(Value::Null) => {
                let text = format!(
                    "The call has happened. Its own result was lost when it was interrupted; `{}` says of it: {}",
                    self.name,
                    text_of(answer)
                );
                json!({"content": [{"type": "text", "text": text}], "isError": false})
            }
            Some(other) => {
                let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                let mut result = json!({"content": [{"type": "text", "text": text}], "isError": false});
                if other.is_object() {
                    result["structuredContent"] = other.clone();
                }
                result
            }
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn judge(pointer: &str, answer: &Value) -> Result<Reconciled<Value>, String> {
        let (name, server, tool) = ("bank_find".to_owned(), "bank".to_owned(), "find".to_owned());
        Reconcile { name, server, tool, pointer: pointer.to_owned(), timeout_s: 1 }.judge(answer)
    }

    fn text(text: &str) -> Value {
        json!({"content": [{"type": "text", "text": text}]})
    }

    #[test]
    fn a_clear_word_is_taken_wherever_it_stands() {
        let result = text("paid");
        let landed = json!({"status": "landed", "result": result});
        for (pointer, answer) in [
            ("", json!({"content": [], "structuredContent": landed})),
            ("", text(&landed.to_string())),
            ("/orders/0", json!({"content": [], "structuredContent": {"orders": [landed]}})),
        ] {
            assert_eq!(judge(pointer, &answer), Ok(Reconciled::Landed(result.clone())));
        }
        for (said, expected) in [
            (json!({"status": "did_not_happen"}), Reconciled::DidNotHappen),
            (json!({"status": "unknown", "result": 1}), Reconciled::Unknown),
        ] {
            assert_eq!(judge("", &json!({"structuredContent": said})), Ok(expected));
        }
        for (said, happened) in [(json!(true), true), (json!("landed"), true), (json!(false), false)] {
            let found = judge("/found", &json!({"structuredContent": {"found": said}})).unwrap();
            assert_eq!(matches!(found, Reconciled::Landed(_)), happened);
            assert_eq!(matches!(found, Reconciled::DidNotHappen), !happened);
        }
    }

    #[test]
    fn what_is_not_clear_is_no_answer() {
        for answer in [
            text("it was paid"),
            text("true story"),
            json!({"content": []}),
            json!({}),
            json!("landed"),
            json!({"structuredContent": {"status": "Landed"}}),
            json!({"structuredContent": {"status": true}}),
            json!({"structuredContent": ["landed"]}),
            json!({"structuredContent": 1}),
            json!({"structuredContent": {"status": "landed"}, "isError": true}),
        ] {
            assert!(judge("", &answer).is_err(), "{answer}");
            assert!(judge("/status", &answer).is_err() || answer["structuredContent"]["status"] == true, "{answer}");
        }
        assert!(judge("/gone", &json!({"structuredContent": {"found": true}})).is_err());
    }

    #[test]
    fn a_call_that_happened_always_has_a_result_that_a_model_can_read() {
        let landed = |result: Value| match judge(
            "",
            &json!({"content": [{"type": "text", "text": "no. 7"}],
            "structuredContent": {"status": "landed", "result": result}}),
        ) {
            Ok(Reconciled::Landed(result)) => result,
            other => panic!("{other:?}"),
        };
        assert_eq!(landed(json!("paid"))["content"][0]["text"], "paid");
        assert_eq!(landed(json!({"id": 7}))["structuredContent"], json!({"id": 7}));
        let told = landed(Value::Null)["content"][0]["text"].as_str().unwrap().to_owned();
        assert!(told.contains("`bank_find` says of it: no. 7"), "{told}");
    }
}
