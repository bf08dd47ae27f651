//! What a run of an agent carries besides its input (DESIGN rule 14): everything that was read from files when it began.
//! Secrets are in it only as references. It decides nothing and starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use abide_llm::{ModelConfig, Policy, Redactor, Vars};
use abide_mcp::{ServerConfig, ToolRule};
use serde::{Deserialize, Serialize};

use super::compose::Composer;
use super::composition::Composition;
use crate::config::{AgentDef, ConfigError, ConsentKind, ConsentRequest, Consented, Project, WorkflowDef};
use crate::{Definition, HostError};

/// The newest layout that this build reads, and writes for workflows.
const VERSION: u32 = 2;
/// The layout of a single agent's run, which older builds read, too.
const AGENT_VERSION: u32 = 1;

/// An agent or a workflow with all that it needs, as a run has pinned it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRun {
    version: u32,
    /// Who works: under `agent` or `workflow`. Agents' texts are in the written form of [`Redactor`].
    #[serde(flatten)]
    pub work: Composition,
    /// The declarations of their servers.
    pub servers: Vec<ServerConfig>,
    /// The rules for tools, as the files say them: which of them hold is settled by `consents`.
    pub rules: Vec<ToolRule>,
    /// The servers whose annotations the files believe; which of them are believed is settled by `consents`.
    pub trusted: BTreeSet<String>,
    /// Which servers may have a model asked, as the files say it; which `allow` holds is settled by `consents`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sampling: BTreeMap<String, Policy>,
    /// All that the files need the user's consent for. Whether it was given is looked up when the run goes on.
    pub consents: Vec<ConsentRequest>,
}

impl AgentRun {
    /// What a run of this agent pins; `model` is the name of a model that takes the place of the agent's own.
    pub fn pin(project: &Project, def: &AgentDef, model: Option<&str>) -> Result<Self, ConfigError> {
        let mut composer = Composer::new(project, model);
        let work = composer.agent(def)?;
        Self::of(project, AGENT_VERSION, work, composer)
    }

    /// What a run of this workflow pins, and what the user should know of its agents' files; `model` takes the place of every agent's own.
    pub fn pin_workflow(
        project: &Project,
        def: &WorkflowDef,
        model: Option<&str>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let mut composer = Composer::new(project, model);
        let work = composer.workflow(def)?;
        let warnings = std::mem::take(&mut composer.warnings);
        Ok((Self::of(project, VERSION, work, composer)?, warnings))
    }

    fn of(project: &Project, version: u32, work: Composition, found: Composer<'_>) -> Result<Self, ConfigError> {
        // What the files say is pinned whole; what of it holds depends on consent, which may still be given.
        let all = project.consented()?.to_everything();
        let mut trusted = project.trusted(&all);
        let mut sampling = project.sampling(&all);
        trusted.retain(|name| !found.inline.contains(name));
        sampling.retain(|name, _| !found.inline.contains(name) && found.servers.contains_key(name));
        let servers = found.servers.into_values().collect();
        let (rules, consents) = (project.tool_rules(&all), found.consents);
        Ok(Self { version, work, servers, rules, trusted, sampling, consents })
    }

    /// Reads what a run carries.
    pub fn read(run: &str, definition: &Definition) -> Result<Self, HostError> {
        let unreadable = |why: String| HostError::Environment { run: run.to_owned(), why };
        let body = definition.body.as_deref().ok_or_else(|| unreadable("it carries no definition".to_owned()))?;
        let version = serde_json::from_str::<Version>(body).map_or(0, |found| found.version);
        if version > VERSION {
            return Err(unreadable(format!(
                "its definition is of version {version}, and this abide reads up to {VERSION}: use a newer one"
            )));
        }
        serde_json::from_str(body).map_err(|error| unreadable(format!("its definition cannot be read: {error}")))
    }

    /// What to give to `Start::definition`: the texts in their written form, the project's root beside them.
    pub fn definition(&self, root: &Path, redactor: &Redactor) -> Result<Definition, serde_json::Error> {
        let mut written = self.clone();
        written.work.edit(&mut |agent| {
            agent.hide_texts(redactor);
            agent.description = redactor.hide(&agent.description).into_owned();
        });
        let body = Some(serde_json::to_string(&written)?);
        Ok(Definition { body, root: Some(root.to_string_lossy().into_owned()) })
    }

    /// The root that belongs to a definition.
    pub fn root(definition: &Definition) -> PathBuf {
        PathBuf::from(definition.root.as_deref().unwrap_or("."))
    }

    /// Tells the redactor every secret that this run can meet, as far as it is set.
    pub fn teach(&self, root: &Path, vars: &dyn Vars, redactor: &Redactor) {
        for model in self.models() {
            model.teach(vars, redactor);
        }
        for server in &self.servers {
            abide_mcp::teach_secrets(server, root, vars, redactor);
        }
    }

    /// All models that it can call.
    pub(super) fn models(&self) -> Vec<&ModelConfig> {
        self.work.models()
    }

    /// The rules that hold: without consent a project's `allow` or weaker effect is left out.
    pub(super) fn rules(&self, consented: &Consented) -> Vec<ToolRule> {
        let missing = consented.missing(&self.consents);
        let refused = |rule: &ToolRule, kind| missing.iter().any(|r| r.kind == kind && r.subject == rule.pattern);
        let hold = |rule: &ToolRule| ToolRule {
            policy: rule.policy.filter(|_| !refused(rule, ConsentKind::AllowTools)),
            effect: rule.effect.filter(|_| !refused(rule, ConsentKind::WeakerEffect)),
            ..rule.clone()
        };
        self.rules.iter().map(hold).collect()
    }

    /// The servers that are believed.
    pub(super) fn trusted(&self, consented: &Consented) -> BTreeSet<String> {
        let missing = consented.missing(&self.consents);
        let refused = |name: &String| missing.iter().any(|r| r.kind == ConsentKind::TrustServer && r.subject == *name);
        self.trusted.iter().filter(|name| !refused(name)).cloned().collect()
    }

    /// Which servers may have a model asked.
    pub(super) fn sampling(&self, consented: &Consented) -> BTreeMap<String, Policy> {
        let missing = consented.missing(&self.consents);
        let refused =
            |name: &String| missing.iter().any(|r| r.kind == ConsentKind::AllowSampling && r.subject == *name);
        let holds = |(name, policy): &(&String, &Policy)| **policy != Policy::Allow || !refused(name);
        self.sampling.iter().filter(holds).map(|(name, policy)| (name.clone(), *policy)).collect()
    }

    /// What has to be consented to before the model or one of its fallbacks may be called.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &ConsentRequest> {
        self.consents.iter().filter(|request| request.kind == ConsentKind::UseEndpoint)
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
