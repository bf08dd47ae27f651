//! The errors of JSON-RPC that a server answers with: a code, what is wrong, and what the HTTP answer's status is then.

use serde_json::{Value, json};

/// No such method.
pub(super) const NO_METHOD: i32 = -32_601;
/// The parameters are not as the method wants them.
pub(super) const INVALID_PARAMS: i32 = -32_602;
/// A header says something else than the body.
pub(super) const HEADER_MISMATCH: i32 = -32_020;
/// The client does not know how to do what the request would need.
pub(super) const MISSING_CAPABILITY: i32 = -32_021;
/// A version of the protocol that is not spoken here.
pub(super) const UNSUPPORTED_VERSION: i32 = -32_022;

/// An error of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// JSON-RPC's code.
    pub code: i32,
    /// What is wrong and what to do.
    pub message: String,
    /// More of it for programs.
    pub data: Option<Value>,
    /// The status of an answer over HTTP that has nothing else.
    pub(super) status: u16,
}

impl Refusal {
    /// An error with this code.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: 200 }
    }

    /// The parameters are wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    /// Something is broken here.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(-32_603, message)
    }

    /// There is no such method.
    pub fn no_method(method: &str) -> Self {
        Self::new(NO_METHOD, format!("there is no method `{method}` here")).status(404)
    }

    /// Nobody has given out this handle.
    pub fn unknown_task(id: &str) -> Self {
        Self::invalid(format!("there is no task `{id}` here"))
    }

    /// With more for programs.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The request is none as the protocol has them.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(-32_600, message).status(400)
    }

    pub(super) fn header(message: impl Into<String>) -> Self {
        Self::new(HEADER_MISMATCH, message).status(400)
    }

    /// `required` is an object of capabilities.
    pub(super) fn needs(required: &Value) -> Self {
        let names: Vec<&str> =
            required.as_object().map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
        let message = format!("this needs a client that declares {}", names.join(", "));
        Self::new(MISSING_CAPABILITY, message).data(json!({ "requiredCapabilities": required })).status(400)
    }

    /// As JSON-RPC has it.
    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}
