//! JSON-RPC as it comes and goes. It knows no method.

use serde_json::{Map, Value, json};

use super::Refusal;
use super::offer::Call;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

/// What a client sends.
#[derive(Debug)]
pub(super) enum Incoming {
    Request(Request),
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// Its answer to what it was asked: a result, or an error.
    Response {
        id: String,
        outcome: Result<Value, Value>,
    },
}

/// An answer: the message, and its status over HTTP if nothing was sent before.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Value,
    pub(super) status: u16,
}

/// Reads a message. An error comes with the id that it answers.
pub(super) fn read(value: Value) -> Result<Incoming, Answer> {
    let Value::Object(mut message) = value else {
        return Err(Answer::error(&Value::Null, &Refusal::malformed("a message is one JSON object")));
    };
    let id = message.remove("id").filter(|id| id.is_string() || id.is_i64() || id.is_u64());
    let malformed = |why: &str| Answer::error(id.as_ref().unwrap_or(&Value::Null), &Refusal::malformed(why));
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(malformed("`jsonrpc` must be \"2.0\""));
    }
    let params = match message.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(malformed("`params` must be an object")),
    };
    match (message.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(Incoming::Request(Request { id, method, params })),
        (Some(Value::String(method)), None) => Ok(Incoming::Notification { method, params }),
        (None, Some(id)) => {
            let outcome = match (message.remove("result"), message.remove("error")) {
                (Some(result), None) => Ok(result),
                (None, Some(error)) => Err(error),
                _ => return Err(Answer::error(&id, &Refusal::malformed("it is neither a request nor an answer"))),
            };
            Ok(Incoming::Response { id: id.as_str().map_or_else(|| id.to_string(), str::to_owned), outcome })
        }
        (_, id) => {
            let refusal = Refusal::malformed("it is neither a request nor an answer");
            Err(Answer::error(id.as_ref().unwrap_or(&Value::Null), &refusal))
        }
    }
}

impl Answer {
    pub(super) fn result(id: &Value, result: &Value) -> Self {
        Self { message: json!({"jsonrpc": "2.0", "id": id, "result": result}), status: 200 }
    }

    pub(super) fn error(id: &Value, refusal: &Refusal) -> Self {
        let message = json!({"jsonrpc": "2.0", "id": id, "error": refusal.to_json()});
        Self { message, status: refusal.status }
    }

    pub(super) fn of(id: &Value, outcome: Result<Value, Refusal>) -> Self {
        match outcome {
            Ok(result) => Self::result(id, &result),
            Err(refusal) => Self::error(id, &refusal),
        }
    }
}

impl Request {
    /// The call that this is, without state: that is for who can open it.
    pub(super) fn call(&self) -> Call {
        let mut params = self.params.clone();
        let object = |value: Option<Value>| match value {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let meta = object(params.remove("_meta"));
        let responses = object(params.remove("inputResponses"));
        for key in ["requestState", "task"] {
            params.remove(key);
        }
        Call { method: self.method.clone(), params, meta, responses, state: None }
    }
}

/// A notification.
pub(super) fn notification(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let kind = |value: Value| match read(value) {
            Ok(Incoming::Request(request)) => format!("request {} {}", request.id, request.method),
            Ok(Incoming::Notification { method, .. }) => format!("notification {method}"),
            Ok(Incoming::Response { id, outcome }) => format!("response {id} {}", outcome.is_ok()),
            Err(answer) => format!("error {} {}", answer.message["id"], answer.status),
        };
        for (message, expected) in [
            (json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}), "request 7 ping"),
            (json!({"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {}}), "request \"a\" ping"),
            (json!({"jsonrpc": "2.0", "method": "x"}), "notification x"),
            (json!({"jsonrpc": "2.0", "id": null, "method": "x"}), "notification x"),
            (json!({"jsonrpc": "2.0", "id": "s1", "result": {}}), "response s1 true"),
            (json!({"jsonrpc": "2.0", "id": 3, "error": {"code": 1}}), "response 3 false"),
            (json!({"jsonrpc": "2.0", "id": 3}), "error 3 400"),
            (json!({"jsonrpc": "2.0", "id": 3, "method": "x", "params": []}), "error 3 400"),
            (json!({"jsonrpc": "1.0", "id": 3, "method": "x"}), "error 3 400"),
            (json!({"jsonrpc": "2.0", "id": 1.5, "result": 1}), "error null 400"),
            (json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]), "error null 400"),
            (json!("x"), "error null 400"),
        ] {
            assert_eq!(kind(message.clone()), expected, "{message}");
        }
    }
}
