//! One server of one project, started when it is first needed and again when it is needed after its end. It never starts
//! one without consent, never twice at the same time, and never repeats a call.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use abide_engine::{Error, ErrorKind, Parked, did_not_happen};
use abide_llm::{Redactor, Vars};
use backon::{ExponentialBuilder, Retryable as _};

use crate::caller::Caller;
use crate::config::{ServerConfig, Transport};
use crate::connection::{Connection, Missing, StartFailure};
use crate::consent::Consent;
use crate::environment::{self, Start};
use crate::era::Era;
use crate::launch::Launcher;
use crate::names::typed;
use crate::oauth::Keeper;
use crate::stderr::LastLine;
use crate::vault::Vault;

/// What bounds a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a server may take to start and, once more, to list its tools.
    pub start: Duration,
    /// How long a server may take to end by itself once its input is closed.
    pub grace: Duration,
    /// The largest result of a call, in bytes of JSON; a larger one is an error result that says so.
    pub result_bytes: usize,
    /// The longest message of a server, in bytes; a longer one is dropped, and whoever waits for it is told.
    pub frame_bytes: usize,
    /// The most tools of a server; one that lists more is refused.
    pub tools: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            result_bytes: 10 << 20,
            frame_bytes: 16 << 20,
            tools: 1_000,
        }
    }
}

/// What all servers of this process share.
pub struct Host {
    /// Starts the processes.
    pub launcher: Arc<dyn Launcher>,
    /// Knows what the user has consented to.
    pub consent: Arc<dyn Consent>,
    /// Learns every secret that a server is started with.
    pub redactor: Redactor,
    /// Keeps the tokens by which servers let abide in.
    pub vault: Arc<dyn Vault>,
    /// What bounds them.
    pub limits: Limits,
}

/// A server and, while it lives, its connection.
pub(crate) struct Slot {
    pub(crate) config: ServerConfig,
    root: PathBuf,
    vars: Arc<dyn Vars>,
    live: tokio::sync::Mutex<Live>,
    starts: AtomicU64,
    closed: AtomicBool,
}

#[derive(Default)]
struct Live {
    connection: Option<Arc<Connection>>,
    /// Set once it was found to bear nothing but the older opening.
    legacy: bool,
}

impl Slot {
    pub(crate) fn new(config: ServerConfig, root: PathBuf, vars: Arc<dyn Vars>) -> Self {
        let (live, starts, closed) = Default::default();
        Self { config, root, vars, live, starts, closed }
    }

