//! Reads one file of server declarations: `mcpServers` (Claude and most others) or `servers` and `inputs` (VS Code), with
//! comments and trailing commas. It expands nothing, keeps no literal secret, and touches no disk.

use std::collections::{BTreeMap, BTreeSet};

use abide_llm::SecretRef;
use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::config::{ConfigError, ServerConfig, Transport};
use crate::config_inputs::Inputs;
use crate::oauth::OAuth;

/// Reads the servers that `text` declares; `file` is what errors and references to literals call it.
///
/// # Errors
/// Text that is not JSON (with comments), and declarations that are not what they should be: each with its line.
pub fn parse_servers(text: &str, file: &str) -> Result<Vec<ServerConfig>, ConfigError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options()).map_err(|error| ConfigError::Syntax {
        file: file.into(),
        line: error.line_display(),
        why: error.kind().to_string(),
    })?;
    let source = Source { text, file };
    let Some(value) = parsed.value else { return Ok(Vec::new()) };
    let top = source.object(&value, "the file")?;
    let Some((key, value)) = ["mcpServers", "servers"].into_iter().find_map(|key| Some((key, field(top, key)?))) else {
        return source.misplaced(top);
    };
    let inputs = match field(top, "inputs") {
        Some(value) => source.inputs(value)?,
        None => Inputs::default(),
    };
    let declared = source.object(value, key)?;
    let mut seen = BTreeSet::new();
    let mut servers = Vec::new();
    for property in &declared.properties {
        let name = property.name.as_str();
        let at = format!("{key}.{name}");
        if name.trim().is_empty() {
            return Err(source.wrong(property, &at, "has an empty name", "give the server a name"));
        }
        if !seen.insert(name) {
            return Err(source.wrong(property, &at, "is declared twice", "rename one of them or remove it"));
        }
        servers.extend(source.server(name, &property.value, key, &inputs)?);
    }
    Ok(servers)
}

/// The text of the literal at `key`, the dotted key that a [`SecretRef::File`] from [`parse_servers`] holds; numbers as
/// they are written. `None` if the text cannot be read or has no such literal (any more).
pub fn literal_at(text: &str, key: &str) -> Option<String> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options()).ok()?;
    scalar(walk(&parsed.value?, key)?)
}

/// Follows a dotted key; names may hold dots themselves, so every reading is tried.
fn walk<'v, 't>(value: &'v Value<'t>, key: &str) -> Option<&'v Value<'t>> {
    let object = value.as_object()?;
    field(object, key).or_else(|| {
        let mut ends = key.match_indices('.').map(|(at, _)| at);
        ends.find_map(|end| walk(field(object, key.get(..end)?)?, key.get(end + 1..)?))
    })
}

/// Some editors on Windows begin a file with it.
const BOM: char = '\u{FEFF}';

/// JSON with comments and trailing commas, and no other liberties.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// A property's value; of several with one name the last, as everywhere.
fn field<'o, 't>(object: &'o Object<'t>, name: &str) -> Option<&'o Value<'t>> {
    object.properties.iter().rev().find(|property| property.name.as_str() == name).map(|property| &property.value)
}

fn scalar(value: &Value<'_>) -> Option<String> {
    match value {
        Value::StringLit(text) => Some(text.value.to_string()),
        Value::NumberLit(number) => Some(number.value.to_owned()),
        _ => None,
    }
}

struct Source<'t> {
    text: &'t str,
    file: &'t str,
}

