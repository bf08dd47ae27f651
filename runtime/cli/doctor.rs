//! `abide doctor`: is everything there that a run needs? It starts only servers that the user has consented to, and calls no
//! model.

use std::sync::Arc;

use abide_llm::{ModelConfig, Redactor, Tools as _};
use abide_mcp::{Host, Servers};
use serde::Serialize;

use super::failure::{ENVIRONMENT, Failure};
use super::session::Session;
use crate::Abide;
use crate::config::{Consented, Project};
use crate::os::GroupLauncher;
use crate::vault::FileVault;

/// What was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    /// `ok`, `note` (worth knowing, and fine) or `problem`.
    status: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Check],
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Check { name: name.into(), status: "ok", detail: detail.into() });
    }

    fn note(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Check { name: name.into(), status: "note", detail: detail.into() });
    }

    fn problem(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Check { name: name.into(), status: "problem", detail: detail.into() });
    }
}

/// Carries out `abide doctor`.
pub(crate) async fn doctor(session: &Session) -> Result<(), Failure> {
    let mut checks = Checks::default();
    checks.ok("abide", format!("{} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH));
    checks.ok("sqlite", rusqlite::version());
    terminal(session, &mut checks);
    database(session, &mut checks).await;
    match Project::load(&session.env) {
        Ok(project) => files(&project, &mut checks).await,
        Err(error) => checks.problem("configuration", format!("{error}\n{}", error.help())),
    }
    let Checks(checks) = checks;
    let problems = checks.iter().filter(|check| check.status == "problem").count();
    if session.screen.json {
        session.screen.document(&Document { ok: problems == 0, checks: &checks })?;
    } else {
        for check in &checks {
            let detail = check.detail.trim_end().replace('\n', "\n           ");
            session.screen.data(&format!("{:<8} {}: {detail}", check.status, check.name));
        }
    }
    if problems == 0 {
        return Ok(());
    }
    let s = if problems == 1 { "" } else { "s" };
    Err(Failure::new(ENVIRONMENT, "doctor", format!("{problems} problem{s} found"), "each says above what to do"))
}

fn terminal(session: &Session, checks: &mut Checks) {
    let screen = &session.screen;
    let asked =
        if screen.interactive { "questions are asked here" } else { "nobody can be asked here: runs park instead" };
    let drawn = if screen.ansi { "colours" } else { "plain lines" };
    checks.ok("terminal", format!("{asked}; {drawn}"));
}

async fn database(session: &Session, checks: &mut Checks) {
    let path = session.db.path.display();
    if session.db.path.symlink_metadata().is_err() {
        return checks.note("database", format!("there is none yet; `abide run` would make {path}"));
    }
    match Abide::open(&session.db.path).existing().recover(false).start().await {
        Ok(abide) => {
            match abide.list(1) {
                Ok(_) => checks.ok("database", path.to_string()),
                Err(error) => checks.problem("database", format!("{error}\n{}", error.help())),
            }
            abide.shutdown().await;
        }
        Err(error) => checks.problem("database", format!("{error}\n{}", error.help())),
    }
}

async fn files(project: &Project, checks: &mut Checks) {
    checks.ok("project", project.root().display().to_string());
    for file in project.files() {
        checks.ok("settings", file.display().to_string());
    }
    for warning in project.warnings() {
        checks.note("settings", warning.clone());
    }
    let (agents, errors) = project.agents();
    for agent in &agents {
        match project.model_named(agent.model.as_deref()) {
            Ok(_) => checks.ok(format!("agent {}", agent.name), agent.path.display().to_string()),
            Err(error) => checks.problem(format!("agent {}", agent.name), format!("{error}\n{}", error.help())),
        }
    }
    for error in errors {
        checks.problem("agents", format!("{error}\n{}", error.help()));
    }
    models(project, checks);
    match project.consented() {
        Ok(consented) => servers(project, consented, checks).await,
        Err(error) => checks.problem("consent", format!("{error}\n{}", error.help())),
    }
}

fn models(project: &Project, checks: &mut Checks) {
    for name in project.model_names() {
        let check = format!("model {name}");
        match project.model_named(Some(name)) {
            Ok(model) => match missing(project, &model) {
                None => checks.ok(check, format!("{} at {}", model.model, model.base_url_template())),
                Some(why) => checks.problem(check, why),
            },
            Err(error) => checks.problem(check, format!("{error}\n{}", error.help())),
        }
    }
}

/// What a call of this model would lack.
fn missing(project: &Project, model: &ModelConfig) -> Option<String> {
    let vars = project.vars();
    let url = abide_llm::expand(model.base_url_template(), &vars).err().map(|missing| missing.to_string());
    let mut secrets = model.api_key.iter().chain(model.headers.values());
    url.or_else(|| secrets.find_map(|secret| secret.resolve(&vars).err()).map(|error| error.message().to_owned()))
}

async fn servers(project: &Project, consented: Consented, checks: &mut Checks) {
    let consented = Arc::new(consented);
    let host = Host {
        launcher: Arc::new(GroupLauncher),
        consent: consented.clone(),
        redactor: Redactor::default(),
        vault: Arc::new(FileVault::new(project.env())),
        limits: project.limits().of_servers(),
    };
    let declared = match project.for_servers(&[], &consented) {
        Ok(declared) => declared,
        Err(error) => return checks.problem("servers", format!("{error}\n{}", error.help())),
    };
    let servers = Servers::new(host, declared);
    for server in project.servers() {
        let name = format!("server {}", server.name);
        if !consented.covers(&consented.start_request(server)) {
            checks.note(name, format!("not started: {} asks for your consent first (`abide trust`)", server.file));
            continue;
        }
        match servers.discover(vec![server.name.clone()]).await {
            Ok(tools) => checks.ok(name, format!("{} tools", tools.len())),
            Err(error) => checks.problem(name, error.message()),
        }
    }
    servers.shutdown().await;
}
