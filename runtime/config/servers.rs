//! Puts together the servers that `.mcp.json` declares and what `abide.toml` adds to them or declares itself. It starts
//! none.

use std::collections::BTreeMap;
use std::path::Path;

use abide_llm::Policy;
use abide_mcp::{ServerConfig, Transport};

use super::abide_toml::{ServerEntry, Settings};
use super::error::{ConfigError, Origin, Place, nearest};
use super::models::references;
use super::node::{At, join};
use super::oauth::OAuthEntry;
use super::secrets::label;

/// One server, and whose files had a part in it.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) config: ServerConfig,
    /// Where it is declared.
    pub(super) at: Place,
    /// True if any part of how it starts comes from a project's file.
    pub(super) from_project: bool,
    pub(super) trust: Option<At<bool>>,
    pub(super) sampling: Option<At<Policy>>,
}

/// All servers by name, and what the user should know.
pub(super) fn load(root: &Path, settings: &Settings) -> Result<(BTreeMap<String, Declared>, Vec<String>), ConfigError> {
    let found = abide_mcp::load_project(root).map_err(|error| foreign(error, root))?;
    let mut servers: BTreeMap<String, Declared> = BTreeMap::new();
    for config in found {
        let at = Place::file(&root.join(&config.file), Origin::Project);
        servers.insert(config.name.clone(), Declared { config, at, from_project: true, trust: None, sampling: None });
    }
    let mut warnings = Vec::new();
    for (name, entry) in &settings.servers {
        match servers.get_mut(name) {
            Some(declared) => add_to(name, declared, entry, root, &mut warnings)?,
            None if entry.command.is_some() || entry.url.is_some() => {
                servers.insert(name.clone(), own(name, entry, root)?);
            }
            None => lonely(name, entry, servers.keys(), &mut warnings)?,
        }
    }
    Ok((servers, warnings))
}

/// What `abide.toml` adds to an entry of `.mcp.json`. How that server starts is said in one place only.
fn add_to(
    name: &str,
    declared: &mut Declared,
    entry: &ServerEntry,
    root: &Path,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    declared.trust.clone_from(&entry.trust);
    declared.sampling.clone_from(&entry.sampling);
    let starts =
        [entry.command.as_ref().map(|v| &v.at), entry.args.as_ref().map(|v| &v.at), entry.url.as_ref().map(|v| &v.at)];
    let mut starts = starts.into_iter().flatten();
    if let Some(at) = starts.clone().find(|at| at.origin == Origin::Project) {
        let problem = format!("the server `{name}` is declared in {}, too", declared.at);
        let help =
            format!("keep only `trust`, `env`, `cwd` and `headers` in [{}], or remove it there", join("servers", name));
        return Err(ConfigError::invalid(at, problem, help));
    }
    if let Some(at) = starts.next() {
        // The user's own server of this name serves other projects; this one has declared another.
        warnings.push(format!("{at}: this server `{name}` is not used here: {} declares its own", declared.at));
        return Ok(());
    }
    if let Some(protocol) = &entry.protocol {
        declared.config.protocol = Some(protocol.value);
    }
    declared.config.roots = entry.roots.as_ref().is_some_and(|roots| roots.value);
    match &mut declared.config.transport {
        Transport::Stdio { env, cwd, .. } => {
            env.extend(references(&entry.env, &format!("servers.{name}.env"), root));
            if let Some(folder) = &entry.cwd {
                *cwd = Some(folder.value.clone());
            }
        }
        Transport::Http { headers, .. } => {
            headers.extend(references(&entry.headers, &format!("servers.{name}.headers"), root));
            if let Some(oauth) = &entry.oauth {
                declared.config.oauth = Some(oauth.declared(name, root));
            }
        }
        _ => {}
    }
    Ok(())
}

