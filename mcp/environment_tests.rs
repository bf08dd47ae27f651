//! Tests of `environment`: what a declaration comes to, and which secrets are learnt on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config_file::{literal_at, parse_servers};

struct Fixed(&'static str);

impl Vars for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        let known = [("KEY", "sk-0123456789"), ("HOME", "home-of-somebody"), ("DIR", "sub")];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn file_value(&self, _file: &str, key: &str) -> Option<String> {
        literal_at(self.0, key)
    }
}

fn process(start: Result<Start, Error>) -> Result<LaunchSpec, Error> {
    match start? {
        Start::Process(spec) => Ok(spec),
        Start::Address(address) => panic!("{} is no process", address.url),
    }
}

fn address(declared: &'static str) -> (Result<Address, Error>, Redactor) {
    let text: &'static str = Box::leak(format!("{{\"mcpServers\": {{\"s\": {declared}}}}}").into_boxed_str());
    let server = parse_servers(text, ".mcp.json").unwrap().remove(0);
    let redactor = Redactor::default();
    let address = match super::start(&server, Path::new("root"), &Fixed(text), &redactor) {
        Ok(Start::Address(address)) => Ok(address),
        Ok(Start::Process(_)) => panic!("no address"),
        Err(error) => Err(error),
    };
    (address, redactor)
}

fn start(declared: &'static str) -> (Result<LaunchSpec, Error>, Redactor) {
    let text: &'static str = Box::leak(format!("{{\"mcpServers\": {{\"s\": {declared}}}}}").into_boxed_str());
    let server = parse_servers(text, ".mcp.json").unwrap().remove(0);
    let redactor = Redactor::default();
    (process(super::start(&server, Path::new("root"), &Fixed(text), &redactor)), redactor)
}

#[test]
fn everything_is_expanded_and_only_secrets_are_hidden() {
    let (spec, redactor) = start(
        r#"{"command": "server", "args": ["--key", "${KEY}", "${HOME}/x", "${workspaceFolder}/y", "${LEVEL:-information}"],
            "env": {"TOKEN": "Bearer ${KEY}", "LITERAL": "literal-secret"}, "cwd": "${DIR}"}"#,
    );
    let spec = spec.unwrap();
    assert_eq!(spec.args, ["--key", "sk-0123456789", "home-of-somebody/x", "root/y", "information"]);
    assert_eq!(spec.cwd, Path::new("root").join("sub"));
    assert_eq!(spec.env[&OsString::from("TOKEN")], "Bearer sk-0123456789");
    assert_eq!(spec.env[&OsString::from("LITERAL")], "literal-secret");
    let text = "sk-0123456789 home-of-somebody information literal-secret";
    let expected = "${KEY} home-of-somebody information ${mcpServers.s.env.LITERAL}";
    assert_eq!(redactor.mask(text), expected);
}

#[test]
fn secrets_are_taught_without_a_start_and_without_an_error() {
    let text = r#"{"mcpServers": {"s": {"command": "${UNSET}", "args": ["--key=${KEY}", "${HOME}"],
        "env": {"LITERAL": "literal-secret", "GONE": "${UNSET}"}}}}"#;
    let server = parse_servers(text, ".mcp.json").unwrap().remove(0);
    let redactor = Redactor::default();
    teach_secrets(&server, Path::new("root"), &Fixed(text), &redactor);
    let said = redactor.mask("sk-0123456789 home-of-somebody literal-secret").into_owned();
    assert_eq!(said, "${KEY} home-of-somebody ${mcpServers.s.env.LITERAL}");
}

#[test]
fn the_environment_is_minimal() {
    let (spec, _) = start(r#"{"command": "server", "env": {"A": "b"}}"#);
    let env = spec.unwrap().env;
    assert!(env.contains_key(&OsString::from("PATH")) && env.contains_key(&OsString::from("A")));
    // Cargo sets this one for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!env.contains_key(&OsString::from("CARGO_MANIFEST_DIR")));
}

#[test]
fn paths_start_at_the_projects_root_and_bare_names_in_path() {
    for (command, expected) in [("npx", "npx"), ("./server", "root/server"), ("bin/server", "root/bin/server")] {
        assert_eq!(program(command, Path::new("root")), Path::new(expected), "{command}");
    }
    let absolute = std::env::current_exe().unwrap();
    assert_eq!(program(absolute.to_str().unwrap(), Path::new("root")), absolute);
}

#[test]
fn an_unset_variable_parks_naming_it_and_the_server() {
    for declared in [
        r#"{"command": "${UNSET}"}"#,
        r#"{"command": "x", "args": ["${UNSET}"]}"#,
        r#"{"command": "x", "env": {"A": "${env:UNSET}"}}"#,
        r#"{"command": "x", "cwd": "${UNSET}"}"#,
    ] {
        let error = start(declared).0.err().expect(declared);
        assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials), "{error}");
        assert!(error.message().contains("UNSET") && error.message().contains("`s` (.mcp.json)"), "{error}");
    }
}

#[test]
fn a_literal_that_has_gone_parks_and_one_that_became_a_template_is_expanded() {
    let server = parse_servers(r#"{"mcpServers": {"s": {"command": "x", "env": {"A": "literal"}}}}"#, "f").unwrap();
    let redactor = Redactor::default();
    let spec = |text| process(super::start(&server[0], Path::new("."), &Fixed(text), &redactor));
    let error = spec("{}").err().unwrap();
    assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials));
    assert!(error.message().contains("mcpServers.s.env.A"), "{error}");
    let spec = spec(r#"{"mcpServers": {"s": {"env": {"A": "${KEY}"}}}}"#).unwrap();
    assert_eq!(spec.env[&OsString::from("A")], "sk-0123456789");
    assert_eq!(redactor.mask("sk-0123456789"), "${KEY}");
}

#[test]
fn an_address_is_expanded_and_its_headers_are_secrets() {
    let (address, redactor) = address(
        r#"{"url": "https://h/${DIR}?k=${KEY}", "headers": {"Authorization": "Bearer ${KEY}", "X-Lit": "literal-secret"}}"#,
    );
    let address = address.unwrap();
    assert_eq!(address.url, "https://h/sub?k=sk-0123456789");
    let header = &address.headers[&HeaderName::from_static("authorization")];
    assert!(header == "Bearer sk-0123456789" && header.is_sensitive());
    let said = redactor.mask("sk-0123456789 literal-secret").into_owned();
    assert_eq!(said, "${KEY} ${mcpServers.s.headers.X-Lit}");
}

#[test]
fn what_cannot_be_spoken_to_says_what_to_do() {
    for (declared, expected) in [
        (r#"{"type": "sse", "url": "http://localhost/sse"}"#, "streamable HTTP has replaced"),
        (r#"{"url": "ftp://localhost"}"#, "no http or https address"),
        (r#"{"url": "http://localhost", "headers": {"A B": "${KEY}"}}"#, "`A B` cannot be sent"),
        (r#"{"url": "http://localhost", "headers": {"Mcp-Session-Id": "${KEY}"}}"#, "the protocol's own"),
    ] {
        let error = address(declared).0.err().expect(declared);
        assert_eq!(*error.kind(), ErrorKind::Environment);
        assert!(error.message().contains(expected) && error.message().contains("`s` (.mcp.json)"), "{error}");
    }
}
