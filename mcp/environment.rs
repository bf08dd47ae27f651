//! Turns a declaration into what a process is started with: variables expanded, paths resolved, a minimal environment.
//! It runs at start only, and keeps nothing of what it resolved except in the redactor.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use abide_engine::{Error, ErrorKind, Parked};
use abide_llm::{Redactor, SecretRef, Vars};
use http::{HeaderName, HeaderValue};

use crate::config::{ServerConfig, Transport};
use crate::http::Address;
use crate::launch::LaunchSpec;
use crate::oauth::{OAuth, Settings, is_safe};

/// What every server inherits, on whatever system it is set: where programs, files, languages and certificates are.
/// Anything else, keys above all, a server gets only by its `env`.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "APPDATA",
    "LOCALAPPDATA",
    "USERPROFILE",
    "USERNAME",
    "HOMEDRIVE",
    "HOMEPATH",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
];

/// Headers that a declaration cannot set: rmcp does.
const RESERVED: &[&str] = &["accept", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

/// What a declaration comes to.
pub(crate) enum Start {
    /// A process to start.
    Process(LaunchSpec),
    /// An address to connect to.
    Address(Address),
}

/// What to start for this server, or where it is.
///
/// # Errors
/// `Park(Credentials)` for a variable or literal that is not there; `Environment` for what abide cannot speak to.
pub(crate) fn start(server: &ServerConfig, root: &Path, vars: &dyn Vars, redactor: &Redactor) -> Result<Start, Error> {
    let vars = ProjectVars { vars, root };
    let resolver = Resolver { server, vars: &vars, redactor };
    match &server.transport {
        Transport::Stdio { command, args, env, cwd } => {
            let command = resolver.text(command)?;
            let args = args.iter().map(|arg| resolver.text(arg).map(OsString::from)).collect::<Result<_, _>>()?;
            let cwd = cwd.as_deref().map(|cwd| resolver.text(cwd)).transpose()?;
            let mut environment = inherited();
            for (name, reference) in env {
                environment.insert(name.into(), resolver.setting(reference)?.into());
            }
            let cwd = cwd.map_or_else(|| root.to_owned(), |cwd| root.join(cwd));
            Ok(Start::Process(LaunchSpec { program: program(&command, root), args, env: environment, cwd }))
        }
        Transport::Http { url, headers } => {
            let mut address = resolver.address(url, headers)?;
            // Whoever declares an authorization means that one.
            let has_own = address.headers.contains_key(&http::header::AUTHORIZATION);
            if !has_own && is_safe(&address.url) {
                address.oauth = Some(resolver.oauth(&server.oauth.clone().unwrap_or_default())?);
            }
            Ok(Start::Address(address))
        }
        Transport::Sse { .. } => Err(resolver.unusable(
            "its `type` is sse, the transport that streamable HTTP has replaced and that abide does not speak: ask its maker \
             for the newer address (often /mcp instead of /sse), and declare that with \"type\": \"http\"",
        )),
    }
}

/// Tells the redactor every secret that this server would be started with, as far as it is set; starts nothing. Best done
/// before anything of a run is written: what is written earlier cannot be hidden any more.
pub fn teach_secrets(server: &ServerConfig, root: &Path, vars: &dyn Vars, redactor: &Redactor) {
    let vars = ProjectVars { vars, root };
    let learn = |reference: &SecretRef| reference.teach(&Private(&vars), redactor);
    let text = |text: &String| learn(&SecretRef::Template(text.clone()));
    match &server.transport {
        Transport::Stdio { command, args, env, cwd } => {
            [command].into_iter().chain(args).chain(cwd).for_each(text);
            env.values().for_each(learn);
        }
        Transport::Http { url, headers } => {
            text(url);
            headers.values().for_each(learn);
            let oauth = server.oauth.iter();
            oauth
                .flat_map(|oauth| [&oauth.client_secret, &oauth.private_key, &oauth.assertion])
                .flatten()
                .for_each(learn);
        }
        Transport::Sse { url } => text(url),
    }
}

fn inherited() -> BTreeMap<OsString, OsString> {
    INHERITED.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

/// A bare name is left to `PATH`; `./server` means the project's, whatever folder abide was called from.
fn program(command: &str, root: &Path) -> PathBuf {
    let path = Path::new(command);
    if path.components().count() > 1 || path.is_absolute() { root.join(path) } else { path.to_owned() }
}

struct Resolver<'a> {
    server: &'a ServerConfig,
    vars: &'a ProjectVars<'a>,
    redactor: &'a Redactor,
}

impl Resolver<'_> {
    /// A text of the command line. What it takes from a variable may be a key (`--api-key ${KEY}`) and is hidden like
    /// one, unless every server has it anyway.
    fn text(&self, text: &str) -> Result<String, Error> {
        let reference = SecretRef::Template(text.to_owned());
        reference.teach(&Private(self.vars), self.redactor);
        reference.resolve(self.vars).map_err(|error| self.named(&error))
    }

    fn setting(&self, reference: &SecretRef) -> Result<String, Error> {
        let text = reference.resolve(self.vars).map_err(|error| self.named(&error))?;
        reference.teach(&Private(self.vars), self.redactor);
        match reference {
            // The literal of then is a template by now.
            SecretRef::File { .. } if text.contains("${") => self.text(&text),
            _ => Ok(text),
        }
    }

    fn address(&self, url: &str, headers: &BTreeMap<String, SecretRef>) -> Result<Address, Error> {
        let url = self.text(url)?;
        if !reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(self.unusable("its `url` is no http or https address: correct it"));
        }
        let mut resolved = HashMap::new();
        for (name, reference) in headers {
            let value = self.setting(reference)?;
            let (Ok(header), Ok(mut value)) = (HeaderName::from_str(name), HeaderValue::from_str(&value)) else {
                return Err(
                    self.unusable(&format!("the header `{name}` cannot be sent: correct its name or its value"))
                );
            };
            if RESERVED.contains(&header.as_str()) {
                return Err(self.unusable(&format!("the header `{name}` is the protocol's own: leave it out")));
            }
            value.set_sensitive(true);
            resolved.insert(header, value);
        }
        Ok(Address { url, headers: resolved, oauth: None })
    }

    fn oauth(&self, declared: &OAuth) -> Result<Settings, Error> {
        let text = |text: &Option<String>| text.as_deref().map(|text| self.text(text)).transpose();
        let secret = |reference: &Option<SecretRef>| reference.as_ref().map(|one| self.setting(one)).transpose();
        Ok(Settings {
            grant: declared.grant,
            client_id: text(&declared.client_id)?,
            client_secret: secret(&declared.client_secret)?,
            private_key: secret(&declared.private_key)?,
            assertion: secret(&declared.assertion)?,
            client_metadata_url: text(&declared.client_metadata_url)?,
            issuer: text(&declared.issuer)?,
            scopes: declared.scopes.clone(),
            redirect_port: declared.redirect_port,
            redirect_localhost: declared.redirect_localhost,
        })
    }

    fn unusable(&self, why: &str) -> Error {
        let ServerConfig { name, file, .. } = self.server;
        Error::new(ErrorKind::Environment, format!("the MCP server `{name}` ({file}) cannot be used: {why}"))
    }

    fn named(&self, error: &Error) -> Error {
        let ServerConfig { name, file, .. } = self.server;
        let message = format!("the MCP server `{name}` ({file}) cannot start: {}", error.message());
        Error::new(ErrorKind::Park(Parked::Credentials), message)
    }
}

/// The caller's variables and the two of VS Code that name folders.
struct ProjectVars<'a> {
    vars: &'a dyn Vars,
    root: &'a Path,
}

impl Vars for ProjectVars<'_> {
    fn var(&self, name: &str) -> Option<String> {
        match name {
            "workspaceFolder" => Some(self.root.display().to_string()),
            "userHome" => self.vars.var("HOME").or_else(|| self.vars.var("USERPROFILE")),
            _ => self.vars.var(name),
        }
    }

    fn file_value(&self, file: &str, key: &str) -> Option<String> {
        self.vars.file_value(file, key)
    }
}

/// The same without what is no secret: hiding the home folder would change every path a tool prints.
struct Private<'a>(&'a ProjectVars<'a>);

impl Vars for Private<'_> {
    fn var(&self, name: &str) -> Option<String> {
        let open = INHERITED.contains(&name) || matches!(name, "workspaceFolder" | "userHome" | "PWD");
        if open { None } else { self.0.var(name) }
    }

    fn file_value(&self, file: &str, key: &str) -> Option<String> {
        self.0.file_value(file, key)
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
