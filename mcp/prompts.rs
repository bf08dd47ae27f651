//! The prompts that servers offer: listed, and one of them with its arguments. It decides nothing about their use.

use std::collections::BTreeMap;

use abide_engine::{Error, ErrorKind, Result, did_not_happen, terminal};
use abide_llm::PromptRef;
use rmcp::model::{
    ClientRequest, ErrorCode, GetPromptRequest, GetPromptRequestParams, ListPromptsRequest, PaginatedRequestParams,
    RequestMetaObject, ServerResult,
};
use serde::Serialize;
use serde_json::Value;

use crate::connection::{Connection, Failure};
use crate::pages::Pages;
use crate::resources::as_json;
use crate::servers::Servers;
use crate::ticket::Rejection;

/// How many prompts of a server are listed.
const MOST: usize = 1_000;

/// A prompt as its server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromptSpec {
    /// The server's name as configured.
    pub server: String,
    /// The prompt's name at its server.
    pub name: String,
    /// What it is for, or an empty string.
    pub description: String,
    /// What it takes.
    pub arguments: Vec<PromptArgument>,
}

/// One argument of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromptArgument {
    /// Its name.
    pub name: String,
    /// What it is, or an empty string.
    pub description: String,
    /// Must it be given?
    pub required: bool,
}

impl Servers {
    /// The prompts of a server, sorted by name; starts it where needed.
    ///
    /// # Errors
    /// As [`abide_llm::Tools::discover`].
    pub async fn prompts(&self, server: &str) -> Result<Vec<PromptSpec>> {
        let connection = self.slot(server)?.connection(&self.pool.host).await?;
        if !connection.has_prompts() {
            return Ok(Vec::new());
        }
        let listed = tokio::time::timeout(self.pool.host.limits.start, self.pages(&connection, server)).await;
        let mut listed = listed.unwrap_or_else(|_| Err(self.slow(server, "list its prompts")))?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    async fn pages(&self, connection: &Connection, server: &str) -> Result<Vec<PromptSpec>> {
        let (mut found, mut cursor, mut seen) = (Vec::new(), None::<String>, Pages::default());
        loop {
            let params = cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request = params.map_or_else(ListPromptsRequest::default, ListPromptsRequest::with_param);
            let request = ClientRequest::ListPromptsRequest(request);
            let page = match connection.request(request, RequestMetaObject::new(), None).await {
                Ok(page) => as_json(page),
                Err(Failure::Refused(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => return Ok(found),
                Err(failure) => return Err(self.no_answer(server, "list its prompts", failure)),
            };
            if !seen.has_room(page.to_string().len()) {
                break;
            }
            let prompts = page.get("prompts").and_then(Value::as_array).into_iter().flatten();
            found.extend(prompts.filter_map(|prompt| self.listed(server, prompt)));
            let next = page.get("nextCursor").and_then(Value::as_str).filter(|_| found.len() < MOST);
            cursor = seen.onward(next.map(str::to_owned));
            if cursor.is_none() {
                break;
            }
        }
        found.truncate(MOST);
        Ok(found)
    }

    fn listed(&self, server: &str, prompt: &Value) -> Option<PromptSpec> {
        let text = |of: &Value, key: &str| {
            let text = of.get(key).and_then(Value::as_str).unwrap_or_default();
            self.pool.host.redactor.mask(text).into_owned()
        };
        let argument = |one: &Value| PromptArgument {
            name: text(one, "name"),
            description: text(one, "description"),
            required: one.get("required") == Some(&Value::Bool(true)),
        };
        let arguments = prompt.get("arguments").and_then(Value::as_array).into_iter().flatten();
        Some(PromptSpec {
            server: server.to_owned(),
            name: prompt.get("name")?.as_str()?.to_owned(),
            description: text(prompt, "description"),
            arguments: arguments.map(argument).collect(),
        })
    }

    /// A prompt with its arguments: a `GetPromptResult` in its written form.
    pub(crate) async fn get_prompt(&self, prompt: PromptRef) -> Result<Value> {
        let PromptRef { server, name, arguments } = prompt;
        let connection = self.slot(&server)?.connection(&self.pool.host).await?;
        let redactor = &self.pool.host.redactor;
        let restored = |(key, value): (String, String)| (key, Value::from(redactor.restore(&value).into_owned()));
        let arguments: BTreeMap<String, Value> = arguments.into_iter().map(restored).collect();
        let mut params = GetPromptRequestParams::new(&name);
        params.arguments = Some(arguments.into_iter().collect());
        let request = ClientRequest::GetPromptRequest(GetPromptRequest::new(params));
        let what = format!("give the prompt `{name}`");
        let asked = connection.request(request, RequestMetaObject::new(), None);
        let answer = tokio::time::timeout(self.pool.host.limits.start, asked).await;
        match answer.map_err(|_| self.slow(&server, &what))? {
            Ok(ServerResult::GetPromptResult(got)) => {
                let mut got = serde_json::to_value(got)?;
                let size = serde_json::to_vec(&got)?.len();
                let limit = self.pool.host.limits.result_bytes;
                if size > limit {
                    return Err(terminal(format!(
                        "the prompt `{name}` of `{server}` is {size} bytes, and the limit is {limit}: raise `result_mib` under \
                         [limits] in abide.toml"
                    )));
                }
                redactor.hide_value(&mut got);
                Ok(got)
            }
            Ok(_) => {
                Err(terminal(format!("the MCP server `{server}` answered with something else when asked to {what}")))
            }
            Err(failure) => Err(self.no_answer(&server, &what, failure)),
        }
    }

    fn slow(&self, server: &str, what: &str) -> Error {
        let limit = self.pool.host.limits.start.as_secs();
        did_not_happen(format!("the MCP server `{server}` did not {what} within {limit} s"))
    }

    fn no_answer(&self, server: &str, what: &str, failure: Failure) -> Error {
        let mask = |message: String| self.pool.host.redactor.mask(&message).into_owned();
        match failure {
            Failure::Refused(error) => terminal(mask(format!(
                "the MCP server `{server}` does not {what}: {} (code {})",
                error.message, error.code.0
            ))),
            Failure::Rejected(Rejection::Credentials(said)) => Error::new(
                ErrorKind::Park(abide_engine::Parked::Credentials),
                mask(format!("the MCP server `{server}` does not let abide in ({said})")),
            ),
            Failure::Rejected(rejection) => {
                did_not_happen(mask(format!("the MCP server `{server}` did not take the request: {rejection:?}")))
            }
            _ => did_not_happen(format!("the MCP server `{server}` was lost when asked to {what}")),
        }
    }
}
