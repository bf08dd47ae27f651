//! A server's resources as functions for a model: one that lists them, one that reads one. It attaches none by itself, and
//! reads nothing that was not asked for.

use abide_llm::Redactor;
use rmcp::model::{
    ClientRequest, ListResourceTemplatesRequest, ListResourcesRequest, PaginatedRequestParams, ReadResourceRequest,
    ReadResourceRequestParams, RequestMetaObject, ServerResult, Tool,
};
use serde_json::{Map, Value, json};

use crate::calls::Answers;
use crate::connection::{Connection, Failure, Patience};
use crate::discover::{Listed, listed};
use crate::pages::Pages;
use crate::underway::Entry;

/// The protocol's own names stand for the tools: no tool of a server may have them.
const LIST: &str = "resources/list";
pub(crate) const READ: &str = "resources/read";

/// How many resources one listing names.
const MOST: usize = 1_000;

/// Is this a name of a tool that is made of the server's resources?
pub(crate) fn is_ours(tool: &str) -> bool {
    tool == LIST || tool == READ
}

/// Is it the one that lists?
pub(crate) fn is_list(tool: &str) -> bool {
    tool == LIST
}

/// The last part of the name that a model sees.
pub(crate) fn shown(tool: &str) -> &str {
    match tool {
        LIST => "list_resources",
        READ => "read_resource",
        other => other,
    }
}

/// The two tools, if the server has resources.
pub(crate) fn tools(connection: &Connection, redactor: &Redactor) -> Vec<Listed> {
    if !connection.has_resources() {
        return Vec::new();
    }
    let schema = |value: Value| match value {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let no_arguments = schema(json!({"type": "object", "properties": {}}));
    let one_address = schema(json!({
        "type": "object",
        "properties": {"uri": {"type": "string", "description": "The resource's address, as it is listed or by a template"}},
        "required": ["uri"],
    }));
    let made = [
        (
            LIST,
            "Lists the resources that this server offers, with their addresses, and the templates of addresses.",
            no_arguments,
        ),
        (READ, "Reads one resource of this server by its address.", one_address),
    ];
    let made = made.into_iter().map(|(name, about, schema)| {
        let mut tool = listed(Tool::new(name, about, schema), redactor);
        // By the protocol itself: nothing else can be asked for by these requests.
        tool.hints.read_only = true;
        tool
    });
    made.collect()
}

/// The request for `arguments`, or what is wrong with them.
pub(crate) fn read(arguments: &Value, answers: Option<&Answers>) -> Result<ClientRequest, String> {
    let Some(uri) = arguments.get("uri").and_then(Value::as_str).filter(|uri| !uri.trim().is_empty()) else {
        return Err("The argument `uri`, the resource's address, is missing.".to_owned());
    };
    let mut params = ReadResourceRequestParams::new(uri);
    if let Some(answers) = answers {
        params.input_responses = Some(answers.responses.clone());
        params.request_state.clone_from(&answers.state);
    }
    Ok(ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params)))
}

/// What was read, as the result of a tool.
pub(crate) fn result_of_read(contents: &Value) -> Value {
    let contents = contents.get("contents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let blocks: Vec<Value> = contents.iter().map(|part| json!({"type": "resource", "resource": part})).collect();
    json!({"content": blocks, "isError": false})
}

/// All resources and templates, page by page, as the result of a tool.
pub(crate) async fn list(
    connection: &Connection,
    meta: &RequestMetaObject,
    call: (&Entry, Patience),
) -> Result<Value, Failure> {
    let resources = pages(connection, meta, call, "resources", |params| {
        ClientRequest::ListResourcesRequest(
            params.map_or_else(ListResourcesRequest::default, ListResourcesRequest::with_param),
        )
    })
    .await?;
    let templates = pages(connection, meta, call, "resourceTemplates", |params| {
        ClientRequest::ListResourceTemplatesRequest(
            params.map_or_else(ListResourceTemplatesRequest::default, ListResourceTemplatesRequest::with_param),
        )
    })
    .await;
    let templates = match templates {
        Err(Failure::Refused(_)) => Vec::new(),
        templates => templates?,
    };
    let mut lines: Vec<String> = resources.iter().map(|one| line(one, "uri")).collect();
    lines.extend(templates.iter().map(|one| format!("template {}", line(one, "uriTemplate"))));
    let text = if lines.is_empty() { "The server offers no resources now.".to_owned() } else { lines.join("\n") };
    Ok(json!({
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"resources": resources, "resourceTemplates": templates},
        "isError": false,
    }))
}

async fn pages(
    connection: &Connection,
    meta: &RequestMetaObject,
    call: (&Entry, Patience),
    key: &str,
    request: impl Fn(Option<PaginatedRequestParams>) -> ClientRequest,
) -> Result<Vec<Value>, Failure> {
    let (mut found, mut cursor, mut seen) = (Vec::new(), None::<String>, Pages::default());
    loop {
        let params = cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let page = connection.request(request(params), meta.clone(), Some(call)).await?;
        let page = as_json(page);
        if !seen.has_room(page.to_string().len()) {
            break;
        }
        found.extend(page.get(key).and_then(Value::as_array).into_iter().flatten().cloned());
        let next = page.get("nextCursor").and_then(Value::as_str).filter(|_| found.len() < MOST);
        cursor = seen.onward(next.map(str::to_owned));
        if cursor.is_none() {
            break;
        }
    }
    found.truncate(MOST);
    Ok(found)
}

/// The result as the server wrote it.
pub(crate) fn as_json(result: ServerResult) -> Value {
    serde_json::to_value(result).unwrap_or_default()
}

fn line(one: &Value, address: &str) -> String {
    let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut line = text(address).to_owned();
    for (before, key) in [(" ", "mimeType"), (" - ", "name"), (": ", "description")] {
        if !text(key).is_empty() {
            line.push_str(before);
            line.push_str(text(key));
        }
    }
    line
}
