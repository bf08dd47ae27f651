//! What a request of 2026-07-28 must say in its headers, so that whatever stands between client and server can read it there: the
//! same as in its body. It never takes a header's word for anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::Refusal;
use super::gate::only;
use super::message::Request;

/// The header with the version.
pub(super) const VERSION: &str = "mcp-protocol-version";

/// Refuses a request whose headers say something else than its body. `schema` is that of the tool that is called.
pub(super) fn check(
    headers: &HeaderMap,
    request: &Request,
    version: &str,
    schema: Option<&Value>,
) -> Result<(), Refusal> {
    same(headers, VERSION, version)?;
    same(headers, "mcp-method", &request.method)?;
    let key = match request.method.as_str() {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    if let Some(name) = key.and_then(|key| request.params.get(key)).and_then(Value::as_str) {
        same(headers, "mcp-name", name)?;
    }
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (property, definition) in properties.into_iter().flatten() {
        if let Some(header) = definition.get("x-mcp-header").and_then(Value::as_str) {
            let argument = request.params.get("arguments").and_then(|all| all.get(property));
            parameter(headers, &format!("mcp-param-{}", header.to_ascii_lowercase()), argument)?;
        }
    }
    Ok(())
}

fn parameter(headers: &HeaderMap, header: &str, argument: Option<&Value>) -> Result<(), Refusal> {
    match argument {
        Some(Value::String(text)) => same(headers, header, text),
        Some(plain @ (Value::Bool(_) | Value::Number(_))) => same(headers, header, &plain.to_string()),
        _ if headers.contains_key(header) => {
            Err(Refusal::header(format!("the header {header} has no counterpart in the body")))
        }
        _ => Ok(()),
    }
}

fn same(headers: &HeaderMap, header: &str, expected: &str) -> Result<(), Refusal> {
    if !headers.contains_key(header) {
        return Err(Refusal::header(format!("the header {header} is missing: it must say what the body says")));
    }
    // Of two, whatever stands in between may have read the other one.
    let name = HeaderName::from_bytes(header.as_bytes()).ok();
    let value = name.and_then(|name| only(headers, name)).and_then(|value| decoded(value.trim()));
    if value.as_deref() == Some(expected) {
        return Ok(());
    }
    Err(Refusal::header(format!("the header {header} says something else than the body")))
}

/// A value as it was meant: text that cannot stand in a header is wrapped as `=?base64?...?=`. None if that cannot be read.
fn decoded(value: &str) -> Option<String> {
    let Some(wrapped) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    String::from_utf8(STANDARD.decode(wrapped).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn checked(params: &Value, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let request =
            Request { id: json!(1), method: "tools/call".to_owned(), params: params.as_object().unwrap().clone() };
        let schema =
            json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"x-mcp-header": "N"}}});
        check(&map, &request, "v", Some(&schema)).is_ok()
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let body = json!({"name": "größe", "arguments": {"region": "eu", "n": 3}});
        let name = format!("=?base64?{}?=", STANDARD.encode("größe"));
        let good = [
            (VERSION, "v"),
            ("mcp-method", "tools/call"),
            ("mcp-name", &*name),
            ("mcp-param-region", "eu"),
            ("mcp-param-n", "3"),
        ];
        assert!(checked(&body, &good));
        for (i, (header, _)) in good.iter().enumerate() {
            for wrong in [Some("other"), Some("=?base64?SGVsbG8?="), None] {
                let mut headers = good.to_vec();
                match wrong {
                    Some(value) => headers[i].1 = value,
                    None => drop(headers.remove(i)),
                }
                assert!(!checked(&body, &headers), "{header} {wrong:?}");
            }
        }
        for (header, value) in good {
            assert!(!checked(&body, &[&good[..], &[(header, value)]].concat()), "{header} twice");
        }
        assert!(!checked(&json!({"name": "größe", "arguments": {}}), &good), "a header without a counterpart");
    }
}
