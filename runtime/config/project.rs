//! A project as its files describe it, merged with the user's own. It only reads: starting, asking and running are
//! others' work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abide_llm::{Agent, Limit, ModelConfig, Policy};
use abide_mcp::{Rules, ServerConfig, ToolRule};

use super::abide_toml::{self, Settings};
use super::agent_file::AgentDef;
use super::agents;
use super::consent::{ConsentRequest, Consented, Requests};
use super::discover::Env;
use super::error::{ConfigError, Origin, Place, nearest};
use super::limits::Limits;
use super::models;
use super::node::At;
use super::preference::preferred;
use super::secrets::FileVars;
use super::servers::{self, Declared};
use super::trust::TrustStore;
use super::workflows::WorkflowDef;
use crate::Queue;

/// Everything that a project's files and the user's own say.
pub struct Project {
    root: PathBuf,
    env: Env,
    settings: Settings,
    servers: BTreeMap<String, Declared>,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
}

impl fmt::Debug for Project {
    /// Only where it is: literal keys stand in the settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("root", &self.root).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Project {
    /// Finds and reads all files. An error names the file, the line and what to do.
    pub fn load(env: &Env) -> Result<Self, ConfigError> {
        Self::load_at(&env.project_root(), env)
    }

    /// The same for a known root, as a run has stored it.
    pub fn load_at(root: &Path, env: &Env) -> Result<Self, ConfigError> {
        let files = env.settings_files(root);
        let settings = abide_toml::load(&files)?;
        let (servers, warnings) = servers::load(root, &settings)?;
        let files = files.into_iter().map(|(path, _)| path).collect();
        Ok(Self { root: root.to_path_buf(), env: env.clone(), settings, servers, files, warnings })
    }

