//! Tests of reading server declarations: what is accepted, and that every mistake is told with its file, line and fix.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config_file::literal_at;

fn stdio(server: &ServerConfig) -> (&str, &[String], &BTreeMap<String, SecretRef>, Option<&str>) {
    match &server.transport {
        Transport::Stdio { command, args, env, cwd } => (command, args, env, cwd.as_deref()),
        _ => panic!("{server:?} is not stdio"),
    }
}

fn template(text: &str) -> SecretRef {
    SecretRef::Template(text.to_owned())
}

#[test]
fn claude_files_are_read_unexpanded() {
    let text = r#"{
        // comments and trailing commas are fine
        "mcpServers": {
            "github": {
                "command": "npx", "args": ["-y", "server-github", "${HOME:-/tmp}"],
                "env": {"TOKEN": "${GITHUB_TOKEN}", "LEVEL": "a-literal", "PORT": 8080},
            },
            "remote": {"type": "http", "url": "https://${HOST}/mcp", "headers": {"Authorization": "Bearer ${T}", "X": "lit"}},
            "events": {"type": "sse", "url": "http://localhost/sse"},
            "bare": {"url": "http://localhost/mcp"},
            "off": {"command": "x", "disabled": true},
        },
        "somethingElse": 1,
    }"#;
    let servers = parse_servers(text, ".mcp.json").unwrap();
    assert_eq!(servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["github", "remote", "events", "bare"]);
    let (command, args, env, cwd) = stdio(&servers[0]);
    assert_eq!((command, cwd), ("npx", None));
    assert_eq!(args, ["-y", "server-github", "${HOME:-/tmp}"]);
    assert_eq!(env["TOKEN"], template("${GITHUB_TOKEN}"));
    let SecretRef::File { file, key } = &env["LEVEL"] else { panic!("{env:?}") };
    assert_eq!((file.as_str(), key.as_str()), (".mcp.json", "mcpServers.github.env.LEVEL"));
    assert_eq!(literal_at(text, key).as_deref(), Some("a-literal"));
    let SecretRef::File { key, .. } = &env["PORT"] else { panic!("{env:?}") };
    assert_eq!(literal_at(text, key).as_deref(), Some("8080"));
    let Transport::Http { url, headers } = &servers[1].transport else { panic!("{servers:?}") };
    assert_eq!((url.as_str(), &headers["Authorization"]), ("https://${HOST}/mcp", &template("Bearer ${T}")));
    assert!(matches!(headers["X"], SecretRef::File { .. }));
    assert!(matches!(&servers[2].transport, Transport::Sse { url } if url == "http://localhost/sse"));
    assert!(matches!(&servers[3].transport, Transport::Http { .. }));
}

