//! What a project's files may only do with the user's consent (DESIGN section 6), and whether there is consent. It asks
//! nobody: the command line shows the requests and records the answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use abide_engine::Effect;
use abide_llm::{ModelConfig, Policy, SecretRef, Vars};
use abide_mcp::ServerConfig;
use serde::{Deserialize, Serialize};

use super::abide_toml::ToolEntry;
use super::discover::Env;
use super::error::{ConfigError, Origin, Place};
use super::node::join;
use super::secrets::FileVars;
use super::trust::TrustStore;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsentKind {
    /// To start a server by these lines, or to connect to it.
    StartServer,
    /// To believe a server's annotations.
    TrustServer,
    /// To call tools without asking.
    AllowTools,
    /// To repeat calls after a crash.
    WeakerEffect,
    /// To send prompts, and a key, to an address on another machine.
    UseEndpoint,
    /// To go on with a tool that its server has changed.
    ChangedTool,
    /// To let a server have a model asked without asking.
    AllowSampling,
}

impl ConsentKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::StartServer => "start_server",
            Self::TrustServer => "trust_server",
            Self::AllowTools => "allow_tools",
            Self::WeakerEffect => "weaker_effect",
            Self::UseEndpoint => "use_endpoint",
            Self::ChangedTool => "changed_tool",
            Self::AllowSampling => "allow_sampling",
        }
    }
}

/// One thing the user is to consent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRequest {
    /// What is asked for.
    pub kind: ConsentKind,
    /// The server, the glob or the model it concerns.
    pub subject: String,
    /// The file that asks, with its line where that is known.
    pub file: String,
    /// The lines to show. No literal secret is among them.
    pub lines: Vec<String>,
    /// What is recorded: BLAKE3 (hex) over kind, subject, the project's root and the lines, hidden literals included. A
    /// changed line asks again, and so does another project that says the same: its relative paths are other files.
    pub hash: String,
}

impl ConsentRequest {
    /// To go on with a tool as its server defines it by now; `definition` is the hash that is shown beside the change. It
    /// holds wherever the server is declared by this name: the definition is the same.
    pub fn changed_tool(server: &str, tool: &str, definition: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("abide 2026 consent to a changed tool");
        for part in [server, tool, definition] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Self {
            kind: ConsentKind::ChangedTool,
            subject: format!("{server} {tool}"),
            file: "the server itself".to_owned(),
            lines: vec![format!("definition {definition}")],
            hash: hasher.finalize().to_hex().to_string(),
        }
    }
}

/// Makes requests for one project.
pub(super) struct Requests<'a> {
    /// The root, links resolved.
    root: PathBuf,
    vars: &'a dyn Vars,
}

impl<'a> Requests<'a> {
    pub(super) fn new(root: &Path, vars: &'a dyn Vars) -> Self {
        Self { root: std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf()), vars }
    }

    fn request(
        &self,
        kind: ConsentKind,
        subject: &str,
        file: String,
        lines: Vec<String>,
        hidden: &str,
    ) -> ConsentRequest {
        let root = self.root.to_string_lossy();
        let mut hasher = blake3::Hasher::new_derive_key("abide 2026 consent to a project's lines");
        for part in [kind.as_str(), subject, &root, hidden].into_iter().chain(lines.iter().map(String::as_str)) {
            // The length keeps parts apart.
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let hash = hasher.finalize().to_hex().to_string();
        ConsentRequest { kind, subject: subject.to_owned(), file, lines, hash }
    }

    /// To start `server`, or to connect to it.
    pub(super) fn start(&self, server: &ServerConfig, at: Option<&Place>) -> ConsentRequest {
        let lines = abide_mcp::consent_lines(server).lines().map(str::to_owned).collect();
        let hidden = abide_mcp::consent_hash(server, self.vars);
        let file = at.map_or_else(|| server.file.clone(), Place::to_string);
        self.request(ConsentKind::StartServer, &server.name, file, lines, &hidden)
    }

    /// To believe the annotations of `server`.
    pub(super) fn trust(&self, server: &str, at: &Place) -> ConsentRequest {
        let line = format!("[{}] trust = true", join("servers", server));
        self.request(ConsentKind::TrustServer, server, at.to_string(), vec![line], "")
    }

    /// To let `server` have a model asked without asking.
    pub(super) fn sampling(&self, server: &str, at: &Place) -> ConsentRequest {
        let line = format!("[{}] sampling = \"allow\"", join("servers", server));
        self.request(ConsentKind::AllowSampling, server, at.to_string(), vec![line], "")
    }

    /// What a `[tools]` table of a project's file needs consent for.
    pub(super) fn tools(&self, glob: &str, entry: &ToolEntry) -> Vec<ConsentRequest> {
        let table = format!("[{}]", join("tools", glob));
        let policy = entry
            .policy
            .as_ref()
            .filter(|p| p.value == Policy::Allow)
            .map(|p| (ConsentKind::AllowTools, &p.at, format!("{table} policy = \"allow\"")));
        let effect = entry.effect.as_ref().and_then(|e| {
            let word = match e.value {
                Effect::Once => return None,
                Effect::Idempotent => "idempotent",
                Effect::Pure => "pure",
            };
            Some((ConsentKind::WeakerEffect, &e.at, format!("{table} effect = \"{word}\"")))
        });
        let asked = policy.into_iter().chain(effect).filter(|(_, at, _)| at.origin == Origin::Project);
        asked.map(|(kind, at, line)| self.request(kind, glob, at.to_string(), vec![line], "")).collect()
    }

    /// To send prompts and the key of `model` to an address that a project's file has chosen; none for this machine and
    /// for the vendors themselves, where nobody else learns of them.
    pub(super) fn endpoint(&self, name: &str, model: &ModelConfig, at: &Place) -> Option<ConsentRequest> {
        let url = model.base_url.as_deref().filter(|url| !harmless(url, self.vars))?;
        let shown = |reference: &SecretRef| match reference {
            SecretRef::Template(text) => text.clone(),
            SecretRef::File { file, .. } => format!("(written in {file})"),
        };
        let table = format!("[{}]", join("models", name));
        let mut lines = vec![format!("{table} base_url = {url}")];
        lines.extend(model.api_key.iter().map(|key| format!("{table} api_key = {}", shown(key))));
        lines
            .extend(model.headers.iter().map(|(header, value)| format!("{table} headers.{header} = {}", shown(value))));
        Some(self.request(ConsentKind::UseEndpoint, name, at.to_string(), lines, ""))
    }
}