    /// The project's root, against which its servers' relative paths resolve.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The surroundings it was found in.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// The `abide.toml` files that were read, the nearest first.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the user should know and that stops nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The names in `[models]`.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        self.settings.models.keys().map(String::as_str)
    }

    /// The model of this name: an entry of `[models]`, `cheapest`, `fastest` or `smartest` among them, `sonnet`, `opus` or `haiku`, or `vendor/NAME`. None and
    /// `inherit` mean `[defaults].model`.
    pub fn model_named(&self, name: Option<&str>) -> Result<ModelConfig, ConfigError> {
        models::named(&self.settings, &self.root, name, &self.vars())
    }

    /// Does `[defaults]` name a model?
    pub fn names_default_model(&self) -> bool {
        self.settings.default_model.is_some()
    }

    /// The model of an agent; `model` is the name of one that takes the place of its own.
    pub fn model_of(&self, def: &AgentDef, model: Option<&str>) -> Result<ModelConfig, ConfigError> {
        match (model, &def.model) {
            (None, Some(own)) => self.model_named(Some(own)).map_err(|error| error.asked_at(&def.place("model"))),
            _ => self.model_named(model),
        }
    }

    /// `[budget]`: what a run may spend, with all runs that it starts.
    pub fn budget(&self) -> Limit {
        self.settings.budget
    }

    /// A budget in money needs a price for every model that may be asked: an unknown one is never invented.
    pub fn check_prices(&self, agent: &Agent) -> Result<(), ConfigError> {
        if agent.budget.max_cost_usd.or(agent.run_budget.max_cost_usd).is_none() {
            return Ok(());
        }
        let vars = self.vars();
        let all = agent.model.iter().flat_map(|model| std::iter::once(model).chain(&model.fallback));
        match all.into_iter().find(|model| !model.has_price(&vars)) {
            None => Ok(()),
            Some(model) => Err(ConfigError::Price {
                problem: format!(
                    "nobody knows the price of model `{}` at its address, so max_cost_usd cannot be kept",
                    model.model
                ),
                help: "add to its [models] entry in abide.toml what it costs for a million tokens: price = { input = 3.0, output = \
                       15.0 }"
                    .to_owned(),
            }),
        }
    }

    /// `[limits]`, with what holds where nothing is said.
    pub fn limits(&self) -> Limits {
        self.settings.limits
    }

    /// `[workflows]`, as they stand in the files.
    pub fn workflows(&self) -> &BTreeMap<String, WorkflowDef> {
        &self.settings.workflows
    }

    /// `[queues]`, by name.
    pub fn queues(&self) -> &BTreeMap<String, Queue> {
        &self.settings.queues
    }

    /// The declared servers, by name.
    pub fn servers(&self) -> impl Iterator<Item = &ServerConfig> {
        self.servers.values().map(|server| &server.config)
    }

    /// A plain agent with the tools of this declared server, for a workflow whose table stands at `at`; none if nothing declares it.
    pub(crate) fn agent_of_server(
        &self,
        name: &str,
        model: Option<&str>,
        at: &Place,
    ) -> Result<Option<AgentDef>, ConfigError> {
        if !self.servers.contains_key(name) {
            return Ok(None);
        }
        let said = self.settings.servers.get(name).and_then(|entry| entry.description.as_ref());
        let about = said.map_or_else(|| format!("All that the MCP server `{name}` can do"), |said| said.value.clone());
        AgentDef::of_server(name, &about, model, at).map(Some)
    }

    /// All agents that can be named, by name, and the errors of files that cannot be read.
    pub fn agents(&self) -> (Vec<AgentDef>, Vec<ConfigError>) {
        agents::list(&self.root, &self.env, &self.settings.agents)
    }

    /// The agent that TARGET names: a path to an `.md` file, or a name. If there is none, the error knows the workflows, too.
    pub fn agent(&self, target: &str) -> Result<AgentDef, ConfigError> {
        agents::find(&self.root, &self.env, &self.settings.agents, target).map_err(|error| match error {
            ConfigError::NoSuchAgent { name, near, help } if !self.settings.workflows.is_empty() => {
                let workflows: Vec<&str> = self.settings.workflows.keys().map(String::as_str).collect();
                let near = nearest(&name, workflows.iter().copied()).map(str::to_owned).or(near);
                ConfigError::NoSuchAgent { near, help: format!("{help}; workflows: {}", workflows.join(", ")), name }
            }
            error => error,
        })
    }

    /// The servers that an agent uses, its inline ones included. One that nothing declares is an error that names the
    /// nearest.
    pub fn servers_of(&self, agent: &AgentDef) -> Result<Vec<ServerConfig>, ConfigError> {
        let Some(names) = &agent.servers else { return Ok(self.servers().cloned().collect()) };
        let found = names.iter().map(|name| {
            let inline = agent.inline_servers.iter().find(|server| server.name == *name);
            let server = inline.or_else(|| self.servers.get(name).map(|server| &server.config));
            server.cloned().ok_or_else(|| self.no_server(name, agent))
        });
        found.collect()
    }

    /// The error of an agent that names a server which it has not.
    pub(crate) fn no_server(&self, name: &str, agent: &AgentDef) -> ConfigError {
        let known: Vec<&str> = self.servers.keys().map(String::as_str).collect();
        let near =
            nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let there = if known.is_empty() {
            "none is declared yet".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        let key = if agent.lines.contains_key("servers") { "servers" } else { "mcpServers" };
        ConfigError::invalid(
            &agent.place(key),
            format!("the agent `{}` uses a server `{name}`, which nothing declares", agent.name),
            format!("{near}{there}; declare it under mcpServers in {}", self.root.join(".mcp.json").display()),
        )
    }

    /// Resolves references to variables and to literals in this project's files.
    pub fn vars(&self) -> FileVars {
        FileVars::new(&self.root, &self.env)
    }

    /// What the user has consented to so far. A damaged record is an error.
    pub fn consented(&self) -> Result<Consented, ConfigError> {
        let store = record(&self.env)?;
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let own = self.servers.values().filter(|server| !server.from_project);
        let mut own: BTreeSet<String> = own.map(|server| requests.start(&server.config, None).hash).collect();
        let (users, _) = self.agents();
        let inline = users.iter().filter(|agent| agent.origin == Origin::User).flat_map(|agent| &agent.inline_servers);
        own.extend(inline.map(|server| requests.start(server, None).hash));
        Ok(Consented::new(&self.root, &self.env, store, own))
    }

    /// The same for the root that a run has stored, also where its files are gone or broken by now: then the record alone
    /// counts.
    pub fn consented_at(root: &Path, env: &Env) -> Result<Consented, ConfigError> {
        match Self::load_at(root, env) {
            Ok(project) => project.consented(),
            Err(_) => Ok(Consented::new(root, env, record(env)?, BTreeSet::new())),
        }
    }

    /// All that this project's files need consent for, in a fixed order: servers, their annotations, tools, models.
    pub fn consent_requests(&self) -> Vec<ConsentRequest> {
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let mut all: Vec<_> = self.servers.keys().flat_map(|name| self.server_requests(&requests, name)).collect();
        all.extend(self.tool_requests(&requests));
        all.extend(self.settings.models.keys().filter_map(|name| self.endpoint_request(&requests, name)));
        all
    }

    /// What a run of this agent needs consent for; `model` is the name of the model it will use, if not its own.
    pub fn consent_requests_for(
        &self,
        agent: &AgentDef,
        model: Option<&str>,
    ) -> Result<Vec<ConsentRequest>, ConfigError> {
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let mut all = Vec::new();
        for server in self.servers_of(agent)? {
            if agent.inline_servers.contains(&server) {
                // The user's own among them are covered already.
                all.push(requests.start(&server, None));
            } else {
                all.extend(self.server_requests(&requests, &server.name));
            }
        }
        all.extend(self.tool_requests(&requests));
        all.extend(self.endpoint_requests(&requests, model.or(agent.model.as_deref()))?);
        Ok(all)
    }

    /// What a use of this model needs consent for; none means the default.
    pub fn consent_requests_for_model(&self, model: Option<&str>) -> Result<Vec<ConsentRequest>, ConfigError> {
        self.endpoint_requests(&Requests::new(&self.root, &self.vars()), model)
    }

    fn endpoint_requests(
        &self,
        requests: &Requests<'_>,
        model: Option<&str>,
    ) -> Result<Vec<ConsentRequest>, ConfigError> {
        let vars = self.vars();
        let default = self.settings.default_model.as_ref().map(|default| default.value.as_str());
        let name = model.filter(|name| *name != "inherit").or(default);
        let name = name.map(|name| preferred(&self.settings, &self.root, name, &vars)).transpose()?;
        let names = name.into_iter().flat_map(|name| models::with_fallbacks(&self.settings, name));
        Ok(names.filter_map(|name| self.endpoint_request(requests, name)).collect())
    }

    fn server_requests(&self, requests: &Requests<'_>, name: &str) -> Vec<ConsentRequest> {
        let Some(server) = self.servers.get(name) else { return Vec::new() };
        let start = server.from_project.then(|| requests.start(&server.config, Some(&server.at)));
        let sampling = Self::sampling_request(requests, name, server);
        start.into_iter().chain(Self::trust_request(requests, name, server)).chain(sampling).collect()
    }

    fn sampling_request(requests: &Requests<'_>, name: &str, server: &Declared) -> Option<ConsentRequest> {
        let asks = |policy: &&At<Policy>| policy.value == Policy::Allow && policy.at.origin == Origin::Project;
        server.sampling.as_ref().filter(asks).map(|policy| requests.sampling(name, &policy.at))
    }

    /// Which servers may have a model asked. Without consent a project's `allow` is left out.
    pub fn sampling(&self, consented: &Consented) -> BTreeMap<String, Policy> {
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let holds = |name: &str, server: &Declared| {
            Self::sampling_request(&requests, name, server).is_none_or(|request| consented.covers(&request))
        };
        let said = self.servers.iter().filter(|(name, server)| holds(name, server));
        said.filter_map(|(name, server)| Some((name.clone(), server.sampling.as_ref()?.value))).collect()
    }

    fn trust_request(requests: &Requests<'_>, name: &str, server: &Declared) -> Option<ConsentRequest> {
        let trust = server.trust.as_ref().filter(|trust| trust.value && trust.at.origin == Origin::Project)?;
        Some(requests.trust(name, &trust.at))
    }

    fn tool_requests(&self, requests: &Requests<'_>) -> Vec<ConsentRequest> {
        self.settings.tools.iter().flat_map(|(glob, entry)| requests.tools(glob, entry)).collect()
    }

    fn endpoint_request(&self, requests: &Requests<'_>, name: &str) -> Option<ConsentRequest> {
        let entry = self.settings.models.get(name)?;
        let url = entry.base_url.as_ref().filter(|url| url.at.origin == Origin::Project)?;
        requests.endpoint(name, &self.model_named(Some(name)).ok()?, &url.at)
    }

    /// The servers whose annotations are believed. Without consent a project's `trust = true` does not count.
    pub fn trusted(&self, consented: &Consented) -> BTreeSet<String> {
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let believed = |(name, server): &(&String, &Declared)| {
            server.trust.as_ref().is_some_and(|trust| trust.value)
                && Self::trust_request(&requests, name, server).is_none_or(|request| consented.covers(&request))
        };
        self.servers.iter().filter(believed).map(|(name, _)| name.clone()).collect()
    }

    /// The `[tools]` rules, sorted by glob. Without consent a project's `allow` or weaker effect is left out of them.
    pub fn tool_rules(&self, consented: &Consented) -> Vec<ToolRule> {
        use super::consent::ConsentKind::{AllowTools, WeakerEffect};
        let vars = self.vars();
        let requests = Requests::new(&self.root, &vars);
        let rules = self.settings.tools.iter().map(|(glob, entry)| {
            let missing = consented.missing(&requests.tools(glob, entry));
            let refused = |kind| missing.iter().any(|request| request.kind == kind);
            ToolRule {
                pattern: glob.clone(),
                policy: entry.policy.as_ref().map(|p| p.value).filter(|_| !refused(AllowTools)),
                effect: entry.effect.as_ref().map(|e| e.value).filter(|_| !refused(WeakerEffect)),
                timeout_s: entry.timeout_s.as_ref().map(|s| s.value),
                max_timeout_s: entry.max_timeout_s.as_ref().map(|s| s.value),
                attempts: entry.attempts.as_ref().map(|n| n.value),
                reconcile: entry.reconcile.as_ref().map(|r| r.value.clone()),
            }
        });
        rules.collect()
    }

    /// What the MCP client needs to serve `agents`: the declared servers and the agents' inline ones, which win over
    /// declared ones of their names. Two agents with different inline servers of one name cannot share a client: give
    /// each its own.
    pub fn for_servers(&self, agents: &[&AgentDef], consented: &Consented) -> Result<abide_mcp::Project, ConfigError> {
        let inline = agents.iter().flat_map(|agent| &agent.inline_servers);
        let mut servers: BTreeMap<&str, &ServerConfig> =
            self.servers().map(|server| (server.name.as_str(), server)).collect();
        servers.extend(inline.clone().map(|server| (server.name.as_str(), server)));
        let (mut trusted, mut sampling) = (self.trusted(consented), self.sampling(consented));
        // `trust` was said of the declared server, not of an agent's own of the same name.
        for server in inline {
            trusted.remove(&server.name);
            sampling.remove(&server.name);
        }
        let rules = Rules::new(self.tool_rules(consented)).map_err(|error| ConfigError::Unresolved {
            problem: error.to_string(),
            help: "mend that table in abide.toml".to_owned(),
        })?;
        let servers = servers.into_values().cloned().collect();
        let (root, vars) = (self.root.clone(), Arc::new(self.vars()));
        Ok(abide_mcp::Project { root, servers, rules, trusted, sampling, vars })
    }
}

/// The user's record; none where there is no folder of the user's.
fn record(env: &Env) -> Result<Option<TrustStore>, ConfigError> {
    match TrustStore::open(env) {
        Ok(store) => Ok(Some(store)),
        Err(ConfigError::NoUserFolder) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "project_tests.rs"]
pub(in crate::config) mod tests;