#[test]
fn what_an_authorization_server_was_told_is_read_as_others_write_it() {
    let read = |oauth: &str| {
        let text = format!(
            r#"{{"mcpServers": {{"far": {{"type": "http", "url": "https://far.example/mcp", "oauth": {oauth}}}}}}}"#
        );
        parse_servers(&text, ".mcp.json").map(|mut servers| servers.remove(0).oauth)
    };
    let claude = read(r#"{"clientId": "me", "callbackPort": 8080, "scopes": "a b"}"#).unwrap().unwrap();
    let expected = OAuth {
        client_id: Some("me".to_owned()),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        redirect_port: Some(8080),
        redirect_localhost: true,
        ..OAuth::default()
    };
    assert_eq!(claude, expected);
    let other =
        read(r#"{"clientId": "${ID}", "clientSecret": "lit", "scopes": ["a"], "redirectUri": "x"}"#).unwrap().unwrap();
    let place = SecretRef::File { file: ".mcp.json".to_owned(), key: "mcpServers.far.oauth.clientSecret".to_owned() };
    assert_eq!((other.client_secret, other.redirect_port, other.redirect_localhost), (Some(place), None, false));
    for nothing in ["{}", "true", "false"] {
        assert_eq!(read(nothing).unwrap(), None, "{nothing}");
    }
    for (wrong, words) in [
        ("7", "must be an object"),
        (r#"{"callbackPort": 0}"#, "is no port"),
        (r#"{"callbackPort": "x"}"#, "is no port"),
        (r#"{"clientSecret": "x"}"#, "no `clientId`"),
        (r#"{"clientId": 7}"#, "must be a string"),
        (r#"{"scopes": [7]}"#, "must be a string"),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("mcpServers.far.oauth"), "{wrong}: {error}");
    }
}

#[test]
fn vs_code_files_are_read_with_their_inputs() {
    let text = r#"{
        "inputs": [
            {"type": "promptString", "id": "key", "description": "A key", "password": true},
            {"type": "pickString", "id": "level", "options": ["a", "b"], "default": "a"},
        ],
        "servers": {
            "local": {
                "type": "stdio", "command": "${workspaceFolder}/bin/server", "args": ["--level=${input:level}"],
                "env": {"KEY": "${input:key}", "OTHER": "${env:OTHER}"}, "cwd": "${workspaceFolder}/sub",
            },
        },
    }"#;
    let servers = parse_servers(text, ".vscode/mcp.json").unwrap();
    let (command, args, env, cwd) = stdio(&servers[0]);
    assert_eq!((command, cwd), ("${workspaceFolder}/bin/server", Some("${workspaceFolder}/sub")));
    assert_eq!(args, ["--level=${ABIDE_INPUT_LEVEL:-a}"]);
    assert_eq!((&env["KEY"], &env["OTHER"]), (&template("${ABIDE_INPUT_KEY}"), &template("${env:OTHER}")));
}

#[test]
fn mistakes_name_file_line_place_and_fix() {
    let table = [
        ("[1]", 1, "the file must be an object and is a list"),
        ("{\n \"mcpServers\": []}", 2, "mcpServers must be an object and is a list"),
        ("{\"mcpServers\": {\n\n\"a\": \"npx\"}}", 3, "mcpServers.a must be an object and is a string"),
        ("{\"mcpServers\": {\"a\":\n{\"args\": []}}}", 2, "mcpServers.a has no `command`"),
        ("{\"mcpServers\": {\"a\": {\"command\": \" \"}}}", 1, "mcpServers.a.command is empty"),
        ("{\"mcpServers\": {\"a\": {\"command\":\n5}}}", 2, "mcpServers.a.command must be a string and is a number"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\",\n\"args\": \"-y\"}}}", 2, "args must be a list of strings"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [\"-y\",\n{}]}}}", 2, "args[1] must be a string"),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\",\n\"env\": [\"A=1\"]}}}",
            2,
            "env must be an object and is a list",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"A\":\nnull}}}}",
            2,
            "env.A must be a string and is null",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"A=B\": \"1\"}}}}",
            1,
            "is not a name that can be set",
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"cwd\": false}}}",
            1,
            "cwd must be a string and is true or false",
        ),
        ("{\"mcpServers\": {\"a\": {\"type\": \"http\"}}}", 1, "mcpServers.a has no `url`"),
        ("{\"mcpServers\": {\"a\": {\"type\": \"stdio\", \"url\": \"u\"}}}", 1, "mcpServers.a has no `command`"),
        ("{\"mcpServers\": {\"a\": {\"type\": \"ws\", \"url\": \"u\"}}}", 1, "unknown type `ws`"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\"},\n\"a\": {\"command\": \"y\"}}}", 2, "is declared twice"),
        ("{\"mcpServers\": {\"\": {\"command\": \"x\"}}}", 1, "has an empty name"),
        ("{\n\"memory\": {\"command\": \"x\"}}", 2, "is a server outside of `mcpServers`"),
        (
            "{\"servers\": {\"a\": {\"command\":\n\"${input:k}\"}}}",
            2,
            "uses ${input:k}, which `inputs` does not declare",
        ),
        ("{\"inputs\": {}, \"servers\": {}}", 1, "inputs must be a list and is an object"),
        ("{\"inputs\": [{\"type\": \"promptString\"}], \"servers\": {}}", 1, "inputs[0] has no `id`"),
    ];
    for (text, line, expected) in table {
        let message = parse_servers(text, ".mcp.json").expect_err(text).to_string();
        assert!(message.starts_with(&format!(".mcp.json, line {line}: ")), "{text}\n{message}");
        assert!(message.contains(expected), "{text}\n{message}");
        assert!(!message.ends_with(": "), "no fix: {message}");
    }
}

#[test]
fn what_is_not_json_is_an_error_with_its_line_and_never_a_panic() {
    let deep = "[".repeat(100_000);
    for (text, line) in [("{\n\"mcpServers\": {,}}", 2), ("{'a': 1}", 1), ("\n{\"mcpServers\"", 2), (deep.as_str(), 1)]
    {
        let message = parse_servers(text, "f.json").expect_err("not JSON").to_string();
        assert!(message.starts_with(&format!("f.json, line {line}: this is not JSON")), "{message}");
    }
    assert_eq!(parse_servers("", "f.json").unwrap(), []);
    assert_eq!(parse_servers("\u{FEFF}{}", "f.json").unwrap(), []);
    assert_eq!(parse_servers("{\"theme\": {\"dark\": true}}", "claude_desktop_config.json").unwrap(), []);
}

#[test]
fn a_declaration_survives_serde_and_holds_no_literal() {
    let text = r#"{"mcpServers": {
        "a": {"command": "x", "env": {"KEY": "sk-very-secret", "T": "${T}"}},
        "b": {"url": "http://h", "headers": {"K": "another-secret"}}}}"#;
    for server in parse_servers(text, ".mcp.json").unwrap() {
        let json = serde_json::to_string(&server).unwrap();
        assert!(!json.contains("secret"), "{json}");
        assert_eq!(serde_json::from_str::<ServerConfig>(&json).unwrap(), server, "{json}");
    }
}

#[test]
fn literals_are_found_by_keys_whose_names_hold_dots() {
    let text = r#"{"mcpServers": {"a.b": {"env": {"x.y": "found"}}, "a": {"c": "other"}}}"#;
    assert_eq!(literal_at(text, "mcpServers.a.b.env.x.y").as_deref(), Some("found"));
    assert_eq!(literal_at(text, "mcpServers.a.c").as_deref(), Some("other"));
    for gone in ["mcpServers.a.b.env.z", "mcpServers.a", "", ".", "mcpServers.a.b.env.x.y.z"] {
        assert_eq!(literal_at(text, gone), None, "{gone}");
    }
}

#[test]
fn a_project_prefers_its_own_file() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(load_project(root.path()).unwrap(), []);
    std::fs::create_dir(root.path().join(".vscode")).unwrap();
    let vscode = r#"{"servers": {"both": {"command": "theirs"}, "only": {"command": "x"}}}"#;
    std::fs::write(root.path().join(".vscode/mcp.json"), vscode).unwrap();
    std::fs::write(root.path().join(".mcp.json"), r#"{"mcpServers": {"both": {"command": "ours"}}}"#).unwrap();
    let servers = load_project(root.path()).unwrap();
    assert_eq!(
        servers.iter().map(|s| (s.name.as_str(), stdio(s).0)).collect::<Vec<_>>(),
        [("both", "ours"), ("only", "x")]
    );
    assert_eq!(servers[0].file, ".mcp.json");
    assert_eq!(load_file(&root.path().join(".vscode/mcp.json"), root.path()).unwrap()[1].file, ".vscode/mcp.json");

    std::fs::write(root.path().join(".mcp.json"), [0xFF, 0xFE]).unwrap();
    let message = load_project(root.path()).unwrap_err().to_string();
    assert!(message.starts_with(".mcp.json cannot be read"), "{message}");
    let message = load_file(&root.path().join("gone.json"), root.path()).unwrap_err().to_string();
    assert!(message.starts_with("gone.json cannot be read"), "{message}");
}

#[test]
fn it_prints_as_one_would_type_it() {
    let text = r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "a b", "${X}", ""]}}}"#;
    assert_eq!(parse_servers(text, "f").unwrap()[0].to_string(), "npx -y \"a b\" ${X} \"\"");
}
