//! From names in files to what a run pins: looks up everybody that a workflow names, down to the agents. It pins nothing itself.

use std::collections::BTreeMap;
use std::path::Path;

use abide_llm::Agent;
use abide_mcp::ServerConfig;

use super::composition::{Composed, Composition};
use crate::config::{AgentDef, At, ConfigError, ConsentRequest, Pattern, Project, WorkflowDef};

/// Looks up what a run needs of a project's files.
pub(super) struct Composer<'p> {
    project: &'p Project,
    /// The name of a model that takes the place of every agent's own.
    model: Option<&'p str>,
    /// The workflows that are being composed, from the outermost in.
    within: Vec<String>,
    pub(super) servers: BTreeMap<String, ServerConfig>,
    pub(super) inline: Vec<String>,
    pub(super) consents: Vec<ConsentRequest>,
    pub(super) warnings: Vec<String>,
}

impl<'p> Composer<'p> {
    pub(super) fn new(project: &'p Project, model: Option<&'p str>) -> Self {
        Self {
            project,
            model,
            within: Vec::new(),
            servers: BTreeMap::new(),
            inline: Vec::new(),
            consents: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// An agent as its file describes it.
    pub(super) fn agent(&mut self, def: &AgentDef) -> Result<Composition, ConfigError> {
        let project = self.project;
        let servers = project.servers_of(def)?;
        let mut agent = Agent::new(&def.name)
            .description(&def.description)
            .instructions(&def.instructions)
            .model(project.model_of(def, self.model)?)
            .servers(servers.iter().map(|server| server.name.clone()))
            .deny(def.disallowed.iter().cloned());
        agent.allow.clone_from(&def.tools);
        agent.max_turns = def.max_turns.unwrap_or(agent.max_turns);
        let limits = project.limits();
        (agent.calls_per_turn, agent.identical_calls) = (limits.calls_per_turn, limits.identical_calls);
        (agent.budget, agent.run_budget, agent.priority) = (def.budget, project.budget(), def.priority);
        agent.tool_choice = def.tool_choice;
        agent.resources.clone_from(&def.resources);
        if let Some(resource) = def.resources.iter().find(|one| !servers.iter().any(|s| s.name == one.server)) {
            return Err(project.no_server(&resource.server, def));
        }
        let agent = project.equip(agent, def)?;
        project.check_prices(&agent)?;
        self.add_servers(def, servers)?;
        self.consent(project.consent_requests_for(def, self.model)?);
        self.inline.extend(def.inline_servers.iter().map(|server| server.name.clone()));
        let new = def.warnings.iter().filter(|warning| !self.warnings.contains(warning));
        let new: Vec<String> = new.cloned().collect();
        self.warnings.extend(new);
        Ok(Composition::Agent(Box::new(agent)))
    }

    /// A workflow with everybody in it.
    pub(super) fn workflow(&mut self, def: &WorkflowDef) -> Result<Composition, ConfigError> {
        if self.within.contains(&def.name) {
            let way = [self.within.as_slice(), std::slice::from_ref(&def.name)].concat().join(" -> ");
            let problem = format!("the workflow `{}` is in itself: {way}", def.name);
            let help = "leave it out of one of them; a workflow and an agent cannot share a name here";
            return Err(ConfigError::invalid(&def.at, problem, help));
        }
        self.within.push(def.name.clone());
        let mut parts: Vec<_> =
            def.agents.iter().map(|name| self.named(def, "agents", name)).collect::<Result<_, _>>()?;
        for server in &def.servers {
            parts.push(self.server(def, server)?);
        }
        let mut roles = BTreeMap::new();
        for (role, name) in &def.roles {
            roles.insert((*role).to_owned(), self.role(def, role, name)?);
        }
        for role in Composed::agents_of(def) {
            if !roles.contains_key(*role) {
                roles.insert((*role).to_owned(), self.plain(def, role)?);
            }
        }
        self.within.pop();
        let mut composed = Composed::of(def, parts, roles);
        if let (Pattern::Swarm, Some(Composition::Workflow(first))) = (def.pattern, composed.parts.first()) {
            let problem = format!("the first of `agents` of [workflows.{}] is the workflow `{}`", def.name, first.name);
            return Err(ConfigError::invalid(&def.at, problem, "begin with an agent: it has to hand over"));
        }
        if let Some(name) = &def.embed {
            composed.embed = Some(self.project.model_named(Some(name))?);
            composed.run_budget = self.project.budget();
            self.consent(self.project.consent_requests_for_model(Some(name))?);
        }
        Ok(Composition::Workflow(Box::new(composed)))
    }

    /// Whoever has this name: a workflow, else an agent.
    fn named(&mut self, by: &WorkflowDef, key: &str, name: &str) -> Result<Composition, ConfigError> {
        if let Some(def) = self.project.workflows().get(name) {
            return self.workflow(def);
        }
        // A path is one from the project's root here: the table may be read from any folder below.
        let is_path = name.contains(['/', '\\']) || AgentDef::is_file(Path::new(name));
        let target =
            if is_path { self.project.root().join(name).to_string_lossy().into_owned() } else { name.to_owned() };
        match self.project.agent(&target) {
            Ok(def) => self.agent(&def),
            Err(error @ ConfigError::NoSuchAgent { .. }) => Err(ConfigError::invalid(
                &by.at,
                format!("`{key}` of [workflows.{}] names `{name}`, and {error}", by.name),
                error.help(),
            )),
            Err(error) => Err(error),
        }
    }

    /// A plain agent with the tools of a server.
    fn server(&mut self, by: &WorkflowDef, name: &str) -> Result<Composition, ConfigError> {
        match self.project.agent_of_server(name, by.model.as_deref(), &by.at)? {
            Some(def) => self.agent(&def),
            None => {
                let problem = format!("`servers` of [workflows.{}] names `{name}`, which nothing declares", by.name);
                Err(ConfigError::invalid(&by.at, problem, "declare it under mcpServers in .mcp.json"))
            }
        }
    }

    fn role(&mut self, by: &WorkflowDef, role: &str, name: &At<String>) -> Result<Composition, ConfigError> {
        let found = self.named(by, role, &name.value)?;
        if matches!(found, Composition::Workflow(_)) && Composed::agents_of(by).contains(&role) {
            let problem = format!("`{role}` of [workflows.{}] is the workflow `{}`", by.name, name.value);
            return Err(ConfigError::invalid(&name.at, problem, "name an agent: it has to answer in one piece"));
        }
        Ok(found)
    }

    /// An agent that no file describes: a model and what the pattern tells it.
    fn plain(&mut self, by: &WorkflowDef, role: &str) -> Result<Composition, ConfigError> {
        let name = self.model.or(by.model.as_deref());
        let mut agent = Agent::new(role).model(self.project.model_named(name)?);
        agent.run_budget = self.project.budget();
        self.project.check_prices(&agent)?;
        self.consent(self.project.consent_requests_for_model(name)?);
        Ok(Composition::Agent(Box::new(agent)))
    }

    fn consent(&mut self, requests: Vec<ConsentRequest>) {
        for request in requests {
            if !self.consents.iter().any(|known| known.hash == request.hash) {
                self.consents.push(request);
            }
        }
    }

    fn add_servers(&mut self, def: &AgentDef, servers: Vec<ServerConfig>) -> Result<(), ConfigError> {
        for server in servers {
            match self.servers.get(&server.name) {
                Some(known) if *known != server => {
                    return Err(ConfigError::Unresolved {
                        problem: format!(
                            "{}: the agent `{}` has a server `{}` of its own, and another agent of the workflow a different \
                             one of that name",
                            def.path.display(),
                            def.name,
                            server.name
                        ),
                        help: "give one of them another name".to_owned(),
                    });
                }
                _ => _ = self.servers.insert(server.name.clone(), server),
            }
        }
        Ok(())
    }
}