/// A server that `abide.toml` declares itself.
fn own(name: &str, entry: &ServerEntry, root: &Path) -> Result<Declared, ConfigError> {
    let path = join("servers", name);
    let (transport, at) = match (&entry.command, &entry.url) {
        (Some(_), Some(url)) => {
            let problem = format!("[{path}] has a `command` and a `url`");
            return Err(ConfigError::invalid(&url.at, problem, "keep the one by which the server is reached"));
        }
        (Some(command), None) => {
            let transport = Transport::Stdio {
                command: command.value.clone(),
                args: entry.args.as_ref().map(|args| args.value.clone()).unwrap_or_default(),
                env: references(&entry.env, &format!("servers.{name}.env"), root),
                cwd: entry.cwd.as_ref().map(|cwd| cwd.value.clone()),
            };
            (transport, &command.at)
        }
        (None, Some(url)) => {
            let headers = references(&entry.headers, &format!("servers.{name}.headers"), root);
            (Transport::Http { url: url.value.clone(), headers }, &url.at)
        }
        (None, None) => {
            let help = "add a line: command = \"npx\"";
            return Err(ConfigError::invalid(&entry.at, format!("[{path}] has no `command`"), help));
        }
    };
    let config = ServerConfig {
        name: name.to_owned(),
        transport,
        file: label(&at.file, root),
        protocol: entry.protocol.as_ref().map(|p| p.value),
        roots: entry.roots.as_ref().is_some_and(|roots| roots.value),
        oauth: entry.oauth.as_ref().map(|oauth| oauth.declared(name, root)),
    };
    let from_project = entry.places().any(|at| at.origin == Origin::Project);
    let (trust, sampling) = (entry.trust.clone(), entry.sampling.clone());
    Ok(Declared { config, at: at.clone(), from_project, trust, sampling })
}

/// An entry for a server that nothing declares: fine in the user's file, which serves all projects.
fn lonely<'a>(
    name: &str,
    entry: &ServerEntry,
    known: impl Iterator<Item = &'a String>,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let Some(at) = entry
        .places()
        .chain(entry.trust.iter().map(|t| &t.at))
        .chain(entry.protocol.iter().map(|p| &p.at))
        .chain(entry.sampling.iter().map(|s| &s.at))
        .find(|at| at.origin == Origin::Project)
    else {
        return Ok(());
    };
    let near = nearest(name, known.map(String::as_str));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    if entry.places().next().is_some() {
        let problem =
            format!("[{}] has no `command`, and .mcp.json declares no such server{near}", join("servers", name));
        return Err(ConfigError::invalid(at, problem, "add a line: command = \"npx\", or declare it in .mcp.json"));
    }
    warnings.push(format!("{at}: no server `{name}` is declared{near}"));
    Ok(())
}

impl ServerEntry {
    /// Where all that decides how the server starts was read.
    fn places(&self) -> impl Iterator<Item = &Place> {
        let texts = [&self.command, &self.cwd, &self.url].into_iter().flatten().map(|text| &text.at);
        let args = self.args.iter().map(|args| &args.at);
        let maps = self.env.values().chain(self.headers.values()).map(|value| &value.at);
        texts.chain(args).chain(maps).chain(self.oauth.iter().flat_map(OAuthEntry::places))
    }
}

/// An error of a file of server declarations as one of ours.
pub(super) fn foreign(error: abide_mcp::ConfigError, root: &Path) -> ConfigError {
    use abide_mcp::ConfigError as Theirs;
    let place = |file: &str, line| Place::file(&root.join(file), Origin::Project).at(line);
    match error {
        Theirs::Read { file, source } => ConfigError::Unreadable { path: root.join(file), problem: source.to_string() },
        Theirs::Syntax { file, line, why } => {
            ConfigError::invalid(&place(&file, line), format!("this is not JSON: {why}"), "correct that line")
        }
        Theirs::Wrong { file, line, at, what, fix } => {
            ConfigError::invalid(&place(&file, line), format!("`{at}` {what}"), fix)
        }
        other => ConfigError::Unresolved { problem: other.to_string(), help: "correct that file".to_owned() },
    }
}
