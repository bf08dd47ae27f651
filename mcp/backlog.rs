//! Keeps a server from piling up answers in this process: one that asks and does not read what it is told is not answered any
//! more, and what it was asked goes on. It answers nothing itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::Transport;

/// How many requests of a server may be without their answers at the same time.
const MOST: usize = 100;

/// Requests that have no answer yet; true while one is on its way.
type Open = Arc<Mutex<HashMap<RequestId, bool>>>;

/// A transport by which no more than that are taken.
pub(crate) struct Backlog<T> {
    inner: T,
    open: Open,
}

impl<T> Backlog<T> {
    pub(crate) fn of(inner: T) -> Self {
        Self { inner, open: Arc::default() }
    }

    /// Is this message passed on?
    fn takes(&self, message: &ServerJsonRpcMessage) -> bool {
        let mut open = lock(&self.open);
        match message {
            JsonRpcMessage::Request(request) => {
                // A second one of the same name could not be answered either.
                let fits = open.len() < MOST && !open.contains_key(&request.id);
                if fits {
                    open.insert(request.id.clone(), false);
                }
                return fits;
            }
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                    && open.get(id) == Some(&false)
                {
                    // There will be no answer to it.
                    open.remove(id);
                }
            }
            _ => {}
        }
        true
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Backlog<T> {
    type Error = T::Error;

    fn send(&mut self, item: ClientJsonRpcMessage) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        if let Some(id) = &answered {
            lock(&self.open).entry(id.clone()).and_modify(|sending| *sending = true);
        }
        let (sending, open) = (self.inner.send(item), Arc::clone(&self.open));
        async move {
            let sent = sending.await;
            if let Some(id) = answered {
                lock(&open).remove(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let message = self.inner.receive().await?;
            if self.takes(&message) {
                return Some(message);
            }
            tracing::trace!("an MCP server asks more than it takes answers to: a request of it was dropped");
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}

fn lock(open: &Mutex<HashMap<RequestId, bool>>) -> MutexGuard<'_, HashMap<RequestId, bool>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;
    use crate::wire::Wire;

    fn message(value: Value) -> ServerJsonRpcMessage {
        serde_json::from_value(value).unwrap()
    }

    fn ping(id: usize) -> ServerJsonRpcMessage {
        message(json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))
    }

    fn pong(id: usize) -> ClientJsonRpcMessage {
        serde_json::from_value(json!({"jsonrpc": "2.0", "id": id, "result": {}})).unwrap()
    }

    fn cancelled(id: usize) -> ServerJsonRpcMessage {
        message(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}))
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_is_not_answered_without_end() {
        // Its input holds a few bytes, and nobody reads them.
        let ((stdin, input), (mut output, stdout)) = (tokio::io::duplex(16), tokio::io::duplex(1 << 20));
        let (wire, _end) = Wire::new(Box::new(stdin), stdout, 1 << 20);
        let mut backlog = Backlog::of(wire);
        let lines = (0..1_000).map(|n| format!("{}\n", serde_json::to_string(&ping(n)).unwrap()));
        let text = lines.collect::<Vec<_>>().concat();
        output.write_all(text.as_bytes()).await.unwrap();
        output.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n").await.unwrap();
        let mut answers = tokio::task::JoinSet::new();
        let mut taken = 0;
        while let Some(JsonRpcMessage::Request(_)) = backlog.receive().await {
            answers.spawn(backlog.send(pong(taken)));
            taken += 1;
        }
        assert_eq!(taken, MOST, "and the answer to what it was asked has come");
        let mut lines = BufReader::new(input).lines();
        for _ in 0..MOST {
            lines.next_line().await.unwrap().unwrap();
        }
        while answers.join_next().await.is_some() {}
        assert!(backlog.takes(&ping(0)), "it reads again");
    }

    #[tokio::test]
    async fn what_is_called_off_needs_no_answer_unless_that_is_on_its_way() {
        let mut backlog = Backlog::of(Wire::new(Box::new(tokio::io::sink()), tokio::io::empty(), 1).0);
        for n in 0..10 * MOST {
            assert!(backlog.takes(&ping(n)) && backlog.takes(&cancelled(n)), "{n}");
        }
        assert!(backlog.takes(&ping(1)) && !backlog.takes(&ping(1)), "the same name twice");
        let sending = backlog.send(pong(1));
        assert!(backlog.takes(&cancelled(1)) && !backlog.takes(&ping(1)));
        drop(sending);
    }
}
