//! What servers ask of their clients, answered: roots with the project's folder, questions and sampling by whoever drives
//! the call. A question that cannot be put to anyone is declined; nothing here is ever answered by guessing.
#![expect(deprecated, reason = "2026-07-28 deprecates roots and sampling, and servers of today use them")]

use std::collections::BTreeMap;
use std::path::Path;

use abide_llm::Redactor;
use rmcp::model::{
    CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction,
    InputRequest, ListRootsResult, Root,
};
use serde_json::{Map, Value};

use crate::driver::{Question, Reply, SampleRequest, Wants};
use crate::schema;
use crate::underway::Call;

/// Puts a question to the driver of the call.
pub(crate) async fn elicit(call: &Call, params: ElicitRequestParams, redactor: &Redactor) -> ElicitResult {
    let (message, wants) = match params {
        ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
            (message, Wants::Form(serde_json::to_value(requested_schema).unwrap_or_default()))
        }
        ElicitRequestParams::UrlElicitationParams { message, url, .. } if is_web(&url) => (message, Wants::Visit(url)),
        _ => return ElicitResult::new(ElicitationAction::Decline),
    };
    let message = redactor.mask(&message).into_owned();
    let question = Question { server: call.made.server.clone(), tool: call.made.tool.clone(), message, wants };
    let wants = question.wants.clone();
    match (call.ask(call.driver.elicit.elicit(question)).await, wants) {
        (Some(Reply::Accept(content)), Wants::Form(form)) => accepted(content, &form),
        (Some(Reply::Accept(_)), Wants::Visit(_)) => ElicitResult::new(ElicitationAction::Accept),
        (Some(Reply::Cancel), _) => ElicitResult::new(ElicitationAction::Cancel),
        (Some(Reply::Decline) | None, _) => ElicitResult::new(ElicitationAction::Decline),
    }
}

/// Anything else could start a program.
fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The answer with the form's own defaults where nothing was said. One that does not fit the form is no answer.
fn accepted(content: Value, form: &Value) -> ElicitResult {
    let mut content = match content {
        Value::Object(content) => content,
        _ => Map::new(),
    };
    for (name, property) in form.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(default) = property.get("default").filter(|_| !content.contains_key(name)) {
            content.insert(name.clone(), default.clone());
        }
    }
    let content = Value::Object(content);
    if let Err(why) = schema::check(form, &content) {
        tracing::warn!(%why, "an answer does not fit the form that the MCP server asked with; it is told that there is none");
        return ElicitResult::new(ElicitationAction::Cancel);
    }
    ElicitResult::new(ElicitationAction::Accept).with_content(content)
}

/// Lets the driver ask a model.
pub(crate) async fn sample(call: &Call, params: &CreateMessageRequestParams) -> Result<CreateMessageResult, String> {
    let params = serde_json::to_value(params).map_err(|error| error.to_string())?;
    let request = SampleRequest { server: call.made.server.clone(), tool: call.made.tool.clone(), params };
    let result = call.ask(call.driver.sample.sample(request)).await.ok_or("too much was asked during one call")??;
    serde_json::from_value(result)
        .map_err(|error| format!("the model's answer is none as the protocol has them: {error}"))
}

/// The project's folder, if the server is told; else there are none.
pub(crate) fn roots(root: Option<&Path>) -> ListRootsResult {
    let Some(root) = root else { return ListRootsResult::new(Vec::new()) };
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let uri = reqwest::Url::from_directory_path(absolute).ok();
    ListRootsResult::new(uri.map(|uri| Root::new(uri.as_str().trim_end_matches('/'))).into_iter().collect())
}

/// Answers all that an `input_required` result asks; `Err` says what could not be answered.
pub(crate) async fn answer(
    call: &Call,
    requests: &BTreeMap<String, Value>,
    root: Option<&Path>,
    redactor: &Redactor,
) -> Result<BTreeMap<String, Value>, String> {
    let mut responses = BTreeMap::new();
    for (name, request) in requests {
        let request: InputRequest =
            serde_json::from_value(request.clone()).map_err(|_| format!("`{name}`, which abide does not know"))?;
        let response = match request {
            InputRequest::Elicitation(request) => serde_json::to_value(elicit(call, request.params, redactor).await),
            InputRequest::ListRoots(_) => serde_json::to_value(roots(root)),
            InputRequest::CreateMessage(request) => {
                let sampled = sample(call, &request.params).await;
                serde_json::to_value(sampled.map_err(|why| format!("sampling/createMessage: {why}"))?)
            }
            _ => return Err(format!("`{name}`, which abide does not know")),
        };
        responses.insert(name.clone(), response.map_err(|error| error.to_string())?);
    }
    Ok(responses)
}
