//! What a name means that somebody wants to run: an agent or a `[workflows]` table of the files as they are now. It starts nothing.

use super::definition::AgentRun;
use crate::Queue;
use crate::config::{ConfigError, Project};
#[cfg(feature = "cli")]
use crate::host::{Begin, LookUp, Named};

/// What a run of it is begun with.
pub struct Target {
    /// What the run carries.
    pub pinned: AgentRun,
    /// The queue that its files name.
    pub queue: Option<Queue>,
    /// What the user should know of them.
    pub warnings: Vec<String>,
}

impl Target {
    /// The workflow or the agent of this name, or the agent of this file; `model` takes the place of every agent's own.
    pub fn find(project: &Project, name: &str, model: Option<&str>) -> Result<Self, ConfigError> {
        if let Some(workflow) = project.workflows().get(name) {
            let (pinned, warnings) = AgentRun::pin_workflow(project, workflow, model)?;
            return Ok(Self { pinned, queue: project.queue_of_workflow(workflow)?, warnings });
        }
        let agent = project.agent(name)?;
        let queue = project.queue_of(&agent)?;
        Ok(Self { pinned: AgentRun::pin(project, &agent, model)?, queue, warnings: agent.warnings })
    }
}

#[cfg(feature = "cli")]
impl super::Agents {
    /// Looks up what schedules name, in the files as they are when it is due.
    pub(crate) fn look_up(&self) -> LookUp {
        let agents = self.clone();
        std::sync::Arc::new(move |named| agents.begin(named))
    }

    fn begin(&self, named: &Named<'_>) -> Result<Begin, String> {
        let told = |error: ConfigError| format!("{error}; {}", error.help());
        let project = Project::load_at(named.root, self.env()).map_err(told)?;
        let Target { pinned, queue, .. } = Target::find(&project, named.target, named.model).map_err(told)?;
        let queue = match named.queue {
            // What the file says of it now, but for the schedule's own priority.
            Some(queue) => Some(project.queue(&queue.name).map_err(told)?.priority(queue.priority)),
            None => queue,
        };
        let redactor = self.redactor("new", &pinned, project.root()).map_err(|error| error.to_string())?;
        let definition = pinned.definition(project.root(), &redactor);
        let definition = definition.map_err(|error| format!("the agent cannot be recorded: {error}"))?;
        Ok(Begin { workflow: pinned.work.workflow_name(), input: named.input.clone(), definition, queue })
    }
}