impl Source<'_> {
    fn wrong(&self, node: &impl Ranged, at: &str, what: &str, fix: &str) -> ConfigError {
        let before = self.text.get(..node.start()).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        ConfigError::Wrong { file: self.file.into(), line, at: at.into(), what: what.into(), fix: fix.into() }
    }

    fn object<'v, 't>(&self, value: &'v Value<'t>, at: &str) -> Result<&'v Object<'t>, ConfigError> {
        value.as_object().ok_or_else(|| self.wrong(value, at, &not("an object", value), "write { ... }"))
    }

    fn string(&self, value: &Value<'_>, at: &str) -> Result<String, ConfigError> {
        let text = value.as_string_lit().map(|text| text.value.to_string());
        text.ok_or_else(|| self.wrong(value, at, &not("a string", value), "write it in double quotes"))
    }

    /// No servers is fine, unless they were written where nobody looks for them.
    fn misplaced(&self, top: &Object<'_>) -> Result<Vec<ServerConfig>, ConfigError> {
        let is_server = |value: &Value<'_>| {
            value.as_object().is_some_and(|object| field(object, "command").is_some() || field(object, "url").is_some())
        };
        match top.properties.iter().find(|property| is_server(&property.value)) {
            Some(property) => {
                let fix = "wrap the servers: { \"mcpServers\": { ... } }";
                Err(self.wrong(property, property.name.as_str(), "is a server outside of `mcpServers`", fix))
            }
            None => Ok(Vec::new()),
        }
    }

    fn inputs(&self, value: &Value<'_>) -> Result<Inputs, ConfigError> {
        let Some(list) = value.as_array() else {
            return Err(self.wrong(value, "inputs", &not("a list", value), "write [ ... ]"));
        };
        let mut inputs = Inputs::default();
        for (index, value) in list.elements.iter().enumerate() {
            let at = format!("inputs[{index}]");
            let input = self.object(value, &at)?;
            let Some(id) = field(input, "id") else {
                return Err(self.wrong(value, &at, "has no `id`", "add the id that ${input:id} names"));
            };
            inputs.add(self.string(id, &format!("{at}.id"))?, field(input, "default").and_then(scalar));
        }
        Ok(inputs)
    }

    /// `None` for a server that is switched off.
    fn server(
        &self,
        name: &str,
        value: &Value<'_>,
        key: &str,
        inputs: &Inputs,
    ) -> Result<Option<ServerConfig>, ConfigError> {
        let reader = ServerReader { source: self, at: format!("{key}.{name}"), inputs };
        let object = self.object(value, &reader.at)?;
        if field(object, "disabled").and_then(Value::as_boolean_lit).is_some_and(|lit| lit.value) {
            return Ok(None);
        }
        let transport = reader.transport(object, value)?;
        Ok(Some(ServerConfig {
            name: name.to_owned(),
            transport,
            file: self.file.to_owned(),
            protocol: None,
            roots: false,
            oauth: reader.oauth(object)?,
        }))
    }
}

struct ServerReader<'s, 't> {
    source: &'s Source<'t>,
    at: String,
    inputs: &'s Inputs,
}

impl ServerReader<'_, '_> {
    fn transport(&self, object: &Object<'_>, value: &Value<'_>) -> Result<Transport, ConfigError> {
        let kind =
            field(object, "type").map(|kind| self.source.string(kind, &format!("{}.type", self.at))).transpose()?;
        let (command, url) = (field(object, "command"), field(object, "url"));
        match kind.as_deref() {
            Some("stdio") | None if command.is_some() => self.stdio(object),
            Some("http" | "streamable-http" | "streamableHttp") | None if url.is_some() => self.http(object),
            Some("sse") if url.is_some() => Ok(Transport::Sse { url: self.text(object, "url")?.unwrap_or_default() }),
            Some("stdio") => Err(self.source.wrong(value, &self.at, "has no `command`", "add the program to start")),
            Some("http" | "sse" | "streamable-http" | "streamableHttp") => {
                Err(self.source.wrong(value, &self.at, "has no `url`", "add the server's address"))
            }
            Some(other) => {
                let what = format!("has the unknown type `{other}`");
                Err(self.source.wrong(value, &self.at, &what, "write stdio or http"))
            }
            None => {
                let fix = "add the program to start as `command`, or an http server's address as `url`";
                Err(self.source.wrong(value, &self.at, "has no `command`", fix))
            }
        }
    }

    fn stdio(&self, object: &Object<'_>) -> Result<Transport, ConfigError> {
        let mut args = Vec::new();
        if let Some(value) = field(object, "args") {
            let at = format!("{}.args", self.at);
            let Some(list) = value.as_array() else {
                return Err(self.source.wrong(
                    value,
                    &at,
                    &not("a list of strings", value),
                    "write [\"...\", \"...\"]",
                ));
            };
            for (index, value) in list.elements.iter().enumerate() {
                let at = format!("{at}[{index}]");
                args.push(self.template(value, &at, &self.source.string(value, &at)?)?);
            }
        }
        let command = self.text(object, "command")?.unwrap_or_default();
        if command.trim().is_empty() {
            return Err(self.source.wrong(
                object,
                &format!("{}.command", self.at),
                "is empty",
                "name the program to start",
            ));
        }
        Ok(Transport::Stdio { command, args, env: self.settings(object, "env")?, cwd: self.text(object, "cwd")? })
    }

