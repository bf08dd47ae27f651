//! The MCP servers of a process, as the tools of agents: each started once and shared by all agents and runs. It never
//! decides whether a call is repeated, and never limits how long one takes: the engine does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use abide_engine::{Error, ErrorKind, did_not_happen, in_doubt};
use abide_llm::{BoxFuture, ToolCall, ToolSpec, Tools, Vars};
use futures_util::future::join_all;
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, RequestMetaObject};
use serde_json::{Map, Value};

use crate::answer;
use crate::config::ServerConfig;
use crate::connection::{Connection, Failure};
use crate::discover::{self, Listed};
use crate::envelope::UNREADABLE;
use crate::names::{plain_name, tool_names};
use crate::policy::Rules;
use crate::probe;
use crate::slot::{Host, Slot, quote};

/// What one project (or one run, as pinned) says about its servers.
pub struct Project {
    /// The folder against which relative commands and working folders resolve.
    pub root: PathBuf,
    /// The declared servers.
    pub servers: Vec<ServerConfig>,
    /// The user's rules for tools.
    pub rules: Rules,
    /// The servers whose annotations are believed.
    pub trusted: BTreeSet<String>,
    /// Where variables and literals are read when a server starts.
    pub vars: Arc<dyn Vars>,
}

/// The servers of one project. A clone is the same; [`Servers::for_project`] is another view of the same processes.
///
/// When the last one is dropped the processes are ended at once; [`Servers::shutdown`] lets them end by themselves.
#[derive(Clone)]
pub struct Servers {
    pool: Arc<Pool>,
    project: Arc<Project>,
}

struct Pool {
    host: Host,
    /// By root and declaration: equal ones are one server, whichever run asks.
    slots: Mutex<HashMap<(PathBuf, String), Arc<Slot>>>,
}

impl Servers {
    /// Starts nothing yet.
    pub fn new(host: Host, project: Project) -> Self {
        Self { pool: Arc::new(Pool { host, slots: Mutex::default() }), project: Arc::new(project) }
    }

    /// The servers of another project or run; what is declared alike under the same root is shared with this one.
    #[must_use]
    pub fn for_project(&self, project: Project) -> Self {
        Self { pool: Arc::clone(&self.pool), project: Arc::new(project) }
    }

    /// The declared servers.
    pub fn declared(&self) -> &[ServerConfig] {
        &self.project.servers
    }

    /// How often this server was started in this process: 0 before the first time. A caller that remembers the number
    /// of its last use learns from a higher one that the server has lost its session's state.
    pub fn generation(&self, server: &str) -> u64 {
        self.slot(server).map_or(0, |slot| slot.generation())
    }

    /// Ends every server of this process, for all projects: input closed, a grace, then the whole process group killed.
    /// No server starts after this.
    pub async fn shutdown(&self) {
        let slots: Vec<_> = self.pool.lock().values().cloned().collect();
        join_all(slots.iter().map(|slot| slot.shut_down(self.pool.host.limits.grace))).await;
    }

    fn slot(&self, server: &str) -> Result<Arc<Slot>, Error> {
        let Some(config) = self.project.servers.iter().find(|config| config.name == server) else {
            let known: Vec<_> = self.project.servers.iter().map(|config| config.name.as_str()).collect();
            let known =
                if known.is_empty() { "none is".to_owned() } else { format!("declared are {}", known.join(", ")) };
            let message =
                format!("no MCP server `{server}` is declared ({known}): add it to .mcp.json, or correct the name");
            return Err(Error::new(ErrorKind::Environment, message));
        };
        let declaration = serde_json::to_string(config)?;
        let root = self.project.root.clone();
        let new = || Arc::new(Slot::new(config.clone(), root.clone(), Arc::clone(&self.project.vars)));
        Ok(Arc::clone(self.pool.lock().entry((root.clone(), declaration)).or_insert_with(new)))
    }

    async fn discover_all(&self, servers: Vec<String>) -> Result<Vec<ToolSpec>, Error> {
        let servers: BTreeSet<String> = servers.into_iter().collect();
        // All are waited for, even if one fails: the others keep running for the next try.
        let listed = join_all(servers.iter().map(|server| self.list(server))).await;
        let mut tools = Vec::new();
        for (server, listed) in servers.iter().zip(listed) {
            tools.extend(listed?.into_iter().map(|tool| (server.clone(), tool)));
        }
        let pairs: Vec<_> = tools.iter().map(|(server, tool)| (server.clone(), tool.tool.clone())).collect();
        let mut specs: Vec<_> = tools
            .into_iter()
            .zip(tool_names(&pairs))
            .map(|((server, tool), name)| self.spec(server, tool, name))
            .collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        specs.dedup_by(|a, b| a.name == b.name);
        probe::name(&mut specs, &self.project.rules)?;
        Ok(specs)
    }

