//! `abide check`: reads every file that a run could read, says all that is wrong with them, and prints what would run. It starts
//! nothing, calls nothing and writes nothing. `abide schema` prints the form of `abide.toml`.

use abide_llm::ModelConfig;
use abide_mcp::Transport;
use serde::Serialize;

use super::failure::{ENVIRONMENT, Failure};
use super::session::Session;
use crate::agents::AgentRun;
use crate::config::{AgentDef, ConfigError, Project, WorkflowDef, schema};

/// What would run, and what keeps the rest from it.
#[derive(Debug, Default, Serialize)]
struct Document {
    ok: bool,
    files: Vec<String>,
    models: Vec<Named>,
    servers: Vec<Named>,
    agents: Vec<Named>,
    workflows: Vec<Named>,
    queues: Vec<Named>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

/// One thing that would be used.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    /// What it is, in a line.
    what: String,
}

#[derive(Debug, Serialize)]
struct Problem {
    /// What and where.
    message: String,
    /// What to do about it.
    help: String,
}

/// Carries out `abide check`.
pub(crate) fn check(session: &Session) -> Result<(), Failure> {
    let mut document = Document::default();
    match Project::load(&session.env) {
        Ok(project) => document.read(&project),
        Err(error) => document.problem(&error),
    }
    document.ok = document.problems.is_empty();
    if session.screen.json {
        session.screen.document(&document)?;
    } else {
        document.print(session);
    }
    match document.problems.len() {
        0 => Ok(()),
        n => {
            let s = if n == 1 { "" } else { "s" };
            Err(Failure::new(ENVIRONMENT, "check", format!("{n} problem{s} found"), "each says above what to do"))
        }
    }
}

/// Carries out `abide schema`.
pub(crate) fn print_schema(session: &Session) -> Result<(), Failure> {
    session.screen.document(&schema())
}

impl Document {
    fn problem(&mut self, error: &ConfigError) {
        let problem = Problem { message: error.to_string(), help: error.help() };
        // An agent's broken model is a problem once, however many use it.
        if !self.problems.iter().any(|known| known.message == problem.message) {
            self.problems.push(problem);
        }
    }

    /// Keeps what would run, or says why it would not.
    fn keep(&mut self, of: fn(&mut Self) -> &mut Vec<Named>, name: &str, what: Result<String, ConfigError>) {
        match what {
            Ok(what) => of(self).push(Named { name: name.to_owned(), what }),
            Err(error) => self.problem(&error),
        }
    }

    fn read(&mut self, project: &Project) {
        self.files = project.files().iter().map(|file| file.display().to_string()).collect();
        self.notes = project.warnings().to_vec();
        for name in project.model_names() {
            let model = project.model_named(Some(name)).map(|model| model_line(&model));
            self.keep(|it| &mut it.models, name, model);
        }
        if project.names_default_model()
            && let Err(error) = project.model_named(None)
        {
            self.problem(&error);
        }
        for server in project.servers() {
            let how = format!("{} ({})", transport(&server.transport), server.file);
            self.servers.push(Named { name: server.name.clone(), what: how });
        }
        let (agents, errors) = project.agents();
        for error in &errors {
            self.problem(error);
        }
        for agent in &agents {
            self.notes.extend(agent.warnings.iter().cloned());
            self.keep(|it| &mut it.agents, &agent.name, agent_line(project, agent));
        }
        for workflow in project.workflows().values() {
            self.keep(|it| &mut it.workflows, &workflow.name, workflow_line(project, workflow));
        }
        let queue =
            |queue: &crate::Queue| Named { name: queue.name.clone(), what: format!("{} at a time", queue.concurrency) };
        self.queues = project.queues().values().map(queue).collect();
    }

    fn print(&self, session: &Session) {
        let screen = &session.screen;
        let files: Vec<Named> =
            self.files.iter().map(|file| Named { name: file.clone(), what: String::new() }).collect();
        for (title, rows) in [
            ("settings", &files),
            ("models", &self.models),
            ("servers", &self.servers),
            ("agents", &self.agents),
            ("workflows", &self.workflows),
            ("queues", &self.queues),
        ] {
            if rows.is_empty() {
                continue;
            }
            screen.data(title);
            let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
            for row in rows {
                screen.data(format!("  {:<width$}  {}", row.name, row.what).trim_end());
            }
        }
        for note in &self.notes {
            screen.data(&format!("note: {note}"));
        }
        for problem in &self.problems {
            screen.data(&format!("problem: {}\n  {}", problem.message, problem.help.replace('\n', "\n  ")));
        }
        if self.problems.is_empty() {
            screen.data(if self.agents.is_empty() && self.workflows.is_empty() {
                "no problem found, but there is no agent either: write one into .abide/agents/NAME.md, or [agents.NAME] into abide.toml"
            } else {
                "no problem found"
            });
        }
    }
}

fn model_line(model: &ModelConfig) -> String {
    format!("{} at {} ({})", model.model, model.base_url_template(), model.provider.as_str())
}

/// What a run of the agent would be made of: all that pinning it needs is there.
fn agent_line(project: &Project, def: &AgentDef) -> Result<String, ConfigError> {
    let pinned = AgentRun::pin(project, def, None)?;
    project.queue_of(def)?;
    let agents = pinned.work.agents();
    let Some(agent) = agents.first() else { return Ok(String::new()) };
    let model = agent.model.as_ref().map(|model| model.model.clone()).unwrap_or_default();
    let servers = if agent.servers.is_empty() { "no servers".to_owned() } else { agent.servers.join(", ") };
    let tools = match &def.tools {
        Some(globs) if globs.is_empty() => "no tools".to_owned(),
        Some(globs) => format!("tools {}", globs.join(", ")),
        None => "all of their tools".to_owned(),
    };
    Ok(format!("{model}; {servers}; {tools}; {} turns; {}", agent.max_turns, def.path.display()))
}

/// What a run of the workflow would be made of: everybody that it names is there.
fn workflow_line(project: &Project, def: &WorkflowDef) -> Result<String, ConfigError> {
    AgentRun::pin_workflow(project, def, None)?;
    project.queue_of_workflow(def)?;
    let named: Vec<String> = def.named().map(|(key, name)| format!("{name} ({key})")).collect();
    let named = if named.is_empty() { String::new() } else { format!(" of {}", named.join(", ")) };
    Ok(format!("{}{named}; {}", def.pattern.as_str(), def.at))
}

fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Stdio { command, args, .. } => {
            std::iter::once(command).chain(args).cloned().collect::<Vec<_>>().join(" ")
        }
        Transport::Http { url, .. } => url.clone(),
        _ => String::new(),
    }
}
