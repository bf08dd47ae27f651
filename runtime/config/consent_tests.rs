//! Tests of consent: what is asked for, what is not, and that nothing is granted by accident.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abide_mcp::Consent as _;

use super::*;
use crate::config::project::Project;
use crate::config::project::tests::Home;

const MCP: &str = r#"{"mcpServers": {"memory": {"command": "m", "env": {"NODE_OPTIONS": "literal-1"}}}}"#;
const RULES: &str = "[servers.memory]\ntrust = true\n[tools.\"memory_*\"]\npolicy = \"allow\"\neffect = \"pure\"\n\
                     [tools.\"other_*\"]\npolicy = \"deny\"\neffect = \"once\"";

fn asked(project: &Project) -> Vec<(ConsentKind, String)> {
    project.consent_requests().into_iter().map(|request| (request.kind, request.subject)).collect()
}

#[test]
fn a_projects_files_ask_and_the_users_own_do_not() {
    use ConsentKind::{AllowTools, StartServer, TrustServer, WeakerEffect};
    let project = Home::with(&[("p/.mcp.json", MCP), ("p/abide.toml", RULES)]).load().unwrap();
    let (memory, glob) = ("memory".to_owned(), "memory_*".to_owned());
    assert_eq!(
        asked(&project),
        [
            (StartServer, memory.clone()),
            (TrustServer, memory.clone()),
            (AllowTools, glob.clone()),
            (WeakerEffect, glob)
        ]
    );
    let shown = serde_json::to_string(&project.consent_requests()).unwrap();
    assert!(shown.contains("NODE_OPTIONS") && !shown.contains("literal-1"), "{shown}");
    assert!(shown.contains("abide.toml:2") && shown.contains("policy = \\\"allow\\\""), "{shown}");

    let own = Home::with(&[("p/.mcp.json", MCP), ("u/abide.toml", RULES)]).load().unwrap();
    assert_eq!(asked(&own), [(StartServer, memory)], "the rules are the user's own, the server is not");
    let server = format!("{RULES}\n[servers.own]\ncommand = \"o\"");
    let own = Home::with(&[("u/abide.toml", &server)]).load().unwrap();
    assert_eq!(asked(&own), []);
    let consented = own.consented().unwrap();
    assert!(own.servers().all(|server| consented.granted(server)), "what the user declares may start");
}

#[test]
fn what_a_project_changes_in_the_users_own_server_asks() {
    let home = Home::with(&[
        ("u/abide.toml", "[servers.own]\ncommand = \"o\""),
        ("p/abide.toml", "[servers.own]\nargs = [\"evil\"]"),
    ]);
    assert_eq!(asked(&home.load().unwrap()), [(ConsentKind::StartServer, "own".to_owned())]);
}

#[test]
fn without_consent_nothing_counts_and_with_it_everything_does() {
    let home = Home::with(&[("p/.mcp.json", MCP), ("p/abide.toml", RULES)]);
    let project = home.load().unwrap();
    let consented = project.consented().unwrap();
    let server = project.servers().next().unwrap();
    assert!(!consented.granted(server) && project.trusted(&consented).is_empty());
    let rules = project.tool_rules(&consented);
    assert_eq!((rules[0].policy, rules[0].effect), (None, None));
    assert_eq!((rules[1].policy, rules[1].effect), (Some(Policy::Deny), Some(Effect::Once)), "stricter needs none");

    consented.grant(&project.consent_requests()).unwrap();
    for consented in [consented, project.consented().unwrap(), home.load().unwrap().consented().unwrap()] {
        assert!(consented.granted(server) && project.trusted(&consented).contains("memory"));
        let rules = project.tool_rules(&consented);
        assert_eq!((rules[0].policy, rules[0].effect), (Some(Policy::Allow), Some(Effect::Pure)));
        assert!(consented.missing(&project.consent_requests()).is_empty());
    }
    let elsewhere = Home::with(&[("p/.mcp.json", MCP), ("p/abide.toml", RULES)]);
    let other = Project::load(&Env { vars: home.env.vars.clone(), ..elsewhere.env.clone() }).unwrap();
    assert!(!other.consented().unwrap().granted(server), "another project that says the same is another");
}

