//! What a server declaration says, unexpanded: plain data that is pinned in a run, so it never holds a resolved secret.
//! It starts nothing and trusts nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use abide_llm::SecretRef;
use serde::{Deserialize, Serialize};

use crate::config_file::parse_servers;
use crate::oauth::OAuth;

/// One declared server. Every text may hold `${VAR}`, `${VAR:-default}` and `${env:VAR}`, expanded when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerConfig {
    /// The name by which agents ask for it.
    pub name: String,
    /// How it is reached.
    #[serde(flatten)]
    pub transport: Transport,
    /// The file that declares it: relative to the project's root where it lies within, with forward slashes.
    pub file: String,
    /// The version of the protocol it is spoken to in; found out where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Is it told the project's root when it asks for the client's roots? Some servers take roots in the place of the folders they
    /// were started with, so nobody is without being named.
    #[serde(default, skip_serializing_if = "is_false")]
    pub roots: bool,
    /// What an authorization server was told of abide beforehand, for a server behind an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuth>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A version of the protocol, as `[servers.NAME] protocol` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Protocol {
    /// With `initialize` and sessions; older versions are agreed on from there, too.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// With `server/discover` and nothing kept between requests.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Transport {
    /// A process that speaks on its standard input and output.
    Stdio {
        /// The program: a bare name is looked for in `PATH`, a relative path starts at the project's root.
        command: String,
        /// Its arguments; no shell sees them.
        #[serde(default)]
        args: Vec<String>,
        /// What is added to its minimal environment. A literal is kept as its place in the file.
        #[serde(default)]
        env: BTreeMap<String, SecretRef>,
        /// Its working folder, relative to the project's root, which it is by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
    },
    /// A server behind an address, over streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Headers of every request. A literal is kept as its place in the file.
        #[serde(default)]
        headers: BTreeMap<String, SecretRef>,
    },
    /// A server over the older HTTP+SSE transport. Kept as declared; using one is an error that says what to do.
    Sse {
        /// Its address.
        url: String,
    },
}

/// A file of server declarations that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there but cannot be read.
    #[error("{file} cannot be read: {source}; check its permissions and that it is a text file in UTF-8")]
    Read {
        /// The file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// The text is not JSON, not even with comments and trailing commas.
    #[error("{file}, line {line}: this is not JSON: {why}; correct that line")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser found.
        why: String,
    },
    /// The JSON does not say what it should.
    #[error("{file}, line {line}: {at} {what}: {fix}")]
    Wrong {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The place in the file, as a path of keys.
        at: String,
        /// What is wrong there.
        what: String,
        /// What to write instead.
        fix: String,
    },
}

/// Every server that a project declares, by name: `.mcp.json` beats `.vscode/mcp.json`. A file that is not there
/// declares none.
///
/// # Errors
/// A file that is there and cannot be used.
pub fn load_project(root: &Path) -> Result<Vec<ServerConfig>, ConfigError> {
    let mut servers = BTreeMap::new();
    for file in [".vscode/mcp.json", ".mcp.json"] {
        let declared = match std::fs::read_to_string(root.join(file)) {
            Ok(text) => parse_servers(&text, file)?,
            Err(error) if missing(&error) => Vec::new(),
            Err(source) => return Err(ConfigError::Read { file: file.into(), source }),
        };
        servers.extend(declared.into_iter().map(|server| (server.name.clone(), server)));
    }
    Ok(servers.into_values().collect())
}

/// The servers of a file that was named (`claude_desktop_config.json`, for one), in its order.
///
/// # Errors
/// A file that is not there or cannot be used.
pub fn load_file(path: &Path, root: &Path) -> Result<Vec<ServerConfig>, ConfigError> {
    let file = label(path, root);
    match std::fs::read_to_string(path) {
        Ok(text) => parse_servers(&text, &file),
        Err(source) => Err(ConfigError::Read { file, source }),
    }
}

fn missing(error: &io::Error) -> bool {
    // `NotADirectory`: a plain file named `.vscode` declares no servers either.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How a file is called in messages and references: the same on every machine where it lies within the project.
fn label(path: &Path, root: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(inside) => inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"),
        Err(_) => path.display().to_string(),
    }
}

impl fmt::Display for ServerConfig {
    /// Its command line or address as declared: no variable is expanded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Stdio { command, args, .. } => {
                f.write_str(&quoted(command))?;
                args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
            }
            Transport::Http { url, .. } | Transport::Sse { url } => f.write_str(url),
        }
    }
}

/// As a person would type it; only for reading, never for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,${}~\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