/// True for an address on this machine, for the vendors' own, and for one that the user's own variable gives.
fn harmless(template: &str, vars: &dyn Vars) -> bool {
    const HOSTS: [&str; 6] = [
        "http://127.0.0.1",
        "http://localhost",
        "http://[::1]",
        "https://api.anthropic.com",
        "https://api.openai.com",
        "https://generativelanguage.googleapis.com",
    ];
    let whole = template.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.contains("${"));
    if let Some(inner) = whole {
        let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
        let name = name.strip_prefix("env:").unwrap_or(name);
        if vars.var(name).is_some_and(|value| !value.is_empty()) {
            return true;
        }
    }
    // An unset variable: the call parks for want of it, and nothing is sent anywhere.
    let Ok(url) = abide_llm::expand(template, vars) else { return false };
    // After the host only a port and a path: no `@` or further label can make it another host.
    HOSTS.iter().filter_map(|host| url.strip_prefix(host)).any(|rest| {
        let rest = rest.strip_prefix(':').map_or(rest, |port| port.trim_start_matches(|c: char| c.is_ascii_digit()));
        rest.is_empty() || rest.starts_with('/')
    })
}

/// What holds now: the user's record, `--trust` for this call, and what needs no consent because the user's own files
/// say it.
pub struct Consented {
    root: PathBuf,
    vars: FileVars,
    store: Mutex<Option<TrustStore>>,
    everything: bool,
    own: BTreeSet<String>,
}

impl Consented {
    /// `own` are the hashes of what the user's own files ask for; without a store nothing more is granted.
    pub(super) fn new(root: &Path, env: &Env, store: Option<TrustStore>, own: BTreeSet<String>) -> Self {
        let (root, vars) = (root.to_path_buf(), FileVars::new(root, env));
        Self { root, vars, store: Mutex::new(store), everything: false, own }
    }

    /// Consents to everything, for this process only (`--trust`).
    #[must_use]
    pub fn to_everything(mut self) -> Self {
        self.everything = true;
        self
    }

    /// Is there consent to this?
    pub fn covers(&self, request: &ConsentRequest) -> bool {
        self.everything
            || self.own.contains(&request.hash)
            || self.lock().as_ref().is_some_and(|s| s.granted(&request.hash))
    }

    /// Those of the requests to which there is no consent.
    pub fn missing(&self, requests: &[ConsentRequest]) -> Vec<ConsentRequest> {
        requests.iter().filter(|request| !self.covers(request)).cloned().collect()
    }

    /// Records the user's consent for good.
    pub fn grant(&self, requests: &[ConsentRequest]) -> Result<(), ConfigError> {
        let hashes: Vec<&str> = requests.iter().map(|request| request.hash.as_str()).collect();
        match self.lock().as_mut() {
            Some(store) => store.grant(&hashes),
            None => Err(ConfigError::NoUserFolder),
        }
    }

    /// What starting this server asks for, for one that a run has pinned and today's files may not have any more.
    pub fn start_request(&self, server: &ServerConfig) -> ConsentRequest {
        Requests::new(&self.root, &self.vars).start(server, None)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TrustStore>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl abide_mcp::Consent for Consented {
    fn granted(&self, server: &ServerConfig) -> bool {
        self.covers(&self.start_request(server))
    }

    fn accepts_change(&self, server: &str, tool: &str, hash: &str) -> bool {
        // Not by `--trust`: no file asks for this, and nobody has seen it yet.
        let request = ConsentRequest::changed_tool(server, tool, hash);
        self.lock().as_ref().is_some_and(|store| store.granted(&request.hash))
    }
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;
