//! What servers ask of their clients, answered: roots with the project's folder, questions and sampling by whoever drives
//! the call. A question that cannot be put to anyone is declined; nothing here is ever answered by guessing.
#![expect(deprecated, reason = "2026-07-28 deprecates roots and sampling, and servers of today use them")]

use std::collections::BTreeMap;
use std::path::Path;

use abide_llm::{Redactor, ToolCall};
use rmcp::model::{
    CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction,
    InputRequest, ListRootsResult, Root,
};
use serde_json::{Map, Value};

use crate::driver::{Question, Reply, SampleRequest, Wants};
use crate::underway::Call;

/// The question that a request puts to a person; `None` if it can be put to nobody.
pub(crate) fn question(made: &ToolCall, params: ElicitRequestParams, redactor: &Redactor) -> Option<Question> {
    let (message, wants) = match params {
        ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
            (message, Wants::Form(serde_json::to_value(requested_schema).unwrap_or_default()))
        }
        ElicitRequestParams::UrlElicitationParams { message, url, .. } if is_web(&url) => (message, Wants::Visit(url)),
        _ => return None,
    };
    let message = redactor.mask(&message).into_owned();
    Some(Question { server: made.server.clone(), tool: made.tool.clone(), message, wants })
}

/// Puts a question to the driver of the call.
pub(crate) async fn elicit(call: &Call, params: ElicitRequestParams, redactor: &Redactor) -> ElicitResult {
    let Some(question) = question(&call.made, params, redactor) else {
        return ElicitResult::new(ElicitationAction::Decline);
    };
    let reply = call.ask(call.driver.elicit.elicit(question.clone())).await;
    replied(&question, reply.unwrap_or(Reply::Decline))
}

/// The answer with the form's own defaults where nothing was said. One that does not fit the form is no answer.
pub(crate) fn replied(question: &Question, reply: Reply) -> ElicitResult {
    let content = match (reply, &question.wants) {
        (Reply::Decline, _) => return ElicitResult::new(ElicitationAction::Decline),
        (Reply::Cancel, _) => return ElicitResult::new(ElicitationAction::Cancel),
        (Reply::Accept(_), Wants::Visit(_)) => return ElicitResult::new(ElicitationAction::Accept),
        (Reply::Accept(content @ Value::Object(_)), _) => content,
        (Reply::Accept(_), _) => Value::Object(Map::new()),
    };
    match question.accepted(content) {
        Ok(content) => ElicitResult::new(ElicitationAction::Accept).with_content(content),
        Err(why) => {
            tracing::warn!(%why, "an answer does not fit the form that the MCP server asked with; it is told that there is none");
            ElicitResult::new(ElicitationAction::Cancel)
        }
    }
}

/// Anything else could start a program.
fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
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