#[test]
fn a_changed_line_asks_again() {
    for (file, from, to) in [
        ("p/.mcp.json", "\"m\"", "\"n\""),
        ("p/.mcp.json", "literal-1", "literal-2"),
        ("p/.mcp.json", "NODE_OPTIONS", "OTHER"),
        ("p/abide.toml", "effect = \"pure\"", "effect = \"idempotent\""),
        ("p/abide.toml", "[tools.\"memory_*\"]", "[tools.\"mem*\"]"),
    ] {
        let home = Home::with(&[("p/.mcp.json", MCP), ("p/abide.toml", RULES)]);
        let project = home.load().unwrap();
        project.consented().unwrap().grant(&project.consent_requests()).unwrap();
        let text = if file.ends_with("json") { MCP } else { RULES };
        home.write(file, &text.replace(from, to));
        let changed = home.load().unwrap();
        let missing = changed.consented().unwrap().missing(&changed.consent_requests());
        assert!(!missing.is_empty(), "{from} -> {to}");
    }
}

#[test]
fn trust_for_this_call_is_not_recorded_and_a_damaged_record_stops() {
    let home = Home::with(&[("p/.mcp.json", MCP)]);
    let project = home.load().unwrap();
    let server = project.servers().next().unwrap();
    assert!(project.consented().unwrap().to_everything().granted(server));
    assert!(!project.consented().unwrap().granted(server));
    home.write("u/trust.json", "{}");
    assert_eq!(project.consented().err().map(|error| error.code()), Some("trust_store_damaged"));
    let homeless = Project::load(&Env { cwd: home.env.cwd.clone(), ..Env::default() }).unwrap();
    let consented = homeless.consented().unwrap();
    assert!(!consented.granted(server) && consented.grant(&homeless.consent_requests()).is_err());
}

#[test]
fn an_agent_asks_only_for_what_it_uses() {
    let agent = "---\nmodel: far\nmcpServers:\n  - inline: {command: i}\n---\nDo.";
    let far = "[models.far]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"https://far.example\"\napi_key = \"sk-hidden\"";
    let home = Home::with(&[
        ("p/.mcp.json", MCP),
        ("p/abide.toml", far),
        ("p/.abide/agents/a.md", agent),
        ("p/.abide/agents/b.md", "Do."),
        ("u/agents/c.md", &agent.replace("command: i", "command: j")),
    ]);
    let project = home.load().unwrap();
    let missing = |agent: &str, model| -> Vec<_> {
        let all = project.consent_requests_for(&project.agent(agent).unwrap(), model).unwrap();
        project.consented().unwrap().missing(&all).into_iter().map(|request| (request.kind, request.subject)).collect()
    };
    let endpoint = (ConsentKind::UseEndpoint, "far".to_owned());
    assert_eq!(missing("a", None), [(ConsentKind::StartServer, "inline".to_owned()), endpoint.clone()]);
    assert_eq!(missing("b", None), [(ConsentKind::StartServer, "memory".to_owned())]);
    assert_eq!(missing("b", Some("far")).last(), Some(&endpoint));
    assert_eq!(missing("c", Some("sonnet")), [], "the inline server is the user's own");
}

#[test]
fn only_addresses_elsewhere_ask() {
    struct Set;
    impl Vars for Set {
        fn var(&self, name: &str) -> Option<String> {
            (name == "SET").then(|| "https://mine.example".to_owned())
        }
        fn file_value(&self, _: &str, _: &str) -> Option<String> {
            None
        }
    }
    for (url, expected) in [
        ("http://127.0.0.1:18086/v1", true),
        ("http://localhost", true),
        ("http://[::1]:1/", true),
        ("https://api.openai.com/v1", true),
        ("${SET}", true),
        ("${SET:-https://far.example}", true),
        ("${UNSET:-http://127.0.0.1:1}/v1", true),
        ("${UNSET:-https://far.example}", false),
        ("${UNSET}", false),
        ("${SET}.far.example", false),
        ("http://127.0.0.1@far.example", false),
        ("http://127.0.0.1:80@far.example", false),
        ("http://127.0.0.1.far.example", false),
        ("http://localhost.far.example", false),
        ("http://api.openai.com", false),
        ("https://far.example/http://127.0.0.1", false),
        ("${SET}@far.example/${UNSET:-}", false),
    ] {
        assert_eq!(harmless(url, &Set), expected, "{url}");
    }
}
