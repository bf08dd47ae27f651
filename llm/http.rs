//! One attempt of one call of a model: the only place of this crate that reaches the network. It never retries, never follows a
//! redirect (which would carry the key to another host), and never lets a key into an error.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abide_engine::{Error, ErrorKind, Parked};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde_json::Value;

use crate::errors::{Headers, Refusal};
use crate::model::{ModelConfig, Provider};
use crate::redact::Redactor;
use crate::secret::{SecretRef, Vars, expand};
use crate::tls::http_client;
use crate::wire::{self, START, quote};

/// The most bytes of an answer, unless [`Client::reply_bytes`] says otherwise.
const REPLY_BYTES: usize = 64 << 20;

/// The most bytes that are read of a refusal: enough for any message.
const MOST_REFUSAL_BYTES: usize = 256 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Calls models over HTTP. A clone shares the connections; a process needs one. It costs nothing before its first call.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<OnceLock<reqwest::Client>>,
    /// For this machine itself: without proxies.
    direct: Arc<OnceLock<reqwest::Client>>,
    reply_bytes: usize,
}

impl Default for Client {
    fn default() -> Self {
        Self { http: Arc::default(), direct: Arc::default(), reply_bytes: REPLY_BYTES }
    }
}

/// What goes out, but for the body.
#[derive(Debug)]
struct Target {
    url: Url,
    /// Host and port, for messages.
    host: String,
    headers: HeaderMap,
}

impl Client {
    /// The same client, with this as the most bytes of an answer. A longer one is an [`ErrorKind::Environment`]: the run
    /// stops, and goes on once the limit is raised.
    #[must_use]
    pub fn reply_bytes(self, most: usize) -> Self {
        Self { reply_bytes: most, ..self }
    }

