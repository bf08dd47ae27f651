//! What a server's tools are: listed page by page, hidden, hashed and given what the user's rules say. It never names
//! them (names depend on all servers of an agent) and never calls one.

use std::collections::BTreeSet;

use abide_llm::Redactor;
use rmcp::model::{
    ClientRequest, ErrorCode, ErrorData, ListToolsRequest, PaginatedRequestParams, RequestMetaObject, ServerResult,
    Tool,
};
use serde_json::{Value, json};

use crate::connection::{Connection, Failure};
use crate::envelope::UNREADABLE;
use crate::pages::{LARGEST, Pages};
use crate::policy::Hints;
use crate::resources;

/// One tool of a server, in its written form.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its name at the server.
    pub(crate) tool: String,
    /// Its description, or its title.
    pub(crate) description: String,
    /// The schema of its arguments.
    pub(crate) input_schema: Value,
    /// What the server says about it, whether that is believed or not.
    pub(crate) hints: Hints,
    /// BLAKE3 (hex) of its definition.
    pub(crate) hash: String,
    /// The schema of its structured results, if the server has one.
    pub(crate) output_schema: Option<Value>,
}

/// Lists all tools. A definition that cannot be read is left out with a warning; it takes no other with it.
///
/// More than `most` tools are as good as no list: the request is `Refused`, saying so.
pub(crate) async fn list(
    connection: &Connection,
    server: &str,
    most: usize,
    redactor: &Redactor,
) -> Result<Vec<Listed>, Failure> {
    let (mut tools, mut cursor, mut pages) = (resources::tools(connection, redactor), None, Pages::default());
    if !connection.may_have_tools() {
        return Ok(tools);
    }
    loop {
        let request = match cursor.take() {
            None => ListToolsRequest::default(),
            cursor => ListToolsRequest::with_param(PaginatedRequestParams::default().with_cursor(cursor)),
        };
        let page = connection.request(ClientRequest::ListToolsRequest(request), RequestMetaObject::new(), None).await;
        let (page, next) = match page {
            Ok(ServerResult::ListToolsResult(page)) => (page.tools, page.next_cursor),
            Ok(ServerResult::CustomResult(other)) => lenient(&other.0, server),
            Ok(_) => (Vec::new(), None),
            Err(Failure::Refused(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => (Vec::new(), None),
            Err(failure) => return Err(failure),
        };
        if tools.len() + page.len() > most {
            let message = format!(
                "it has more than {most} tools, the limit: start it with fewer, or raise `tools` under [limits] in abide.toml"
            );
            return Err(Failure::Refused(ErrorData::new(ErrorCode(UNREADABLE), message, None)));
        }
        let size = serde_json::to_vec(&page).map_or(0, |bytes| bytes.len());
        if !pages.has_room(size) {
            let message =
                format!("the definitions of its tools are larger than {LARGEST} bytes, the limit: start it with fewer");
            return Err(Failure::Refused(ErrorData::new(ErrorCode(UNREADABLE), message, None)));
        }
        let page = page.into_iter().filter(|tool| !resources::is_ours(&tool.name));
        tools.extend(page.map(|tool| listed(tool, redactor)));
        cursor = pages.onward(next);
        if cursor.is_none() {
            return Ok(told_apart(tools));
        }
    }
}

/// A server that has such a tool of its own needs none made of its resources.
fn told_apart(mut tools: Vec<Listed>) -> Vec<Listed> {
    let own: BTreeSet<String> =
        tools.iter().filter(|tool| !resources::is_ours(&tool.tool)).map(|tool| tool.tool.clone()).collect();
    tools.retain(|tool| !resources::is_ours(&tool.tool) || !own.contains(resources::shown(&tool.tool)));
    tools
}

/// A page in which at least one definition is not as the protocol says.
fn lenient(page: &Value, server: &str) -> (Vec<Tool>, Option<String>) {
    let declared = page.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut tools = Vec::new();
    for tool in declared {
        match serde_json::from_value(tool.clone()) {
            Ok(tool) => tools.push(tool),
            Err(error) => tracing::warn!(server, %error, "left out a tool whose definition cannot be read"),
        }
    }
    (tools, page.get("nextCursor").and_then(Value::as_str).map(str::to_owned))
}

pub(crate) fn listed(tool: Tool, redactor: &Redactor) -> Listed {
    // Only what a model or a rule looks at: icons and `_meta` may change as they like.
    let mut definition = json!({
        "name": tool.name, "title": tool.title, "description": tool.description, "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema, "annotations": tool.annotations,
    });
    redactor.hide_value(&mut definition);
    let mut text = String::new();
    canonical(&definition, &mut text);
    let described = ["description", "title"].iter().find_map(|key| definition.get(key).and_then(Value::as_str));
    let annotations = tool.annotations.unwrap_or_default();
    Listed {
        tool: tool.name.into_owned(),
        description: described.unwrap_or_default().to_owned(),
        input_schema: definition.get("inputSchema").cloned().unwrap_or_default(),
        hints: Hints {
            read_only: annotations.read_only_hint.unwrap_or(false),
            idempotent: annotations.idempotent_hint.unwrap_or(false),
        },
        hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        output_schema: definition.get("outputSchema").filter(|schema| schema.is_object()).cloned(),
    }
}

/// JSON with its keys sorted, whatever features `serde_json` was built with: the hash must outlive releases.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_hash_covers_what_a_model_sees_and_nothing_else() {
        let redactor = Redactor::default();
        let base = json!({"name": "t", "description": "d", "inputSchema": {"type": "object", "b": 1, "a": [1, "x"]},
            "annotations": {"readOnlyHint": true}, "_meta": {"at": 1}});
        let hash = |change: &dyn Fn(&mut Value)| {
            let mut changed = base.clone();
            change(&mut changed);
            listed(tool(changed), &redactor).hash
        };
        let original = hash(&|_| ());
        // Pinned in journals: a release that changes this makes every pinned tool look changed.
        assert_eq!(original, "3a017056b0985db9d772fb392d6968c0c1cabf673dea08bc0129a7271b99503e");
        assert_eq!(original, hash(&|v| v["_meta"] = json!({"at": 2})));
        for (name, change) in [("description", json!("e")), ("title", json!("t")), ("outputSchema", json!({"a": 1}))] {
            assert_ne!(original, hash(&|v| v[name] = change.clone()), "{name}");
        }
        assert_ne!(original, hash(&|v| v["inputSchema"]["a"][1] = json!("y")));
        assert_ne!(original, hash(&|v| v["annotations"]["readOnlyHint"] = json!(false)));
    }

    #[test]
    fn secrets_in_a_definition_are_hidden_before_it_is_hashed() {
        let define = |key: &str| tool(json!({"name": "t", "description": format!("for {key}"), "inputSchema": {}}));
        let hashes = ["sk-one-0123456", "sk-two-0123456"].map(|key| {
            let redactor = Redactor::default();
            redactor.learn("KEY", key);
            let listed = listed(define(key), &redactor);
            assert_eq!(listed.description, "for ${KEY}");
            listed.hash
        });
        assert_eq!(hashes[0], hashes[1]);
    }

    #[test]
    fn one_broken_definition_takes_no_other_with_it() {
        let page = json!({"tools": [{"name": "good", "inputSchema": {}}, {"name": "broken"}, 5], "nextCursor": "n"});
        let (tools, next) = lenient(&page, "s");
        assert_eq!((tools.len(), next.as_deref()), (1, Some("n")));
    }
}
