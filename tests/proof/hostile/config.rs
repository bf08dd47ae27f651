//! The files that a user, or whoever wrote the project, gives: each is found, read, pinned and asked about as `abide run` does.

use std::collections::BTreeMap;
use std::path::Path;

use abide::agents::AgentRun;
use abide::config::{Env, Project};

use super::Attack;

/// The names of the files, by the first line of a seed.
const FILES: [&str; 5] = ["abide.toml", ".mcp.json", ".vscode/mcp.json", "helper.md", ".claude/agents/helper.md"];

pub fn attack(folder: &Path) -> Attack {
    let root = folder.join("project");
    let env = Env {
        cwd: root.clone(),
        vars: BTreeMap::from([("KEY".to_owned(), "sk-0123456789".to_owned())]),
        config_base: Some(folder.join("user")),
    };
    Box::new(move |input| {
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join(".vscode")).unwrap();
        std::fs::create_dir_all(root.join(".claude/agents")).unwrap();
        std::fs::write(root.join("helper.md"), "---\nname: helper\nmodel: openai/m\n---\nHelp.\n").unwrap();
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let name = FILES
            .iter()
            .find(|name| input[..end] == *name.as_bytes())
            .unwrap_or(&FILES[usize::from(input.first().copied().unwrap_or(0)) % 5]);
        std::fs::write(root.join(name), input.get(end + 1..).unwrap_or_default()).unwrap();
        let project = match Project::load(&env) {
            Ok(project) => project,
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.help().is_empty() && error.exit_code() > 0);
                return;
            }
        };
        let (agents, errors) = project.agents();
        assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        let _ = (project.warnings().len(), project.consent_requests(), project.limits(), project.budget());
        let consented = project.consented().unwrap();
        let _ = (project.trusted(&consented), project.tool_rules(&consented));
        for workflow in project.workflows().values() {
            if let Ok((pinned, _)) = AgentRun::pin_workflow(&project, workflow, None) {
                let definition = pinned.definition(&root, &abide_llm::Redactor::default()).unwrap();
                let read = AgentRun::read("r", &definition).unwrap();
                assert!(read.work == pinned.work && read.work.work().is_ok(), "what is pinned is read again, and runs");
            }
        }
        for agent in agents.iter().chain(project.agent("helper.md").as_ref().ok()) {
            let _ = agent.allows("fs", "read", "fs_read");
            let _ = project.for_servers(&[agent], &consented);
            if let Ok(pinned) = AgentRun::pin(&project, agent, None) {
                let redactor = abide_llm::Redactor::default();
                pinned.teach(&root, &project.vars(), &redactor);
                let definition = pinned.definition(&root, &redactor).unwrap();
                assert_eq!(
                    AgentRun::read("r", &definition).unwrap().servers,
                    pinned.servers,
                    "what is pinned is read again"
                );
            }
        }
    })
}
