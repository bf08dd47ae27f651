//! `abide check`: every mistake is told with its file, its line and what to do about it, and what would run is printed.

use serde_json::json;

use crate::support::model::{Model, Say};
use crate::support::project::Project;

const MODEL: &str = "[models.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\n";
const AGENT: &str = "---\nname: helper\nmodel: local\n---\nYou help.\n";

/// A file that is broken: what stands in it, where the error is, what it says, and what it says to do.
struct Broken {
    file: &'static str,
    text: String,
    line: usize,
    says: &'static str,
    help: &'static str,
}

fn broken(file: &'static str, text: impl Into<String>, line: usize, says: &'static str, help: &'static str) -> Broken {
    Broken { file, text: text.into(), line, says, help }
}

const TOML: &str = "abide.toml";
const MD: &str = ".abide/agents/helper.md";
const MCP: &str = ".mcp.json";

/// After the model, from line 5 on.
fn after(more: &str) -> String {
    format!("{MODEL}{more}")
}

fn all() -> Vec<Broken> {
    vec![
        broken(TOML, after("[models.local\n"), 5, "not TOML", "mend that line"),
        broken(TOML, after("[modles.x]\n"), 5, "modles", "models"),
        broken(TOML, after("[models.x]\nprovidre = \"openai\"\n"), 6, "providre", "provider"),
        broken(
            TOML,
            after("[models.x]\nprovider = \"openia\"\nmodel = \"m\"\n"),
            6,
            "openai-responses",
            "provider = \"openai\"",
        ),
        broken(TOML, after("[models.x]\nmodel = \"m\"\n"), 5, "provider", "provider = \"openai\""),
        broken(
            TOML,
            after("[models.x]\nprovider = \"openai\"\nmodel = \"m\"\nfallback = [\"loacl\"]\n"),
            8,
            "loacl",
            "local",
        ),
        broken(TOML, after("[models.x]\nprovider = \"openai\"\nmodel = 7\n"), 7, "model", "model = \"smollm2\""),
        broken(
            TOML,
            after("[models.x]\nprovider = \"openai\"\nmodel = \"m\"\nmax_tokens = -1\n"),
            8,
            "max_tokens",
            "4096",
        ),
        broken(TOML, after("[servers.x]\ntrust = \"yes\"\n"), 6, "trust", "trust = true"),
        broken(
            TOML,
            after("[servers.x]\ncommand = \"npx\"\nurl = \"https://example.com\"\n"),
            7,
            "url",
            "keep the one",
        ),
        broken(
            TOML,
            after("[servers.x]\nprotocol = \"2024-11-05\"\ncommand = \"npx\"\n"),
            6,
            "2024-11-05",
            "2025-11-25",
        ),
        broken(TOML, after("[tools.\"x_*\"]\npolicy = \"maybe\"\n"), 6, "maybe", "ask"),
        broken(TOML, after("[tools.\"x_[\"]\npolicy = \"ask\"\n"), 5, "x_[", "memory_*"),
        broken(TOML, after("[tools.\"x_*\"]\neffect = \"twice\"\n"), 6, "twice", "once"),
        broken(TOML, after("[defaults]\nmodel = \"nobody\"\n"), 6, "nobody", "local"),
        broken(TOML, after("[budget]\nmax_cost_usd = \"much\"\n"), 6, "max_cost_usd", "2.0"),
        broken(TOML, after("[agents.x]\nmodel = \"local\"\n"), 5, "instructions", "instructions = \"You"),
        broken(TOML, after("[agents.x]\ninstructions = \"You.\"\nmodel = \"nobody\"\n"), 7, "nobody", "local"),
        broken(
            TOML,
            after("[agents.x]\ninstructions = \"You.\"\nmodel = \"local\"\nservers = [\"nobody\"]\n"),
            8,
            "nobody",
            "fix",
        ),
        broken(
            TOML,
            after("[models.x]\nprovider = \"openai\"\nmodel = \"m\"\nbounds = { texts = 3 }\n"),
            8,
            "texts",
            "text = 200",
        ),
        broken(MD, "---\nname: helper\nmodel: nobody\n---\nYou help.\n", 3, "nobody", "local"),
        broken(MD, "---\nname: helper\nmodel: local\ntoolz: [a]\n---\nYou help.\n", 4, "toolz", "tools"),
        broken(MD, "---\nname: helper\nmodel: local\nmcpServers: [nobody]\n---\nYou help.\n", 4, "nobody", "fix"),
        broken(MD, "---\nname: helper\nmodel: local\nmaxTurns: none\n---\nYou help.\n", 4, "maxTurns", "maxTurns: 10"),
        broken(MD, "---\nname: helper\nmodel: local\n---\n", 0, "no instructions", "what the agent is to do"),
        broken(MD, "---\nname: helper\nmodel: [local\n---\nYou help.\n", 3, "YAML", "mend"),
        broken(MCP, "{\"mcpServers\": {\"fix\": {\"comand\": \"x\"}}}\n", 1, "fix", "command"),
        broken(MCP, "{\"mcpServers\": {\n\"fix\": {,}\n}}\n", 2, "JSON", "correct that line"),
    ]
}

fn project() -> Project {
    let project = Project::new(&Model::new(|_, _| Say::Text("never asked")));
    std::fs::create_dir_all(project.root.join(".abide/agents")).unwrap();
    project.write(TOML, MODEL);
    project.write(MD, AGENT);
    project
}

#[test]
fn every_mistake_has_its_file_its_line_and_its_help() {
    let all = all();
    assert!(all.len() >= 20);
    let mut wrong = Vec::new();
    for Broken { file, text, line, says, help } in all {
        let project = project();
        project.write(file, &text);
        let out = project.abide(&["check", "--json"]);
        let document = if out.code == 8 { out.json() } else { json!({"problems": []}) };
        let problems = document["problems"].as_array().unwrap();
        let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}") };
        let found = problems.iter().any(|problem| {
            let (message, advice) = (problem["message"].as_str().unwrap(), problem["help"].as_str().unwrap());
            message.contains(&place) && message.contains(says) && advice.contains(help)
        });
        if problems.len() != 1 || !found {
            wrong.push(format!("{place} ({says}; {help}):\n{text}\n  {} {problems:#?} {}", out.code, out.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_would_run_is_printed_and_all_problems_at_once() {
    let project = project();
    project.write(".abide/agents/other.md", "---\nname: other\nmodel: local\ntools: []\n---\nYou rest.\n");
    let out = project.abide(&["check"]).is(0).stdout;
    for part in
        ["local", "m at http://127.0.0.1:9/v1 (openai)", "helper", "other", "no tools", "fix", "no problem found"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    project.write(".abide/agents/other.md", "---\nname: other\nmodel: nobody\n---\nYou rest.\n");
    project.write(MD, "---\nname: helper\n---\n");
    let document = project.abide(&["check", "--json"]).is(8).json();
    assert_eq!((&document["ok"], document["problems"].as_array().unwrap().len()), (&json!(false), 2), "{document}");
    assert!(!project.db().exists(), "it writes nothing");
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    let project = project();
    let schema = project.abide(&["schema"]).is(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(
        validator
            .is_valid(&json!({"models": {"local": {"provider": "openai", "model": "m"}}, "budget": {"max_tokens": 5}}))
    );
    assert!(!validator.is_valid(&json!({"models": {"local": {"providre": "openai"}}})));
}
