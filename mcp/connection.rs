//! One connection to one server: opened in whichever era of the protocol the server speaks, shared by concurrent
//! requests, and ended together with its process. It never starts a second process and never repeats a request.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rmcp::model::{
    CancelledNotificationParam, ClientRequest, ErrorData, GetExtensions, RequestId, RequestMetaObject, ServerResult,
};
use rmcp::service::{ClientServiceExt as _, Peer, PeerRequestOptions, RunningService};
use rmcp::transport::Transport;
use rmcp::{RoleClient, ServiceError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::caller::Caller;
use crate::discover::Listed;
use crate::era::{Era, explain};
use crate::http::{Address, Courier};
use crate::launch::{KillGroup, LaunchSpec, Launcher};
use crate::listen;
use crate::oauth::Keeper;
use crate::slot::Limits;
use crate::stderr::{LastLine, Stderr};
use crate::ticket::{Rejection, Ticket};
use crate::underway::{Entry, Underway};
use crate::wire::Wire;

/// Why a server did not start.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// What went wrong.
    pub(crate) why: String,
    /// Its last lines on stderr, as they were; `None` if there was never a process.
    pub(crate) stderr: Option<Vec<LastLine>>,
    /// The opening that it may yet answer, if both were tried.
    pub(crate) instead: Option<Era>,
    /// What it wants to know of who asks.
    pub(crate) missing: Option<Missing>,
}

/// What a server wants to know of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Only what the user declares.
    Headers,
    /// A person's word.
    Login,
}

/// Why a request has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered with a JSON-RPC error.
    Refused(ErrorData),
    /// The server sent it away at its door.
    Rejected(Rejection),
    /// The connection is lost, and no byte of the request ever left.
    NotSent,
    /// The connection is lost, and the request had begun to be written.
    InFlight,
    /// It took too long: longer than this without a sign of life, or altogether.
    TimedOut(Duration),
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a sign of life.
    pub(crate) idle: Duration,
    /// Altogether; the time in which a person is asked something does not count.
    pub(crate) until: Instant,
    /// How long that was, for saying so.
    pub(crate) most: Duration,
}

/// An open connection. Dropping it ends the process, too.
pub(crate) struct Connection {
    peer: Peer<RoleClient>,
    service: Mutex<Option<RunningService<RoleClient, Caller>>>,
    ended: watch::Receiver<bool>,
    process: Option<Process>,
    session: String,
    caller: Caller,
    /// What the server listed last, until it says that this has changed.
    listing: tokio::sync::Mutex<Option<Arc<Vec<Listed>>>>,
}

struct Process {
    kill: Mutex<Box<dyn KillGroup>>,
    stderr: Stderr,
}

