//! The MCP servers of a process, as the tools of agents: each started once and shared by all agents and runs. It never
//! decides whether a call is repeated, and never limits how long one takes: the engine does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use abide_engine::{Error, ErrorKind, Parked, did_not_happen, step_teller};
use abide_llm::{
    Answers, Asks, BoxFuture, Came, Left, Look, Onward, Policy, PromptRef, ResourceRef, ToolCall, ToolSpec, Tools,
    Underway, Vars,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::config::ServerConfig;
use crate::connection::{Connection, Failure};
use crate::discover::{self, Listed};
use crate::driver::{Driver, TaskHandle};
use crate::envelope::UNREADABLE;
use crate::names::{plain_name, tool_names};
use crate::open::SetAside;
use crate::policy::Rules;
use crate::probe;
use crate::resources;
use crate::slot::{Host, Slot, quote, wants_login};
use crate::ticket::Rejection;

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
    /// What becomes of the wish of a server that a model be asked for it; without a word a person is asked.
    pub sampling: BTreeMap<String, Policy>,
    /// Where variables and literals are read when a server starts.
    pub vars: Arc<dyn Vars>,
}

/// The servers of one project. A clone is the same; [`Servers::for_project`] is another view of the same processes.
///
/// When the last one is dropped the processes are ended at once; [`Servers::shutdown`] lets them end by themselves.
#[derive(Clone)]
pub struct Servers {
    pub(crate) pool: Arc<Pool>,
    pub(crate) project: Arc<Project>,
    pub(crate) driver: Driver,
    /// By server and tool.
    pins: Arc<Mutex<Pins>>,
}

type Pins = HashMap<(String, String), ToolSpec>;

pub(crate) struct Pool {
    pub(crate) host: Host,
    /// By root and declaration: equal ones are one server, whichever run asks.
    slots: Mutex<HashMap<(PathBuf, String), Arc<Slot>>>,
    /// Calls that wait for an answer.
    pub(crate) aside: SetAside,
}

impl Servers {
    /// Starts nothing yet.
    pub fn new(host: Host, project: Project) -> Self {
        let pool = Arc::new(Pool { host, slots: Mutex::default(), aside: SetAside::default() });
        Self { pool, project: Arc::new(project), driver: Driver::default(), pins: Arc::default() }
    }