    fn http(&self, object: &Object<'_>) -> Result<Transport, ConfigError> {
        let url = self.text(object, "url")?.unwrap_or_default();
        Ok(Transport::Http { url, headers: self.settings(object, "headers")? })
    }

    /// `oauth`, as Claude Code has it, and `clientSecret` and a list of scopes besides, as others do.
    fn oauth(&self, object: &Object<'_>) -> Result<Option<OAuth>, ConfigError> {
        let Some(value) = field(object, "oauth").filter(|value| value.as_boolean_lit().is_none()) else {
            return Ok(None);
        };
        let at = format!("{}.oauth", self.at);
        let oauth = self.source.object(value, &at)?;
        let inner = ServerReader { source: self.source, at: at.clone(), inputs: self.inputs };
        let redirect_port = match field(oauth, "callbackPort") {
            None => None,
            Some(value) => match scalar(value).and_then(|port| port.parse().ok()).filter(|port: &u16| *port > 0) {
                None => {
                    let at = format!("{at}.callbackPort");
                    return Err(self.source.wrong(value, &at, "is no port from 1 to 65535", "write it like 8080"));
                }
                port => port,
            },
        };
        let scopes = match field(oauth, "scopes").and_then(Value::as_array) {
            None => inner.text(oauth, "scopes")?.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            Some(list) => {
                let one = |value| self.source.string(value, &format!("{at}.scopes"));
                list.elements.iter().map(one).collect::<Result<_, _>>()?
            }
        };
        let client_secret = inner.setting(oauth, "clientSecret")?;
        let client_id = inner.text(oauth, "clientId")?;
        if client_secret.is_some() && client_id.is_none() {
            return Err(self.source.wrong(value, &at, "has a `clientSecret` and no `clientId`", "add the id"));
        }
        if field(oauth, "authServerMetadataUrl").is_some() {
            tracing::warn!(
                at,
                "`authServerMetadataUrl` is not used: the authorization server is found by the server's own word"
            );
        }
        // Such clients register this name of the machine.
        let redirect_localhost = redirect_port.is_some();
        let oauth = OAuth { client_id, client_secret, scopes, redirect_port, redirect_localhost, ..OAuth::default() };
        Ok((oauth != OAuth::default()).then_some(oauth))
    }

    fn text(&self, object: &Object<'_>, name: &str) -> Result<Option<String>, ConfigError> {
        let Some(value) = field(object, name) else { return Ok(None) };
        let at = format!("{}.{name}", self.at);
        Ok(Some(self.template(value, &at, &self.source.string(value, &at)?)?))
    }

    fn template(&self, node: &Value<'_>, at: &str, text: &str) -> Result<String, ConfigError> {
        self.inputs.rewrite(text).map_err(|unknown| {
            let what = format!("uses ${{input:{unknown}}}, which `inputs` does not declare");
            self.source.wrong(node, at, &what, "declare it, or write ${VARIABLE}")
        })
    }

    /// `env` or `headers`: templates as they are, literals only as a reference to where they stand.
    fn settings(&self, object: &Object<'_>, name: &str) -> Result<BTreeMap<String, SecretRef>, ConfigError> {
        let Some(value) = field(object, name) else { return Ok(BTreeMap::new()) };
        let all = format!("{}.{name}", self.at);
        let mut settings = BTreeMap::new();
        for property in &self.source.object(value, &all)?.properties {
            let (variable, value) = (property.name.as_str(), &property.value);
            let at = format!("{all}.{variable}");
            if variable.is_empty() || variable.contains(['=', '\0']) {
                return Err(self.source.wrong(property, &at, "is not a name that can be set", "correct the name"));
            }
            settings.insert(variable.to_owned(), self.secret(value, at)?);
        }
        Ok(settings)
    }

    fn setting(&self, object: &Object<'_>, name: &str) -> Result<Option<SecretRef>, ConfigError> {
        field(object, name).map(|value| self.secret(value, format!("{}.{name}", self.at))).transpose()
    }

    fn secret(&self, value: &Value<'_>, at: String) -> Result<SecretRef, ConfigError> {
        let Some(text) = scalar(value) else {
            return Err(self.source.wrong(value, &at, &not("a string", value), "write it in double quotes"));
        };
        if text.contains("${") {
            return Ok(SecretRef::Template(self.template(value, &at, &text)?));
        }
        Ok(SecretRef::File { file: self.source.file.to_owned(), key: at })
    }
}

fn not(expected: &str, value: &Value<'_>) -> String {
    let found = match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "true or false",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    };
    format!("must be {expected} and is {found}")
}
