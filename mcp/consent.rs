//! What a user consents to before a server starts: its lines as text, and their hash. It never asks and never stores:
//! whoever implements `Consent` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use abide_llm::{SecretRef, Vars};

use crate::config::{ServerConfig, Transport};
use crate::oauth::{Grant, OAuth};

/// Has the user consented to starting this server?
pub trait Consent: Send + Sync + 'static {
    /// True if they have, to exactly these lines. Asked before every start.
    fn granted(&self, server: &ServerConfig) -> bool;

    /// True if they have consented to go on with this tool although its server has changed it to the definition with this
    /// hash. Asked before a call of a changed tool.
    fn accepts_change(&self, server: &str, tool: &str, hash: &str) -> bool {
        let _ = (server, tool, hash);
        false
    }
}

/// The lines a user consents to, for showing: command, arguments, environment (or headers) and working folder, one a line,
/// each value quoted so that nothing can pass for another line. Literals show as the file that holds them.
pub fn consent_lines(server: &ServerConfig) -> String {
    lines(server, |reference| match reference {
        SecretRef::Template(text) => quote(text),
        SecretRef::File { file, .. } => format!("(written in {})", quote(file)),
    })
}

/// BLAKE3 (hex) of what a user consents to. It covers the literals that [`consent_lines`] does not show, too: a changed
/// `NODE_OPTIONS` or `LD_PRELOAD` can make another program of the same command.
pub fn consent_hash(server: &ServerConfig, vars: &dyn Vars) -> String {
    let text = lines(server, |reference| match reference {
        SecretRef::Template(text) => quote(text),
        SecretRef::File { file, key } => match vars.file_value(file, key) {
            Some(literal) => format!("literal {}", blake3::hash(literal.as_bytes()).to_hex()),
            None => "literal missing".to_owned(),
        },
    });
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn lines(server: &ServerConfig, value: impl Fn(&SecretRef) -> String) -> String {
    let mut out = format!("server {}\n", quote(&server.name));
    let settings = |out: &mut String, word: &str, settings: &BTreeMap<String, SecretRef>| {
        for (name, reference) in settings {
            let _ = writeln!(out, "{word} {}={}", quote(name), value(reference));
        }
    };
    match &server.transport {
        Transport::Stdio { command, args, env, cwd } => {
            let _ = writeln!(out, "command {}", quote(command));
            for arg in args {
                let _ = writeln!(out, "arg {}", quote(arg));
            }
            settings(&mut out, "env", env);
            let _ = writeln!(out, "cwd {}", quote(cwd.as_deref().unwrap_or(".")));
        }
        Transport::Http { url, headers } => {
            let _ = writeln!(out, "url {}", quote(url));
            settings(&mut out, "header", headers);
            server.oauth.iter().for_each(|oauth| told(&mut out, oauth, &value));
        }
        Transport::Sse { url } => {
            let _ = writeln!(out, "url {}", quote(url));
        }
    }
    out
}

/// What an authorization server is told: it may be one that the server chooses.
fn told(out: &mut String, oauth: &OAuth, value: &impl Fn(&SecretRef) -> String) {
    let texts = [
        ("client_id", &oauth.client_id),
        ("client_metadata_url", &oauth.client_metadata_url),
        ("issuer", &oauth.issuer),
    ];
    for (word, text) in texts {
        if let Some(text) = text {
            let _ = writeln!(out, "oauth {word}={}", quote(text));
        }
    }
    let secrets =
        [("client_secret", &oauth.client_secret), ("private_key", &oauth.private_key), ("assertion", &oauth.assertion)];
    for (word, reference) in secrets {
        if let Some(reference) = reference {
            let _ = writeln!(out, "oauth {word}={}", value(reference));
        }
    }
    for scope in &oauth.scopes {
        let _ = writeln!(out, "oauth scope={}", quote(scope));
    }
    if oauth.grant != Grant::default() {
        let _ = writeln!(out, "oauth grant={:?}", oauth.grant);
    }
}

/// A JSON string: unambiguous, on one line, and the same in every release (unlike Rust's `{:?}`).
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::config_file::parse_servers;

    struct File(&'static str);

    impl Vars for File {
        fn var(&self, _name: &str) -> Option<String> {
            None
        }

        fn file_value(&self, _file: &str, key: &str) -> Option<String> {
            crate::config_file::literal_at(self.0, key)
        }
    }

    const DECLARED: &str = r#"{"mcpServers": {"git": {
        "command": "uvx", "args": ["mcp-server-git", "a b"], "cwd": "sub",
        "env": {"TOKEN": "${GIT_TOKEN}", "NODE_OPTIONS": "--literal"}}}}"#;

    #[test]
    fn the_lines_show_everything_but_literals() {
        let server = parse_servers(DECLARED, ".mcp.json").unwrap().remove(0);
        let expected = "server \"git\"\ncommand \"uvx\"\narg \"mcp-server-git\"\narg \"a b\"\n\
            env \"NODE_OPTIONS\"=(written in \".mcp.json\")\nenv \"TOKEN\"=\"${GIT_TOKEN}\"\ncwd \"sub\"\n";
        assert_eq!(consent_lines(&server), expected);
    }

    #[test]
    fn every_change_that_matters_changes_the_hash() {
        let hash = |text: &'static str| consent_hash(&parse_servers(text, ".mcp.json").unwrap().remove(0), &File(text));
        let original = hash(DECLARED);
        assert_eq!(original, hash(DECLARED));
        for (from, to) in [
            ("uvx", "uvy"),
            ("a b", "a"),
            ("sub", "."),
            ("${GIT_TOKEN}", "${OTHER}"),
            ("TOKEN\"", "TOKEN2\""),
            ("--literal", "--require=evil"),
            ("\"git\"", "\"git2\""),
        ] {
            let changed: &'static str = Box::leak(DECLARED.replace(from, to).into_boxed_str());
            assert_ne!(original, hash(changed), "{from} -> {to}");
        }
    }

    #[test]
    fn a_value_cannot_pass_for_another_line() {
        let text = r#"{"mcpServers": {"s": {"command": "c", "args": ["x\"\narg \"y"]}}}"#;
        let lines = consent_lines(&parse_servers(text, ".mcp.json").unwrap().remove(0));
        assert_eq!(lines.lines().filter(|line| line.starts_with("arg ")).count(), 1, "{lines}");
    }
}
