//! Turns a declaration into what a process is started with: variables expanded, paths resolved, a minimal environment.
//! It runs at start only, and keeps nothing of what it resolved except in the redactor.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use abide_engine::{Error, ErrorKind, Parked};
use abide_llm::{Redactor, SecretRef, Vars};

use crate::config::{ServerConfig, Transport};
use crate::launch::LaunchSpec;

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

/// What to start for this server.
///
/// # Errors
/// `Park(Credentials)` for a variable or literal that is not there; `Environment` for a server that is no process.
pub(crate) fn launch_spec(
    server: &ServerConfig,
    root: &Path,
    vars: &dyn Vars,
    redactor: &Redactor,
) -> Result<LaunchSpec, Error> {
    let Transport::Stdio { command, args, env, cwd } = &server.transport else {
        let message = format!(
            "the MCP server `{}` ({}) is reached over http, and only stdio servers are built so far: declare one with a \
             `command`, for example a local proxy",
            server.name, server.file
        );
        return Err(Error::new(ErrorKind::Environment, message));
    };
    let vars = ProjectVars { vars, root };
    let resolver = Resolver { server, vars: &vars, redactor };
    let command = resolver.text(command)?;
    let args = args.iter().map(|arg| resolver.text(arg).map(OsString::from)).collect::<Result<_, _>>()?;
    let cwd = cwd.as_deref().map(|cwd| resolver.text(cwd)).transpose()?;
    let mut environment = inherited();
    for (name, reference) in env {
        environment.insert(name.into(), resolver.setting(reference)?.into());
    }
    let cwd = cwd.map_or_else(|| root.to_owned(), |cwd| root.join(cwd));
    Ok(LaunchSpec { program: program(&command, root), args, env: environment, cwd })
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
        }
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
mod tests {
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

    fn start(declared: &'static str) -> (Result<LaunchSpec, Error>, Redactor) {
        let text: &'static str = Box::leak(format!("{{\"mcpServers\": {{\"s\": {declared}}}}}").into_boxed_str());
        let server = parse_servers(text, ".mcp.json").unwrap().remove(0);
        let redactor = Redactor::default();
        (launch_spec(&server, Path::new("root"), &Fixed(text), &redactor), redactor)
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
        let spec = |text| launch_spec(&server[0], Path::new("."), &Fixed(text), &redactor);
        let error = spec("{}").err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials));
        assert!(error.message().contains("mcpServers.s.env.A"), "{error}");
        let spec = spec(r#"{"mcpServers": {"s": {"env": {"A": "${KEY}"}}}}"#).unwrap();
        assert_eq!(spec.env[&OsString::from("A")], "sk-0123456789");
        assert_eq!(redactor.mask("sk-0123456789"), "${KEY}");
    }

    #[test]
    fn an_http_server_says_that_it_is_not_built() {
        let error = start(r#"{"url": "http://localhost"}"#).0.err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::Environment);
        assert!(error.message().contains("only stdio servers are built so far"), "{error}");
    }
}
