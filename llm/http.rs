//! One attempt of one call of a model: the only place of this crate that reaches the network. It never retries, never follows a
//! redirect (which would carry the key to another host), and never lets a key into an error.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abide_engine::{Error, ErrorKind, in_doubt, step_may_leave, terminal};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::body::{Body, Source};
use crate::call::{CallOptions, Seen};
use crate::errors::{Headers, Refusal, status_of};
use crate::failure::{causes, environment, lost, unsent_or_lost};
use crate::model::{ModelConfig, Provider};
use crate::rate::RateLimits;
use crate::redact::Redactor;
use crate::stream::{Assembler, Broken, Framing, ReadError, Shown, assemble};
use crate::target::{Endpoint, Target};
use crate::tls::http_client;
use crate::wire::{self, START, WireError, quote};

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

/// One request that is under way.
struct Exchange<'a> {
    model: &'a ModelConfig,
    options: CallOptions<'a>,
    /// Host and port, for messages.
    host: String,
    reply_bytes: usize,
}

impl Client {
    /// The same client, with this as the most bytes of an answer. A longer one is an [`ErrorKind::Environment`]: the run
    /// stops, and goes on once the limit is raised.
    #[must_use]
    pub fn reply_bytes(self, most: usize) -> Self {
        Self { reply_bytes: most, ..self }
    }

    /// Makes one attempt to call `model` with `body` (the JSON text of what [`wire::request`] made) and returns the answer's body, checked to
    /// be a reply that [`wire::parse`] can read. A stream comes back as the body that the same call without streaming has.
    ///
    /// Body and answer are in the written form of [`Redactor`]: known secrets are put in on the way out and hidden on the
    /// way in. Errors: no connection is [`ErrorKind::Plain`]; a request that left and brought no whole answer (a time-out, a
    /// lost connection, a stream that broke off or fell silent, an answer that is no reply or an empty one) is
    /// [`ErrorKind::InDoubt`], for it may have been billed; a wrong address or header, or an answer that is too long, is
    /// [`ErrorKind::Environment`]; refusals are as in [`Refusal::error`].
    pub async fn call(&self, model: &ModelConfig, body: &RawValue, options: CallOptions<'_>) -> Result<Value, Error> {
        let endpoint = Endpoint::Answer { stream: model.streams() };
        let provider = model.provider;
        let check = |answer: &Value| wire::parse(provider, answer).map(drop).map_err(|error| no_reply(provider, error));
        self.post(model, endpoint, body, options, &check).await
    }

    /// Makes one attempt to have texts embedded by `model` and returns the answer's body. As [`Client::call`] otherwise: the
    /// body is in the wire's own form, and so is the answer.
    pub async fn embed(&self, model: &ModelConfig, body: &Value, options: CallOptions<'_>) -> Result<Value, Error> {
        let check = |answer: &Value| {
            if answer.is_object() {
                Ok(())
            } else {
                Err(in_doubt("the answer is no object, so it holds no embeddings"))
            }
        };
        let body = to_raw_value(body).map_err(terminal)?;
        self.post(model, Endpoint::Embed, &body, options, &check).await
    }

    /// Posts `body` to an endpoint of the model's provider. `check` says what is wrong with an answer.
    async fn post(
        &self,
        model: &ModelConfig,
        endpoint: Endpoint,
        body: &RawValue,
        options: CallOptions<'_>,
        check: &(dyn Fn(&Value) -> Result<(), Error> + Send + Sync),
    ) -> Result<Value, Error> {
        // First, so that no error can show what it knows.
        model.teach(options.vars, options.redactor);
        let sent = options.redactor.restore_json(body.get()).map_err(terminal)?.into_owned();
        let answer = async {
            let mut answer = self.attempt(model, endpoint, sent, options).await?;
            // Hidden before anything is quoted: half of a secret would not be known again.
            options.redactor.hide_value(&mut answer);
            check(&answer)?;
            Ok(answer)
        };
        answer.await.map_err(|error: Error| Error::new(error.kind().clone(), options.redactor.mask(error.message())))
    }

    async fn attempt(
        &self,
        model: &ModelConfig,
        endpoint: Endpoint,
        body: String,
        options: CallOptions<'_>,
    ) -> Result<Value, Error> {
        let target = Target::of(model, endpoint, options.key, options.vars)?;
        let http = self.http(&target)?;
        let Target { url, host, headers } = target;
        let timeout_s = model.timeout_s();
        tracing::debug!(%host, model = model.model, "calling a model");
        let request = http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .body(body)
            .timeout(Duration::from_secs(timeout_s));
        // The last moment: from here on nothing waits in this process.
        step_may_leave()?;
        let response = request.send().await.map_err(|error| unsent_or_lost(error, &host, timeout_s))?;
        Exchange { model, options, host, reply_bytes: self.reply_bytes }.answer(response).await
    }