    async fn list(&self, server: &str) -> Result<Vec<Listed>, Error> {
        let (host, slot) = (&self.pool.host, self.slot(server)?);
        let connection = slot.connection(host).await?;
        let environment = |why: String| {
            let message = format!("the MCP server `{server}` ({}) does not list its tools: {why}", slot.config.file);
            Err(Error::new(ErrorKind::Environment, host.redactor.mask(&message)))
        };
        match tokio::time::timeout(
            host.limits.start,
            discover::list(&connection, server, host.limits.tools, &host.redactor),
        )
        .await
        {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(Failure::Refused(error))) if error.code.0 == UNREADABLE => environment(error.message.into_owned()),
            Ok(Err(Failure::Refused(error))) => {
                environment(format!("it refused with {} (code {})", error.message, error.code.0))
            }
            Ok(Err(Failure::NotSent | Failure::InFlight)) => {
                environment(format!("it ended meanwhile{}", quote(&connection.last_words().await, &host.redactor)))
            }
            Err(_) => environment(format!("no answer within {} s", host.limits.start.as_secs())),
        }
    }

    fn spec(&self, server: String, listed: Listed, name: String) -> ToolSpec {
        let hints = self.project.trusted.contains(&server).then_some(listed.hints);
        let names = all_names(&name, &server, &listed.tool);
        let decision = self.project.rules.decide(&names.each_ref().map(String::as_str), hints);
        let Listed { tool, description, input_schema, hash, .. } = listed;
        let (effect, policy, timeout_s) = (decision.effect, decision.policy, decision.timeout_s);
        ToolSpec { name, server, tool, description, input_schema, effect, policy, timeout_s, hash, reconcile: None }
    }

    async fn call_now(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> Result<Value, Error> {
        let ToolCall { server, tool, mut arguments } = call;
        let host = &self.pool.host;
        let connection = self.slot(&server)?.connection(host).await?;
        // Only now: starting the server has taught the redactor what to restore.
        host.redactor.restore_value(&mut arguments);
        let params = match arguments {
            Value::Null => CallToolRequestParams::new(tool.clone()),
            Value::Object(arguments) => CallToolRequestParams::new(tool.clone()).with_arguments(arguments),
            _ => return Ok(answer::error("The arguments of a tool must be a JSON object.")),
        };
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let meta = RequestMetaObject::from(meta.into_iter().collect::<Map<_, _>>());
        match connection.request(request, meta).await {
            Ok(result) => {
                let result = answer::result(result, host.limits.result_bytes, &host.redactor);
                Ok(answer::with_session(result, connection.session()))
            }
            Err(Failure::Refused(error)) => {
                Ok(answer::with_session(answer::refusal(&error, &host.redactor), connection.session()))
            }
            Err(Failure::NotSent) => Err(did_not_happen(format!(
                "the MCP server `{server}` had ended before the call of `{tool}` was sent: it is started anew"
            ))),
            Err(Failure::InFlight) => Err(self.lost(&connection, &server, &tool).await),
        }
    }

    async fn lost(&self, connection: &Connection, server: &str, tool: &str) -> Error {
        let message = format!(
            "the MCP server `{server}` ended while it was working on `{tool}`: whether that has happened is not known{}",
            quote(&connection.last_words().await, &self.pool.host.redactor)
        );
        in_doubt(self.pool.host.redactor.mask(&message))
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, String), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tools for Servers {
    fn discover(&self, servers: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        let this = self.clone();
        Box::pin(async move { this.discover_all(servers).await })
    }

    fn call(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        let this = self.clone();
        Box::pin(async move { this.call_now(call, meta).await })
    }
}

/// What a rule's pattern may match: the name the model sees, the one it would see if nothing collided, and the plain one.
pub(crate) fn all_names(name: &str, server: &str, tool: &str) -> [String; 3] {
    [name.to_owned(), plain_name(server, tool), format!("{server}_{tool}")]
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
