//! Tests of finding agents: where they are looked for, who wins, and what is said when there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use super::*;

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { dir }
    }

    fn find(&self, target: &str) -> Result<AgentDef, ConfigError> {
        find(self.dir.path(), &self.env(), &Tables::new(), target)
    }

    fn env(&self) -> Env {
        Env { cwd: self.dir.path().to_path_buf(), config_base: Some(self.dir.path().join("config")), ..Env::default() }
    }
}

const NAMED: &str = "---\nname: researcher\n---\nnamed";

#[test]
fn the_first_folder_wins_and_the_users_comes_last() {
    let all = [".abide/agents/a.md", ".claude/agents/a.md", "config/abide/agents/a.md"];
    for first in 0..all.len() {
        let home = Home::with(&all[first..].iter().map(|path| (*path, *path)).collect::<Vec<_>>());
        let agent = home.find("a").unwrap();
        assert_eq!(agent.instructions, all[first]);
        assert_eq!(agent.origin, if first == 2 { Origin::User } else { Origin::Project });
    }
}

#[test]
fn a_name_in_the_file_beats_the_files_name() {
    let home =
        Home::with(&[(".abide/agents/researcher.md", "---\nname: other\n---\nx"), (".abide/agents/sub/z.md", NAMED)]);
    assert_eq!(home.find("researcher").unwrap().instructions, "named");
    assert_eq!(home.find("z").unwrap().instructions, "named", "by the file's name");
    let twice = Home::with(&[(".abide/agents/a.md", NAMED), (".abide/agents/b.md", NAMED)]);
    let error = twice.find("researcher").unwrap_err();
    assert!(error.to_string().contains("a.md") && error.to_string().contains("b.md"), "{error}");
}

#[test]
fn a_path_is_taken_as_it_is() {
    let home = Home::with(&[("mine.md", "do"), ("deep/other.MD", "do")]);
    assert_eq!(home.find("mine.md").unwrap().name, "mine");
    assert_eq!(home.find("deep/other.MD").unwrap().name, "other");
    let error = home.find("mien.md").unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("agent_not_found", 6));
}

#[test]
fn a_broken_agent_is_in_nobodys_way_but_its_own() {
    let home = Home::with(&[(".abide/agents/a.md", "---\nname: [\n---\nx"), (".abide/agents/b.md", NAMED)]);
    assert!(home.find("researcher").is_ok());
    assert_eq!(home.find("a").unwrap_err().code(), "config_invalid");
}

#[test]
fn a_missing_agent_is_answered_with_those_there_are() {
    let home =
        Home::with(&[(".abide/agents/b.md", NAMED), (".claude/agents/w.md", "do"), (".claude/agents/x.md", "---\n")]);
    let error = home.find("reasearcher").unwrap_err();
    assert!(error.to_string().contains("did you mean `researcher`?"), "{error}");
    let help = error.help();
    assert!(help.contains("researcher, w;") && help.contains("not readable") && help.contains("x.md:1"), "{help}");
    let none = Home::with(&[]).find("zzz").unwrap_err();
    assert!(none.help().contains("write zzz.md in one of") && !none.to_string().contains("did you mean"), "{none}");
}

#[test]
fn an_agent_of_abide_toml_goes_before_the_folders_of_its_owner() {
    let home = super::super::project::tests::Home::with(&[
        ("p/abide.toml", "[agents.a]\ninstructions = \"the project's table\"\n"),
        ("p/.abide/agents/a.md", "the project's file"),
        ("p/.abide/agents/b.md", "the project's file"),
        ("u/abide.toml", "[agents.b]\ninstructions = \"the user's table\"\n[agents.c]\ninstructions = \"c\"\n"),
        ("u/agents/c.md", "the user's file"),
    ]);
    let project = home.load().unwrap();
    let (agents, errors) = project.agents();
    assert!(errors.is_empty(), "{errors:?}");
    let listed: Vec<(&str, &str, Origin)> =
        agents.iter().map(|agent| (agent.name.as_str(), agent.instructions.as_str(), agent.origin)).collect();
    let wanted = [
        ("a", "the project's table", Origin::Project),
        ("b", "the project's file", Origin::Project),
        ("c", "c", Origin::User),
    ];
    assert_eq!(listed, wanted);
    for (name, instructions, _) in wanted {
        assert_eq!(project.agent(name).unwrap().instructions, instructions);
    }
}

#[test]
fn tables_with_instructions_are_agents_too() {
    let home = Home::with(&[
        (".abide/agents/a.yaml", "name: one\ndescription: first\ninstructions: |\n  Find\n  facts.\ntools: []\n"),
        (".abide/agents/b.json", "{\"name\": \"two\", \"prompt\": \"Write.\", \"maxTurns\": 3}"),
        (".abide/agents/schema.json", "{\"type\": \"object\"}"),
        ("c.yml", "instruction: Check.\nmcpServers: { m: { command: x, env: { KEY: secret-9 } } }\n"),
        ("d.json", "{\"instructions\": [1]}"),
        ("e.yaml", "name: e\n"),
    ]);
    let one = home.find("one").unwrap();
    assert_eq!((one.instructions.as_str(), one.description.as_str()), ("Find\nfacts.", "first"));
    assert_eq!(one.tools, Some(Vec::new()));
    let two = home.find("two").unwrap();
    assert_eq!((two.instructions.as_str(), two.max_turns), ("Write.", Some(3)));
    let (agents, errors) = list(home.dir.path(), &home.env(), &BTreeMap::new());
    assert_eq!((agents.len(), errors.len()), (2, 0), "a schema beside them is none: {errors:?}");
    let checker = home.find("c.yml").unwrap();
    assert_eq!((checker.name.as_str(), checker.instructions.as_str()), ("c", "Check."));
    let text = fs::read_to_string(home.dir.path().join("c.yml")).unwrap();
    let literal = super::super::agent_file::literal_at(&text, &home.dir.path().join("c.yml"), "mcpServers.m.env.KEY");
    assert_eq!(literal.as_deref(), Some("secret-9"));
    for (file, says) in [("d.json", "`instructions` must be text"), ("e.yaml", "the file has no instructions")] {
        let error = home.find(file).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
