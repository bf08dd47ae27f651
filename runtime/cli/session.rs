//! One call of the command line: its surroundings, its database, its screen. It makes a database for `run` alone, and ends
//! what it has started.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use abide_llm::Redactor;

use super::args::Cli;
use super::failure::{ENVIRONMENT, Failure, NOT_FOUND};
use super::hints::Hints;
use super::screen::Screen;
use crate::agents::{AgentRun, Agents, FACTORY, WORKFLOW_FACTORY};
use crate::config::{Database, DatabaseSource, Env, Project};
use crate::{Abide, Builder, Run};

/// What every verb works with.
pub(crate) struct Session {
    pub(crate) env: Env,
    pub(crate) db: Database,
    pub(crate) hints: Hints,
    pub(crate) screen: Screen,
    /// The workflows of the program whose command line this is.
    app: Mutex<Option<Builder>>,
}

/// An open database, and what works on its runs.
pub(crate) struct Opened {
    pub(crate) abide: Abide,
    pub(crate) agents: Agents,
}

impl Session {
    pub(crate) fn new(cli: &Cli, app: Option<Builder>) -> Result<Self, Failure> {
        let env = Env::of_process()?;
        let named = env.database(cli.db.as_deref());
        let db = match &app {
            Some(app) if !matches!(named.source, DatabaseSource::Flag | DatabaseSource::Variable) => {
                Database { path: env.cwd.join(app.path()), source: DatabaseSource::Found }
            }
            _ => named,
        };
        let hints = Hints::new(&db);
        let screen = Screen::new(cli.json, hints.clone());
        Ok(Self { env, db, hints, screen, app: Mutex::new(app) })
    }

    /// Has the queues hold what the files say now: a place that is more of one is given to those that wait. What is wrong with the files is told
    /// where they are needed.
    pub(crate) async fn limit_queues(&self, abide: &Abide) -> Result<(), Failure> {
        let Ok(project) = Project::load(&self.env) else { return Ok(()) };
        for queue in project.queues().values() {
            abide.limit(queue).await?;
        }
        Ok(())
    }

    /// Is this a workflow of the program itself?
    pub(crate) fn has_workflow(&self, name: &str) -> bool {
        self.app().as_ref().is_some_and(|app| app.has_workflow(name))
    }

    /// The workflows of the program itself.
    pub(crate) fn workflows(&self) -> Vec<crate::serve::Described> {
        self.app().as_ref().map(Builder::offered).unwrap_or_default()
    }

    fn app(&self) -> std::sync::MutexGuard<'_, Option<Builder>> {
        self.app.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the database that is there.
    pub(crate) async fn open(&self, trust: bool) -> Result<Opened, Failure> {
        let there = self.db.path.symlink_metadata();
        if matches!(there, Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Err(Failure::new(
                NOT_FOUND,
                "no_database",
                format!("there is no database {}", self.db.path.display()),
                "`abide run` makes one; call this in the project's folder, or name another with --db",
            ));
        }
        self.start(Agents::new(self.env.clone(), trust), true, false).await
    }

    /// Opens the database, making it if there is none.
    pub(crate) async fn open_or_make(&self, agents: Agents) -> Result<Opened, Failure> {
        self.make(agents, false).await
    }

    /// The same, to work on whatever is due or interrupted.
    pub(crate) async fn open_to_recover(&self, agents: Agents) -> Result<Opened, Failure> {
        self.make(agents, true).await
    }

    async fn make(&self, agents: Agents, recover: bool) -> Result<Opened, Failure> {
        if self.db.source == DatabaseSource::New
            && let Some(folder) = self.db.path.parent()
        {
            make_folder(folder).map_err(|error| {
                let message = format!("{} cannot be made: {error}", folder.display());
                Failure::new(
                    ENVIRONMENT,
                    "database",
                    message,
                    "check the folder's permissions, or name a file with --db",
                )
            })?;
        }
        self.start(agents, false, recover).await
    }

    async fn start(&self, agents: Agents, existing: bool, recover: bool) -> Result<Opened, Failure> {
        let app = self.app().take().map(|app| app.at(&self.db.path));
        // A program of its own has limits of its own.
        let limits = || Project::load(&self.env).map(|project| project.limits().runs).unwrap_or_default();
        let builder = app.unwrap_or_else(|| Abide::open(&self.db.path).limits(limits()));
        let builder = if existing { builder.existing() } else { builder };
        // Most verbs work on what they were told to, and leave other runs to others.
        let builder = builder.factory(FACTORY, agents.factory()).factory(WORKFLOW_FACTORY, agents.factory());
        let abide = builder.recover(recover).look_up(agents.look_up()).start().await?;
        Ok(Opened { abide, agents })
    }
}

impl Opened {
    /// Lets go of all runs, closes the database and ends the servers.
    pub(crate) async fn close(self) {
        self.abide.shutdown().await;
        self.agents.shutdown().await;
    }

    /// Knows the secrets that a run's texts must not hold; none for a run that is no agent's.
    pub(crate) fn redactor(&self, run: &Run) -> Result<Redactor, Failure> {
        if !is_agents(&run.inspect()?.workflow) {
            return Ok(Redactor::default());
        }
        let definition = run.definition()?;
        let pinned = AgentRun::read(run.id(), &definition)?;
        Ok(self.agents.redactor(run.id(), &pinned, &AgentRun::root(&definition))?)
    }
}

/// Is this the workflow of an agent or a `[workflows]` table from a file?
pub(crate) fn is_agents(workflow: &str) -> bool {
    workflow.split_once(':').is_some_and(|(factory, _)| [FACTORY, WORKFLOW_FACTORY].contains(&factory))
}

/// Makes `.abide`, for its owner only and ignored by git. One that is there is left as it is.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    crate::os::make_private_dir(folder)?;
    std::fs::write(folder.join(".gitignore"), "*\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_a_new_folder_is_told_to_be_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join(".abide");
        make_folder(&new).unwrap();
        assert_eq!(std::fs::read_to_string(new.join(".gitignore")).unwrap(), "*\n");
        std::fs::remove_file(new.join(".gitignore")).unwrap();
        make_folder(&new).unwrap();
        assert!(!new.join(".gitignore").exists());
        assert!(make_folder(&dir.path().join("a/b")).is_err());
    }

    #[test]
    fn agents_runs_are_told_by_their_workflow() {
        assert!(is_agents("agent:researcher") && is_agents("agent:a:b") && is_agents("workflow:report"));
        assert!(!is_agents("agent") && !is_agents("refund") && !is_agents("agents:x"));
    }
}
