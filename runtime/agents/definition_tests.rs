//! Tests of what a run pins: everything that files said, no secret, and what of it holds with and without consent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use super::*;
use crate::config::Env;

const SETTINGS: &str = r#"
[models.far]
provider = "openai"
base_url = "https://models.example.com/v1"
model = "m"
api_key = "literal-key-1234"
[servers.fs]
trust = true
[tools."fs_*"]
policy = "allow"
effect = "pure"
timeout_s = 5
"#;

fn project(dir: &Path) -> (Project, AgentDef) {
    std::fs::write(dir.join("abide.toml"), SETTINGS).unwrap();
    let servers =
        r#"{"mcpServers": {"fs": {"command": "x", "env": {"TOKEN": "${TOKEN}"}}, "other": {"command": "y"}}}"#;
    std::fs::write(dir.join(".mcp.json"), servers).unwrap();
    let text = "---\nname: a\nmodel: far\nmcpServers: [fs]\ntools: [\"fs_*\"]\ndisallowedTools: fs_rm\nmaxTurns: 3\n---\nUse tok-12345678.\n";
    std::fs::write(dir.join("a.md"), text).unwrap();
    let vars = [("TOKEN".to_owned(), "tok-12345678".to_owned())].into();
    let env = Env { cwd: dir.to_path_buf(), vars, config_base: Some(dir.join("config")) };
    let project = Project::load(&env).unwrap();
    let agent = project.agent("a.md").unwrap();
    (project, agent)
}

#[test]
fn a_definition_holds_what_files_said_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (project, def) = project(dir.path());
    let pinned = AgentRun::pin(&project, &def, None).unwrap();
    let agent = pinned.work.agents()[0];
    assert_eq!((agent.max_turns, agent.servers.as_slice()), (3, &["fs".to_owned()][..]));
    assert_eq!(pinned.servers.len(), 1);
    let redactor = Redactor::default();
    pinned.teach(dir.path(), &project.vars(), &redactor);
    let definition = pinned.definition(dir.path(), &redactor).unwrap();
    let body = definition.body.clone().unwrap();
    assert!(body.starts_with(r#"{"version":1,"agent":{"#), "as older builds read it: {body}");
    assert!(!body.contains("tok-12345678") && !body.contains("literal-key-1234"), "{body}");
    let back = AgentRun::read("r", &definition).unwrap();
    assert_eq!(back.work.agents()[0].instructions, "Use ${TOKEN}.");
    assert_eq!((&back.servers, &back.rules, &back.consents), (&pinned.servers, &pinned.rules, &pinned.consents));
    assert_eq!(AgentRun::root(&definition), dir.path());
}

#[test]
fn a_workflow_pins_everybody_in_it_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    drop(project(dir.path()));
    let workflows = "[defaults]\nmodel = \"far\"\n[workflows.w]\npattern = \"orchestrator\"\nagents = [\"a.md\", \"inner\"]\n\
                     [workflows.inner]\npattern = \"router\"\nembed = \"openai/v\"\nagents = [\"a.md\"]\n";
    std::fs::write(dir.path().join("abide.toml"), format!("{SETTINGS}{workflows}")).unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let vars = [("TOKEN".to_owned(), "tok-12345678".to_owned())].into();
    let env = Env { cwd: below, vars, config_base: Some(dir.path().join("config")) };
    let project = Project::load(&env).unwrap();
    let (pinned, _) = AgentRun::pin_workflow(&project, &project.workflows()["w"], None).unwrap();
    let names: Vec<&str> = pinned.work.agents().iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["a", "a", "planner", "synthesizer"]);
    assert_eq!(
        (pinned.servers.len(), pinned.work.models().len(), pinned.work.workflow_name().as_str()),
        (1, 5, "workflow:w")
    );
    assert_eq!(pinned.endpoints().count(), 1, "asked for once");
    let redactor = Redactor::default();
    pinned.teach(dir.path(), &project.vars(), &redactor);
    let definition = pinned.definition(dir.path(), &redactor).unwrap();
    let body = definition.body.clone().unwrap();
    assert!(body.starts_with(r#"{"version":2,"workflow":{"#), "{body}");
    assert!(!body.contains("tok-12345678") && !body.contains("literal-key-1234"), "{body}");
    let back = AgentRun::read("r", &definition).unwrap();
    assert!(back.work.work().is_ok() && back.work.agents().iter().all(|agent| !agent.instructions.contains("tok-")));
}

#[test]
fn what_holds_depends_on_the_consent_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let (project, def) = project(dir.path());
    let pinned = AgentRun::pin(&project, &def, None).unwrap();
    assert!(pinned.endpoints().next().is_some());
    let before = project.consented().unwrap();
    let rule = &pinned.rules(&before)[0];
    assert_eq!((rule.policy, rule.effect, rule.timeout_s), (None, None, Some(5)));
    assert!(pinned.trusted(&before).is_empty());
    before.grant(&before.missing(&pinned.consents)).unwrap();
    let after =
        Project::consented_at(dir.path(), &Env { config_base: Some(dir.path().join("config")), ..Env::default() });
    let after = after.unwrap();
    assert_eq!(pinned.rules(&after), pinned.rules);
    assert_eq!(pinned.trusted(&after), pinned.trusted);
    assert!(after.missing(&pinned.consents).is_empty());
}

#[test]
fn another_model_may_be_named_and_needs_no_consent_of_the_agents_own() {
    let dir = tempfile::tempdir().unwrap();
    let (project, def) = project(dir.path());
    let pinned = AgentRun::pin(&project, &def, Some("openai/x")).unwrap();
    assert_eq!(pinned.work.agents()[0].model.as_ref().unwrap().model, "x");
    assert!(pinned.endpoints().next().is_none());
}

#[test]
fn a_definition_that_cannot_be_read_says_why() {
    for (body, expected) in
        [(None, "carries no definition"), (Some("{"), "cannot be read"), (Some(r#"{"version": 3}"#), "of version 3")]
    {
        let definition = Definition { body: body.map(str::to_owned), root: None };
        let error = AgentRun::read("r", &definition).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 8);
    }
}
