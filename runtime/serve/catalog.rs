//! The tools that there are: one for each agent that `abide run` finds by name, and one for each workflow of the program. It reads
//! files anew each time, so that what is listed is what would run.

use std::collections::BTreeSet;

use abide_mcp::serve::{Lasts, Tool};
use serde_json::{Value, json};

use super::Shared;
use crate::agents::AgentRun;
use crate::config::{AgentDef, ConfigError, Project, WorkflowDef};

/// The longest name that every client accepts.
const LONGEST: usize = 64;

/// Hexadecimal digits of a hash where two names would be the same.
const SUFFIX: usize = 8;

/// A workflow of the program, as it is offered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What it does, for a model.
    pub description: Option<String>,
    /// The JSON schema of its input.
    pub input: Option<Value>,
}

/// What a tool starts.
pub(super) enum Target {
    Agent(Box<AgentDef>),
    /// Of a file's `[workflows]`.
    Composed(Box<WorkflowDef>),
    Workflow(Described),
}

impl Target {
    /// What a run of it carries; one of the program's own carries nothing.
    pub(super) fn pinned(&self, project: &Project) -> Result<AgentRun, ConfigError> {
        match self {
            Self::Agent(agent) => AgentRun::pin(project, agent, None),
            Self::Composed(def) => AgentRun::pin_workflow(project, def, None).map(|(pinned, _)| pinned),
            Self::Workflow(workflow) => Err(ConfigError::Unresolved {
                problem: format!("`{}` is a workflow of the program itself", workflow.name),
                help: String::new(),
            }),
        }
    }

    /// The queue that its files name.
    pub(super) fn queue(&self, project: &Project) -> Result<Option<crate::Queue>, ConfigError> {
        match self {
            Self::Agent(agent) => project.queue_of(agent),
            Self::Composed(def) => project.queue_of_workflow(def),
            Self::Workflow(_) => Ok(None),
        }
    }
}

/// A tool and what it starts.
pub(super) struct Entry {
    pub(super) tool: Tool,
    pub(super) target: Target,
}

impl Shared {
    /// All tools in a fixed order, and what is wrong with those that cannot be offered.
    pub(super) fn catalog(&self) -> (Vec<Entry>, Vec<String>) {
        let (mut entries, mut warnings) = (Vec::new(), Vec::new());
        let mut taken: BTreeSet<String> = super::runs::NAMES.map(str::to_owned).into();
        for workflow in &self.workflows {
            let name = name_for(&workflow.name, "workflow", &mut taken);
            let tool = described(&name, workflow, self.program());
            entries.push(Entry { tool, target: Target::Workflow(workflow.clone()) });
        }
        let project = match Project::load(&self.env) {
            Ok(project) => project,
            Err(error) => {
                warnings.push(format!("no agent is offered: {error}; {}", error.help()));
                return (entries, warnings);
            }
        };
        warnings.extend(project.warnings().iter().cloned());
        let (agents, broken) = project.agents();
        warnings.extend(broken.iter().map(|error| format!("not offered: {error}")));
        for agent in agents {
            let name = name_for(&agent.name, "agent", &mut taken);
            let (of, described, warned) = (agent.name.clone(), agent.description.clone(), agent.warnings.clone());
            let target = Target::Agent(Box::new(agent));
            match self.definition_of(&project, &target) {
                Ok(hash) => {
                    warnings.extend(warned);
                    entries.push(Entry { tool: of_files(&name, "agent", &of, &described, &hash), target });
                }
                Err(why) => warnings.push(format!("the agent `{of}` is not offered: {why}")),
            }
        }
        for (of, def) in project.workflows() {
            let name = name_for(of, "workflow", &mut taken);
            let target = Target::Composed(Box::new(def.clone()));
            let described = def.description.clone();
            match self.definition_of(&project, &target) {
                Ok(hash) => entries.push(Entry { tool: of_files(&name, "workflow", of, &described, &hash), target }),
                Err(why) => warnings.push(format!("the workflow `{of}` is not offered: {why}")),
            }
        }
        (entries, warnings)
    }

