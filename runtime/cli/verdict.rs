//! What a person says became of a step in doubt (DESIGN rule 16), read and checked before it is recorded: a result that the
//! run cannot use is refused here, not found out later.

use std::io::Read;
use std::path::Path;

use abide_engine::Json;
use abide_engine::event::Verdict;
use abide_llm::Redactor;
use serde_json::Value;

use super::args::Verdict as Args;
use super::failure::Failure;
use crate::StepReport;
use crate::config::{Takes, read_input};

/// A verdict as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    Retry,
    Result(Value),
    Fail(String),
}

/// Reads the flags.
pub(crate) fn read(args: &Args, cwd: &Path, stdin: &mut dyn Read) -> Result<Given, Failure> {
    match (&args.result, &args.fail) {
        (Some(result), _) => {
            let text = read_input(Some(result), Takes::Text, cwd, stdin)?;
            let parsed = serde_json::from_str(text.as_str().unwrap_or_default());
            parsed.map(Given::Result).map_err(|error| {
                Failure::usage(
                    format!("the result is not JSON: {error}"),
                    "give JSON, @file or -; a text is JSON in double quotes",
                )
            })
        }
        (None, Some(message)) => Ok(Given::Fail(message.clone())),
        (None, None) => Ok(Given::Retry),
    }
}

impl Given {
    /// The verdict for this step, in the written form of the redactor.
    pub(crate) fn for_step(
        self,
        step: &StepReport,
        redactor: &Redactor,
    ) -> Result<(Verdict, Option<Json>, Option<String>), Failure> {
        Ok(match self {
            Self::Retry => (Verdict::Retry, None, None),
            Self::Fail(message) => (Verdict::Fail, None, Some(redactor.hide(&message).into_owned())),
            Self::Result(mut value) => {
                if step.kind == "tool" {
                    call_tool_result(&value).map_err(|why| {
                        Failure::usage(
                            format!("the result of the tool step `{}` must be a CallToolResult: {why}", step.id),
                            r#"write it like {"content":[{"type":"text","text":"what the tool answered"}]}"#,
                        )
                    })?;
                }
                redactor.hide_value(&mut value);
                let text = value.to_string();
                let json = serde_json::value::RawValue::from_string(text);
                (Verdict::Landed, Some(json.map_err(|e| Failure::usage(e.to_string(), ""))?), None)
            }
        })
    }
}

/// What of MCP's `CallToolResult` an agent relies on.
fn call_tool_result(value: &Value) -> Result<(), &'static str> {
    let object = value.as_object().ok_or("it is no JSON object")?;
    let content = object.get("content").and_then(Value::as_array).ok_or("it has no list `content`")?;
    if !content.iter().all(|item| item.get("type").is_some_and(Value::is_string)) {
        return Err("an item of `content` has no `type`");
    }
    match object.get("isError") {
        None | Some(Value::Bool(_) | Value::Null) => Ok(()),
        Some(_) => Err("`isError` is neither true nor false"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::super::candidates::tests::report;
    use super::*;

    fn given(result: Option<&str>, fail: Option<&str>) -> Result<Given, Failure> {
        let args = Args { retry: false, result: result.map(str::to_owned), fail: fail.map(str::to_owned) };
        read(&args, Path::new("."), &mut "{\"content\":[]}".as_bytes())
    }

    #[test]
    fn a_verdict_is_read_from_its_flags() {
        assert_eq!(given(None, None).unwrap(), Given::Retry);
        assert_eq!(given(None, Some("no")).unwrap(), Given::Fail("no".into()));
        assert_eq!(given(Some("-"), None).unwrap(), Given::Result(json!({"content": []})));
        assert_eq!(given(Some("7"), None).unwrap(), Given::Result(json!(7)));
        let failure = given(Some("{oops"), None).unwrap_err();
        assert!(failure.message.contains("not JSON") && failure.exit == 2, "{failure:?}");
    }

    #[test]
    fn only_a_call_tool_result_is_a_tools_result() {
        let one = report("waiting", &[("t", "in_doubt", None)]);
        let step = &one.steps[0];
        let redactor = Redactor::default();
        redactor.learn("KEY", "sk-0123456789");
        for (value, why) in [
            (json!("text"), "no JSON object"),
            (json!({}), "no list `content`"),
            (json!({"content": "x"}), "no list `content`"),
            (json!({"content": [{"text": "x"}]}), "has no `type`"),
            (json!({"content": [], "isError": "no"}), "neither true nor false"),
        ] {
            let failure = Given::Result(value).for_step(step, &redactor).unwrap_err();
            assert!(failure.message.contains(why) && failure.help.contains("content"), "{failure:?}");
        }
        let result = json!({"content": [{"type": "text", "text": "sk-0123456789"}]});
        let (verdict, json, _) = Given::Result(result).for_step(step, &redactor).unwrap();
        assert_eq!(verdict, Verdict::Landed);
        assert_eq!(json.unwrap().get(), r#"{"content":[{"text":"${KEY}","type":"text"}]}"#);
        let mut plain = step.clone();
        plain.kind = "step";
        assert!(Given::Result(json!("text")).for_step(&plain, &redactor).is_ok(), "any JSON fits a step in Rust");
    }
}