    /// The client for this address. A model on this very machine is never asked for through a proxy.
    fn http(&self, target: &Target) -> Result<&reqwest::Client, Error> {
        let here = target.is_here();
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

impl Exchange<'_> {
    async fn answer(&self, response: Response) -> Result<Value, Error> {
        let status = response.status();
        let headers: Headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        if !status.is_success() {
            return Err(self.refused(response, &headers).await);
        }
        self.tell(status.as_u16(), &headers, None, true);
        // What comes decides, not what was asked for: not every server can stream, and some do nothing else.
        match headers.get("content-type").and_then(Framing::of) {
            None => self.whole(response).await,
            Some(framing) => self.stream(response, framing, &headers).await,
        }
    }

    /// An answer that is one JSON text.
    async fn whole(&self, response: Response) -> Result<Value, Error> {
        let body = Body::read(Source::new(response, self.reply_bytes, self.model.idle_timeout_s())).await;
        if let Some(error) = body.error {
            return Err(self.unread(error));
        }
        let answer: Value = serde_json::from_slice(&body.read).map_err(|error| {
            let start = quote(&self.redactor().mask(&String::from_utf8_lossy(&body.read)), START);
            in_doubt(format!("the answer of {} is not JSON ({error}): {start}", self.host))
        })?;
        if let Ok(reply) = wire::parse(self.model.provider, &answer) {
            let mut shown = Shown::new(self.options.on, self.redactor());
            shown.whole(&reply);
            shown.end();
        }
        Ok(answer)
    }

    async fn stream(&self, response: Response, framing: Framing, headers: &Headers) -> Result<Value, Error> {
        let source = Source::new(response, self.reply_bytes, self.model.idle_timeout_s());
        let heard = source.heard();
        let mut shown = Shown::new(self.options.on, self.redactor());
        let mut show = |delta| {
            heard.note();
            shown.show(delta);
        };
        let assembler = Assembler::new(self.model.provider);
        match assemble(assembler, framing, source.bytes(), &mut show).await {
            Ok(answer) => {
                shown.end();
                Ok(answer)
            }
            Err(broken) => Err(self.broken(broken, headers)),
        }
    }

    fn broken(&self, broken: Broken, headers: &Headers) -> Error {
        let host = &self.host;
        match broken {
            Broken::Read(error) => self.unread(error),
            Broken::CutOff(missing) => in_doubt(format!(
                "the stream of {host} ended without {missing}, so the answer is not whole (for an endpoint that cannot \
                 stream: `stream = false` of the model)"
            )),
            Broken::Malformed { why, event } => {
                let event =
                    if event.is_empty() { event } else { format!(": {}", quote(&self.redactor().mask(&event), START)) };
                in_doubt(format!("the stream of {host} is not what its wire sends: {why}{event}"))
            }
            Broken::Refused { body, begun } => {
                let body = self.redactor().mask(&body);
                let status = status_of(&body);
                let error = self.judge(status, headers, &body, true);
                self.tell(status, headers, Some(&error), begun);
                if begun { once_begun(error) } else { error }
            }
        }
    }

    /// An answer that could not be read to its end.
    fn unread(&self, error: ReadError) -> Error {
        let host = &self.host;
        match error {
            ReadError::Connection(error) => lost(&error.without_url(), host, self.model.timeout_s()),
            ReadError::Silent(seconds) => in_doubt(format!(
                "{host} fell silent in the middle of its answer: nothing came for {seconds} s (`idle_timeout_s` of the model)"
            )),
            ReadError::TooLong => environment(format!(
                "the answer of {host} is longer than the limit of {} bytes: is this a model's address? If it is, raise \
                 `reply_mib` under [limits] in abide.toml",
                self.reply_bytes
            )),
        }
    }

    /// A status other than 200, judged by what could be read of its body.
    async fn refused(&self, response: Response, headers: &Headers) -> Error {
        let status = response.status().as_u16();
        let body = Body::read(Source::new(response, MOST_REFUSAL_BYTES, self.model.idle_timeout_s())).await;
        let text = match headers.get("location") {
            Some(location) if (300..400).contains(&status) => format!("it redirects to {location}"),
            _ => String::from_utf8_lossy(&body.read).into_owned(),
        };
        // Before anything of it is quoted: half a secret would not be known again.
        let is_cut = matches!(body.error, Some(ReadError::TooLong));
        let text = if is_cut { self.redactor().mask_cut(&text).into() } else { self.redactor().mask(&text) };
        let error = self.judge(status, headers, &text, false);
        self.tell(status, headers, Some(&error), false);
        error
    }

    fn judge(&self, status: u16, headers: &Headers, body: &str, in_stream: bool) -> Error {
        Refusal { provider: self.model.provider, status, headers, body, now_ms: now_ms(), in_stream }.error()
    }

    fn tell(&self, status: u16, headers: &Headers, refusal: Option<&Error>, may_be_billed: bool) {
        let wait_ms = match refusal.map(Error::kind) {
            Some(ErrorKind::RetryAfter { ms, .. }) => Some(*ms),
            _ => None,
        };
        (self.options.seen)(&Seen { status, limits: RateLimits::read(headers, now_ms()), wait_ms, may_be_billed });
    }

    fn redactor(&self) -> &Redactor {
        self.options.redactor
    }
}

/// An answer that is no reply. Of one that tells of a failure within itself nobody knows what was billed either.
fn no_reply(provider: Provider, error: WireError) -> Error {
    let WireError::Failed { code, message, .. } = error else { return in_doubt(error.to_string()) };
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    let (status, headers) = (status_of(&body), Headers::default());
    let refusal = Refusal { provider, status, headers: &headers, body: &body, now_ms: now_ms(), in_stream: true };
    once_begun(refusal.error())
}

/// An error that is worth another attempt and came after the model had begun.
fn once_begun(error: Error) -> Error {
    if *error.kind() == ErrorKind::Plain { in_doubt(error.message()) } else { error }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "http_stream_tests.rs"]
mod stream_tests;