    /// The hash of what a run of it would carry.
    fn definition_of(&self, project: &Project, target: &Target) -> Result<String, String> {
        let pinned = target.pinned(project).map_err(|error| format!("{error}; {}", error.help()))?;
        let redactor = self.agents.redactor("new", &pinned, project.root()).map_err(|error| super::told(&error))?;
        let definition = pinned.definition(project.root(), &redactor).map_err(|error| error.to_string())?;
        Ok(blake3::hash(definition.body.unwrap_or_default().as_bytes()).to_hex().to_string())
    }

    /// The hash of this program: a workflow in Rust is what was compiled.
    fn program(&self) -> &str {
        self.program.get_or_init(|| {
            let read = std::env::current_exe().and_then(std::fs::File::open);
            let hash = read.and_then(|mut file| {
                let mut hasher = blake3::Hasher::new();
                std::io::copy(&mut file, &mut hasher).map(|_| hasher.finalize())
            });
            hash.map_or_else(|_| env!("CARGO_PKG_VERSION").to_owned(), |hash| hash.to_hex().to_string())
        })
    }
}

fn of_files(name: &str, kind: &str, of: &str, description: &str, hash: &str) -> Tool {
    let description = match description.trim() {
        "" => format!("Has the {kind} `{of}` do something"),
        described => described.to_owned(),
    };
    let input = json!({"type": "string", "minLength": 1, "description": "What it is to do"});
    tool(name, &description, &input, true, &json!({format!("io.abide/{kind}"): of, "io.abide/definition": hash}))
}

fn described(name: &str, workflow: &Described, hash: &str) -> Tool {
    let description = workflow.description.clone().unwrap_or_else(|| format!("Runs the workflow `{}`", workflow.name));
    let input = workflow.input.clone().unwrap_or_else(|| json!({"description": "Its input, as JSON"}));
    let meta = json!({"io.abide/workflow": workflow.name, "io.abide/definition": hash});
    tool(name, &description, &input, workflow.input.is_some(), &meta)
}

fn tool(name: &str, description: &str, input: &Value, required: bool, meta: &Value) -> Tool {
    // A person may paste commands that it stands in: it must be plain in any shell.
    let id = json!({"type": "string", "maxLength": 200, "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$",
        "description": "A key of your own: the same key is the same run, never a second one"});
    let mut schema = json!({"type": "object", "properties": {"input": input, "id": id}, "additionalProperties": false});
    if required {
        schema["required"] = json!(["input"]);
    }
    let definition = json!({"name": name, "description": description, "inputSchema": schema, "_meta": meta});
    Tool { definition, lasts: Lasts::May }
}

/// A name as every client accepts it, told apart from those that are taken.
fn name_for(name: &str, kind: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let reduced: String = name.chars().map(plain).collect();
    let mut given = reduced.clone();
    let mut salt = 0_u32;
    while given.len() > LONGEST || given.is_empty() || taken.contains(&given) {
        let hash = blake3::hash(format!("{kind}:{salt}:{name}").as_bytes()).to_hex();
        let kept: String = reduced.chars().take(LONGEST - SUFFIX - 1).collect();
        given = format!("{kept}_{}", hash.get(..SUFFIX).unwrap_or_default());
        salt += 1;
    }
    taken.insert(given.clone());
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_acceptable_and_told_apart() {
        let mut taken = BTreeSet::from(["runs_status".to_owned()]);
        let mut name = |name: &str, kind: &str| name_for(name, kind, &mut taken);
        assert_eq!(name("report", "workflow"), "report");
        let names = [
            name("report", "agent"),
            name("größe", "agent"),
            name("gr.ße", "agent"),
            name("runs_status", "agent"),
            name(&"x".repeat(100), "agent"),
            name("", "agent"),
        ];
        let fits = |name: &&String| {
            (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        assert!(names.iter().all(|name| fits(&name)), "{names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names[0].starts_with("report_") && names[1] == "gr__e", "{names:?}");
    }
}