    /// The servers of another project or run; what is declared alike under the same root is shared with this one.
    #[must_use]
    pub fn for_project(&self, project: Project) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            project: Arc::new(project),
            driver: Driver::default(),
            pins: Arc::default(),
        }
    }

    /// The same servers, with somebody behind each call: without, nothing is shown and every question is declined.
    #[must_use]
    pub fn on_behalf_of(&self, driver: Driver) -> Self {
        Self { driver, ..self.clone() }
    }

    /// The version of the protocol that this server is spoken to in, once it has been started.
    pub async fn version(&self, server: &str) -> Option<String> {
        self.slot(server).ok()?.connection(&self.pool.host).await.ok()?.version()
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
        self.pool.aside.clear();
        let slots: Vec<_> = self.pool.lock().values().cloned().collect();
        join_all(slots.iter().map(|slot| slot.shut_down(self.pool.host.limits.grace))).await;
    }

    pub(crate) fn slot(&self, server: &str) -> Result<Arc<Slot>, Error> {
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
            let listed = listed?;
            tools.extend((0..listed.len()).map(|index| (server.clone(), Arc::clone(&listed), index)));
        }
        let shown = |(server, listed, index): &(String, Arc<Vec<Listed>>, usize)| {
            listed.get(*index).map(|tool| (server.clone(), resources::shown(&tool.tool).to_owned()))
        };
        let pairs: Vec<_> = tools.iter().filter_map(shown).collect();
        let named = tools.into_iter().zip(tool_names(&pairs));
        let spec = |((server, listed, index), name): ((String, Arc<Vec<Listed>>, usize), String)| {
            listed.get(index).map(|tool| self.spec(server, tool, name))
        };
        let mut specs: Vec<_> = named.filter_map(spec).collect();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        specs.dedup_by(|a, b| a.name == b.name);
        probe::name(&mut specs, &self.project.rules)?;
        Ok(specs)
    }

    /// What the server lists: anew, or as it was listed last on this connection.
    pub(crate) async fn listing(
        &self,
        connection: &Connection,
        server: &str,
        fresh: bool,
    ) -> Result<Arc<Vec<Listed>>, Error> {
        let (host, slot) = (&self.pool.host, self.slot(server)?);
        let environment = |why: String| {
            let message = format!("the MCP server `{server}` ({}) does not list its tools: {why}", slot.config.file);
            Err(Error::new(ErrorKind::Environment, host.redactor.mask(&message)))
        };
        let list = discover::list(connection, server, host.limits.tools, &host.redactor);
        match tokio::time::timeout(host.limits.start, connection.listing(fresh, list)).await {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(Failure::Refused(error))) if error.code.0 == UNREADABLE => environment(error.message.into_owned()),
            Ok(Err(Failure::Refused(error))) => {
                environment(format!("it refused with {} (code {})", error.message, error.code.0))
            }
            Ok(Err(Failure::Rejected(Rejection::Login(why)))) => {
                let message = host.redactor.mask(&wants_login(server, &why)).into_owned();
                Err(Error::new(ErrorKind::Park(Parked::Credentials), message))
            }
            Ok(Err(Failure::Rejected(rejection))) => environment(format!("it did not take the request: {rejection:?}")),
            // Before a call: nothing of that has left.
            Ok(Err(Failure::NotSent | Failure::InFlight)) if !fresh => Err(did_not_happen(format!(
                "the MCP server `{server}` had ended before the call was sent: it is started anew"
            ))),
            Ok(Err(Failure::NotSent | Failure::InFlight | Failure::TimedOut(_))) => {
                let words = connection.last_words().await;
                let words = words.map(|words| quote(&words, &host.redactor)).unwrap_or_default();
                environment(format!("it ended meanwhile{words}"))
            }
            Err(_) => environment(format!("no answer within {} s", host.limits.start.as_secs())),
        }
    }

    async fn list(&self, server: &str) -> Result<Arc<Vec<Listed>>, Error> {
        let connection = self.slot(server)?.connection(&self.pool.host).await?;
        self.listing(&connection, server, true).await
    }

    /// The schema of the tool's structured results, as the server lists it.
    pub(crate) async fn output_schema(&self, connection: &Connection, call: &ToolCall) -> Option<Value> {
        let listed = self.listing(connection, &call.server, false).await.ok()?;
        listed.iter().find(|tool| tool.tool == call.tool)?.output_schema.clone()
    }

    fn spec(&self, server: String, listed: &Listed, name: String) -> ToolSpec {
        let names = all_names(&name, &server, resources::shown(&listed.tool));
        let decide = |hints| self.project.rules.decide(&names.each_ref().map(String::as_str), hints);
        let decision = decide(self.project.trusted.contains(&server).then_some(listed.hints));
        // By the protocol reading a resource changes nothing, whatever the server is.
        let effect = if resources::is_ours(&listed.tool) { decide(Some(listed.hints)).effect } else { decision.effect };
        ToolSpec {
            name,
            server,
            tool: listed.tool.clone(),
            description: listed.description.clone(),
            input_schema: listed.input_schema.clone(),
            effect,
            policy: decision.policy,
            timeout_s: decision.timeout_s,
            max_timeout_s: Some(decision.max_timeout_s),
            attempts: decision.attempts,
            hash: listed.hash.clone(),
            reconcile: None,
        }
    }

    /// Tells this view from others: the calls of one view belong to one run.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.pins) as usize
    }

    /// The tool as the run was given it.
    pub(crate) fn pinned(&self, call: &ToolCall) -> Option<ToolSpec> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.get(&(call.server.clone(), call.tool.clone())).cloned()
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, String), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tools for Servers {
    fn pin(&self, specs: &[ToolSpec]) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.extend(specs.iter().map(|spec| ((spec.server.clone(), spec.tool.clone()), spec.clone())));
    }

    fn discover(&self, servers: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        let this = self.clone();
        Box::pin(async move { this.discover_all(servers).await })
    }

    fn call(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        let this = self.clone();
        Box::pin(async move { this.call_now(call, meta).await })
    }

    fn round(&self, call: ToolCall, onward: Onward, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Came, Error>> {
        match onward {
            Onward::Begin => self.begin(call, meta),
            Onward::Answer(asks, answers) => self.go_on(call, &asks, answers, meta),
        }
    }

    fn is_open(&self, asks: &Asks) -> bool {
        self.is_set_aside(asks)
    }

    fn look(&self, call: ToolCall, work: Underway) -> BoxFuture<Result<Look, Error>> {
        let (this, teller) = (self.clone(), step_teller());
        Box::pin(async move { this.look_at(call, work, teller).await })
    }

    fn update(
        &self,
        call: ToolCall,
        work: Underway,
        asks: Arc<Asks>,
        answers: Answers,
    ) -> BoxFuture<Result<(), Error>> {
        let this = self.clone();
        Box::pin(async move { this.bring(call, work, &asks, answers).await })
    }

    fn call_off(&self, call: ToolCall, left: Left) -> BoxFuture<Result<(), Error>> {
        let this = self.clone();
        Box::pin(async move {
            match left {
                Left::Open(asks) => this.let_go(&asks),
                Left::Work(work) => {
                    let handle = TaskHandle { id: work.id, poll_ms: None, ttl_ms: None };
                    this.cancel_task(&call, &handle).await?;
                }
            }
            Ok(())
        })
    }

    fn prompt(&self, prompt: PromptRef) -> BoxFuture<Result<Value, Error>> {
        let this = self.clone();
        Box::pin(async move { this.get_prompt(prompt).await })
    }

    fn read(&self, resource: ResourceRef) -> BoxFuture<Result<Value, Error>> {
        let ResourceRef { server, uri } = resource;
        self.call(
            ToolCall { server, tool: resources::READ.to_owned(), arguments: json!({ "uri": uri }) },
            BTreeMap::new(),
        )
    }
}

/// What a rule's pattern may match: the name the model sees, the one it would see if nothing collided, and the plain one.
pub(crate) fn all_names(name: &str, server: &str, tool: &str) -> [String; 3] {
    [name.to_owned(), plain_name(server, tool), format!("{server}_{tool}")]
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
