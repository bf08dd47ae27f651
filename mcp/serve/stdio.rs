//! The way in over stdin and stdout: one client, a message a line. What it writes is messages and nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::caller::WAITING;
use super::message::{Answer, Incoming, Request, read};
use super::modern::{self, Spoken};
use super::session::Session;
use super::{Refusal, Server, legacy, news};
use crate::lines::{Line, next_line};

/// How long requests may still take that were under way when the client closed its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves one client until it closes its end. A line of more than `most` bytes is refused.
///
/// # Errors
/// Its messages cannot be read, or it cannot be written to.
pub async fn serve_lines<R, W>(server: Server, mut reader: R, writer: W, most: usize) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, messages) = mpsc::channel(WAITING);
    let writing = tokio::spawn(write_all(messages, writer));
    let client = Client { server, session: Session::new(), out };
    let (mut line, mut under_way, mut listening) = (Vec::new(), JoinSet::new(), JoinSet::new());
    loop {
        let found = tokio::select! {
            found = next_line(&mut reader, &mut line, most, |_| ()) => found?,
            () = client.out.closed() => Line::End,
        };
        while under_way.try_join_next().is_some() || listening.try_join_next().is_some() {}
        match found {
            Line::End => break,
            Line::Cut => {
                let refusal = Refusal::malformed(format!("the message is longer than the limit of {most} bytes"));
                client.say(Answer::error(&Value::Null, &refusal)).await;
            }
            Line::Whole if line.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole => client.hears(&line, &mut under_way, &mut listening).await,
        }
    }
    client.session.falls_silent();
    listening.shutdown().await;
    let _ = tokio::time::timeout(LAST_WORDS, async { while under_way.join_next().await.is_some() {} }).await;
    under_way.shutdown().await;
    drop(client);
    writing.await.unwrap_or(Ok(()))
}

/// Requests that are worked on at the same time, at most.
const MOST: usize = 1_000;

struct Client {
    server: Server,
    session: Arc<Session>,
    out: mpsc::Sender<Value>,
}

impl Client {
    async fn say(&self, answer: Answer) {
        let _ = self.out.send(answer.message).await;
    }

    /// `listening` takes what is told for as long as the client is there.
    async fn hears(&self, line: &[u8], under_way: &mut JoinSet<()>, listening: &mut JoinSet<()>) {
        let Ok(value) = serde_json::from_slice(line) else {
            return self.say(Answer::error(&Value::Null, &Refusal::new(-32_700, "the message is not JSON"))).await;
        };
        match read(value) {
            Err(answer) => self.say(answer).await,
            Ok(Incoming::Response { id, outcome }) => self.session.heard(&id, outcome),
            Ok(Incoming::Notification { method, params }) => {
                if method == "notifications/cancelled" {
                    self.session.cancelled(&params);
                }
            }
            // What comes after it depends on it.
            Ok(Incoming::Request(request)) if request.method == "initialize" => {
                let answer = respond(&self.server, &self.session, &request, self.out.clone()).await;
                self.say(answer).await;
                if self.server.offer.about().tools_change && listening.is_empty() {
                    let (server, out, changed) = (self.server.clone(), self.out.clone(), self.server.offer.changed());
                    listening.spawn(async move { news::tell(&server, changed, &json!({}), &out).await });
                }
            }
            Ok(Incoming::Request(request)) if under_way.len() + listening.len() >= MOST => {
                let why = format!("{MOST} requests are being worked on: wait for an answer to one of them");
                self.say(Answer::error(&request.id, &Refusal::new(-32_000, why))).await;
            }
            Ok(Incoming::Request(request)) => {
                let (server, session, out) = (self.server.clone(), Arc::clone(&self.session), self.out.clone());
                let among = if request.method == news::LISTEN { listening } else { under_way };
                among.spawn(async move {
                    let answer = session.attend(&request.id, respond(&server, &session, &request, out.clone())).await;
                    if let Some(answer) = answer {
                        let _ = out.send(answer.message).await;
                    }
                });
            }
        }
    }
}

async fn respond(server: &Server, session: &Session, request: &Request, out: mpsc::Sender<Value>) -> Answer {
    if modern::version_in(&request.params).is_none() && request.method != "server/discover" {
        return legacy::answer(server, session, request, out).await;
    }
    match Spoken::read(request) {
        Ok(spoken) => modern::answer(server, request, spoken, out).await,
        Err(refusal) => Answer::error(&request.id, &refusal),
    }
}

async fn write_all<W: AsyncWrite + Unpin>(mut messages: mpsc::Receiver<Value>, mut writer: W) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        let mut line = message.to_string();
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        writer.flush().await?;
    }
    Ok(())
}