    /// How often it was started.
    pub(crate) fn generation(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    /// The open connection; whoever comes while it is being opened waits for the same one.
    ///
    /// # Errors
    /// `Park(Trust)` without consent, `Park(Credentials)` for a missing variable, `Environment` if it does not start.
    pub(crate) async fn connection(&self, host: &Host) -> Result<Arc<Connection>, Error> {
        let mut live = self.live.lock().await;
        if let Some(connection) = &live.connection
            && !connection.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        if let Some(dead) = live.connection.take() {
            // What it had started may have outlived it.
            dead.end(Duration::ZERO).await;
        }
        if self.closed.load(Ordering::SeqCst) {
            return Err(did_not_happen(format!(
                "abide is ending: the MCP server `{}` is not started any more",
                self.config.name
            )));
        }
        let mut legacy = live.legacy;
        let connection = if self.generation() == 0 {
            Box::pin(self.start(host, &mut legacy)).await?
        } else {
            // It has worked before: a lock or a port of its last life may take a moment to be free again.
            let policy =
                ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(RESTARTS).with_jitter();
            let start = async || {
                let mut legacy = legacy;
                Box::pin(self.start(host, &mut legacy)).await.map(|connection| (connection, legacy))
            };
            let (connection, found) = start.retry(policy).when(|error| *error.kind() == ErrorKind::Environment).await?;
            legacy = found;
            connection
        };
        self.starts.fetch_add(1, Ordering::SeqCst);
        let connection = Arc::new(connection);
        *live = Live { connection: Some(Arc::clone(&connection)), legacy };
        Ok(connection)
    }

    /// Ends it for good.
    pub(crate) async fn shut_down(&self, grace: Duration) {
        self.closed.store(true, Ordering::SeqCst);
        let connection = self.live.lock().await.connection.take();
        if let Some(connection) = connection {
            connection.end(grace).await;
        }
    }

    async fn start(&self, host: &Host, legacy: &mut bool) -> Result<Connection, Error> {
        let ServerConfig { name, file, .. } = &self.config;
        if !host.consent.granted(&self.config) {
            let message = format!(
                "the MCP server `{name}` is declared in {file} and may not be started without your consent: read it, \
                 then `abide trust`, or add --trust for this time"
            );
            return Err(Error::new(ErrorKind::Park(Parked::Trust), message));
        }
        let era = if *legacy { Era::Legacy } else { Era::of(self.config.protocol) };
        let mut opened = self.open(host, era).await?;
        // Some older servers end at the sight of `server/discover`, and slow newer ones refuse what comes after it.
        if let Err(StartFailure { instead: Some(other), .. }) = opened
            && era == Era::Both
        {
            opened = self.open(host, other).await?;
            *legacy = other == Era::Legacy && opened.is_ok();
        }
        let failure = match opened {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure,
        };
        let (did, command, remedy) = match &self.config.transport {
            Transport::Stdio { .. } => ("start", "command", "try the command in a terminal, or correct it"),
            _ => {
                ("answer as it should", "address", "check that it runs there and speaks streamable HTTP, or correct it")
            }
        };
        let (kind, remedy) = match failure.missing {
            Some(Missing::Login) => {
                let message = host.redactor.mask(&wants_login(name, &failure.why)).into_owned();
                return Err(Error::new(ErrorKind::Park(Parked::Credentials), message));
            }
            Some(Missing::Headers) => (ErrorKind::Park(Parked::Credentials), SET_HEADERS),
            None => (ErrorKind::Environment, remedy),
        };
        let message = format!(
            "the MCP server `{name}` ({file}) did not {did}: {}\n  {command}: {}{}\n  {remedy} where it is declared",
            failure.why,
            self.config,
            failure.stderr.map(|stderr| quote(&stderr, &host.redactor)).unwrap_or_default()
        );
        Err(Error::new(kind, host.redactor.mask(&message)))
    }

    async fn open(&self, host: &Host, era: Era) -> Result<Result<Connection, StartFailure>, Error> {
        let start = environment::start(&self.config, &self.root, self.vars.as_ref(), &host.redactor)?;
        let caller = Caller {
            server: self.config.name.clone(),
            root: self.config.roots.then(|| self.root.clone()),
            underway: Arc::default(),
            redactor: host.redactor.clone(),
            stale: Arc::default(),
        };
        Ok(match start {
            Start::Process(spec) => Connection::start(host.launcher.as_ref(), spec, era, host.limits, caller).await,
            Start::Address(mut address) => {
                let keeper = address.oauth.take().map(|settings| {
                    let (vault, redactor) = (Arc::clone(&host.vault), host.redactor.clone());
                    Arc::new(Keeper::new(&self.config.name, &address.url, settings, vault, redactor))
                });
                Connection::reach(address, keeper, era, host.limits, caller).await
            }
        })
    }
}

/// What to do about a server that does not know who asks.
const SET_HEADERS: &str = "set the `headers` by which it knows you, or correct them,";

/// The message of a run that waits for a person to log in.
pub(crate) fn wants_login(server: &str, why: &str) -> String {
    format!(
        "the MCP server `{server}` wants you to log in ({why}): `abide login {}`, or set the `headers` by which it knows \
         you where it is declared; nothing was done meanwhile",
        typed(server)
    )
}

/// The pause before a server that has worked before is started a second time; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How many further starts it gets.
const RESTARTS: usize = 3;

/// The last lines on stderr, for the end of a message.
pub(crate) fn quote(stderr: &[LastLine], redactor: &Redactor) -> String {
    if stderr.is_empty() {
        return "\n  it wrote nothing on stderr".to_owned();
    }
    // Masked before it is indented: a private key has many lines, and the first of them may be gone.
    let pieces = stderr.split_inclusive(|line| line.is_cut).map(|lines| {
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let masked = redactor.mask_cut(&texts.join("\n"));
        if lines.last().is_some_and(|line| line.is_cut) { masked + " ..." } else { masked }
    });
    let text = pieces.collect::<Vec<_>>().join("\n");
    format!("\n  its last lines on stderr:\n    {}", text.replace('\n', "\n    "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn half_a_secret_is_not_quoted_either() {
        let redactor = Redactor::default();
        redactor.learn("PEM", "-----BEGIN-----\nfirst-part-of-it\nsecond-part\n-----END-----");
        redactor.learn("PHRASE", "correct horse battery staple");
        let line = |text: &str, is_cut| LastLine { text: text.to_owned(), is_cut };
        let lines = [
            line("first-part-of-it", false),
            line("second-part", false),
            line("-----END-----", false),
            line("the phrase is correct horse bat", true),
            line("all is well", false),
        ];
        let quoted = quote(&lines, &redactor);
        for part in ["first", "second", "horse", "END"] {
            assert!(!quoted.contains(part), "{quoted}");
        }
        assert!(quoted.contains("the phrase is") && quoted.contains("all is well"), "{quoted}");
    }
}
