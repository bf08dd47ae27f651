//! The stdio wire to one server: one JSON message a line. It ignores what is not a JSON-RPC message, and tells exactly
//! whether a request had begun to be written; it decides nothing from that.

use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
    ServerResult,
};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, mpsc, watch};

use crate::envelope::Envelope;
use crate::lines::{Line, next_line};
use crate::ticket::Ticket;

/// Messages read ahead of the one who takes them.
const READ_AHEAD: usize = 64;

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The caller gave up before it was this message's turn.
    #[error("the request was given up before it was sent")]
    GivenUp,
    /// The server's input is closed.
    #[error("the server's input is closed")]
    Closed,
    /// The message cannot be written as JSON.
    #[error("the message cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The pipe is broken.
    #[error("writing to the server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The transport that rmcp drives.
pub(crate) struct Wire {
    writer: Arc<Mutex<Option<Writer>>>,
    ended: Arc<watch::Sender<bool>>,
    messages: mpsc::Receiver<ServerJsonRpcMessage>,
    opening: Opening,
}

impl Wire {
    /// Reads `stdout` to its end, whoever listens; the receiver turns true then, or when writing fails. A line of more
    /// than `longest` bytes is dropped.
    pub(crate) fn new(
        stdin: Writer,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        longest: usize,
    ) -> (Self, watch::Receiver<bool>) {
        let (sender, messages) = mpsc::channel(READ_AHEAD);
        let (ended, end) = watch::channel(false);
        let ended = Arc::new(ended);
        let told = Arc::clone(&ended);
        tokio::spawn(async move {
            tokio::select! {
                () = read(stdout, sender, longest) => {}
                // Nobody is left to care: what still holds the pipe open must not hold this task.
                () = told.closed() => {}
            }
            told.send_replace(true);
        });
        let writer = Arc::new(Mutex::new(Some(stdin)));
        (Self { writer, ended, messages, opening: Opening::default() }, end)
    }
}

impl Transport<RoleClient> for Wire {
    type Error = WireError;

    fn send(&mut self, item: ClientJsonRpcMessage) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        self.opening.sends(&item);
        let ticket = Ticket::of(&item);
        let (writer, ended) = (Arc::clone(&self.writer), Arc::clone(&self.ended));
        async move {
            let mut bytes = serde_json::to_vec(&item)?;
            bytes.push(b'\n');
            let mut slot = writer.lock().await;
            let Some(pipe) = slot.as_mut() else { return Err(WireError::Closed) };
            if ticket.as_ref().is_some_and(|ticket| !ticket.begin()) {
                return Err(WireError::GivenUp);
            }
            let written = write_all(pipe, &bytes, ticket.as_ref()).await;
            if written.is_err() {
                // Half a line may be out: whatever followed it would be read as its other half.
                *slot = None;
                ended.send_replace(true);
            }
            Ok(written?)
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let message = self.messages.recv().await?;
            if let Some(message) = self.opening.receives(message) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), WireError> {
        self.writer.lock().await.take();
        Ok(())
    }
}

async fn write_all(pipe: &mut Writer, bytes: &[u8], ticket: Option<&Ticket>) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = match pipe.write(rest).await {
            Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
            taken => taken,
        };
        if taken.is_err() && rest.len() == bytes.len() {
            ticket.inspect(|ticket| ticket.refused());
        }
        rest = rest.get(taken?..).unwrap_or_default();
    }
    pipe.flush().await
}

async fn read(stdout: impl AsyncRead + Send + Unpin, sender: mpsc::Sender<ServerJsonRpcMessage>, longest: usize) {
    let (mut reader, mut line) = (BufReader::with_capacity(64 * 1024, stdout), Vec::new());
    loop {
        let mut envelope = Envelope::default();
        let message = match next_line(&mut reader, &mut line, longest, |part| envelope.see(part)).await {
            Ok(Line::Whole) => message(&line).or_else(|| {
                envelope.see(&line);
                envelope.error(None)
            }),
            Ok(Line::Cut) => {
                tracing::warn!(limit = longest, "an MCP server's message is over the limit and was dropped");
                envelope.error(Some(longest))
            }
            Ok(Line::End) | Err(_) => return,
        };
        match message {
            // Once nobody listens the rest is still read, so that the server can end in peace.
            Some(message) => drop(sender.send(message).await),
            None => tracing::trace!(bytes = line.len(), "ignored a line of an MCP server that is not JSON-RPC"),
        }
    }
}

/// The message on this line; `None` for anything else that a server may print.
fn message(line: &[u8]) -> Option<ServerJsonRpcMessage> {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii();
    if line.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(line).ok()
}

/// Repairs two things that would fail the opening of a connection in both eras of the protocol (rmcp 3.9): a server that
/// answers the unknown `server/discover` with some other result, and one that answers it only after rmcp has gone on
/// to `initialize`.
#[derive(Default)]
struct Opening {
    discover: Vec<RequestId>,
    fallen_back: bool,
}

impl Opening {
    fn sends(&mut self, message: &ClientJsonRpcMessage) {
        let JsonRpcMessage::Request(request) = message else { return };
        match &request.request {
            ClientRequest::DiscoverRequest(_) => self.discover.push(request.id.clone()),
            ClientRequest::InitializeRequest(_) => self.fallen_back = true,
            _ => {}
        }
    }

    fn receives(&mut self, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        let id = match &message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        let Some(id) = id.filter(|id| self.discover.contains(id)).cloned() else { return Some(message) };
        match &message {
            _ if self.fallen_back => None,
            JsonRpcMessage::Response(response) if !matches!(response.result, ServerResult::DiscoverResult(_)) => {
                let legacy = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "server/discover is unknown here", None);
                Some(JsonRpcMessage::error(legacy, Some(id)))
            }
            _ => Some(message),
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
