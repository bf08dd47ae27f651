//! Does a value fit a JSON schema that a server gave? It never looks up a reference outside of the schema.

use serde_json::Value;

/// Ok if it does, or if the schema is none that can be used: then nothing can be said against the value.
///
/// # Errors
/// Where it does not fit, and why.
pub(crate) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let Ok(validator) = jsonschema::options().with_retriever(Nowhere).build(schema) else { return Ok(()) };
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(error) => {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "at its top".to_owned() } else { format!("at {place}") };
            Err(format!("{place}: {error}"))
        }
    }
}

/// Nothing is fetched: not from the network, not from a disk.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Err(format!("{uri} lies outside of the schema").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]});
        assert_eq!(check(&schema, &json!({"sum": 3, "more": true})), Ok(()));
        assert!(check(&schema, &json!({"sum": "3"})).unwrap_err().starts_with("at /sum: "));
        assert!(check(&schema, &json!({})).unwrap_err().starts_with("at its top: "));
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_not_fetched_and_says_nothing() {
        for reference in ["https://example.com/s.json", "file:///etc/passwd"] {
            assert_eq!(check(&json!({"$ref": reference}), &json!(1)), Ok(()));
        }
        assert_eq!(check(&json!({"type": 7}), &json!(1)), Ok(()));
    }
}
