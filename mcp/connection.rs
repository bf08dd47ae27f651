//! One connection to one running server: opened in whichever era of the protocol the server speaks, shared by concurrent
//! requests, and ended together with its process. It never starts a second process and never repeats a request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rmcp::model::{
    CancelledNotificationParam, ClientCapabilities, ClientConfig, ClientRequest, ErrorData, GetExtensions,
    Implementation, ProtocolVersion, RequestId, RequestMetaObject, ServerResult,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, Peer, PeerRequestOptions, RunningService,
};
use rmcp::{ClientHandler, RoleClient, ServiceError};
use tokio::sync::watch;

use crate::launch::{KillGroup, LaunchSpec, Launcher};
use crate::slot::Limits;
use crate::stderr::{LastLine, Stderr};
use crate::wire::{Ticket, Wire};

/// Which openings are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// `server/discover`, then `initialize` if the server does not know it.
    Both,
    /// `initialize` only: some older servers end at the sight of anything else.
    Legacy,
}

/// Why a server did not start.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// What went wrong.
    pub(crate) why: String,
    /// Its last lines on stderr, as they were; `None` if there was never a process.
    pub(crate) stderr: Option<Vec<LastLine>>,
    /// True if it ended before it had answered.
    pub(crate) died: bool,
}

/// Why a request has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered with a JSON-RPC error.
    Refused(ErrorData),
    /// The connection is lost, and no byte of the request ever left.
    NotSent,
    /// The connection is lost, and the request had begun to be written.
    InFlight,
}

/// An open connection. Dropping it ends the process, too.
pub(crate) struct Connection {
    peer: Peer<RoleClient>,
    service: Mutex<Option<RunningService<RoleClient, Caller>>>,
    ended: watch::Receiver<bool>,
    kill: Mutex<Box<dyn KillGroup>>,
    stderr: Stderr,
    session: String,
}

impl Connection {
    /// Starts the process and opens the connection, in `limits.start` at most. A failure ends the process.
    pub(crate) async fn start(
        launcher: &dyn Launcher,
        spec: LaunchSpec,
        era: Era,
        limits: Limits,
    ) -> Result<Self, StartFailure> {
        let program = spec.program.display().to_string();
        let mut process = launcher.launch(spec).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("`{program}` was not found: install it, or correct `command` or `cwd`")
                }
                _ => format!("`{program}` cannot be started: {error}"),
            };
            StartFailure { why, stderr: None, died: false }
        })?;
        let stderr = Stderr::read(process.stderr);
        let (wire, ended) = Wire::new(process.stdin, process.stdout, limits.frame_bytes);
        let failure = match tokio::time::timeout(limits.start, Caller.serve_with_lifecycle(wire, lifecycle(era))).await
        {
            Ok(Ok(service)) => {
                return Ok(Self {
                    peer: service.peer().clone(),
                    service: Mutex::new(Some(service)),
                    ended,
                    kill: Mutex::new(process.kill),
                    stderr,
                    session: session_id(),
                });
            }
            Ok(Err(error)) => explain(&error),
            Err(_) => (format!("it did not answer within {} s", limits.start.as_secs()), false),
        };
        process.kill.kill_group();
        Err(StartFailure { why: failure.0, stderr: Some(stderr.last_words().await), died: failure.1 })
    }

    /// True once the server has ended or its pipes are broken.
    pub(crate) fn is_closed(&self) -> bool {
        *self.ended.borrow() || self.peer.is_transport_closed()
    }

    /// An id of this connection alone: whoever sees another one knows that the server was started anew.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    /// True if the server has not said that it has no tools.
    pub(crate) fn may_have_tools(&self) -> bool {
        self.peer.peer_info().is_none_or(|info| info.capabilities.tools.is_some())
    }

    /// Sends one request and waits for its answer. Dropped before that, the server is told that nobody waits any more, and
    /// a request that has not begun to be written never will be.
    pub(crate) async fn request(
        &self,
        mut request: ClientRequest,
        meta: RequestMetaObject,
    ) -> Result<ServerResult, Failure> {
        let mut waiting = Waiting { peer: &self.peer, ticket: Ticket::default(), id: None };
        request.extensions_mut().insert(waiting.ticket.clone());
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let answer = match self.peer.send_cancellable_request(request, options).await {
            Ok(handle) => {
                waiting.id = Some(handle.id.clone());
                handle.await_response().await
            }
            Err(error) => Err(error),
        };
        waiting.id = None;
        match answer {
            Ok(result) => Ok(result),
            Err(ServiceError::McpError(error)) => Err(Failure::Refused(error)),
            Err(_) if waiting.ticket.give_up() => Err(Failure::NotSent),
            Err(_) => Err(Failure::InFlight),
        }
    }

    /// The last lines on stderr of a server that has ended.
    pub(crate) async fn last_words(&self) -> Vec<LastLine> {
        self.stderr.last_words().await
    }

    /// Closes the server's input, gives it `grace` to end by itself, then ends what is left of it.
    pub(crate) async fn end(&self, grace: Duration) {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        let gently = async {
            if let Some(mut service) = service {
                let _ = service.close().await;
            }
            let _ = ended.wait_for(|ended| *ended).await;
        };
        let _ = tokio::time::timeout(grace, gently).await;
        self.kill.lock().unwrap_or_else(PoisonError::into_inner).kill_group();
    }
}

/// A request somebody waits for; dropped while they do, it is called off.
struct Waiting<'p> {
    peer: &'p Peer<RoleClient>,
    ticket: Ticket,
    id: Option<RequestId>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && !self.ticket.give_up()
        {
            let reason = Some("nobody waits for the answer any more".to_owned());
            // Polled once: that queues it if there is room, and there is no time for more.
            let _ = self.peer.notify_cancelled(CancelledNotificationParam::new(Some(id), reason)).now_or_never();
        }
    }
}

/// abide as its servers see it: it offers them nothing to ask for.
struct Caller;

impl ClientHandler for Caller {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("abide", env!("CARGO_PKG_VERSION")))
    }
}

fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Both => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    }
}

/// 64 random bits as text.
fn session_id() -> String {
    // Without a source of randomness the clock still differs from one start to the next.
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| clock()))
}

/// What went wrong, and whether the server ended.
fn explain(error: &ClientInitializeError) -> (String, bool) {
    match error {
        ClientInitializeError::ConnectionClosed(_) => ("it ended before it had answered".to_owned(), true),
        ClientInitializeError::TransportError { .. } => ("it closed its input before it had answered".to_owned(), true),
        ClientInitializeError::JsonRpcError(error) => (format!("it refused the connection: {error}"), false),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explain(fallback),
        other => (format!("it does not speak MCP as abide knows it: {other}"), false),
    }
}