    /// Makes one attempt to call `model` with `body` (made by [`wire::request`]) and returns the answer's body, checked to
    /// be a reply that [`wire::parse`] can read.
    ///
    /// Body and answer are in the written form of [`Redactor`]: known secrets are put in on the way out and hidden on the
    /// way in. `key` is the step's idempotency key, sent as `Idempotency-Key`. An answer that is no reply, an empty one, a
    /// time-out and a lost connection are [`ErrorKind::Plain`]; a wrong address or header is [`ErrorKind::Environment`];
    /// refusals are as in [`Refusal::error`].
    pub async fn call(
        &self,
        model: &ModelConfig,
        body: &Value,
        key: &str,
        vars: &dyn Vars,
        redactor: &Redactor,
    ) -> Result<Value, Error> {
        // First, so that no error can show what it knows.
        model.teach(vars, redactor);
        let mut sent = body.clone();
        redactor.restore_value(&mut sent);
        match self.attempt(model, &sent, key, vars, redactor).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Error::new(error.kind().clone(), redactor.mask(error.message()))),
        }
    }

    async fn attempt(
        &self,
        model: &ModelConfig,
        body: &Value,
        key: &str,
        vars: &dyn Vars,
        redactor: &Redactor,
    ) -> Result<Value, Error> {
        let Target { url, host, headers } = Target::of(model, key, vars)?;
        let timeout_s = model.timeout_s();
        tracing::debug!(%host, model = model.model, "calling a model");
        let request = self.http(&url)?.post(url.clone()).headers(headers).json(body);
        let failed = |error| failure(error, &host, timeout_s);
        let mut response = request.timeout(Duration::from_secs(timeout_s)).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(refusal(model.provider, response, redactor).await);
        }
        let bytes = read(&mut response, self.reply_bytes).await;
        if bytes.cut_off {
            return Err(environment(format!(
                "the answer of {host} is longer than the limit of {} bytes: is this a model's address? If it is, raise \
                 `reply_mib` under [limits] in abide.toml",
                self.reply_bytes
            )));
        }
        if let Some(error) = bytes.error {
            return Err(failed(error));
        }
        answer(model.provider, &bytes.read, &host, redactor)
    }

    /// The client for this address. A model on this very machine is never asked for through a proxy.
    fn http(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        let here = is_loopback(url);
        let place = if here { &self.direct } else { &self.http };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = http_client(|builder| {
            let builder = builder.user_agent(concat!("abide/", env!("CARGO_PKG_VERSION")));
            let builder = builder.redirect(reqwest::redirect::Policy::none()).retry(reqwest::retry::never());
            let builder = builder.connect_timeout(CONNECT_TIMEOUT);
            if here { builder.no_proxy() } else { builder }
        });
        let client = client.map_err(|error| environment(format!("cannot set up HTTPS: {}", causes(&error))))?;
        Ok(place.get_or_init(|| client))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Target {
    fn of(model: &ModelConfig, key: &str, vars: &dyn Vars) -> Result<Self, Error> {
        let url = endpoint(model, vars)?;
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
}

/// The address to post to: `base_url` and the wire's path, unless it ends in that already. A query is kept.
fn endpoint(model: &ModelConfig, vars: &dyn Vars) -> Result<Url, Error> {
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
    let base = url.path().trim_end_matches('/').to_owned();
    let path = match model.provider {
        Provider::Openai if base.ends_with("/chat/completions") => "",
        Provider::Openai => "/chat/completions",
        Provider::Anthropic if base.ends_with("/v1/messages") => "",
        Provider::Anthropic if base.ends_with("/v1") => "/messages",
        Provider::Anthropic => "/v1/messages",
        Provider::OpenaiResponses if base.ends_with("/responses") => "",
        Provider::OpenaiResponses => "/responses",
        Provider::Gemini => &format!("/models/{}:generateContent", model.model),
        Provider::Ollama if base.ends_with("/api/chat") => "",
        Provider::Ollama => "/api/chat",
    };
    url.set_path(&format!("{base}{path}"));
    Ok(url)
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

/// What could be read of a body.
struct Body {
    read: Vec<u8>,
    /// It was longer than allowed.
    cut_off: bool,
    /// It ended too early.
    error: Option<reqwest::Error>,
}

async fn read(response: &mut Response, most: usize) -> Body {
    let mut body = Body { read: Vec::new(), cut_off: false, error: None };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.read.len() + chunk.len() > most => {
                body.read.extend_from_slice(chunk.get(..most - body.read.len()).unwrap_or_default());
                body.cut_off = true;
            }
            Ok(Some(chunk)) => body.read.extend_from_slice(&chunk),
            Ok(None) => return body,
            Err(error) => body.error = Some(error),
        }
        if body.cut_off || body.error.is_some() {
            return body;
        }
    }
}

/// The answer in its written form, or what is wrong with it. Secrets are hidden before anything is quoted: half of one
/// would not be known again.
fn answer(provider: Provider, bytes: &[u8], host: &str, redactor: &Redactor) -> Result<Value, Error> {
    let plain = |message| Error::new(ErrorKind::Plain, message);
    let mut answer: Value = serde_json::from_slice(bytes).map_err(|error| {
        let start = quote(&redactor.mask(&String::from_utf8_lossy(bytes)), START);
        plain(format!("the answer of {host} is not JSON ({error}): {start}"))
    })?;
    redactor.hide_value(&mut answer);
    match wire::parse(provider, &answer) {
        Ok(_) => Ok(answer),
        Err(error) => Err(plain(format!("{host}: {error}"))),
    }
}

/// A status other than 200, judged by what could be read of its body.
async fn refusal(provider: Provider, mut response: Response, redactor: &Redactor) -> Error {
    let status = response.status().as_u16();
    let headers: Headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let Body { read: body, cut_off, .. } = read(&mut response, MOST_REFUSAL_BYTES).await;
    let body = match headers.get("location") {
        Some(location) if (300..400).contains(&status) => format!("it redirects to {location}"),
        _ => String::from_utf8_lossy(&body).into_owned(),
    };
    // Before anything of it is quoted: half a secret would not be known again.
    let body = if cut_off { redactor.mask_cut(&body).into() } else { redactor.mask(&body) };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    Refusal { provider, status, headers: &headers, body: &body, now_ms }.error()
}

/// A call that brought no whole answer; whether the provider worked on it, nobody knows.
fn failure(error: reqwest::Error, host: &str, timeout_s: u64) -> Error {
    let error = error.without_url();
    let message = if error.is_connect() {
        format!("cannot connect to {host}: {}", causes(&error))
    } else if error.is_timeout() {
        format!("{host} gave no whole answer within {timeout_s} s (`timeout_s` of the model)")
    } else {
        format!("the connection to {host} broke before the answer was complete: {}", causes(&error))
    };
    Error::new(ErrorKind::Plain, message)
}

/// The causes below reqwest's own words, which only say that something failed.
fn causes(error: &reqwest::Error) -> String {
    let first = std::error::Error::source(error);
    let chain = std::iter::successors(first, |cause| cause.source());
    let mut texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.dedup();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

fn environment(message: String) -> Error {
    Error::new(ErrorKind::Environment, message)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