impl Connection {
    /// Starts the process and opens the connection, in `limits.start` at most. A failure ends the process.
    pub(crate) async fn start(
        launcher: &dyn Launcher,
        spec: LaunchSpec,
        era: Era,
        limits: Limits,
        caller: Caller,
    ) -> Result<Self, StartFailure> {
        let program = spec.program.display().to_string();
        let mut process = launcher.launch(spec).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("`{program}` was not found: install it, or correct `command` or `cwd`")
                }
                _ => format!("`{program}` cannot be started: {error}"),
            };
            StartFailure { why, stderr: None, instead: None, missing: None }
        })?;
        let stderr = Stderr::read(process.stderr);
        let (wire, ended) = Wire::new(process.stdin, process.stdout, limits.frame_bytes);
        match open(wire, era, limits, caller.clone()).await {
            Ok(service) => {
                let process = Process { kill: Mutex::new(process.kill), stderr };
                Ok(Self::of(service, ended, Some(process), caller))
            }
            Err((why, instead)) => {
                process.kill.kill_group();
                Err(StartFailure { why, stderr: Some(stderr.last_words().await), instead, missing: None })
            }
        }
    }

    /// Opens a connection to an address, in `limits.start` at most.
    pub(crate) async fn reach(
        address: Address,
        keeper: Option<Arc<Keeper>>,
        era: Era,
        limits: Limits,
        caller: Caller,
    ) -> Result<Self, StartFailure> {
        let failed = |why| StartFailure { why, stderr: None, instead: None, missing: None };
        let (transport, courier, ended) = Courier::to(address, keeper, limits.frame_bytes)
            .map_err(|error| failed(format!("no request can be made: {error}")))?;
        match open(transport, era, limits, caller.clone()).await {
            Ok(service) => {
                courier.listening().await;
                Ok(Self::of(service, ended, None, caller))
            }
            Err((why, instead)) => match courier.rejection() {
                Some(Rejection::Credentials(said)) => Err(StartFailure {
                    missing: Some(Missing::Headers),
                    ..failed(format!("it does not let abide in ({said})"))
                }),
                Some(Rejection::Login(said)) => Err(StartFailure { missing: Some(Missing::Login), ..failed(said) }),
                Some(Rejection::Busy(said) | Rejection::Other(said)) => {
                    Err(StartFailure { instead: Some(Era::Legacy), ..failed(format!("{why} ({said})")) })
                }
                None if *ended.borrow() => Err(failed(why)),
                None => Err(StartFailure { instead: instead.or(Some(Era::Legacy)), ..failed(why) }),
            },
        }
    }

    fn of(
        service: RunningService<RoleClient, Caller>,
        ended: watch::Receiver<bool>,
        process: Option<Process>,
        caller: Caller,
    ) -> Self {
        let peer = service.peer().clone();
        listen::to_changes(&peer, &caller);
        let (service, listing) = (Mutex::new(Some(service)), tokio::sync::Mutex::default());
        Self { peer, service, ended, process, session: random_id(), caller, listing }
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

    /// True if the server has said that it has resources.
    pub(crate) fn has_resources(&self) -> bool {
        self.peer.peer_info().is_some_and(|info| info.capabilities.resources.is_some())
    }

    /// True if the server has said that it has prompts.
    pub(crate) fn has_prompts(&self) -> bool {
        self.peer.peer_info().is_some_and(|info| info.capabilities.prompts.is_some())
    }

    /// The version of the protocol that is spoken.
    pub(crate) fn version(&self) -> Option<String> {
        self.peer.peer_info().map(|info| info.protocol_version.to_string())
    }

    /// Has the server said that what it lists has changed?
    #[cfg(test)]
    pub(crate) fn is_stale(&self) -> bool {
        self.caller.stale.load(Ordering::SeqCst)
    }

    /// The calls that are under way.
    pub(crate) fn underway(&self) -> &Arc<Underway> {
        &self.caller.underway
    }

    /// What the server lists: as it was listed last, unless that is `fresh` or has changed since.
    pub(crate) async fn listing(
        &self,
        fresh: bool,
        list: impl Future<Output = Result<Vec<Listed>, Failure>>,
    ) -> Result<Arc<Vec<Listed>>, Failure> {
        let mut listing = self.listing.lock().await;
        let stale = self.caller.stale.swap(false, Ordering::SeqCst);
        match &*listing {
            Some(known) if !fresh && !stale => return Ok(Arc::clone(known)),
            _ => *listing = None,
        }
        let known = Arc::new(list.await?);
        *listing = Some(Arc::clone(&known));
        Ok(known)
    }

    /// Sends one request and waits for its answer: as long as it takes, unless it belongs to a call with a patience. Dropped
    /// before that, the server is told that nobody waits any more, and a request that has not begun to be written never
    /// will be.
    pub(crate) async fn request(
        &self,
        mut request: ClientRequest,
        meta: RequestMetaObject,
        call: Option<(&Entry, Patience)>,
    ) -> Result<ServerResult, Failure> {
        let mut waiting = Waiting { peer: &self.peer, ticket: Ticket::default(), id: None };
        request.extensions_mut().insert(waiting.ticket.clone());
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let answer = Box::pin(async {
            let handle = self.peer.send_cancellable_request(request, options).await?;
            waiting.id = Some(handle.id.clone());
            if let Some((entry, _)) = call {
                entry.sent(handle.id.clone(), handle.progress_token.clone());
            }
            handle.await_response().await
        });
        let answer = match call {
            Some((entry, patience)) => in_time(answer, entry, patience).await,
            None => Ok(answer.await),
        };
        let answer = answer.map_err(Failure::TimedOut)?;
        waiting.id = None;
        match answer {
            Ok(result) => Ok(result),
            Err(ServiceError::McpError(error)) => Err(Failure::Refused(error)),
            Err(_) => match waiting.ticket.rejection() {
                Some(rejection) => Err(Failure::Rejected(rejection)),
                None if waiting.ticket.give_up() => Err(Failure::NotSent),
                None => Err(Failure::InFlight),
            },
        }
    }

    /// The last lines on stderr of a server that has ended; none of one that is no process.
    pub(crate) async fn last_words(&self) -> Option<Vec<LastLine>> {
        match &self.process {
            Some(process) => Some(process.stderr.last_words().await),
            None => None,
        }
    }

    /// Closes the server's input, or the session with it, gives it `grace` to end by itself, then ends what is left of it.
    pub(crate) async fn end(&self, grace: Duration) {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        let gently = async {
            if let Some(mut service) = service {
                let _ = service.close().await;
            }
            if self.process.is_some() {
                let _ = ended.wait_for(|ended| *ended).await;
            }
        };
        let _ = tokio::time::timeout(grace, gently).await;
        if let Some(process) = &self.process {
            process.kill.lock().unwrap_or_else(PoisonError::into_inner).kill_group();
        }
    }
}

async fn open<T>(
    transport: T,
    era: Era,
    limits: Limits,
    caller: Caller,
) -> Result<RunningService<RoleClient, Caller>, (String, Option<Era>)>
where
    T: Transport<RoleClient> + 'static,
{
    let opening = Box::pin(caller.serve_with_lifecycle(Backlog::of(transport), era.lifecycle()));
    match tokio::time::timeout(limits.start, opening).await {
        Ok(Ok(service)) => Ok(service),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err((format!("it did not answer within {} s", limits.start.as_secs()), None)),
    }
}

/// The answer, unless it takes too long: then how long that was.
async fn in_time<T>(answer: impl Future<Output = T>, entry: &Entry, patience: Patience) -> Result<T, Duration> {
    let mut pulse = entry.call.pulse();
    let mut answer = std::pin::pin!(answer);
    loop {
        let (asking, asked) = {
            let pulse = pulse.borrow_and_update();
            (pulse.asking > 0, pulse.asked)
        };
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer),
            // The sender is in the entry.
            Ok(()) = pulse.changed() => {}
            () = tokio::time::sleep(patience.idle), if !asking => return Err(patience.idle),
            () = tokio::time::sleep_until(patience.until + asked), if !asking => return Err(patience.most),
        }
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

/// 64 random bits as text.
pub(crate) fn random_id() -> String {
    // Without a source of randomness the clock still differs from one start to the next.
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| clock()))
}
