//! Where a call goes and with which headers: every wire's address from any usual `base_url`, and its key. It never connects.

use abide_engine::{Error, ErrorKind, Parked, terminal};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::failure::environment;
use crate::model::{ModelConfig, Provider};
use crate::secret::{SecretRef, Vars, expand};

/// What is asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A model's answer to a prompt.
    Answer {
        /// As a stream, where the address says so.
        stream: bool,
    },
    /// Embeddings.
    Embed,
}

/// What goes out, but for the body.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    /// Host and port, for messages.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
}

impl Target {
    pub(crate) fn of(model: &ModelConfig, endpoint: Endpoint, key: &str, vars: &dyn Vars) -> Result<Self, Error> {
        let url = address(model, endpoint, vars)?;
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        if model.provider == Provider::Anthropic {
            headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        }
        if let Some(reference) = &model.api_key {
            let key = api_key(reference, vars)?;
            let (name, text) = match model.provider {
                Provider::Anthropic => (HeaderName::from_static("x-api-key"), key),
                Provider::Gemini => (HeaderName::from_static("x-goog-api-key"), key),
                _ if is_azure(&url) => (HeaderName::from_static("api-key"), key),
                _ => (AUTHORIZATION, format!("Bearer {key}")),
            };
            headers.insert(name, secret_header("api_key", &text)?);
        }
        for (name, reference) in &model.headers {
            let value = secret_header(name, &reference.resolve(vars)?)?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                environment(format!("`{name}` cannot be the name of a header: correct it in `headers`"))
            })?;
            headers.insert(name, value);
        }
        Ok(Self { url, host, headers })
    }

    /// Is it on this very machine?
    pub(crate) fn is_here(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Azure takes keys in a header of its own; `Authorization` there is for tokens of its directory.
fn is_azure(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(".azure.com")) || url.path().contains("/openai/deployments/")
}

/// The address to post to: `base_url` and the wire's path, unless it ends in that already. A query is kept.
fn address(model: &ModelConfig, endpoint: Endpoint, vars: &dyn Vars) -> Result<Url, Error> {
    let template = model.base_url_template();
    let mut text = expand(template, vars)
        .map_err(|missing| Error::new(ErrorKind::Park(Parked::Credentials), format!("base_url: {missing}")))?;
    if !text.contains("://") {
        // As `OLLAMA_HOST=127.0.0.1:11434` is usually written.
        text.insert_str(0, "http://");
    }
    // Quotes the template: the address itself may hold a password.
    let wrong =
        |why: &str| environment(format!("base_url = {template:?} is not an http or https address ({why}): correct it"));
    let mut url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(url.scheme()));
    }
    let path = path(model, endpoint, url.path().trim_end_matches('/'))?;
    url.set_path(&path);
    let streams = model.provider == Provider::Gemini && endpoint == Endpoint::Answer { stream: true };
    if streams && !url.query_pairs().any(|(name, _)| name == "alt") {
        // Without it the stream is one JSON array.
        url.query_pairs_mut().append_pair("alt", "sse");
    }
    Ok(url)
}

/// The path of an endpoint, given the one that `base_url` has.
fn path(model: &ModelConfig, endpoint: Endpoint, base: &str) -> Result<String, Error> {
    let stem = |ends: &[&str]| ends.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base).to_owned();
    let openai = ["/chat/completions", "/responses", "/embeddings"];
    let ollama = ["/api/chat", "/api/embed", "/api"];
    Ok(match (model.provider, endpoint) {
        (Provider::Openai, Endpoint::Answer { .. }) => stem(&openai) + "/chat/completions",
        (Provider::OpenaiResponses, Endpoint::Answer { .. }) => stem(&openai) + "/responses",
        (Provider::Openai | Provider::OpenaiResponses, Endpoint::Embed) => stem(&openai) + "/embeddings",
        (Provider::Anthropic, Endpoint::Answer { .. }) => stem(&["/v1/messages", "/v1"]) + "/v1/messages",
        (Provider::Anthropic, Endpoint::Embed) => {
            return Err(terminal("the wire `anthropic` has no embeddings: name a model of another provider for them"));
        }
        (Provider::Gemini, Endpoint::Answer { stream: true }) => gemini(base, &model.model, "streamGenerateContent"),
        (Provider::Gemini, Endpoint::Answer { stream: false }) => gemini(base, &model.model, "generateContent"),
        (Provider::Gemini, Endpoint::Embed) => gemini(base, &model.model, "batchEmbedContents"),
        (Provider::Ollama, Endpoint::Answer { .. }) => stem(&ollama) + "/api/chat",
        (Provider::Ollama, Endpoint::Embed) => stem(&ollama) + "/api/embed",
    })
}

/// Gemini names the model and what to do in the path.
fn gemini(base: &str, model: &str, verb: &str) -> String {
    if let Some((named, _)) = base.rsplit_once(':').filter(|(_, verb)| !verb.contains('/')) {
        return format!("{named}:{verb}");
    }
    let is_version =
        |part: &str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let version = if base.split('/').any(is_version) { "" } else { "/v1beta" };
    let base = base.strip_suffix("/models").unwrap_or(base);
    // A tuned model brings its own collection.
    let collection = if model.contains('/') { "" } else { "models/" };
    format!("{base}{version}/{collection}{model}:{verb}")
}

fn api_key(reference: &SecretRef, vars: &dyn Vars) -> Result<String, Error> {
    let key = reference.resolve(vars)?;
    if key.trim().is_empty() {
        let what = match reference {
            SecretRef::Template(text) => format!("api_key = {text:?} is empty"),
            SecretRef::File { file, key } => format!("`{key}` in {file} is empty"),
        };
        let message = format!("{what}: set it, then `abide resume` the run");
        return Err(Error::new(ErrorKind::Park(Parked::Credentials), message));
    }
    Ok(key.trim().to_owned())
}

fn secret_header(what: &str, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| {
        let message = format!(
            "the value of {what} holds a line break or another character that no header can hold: correct it, then \
             `abide resume` the run"
        );
        Error::new(ErrorKind::Park(Parked::Credentials), message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
