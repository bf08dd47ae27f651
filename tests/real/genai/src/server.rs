//! An endpoint on the loopback that keeps what it is asked and answers what it was told to. It never judges a request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// The most bytes that a request may have.
const MOST: usize = 1 << 20;

/// One request as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The first line without the version: `POST /v1/messages`.
    pub(crate) line: String,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// What is answered next: a content type and a body.
pub(crate) type Answer = (&'static str, String);

/// The running endpoint.
#[derive(Debug)]
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`.
    pub(crate) address: String,
    answer: Arc<Mutex<Answer>>,
    asked: Receiver<Result<Asked, String>>,
}

impl Server {
    pub(crate) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|why| format!("no port on the loopback: {why}"))?;
        let address = listener.local_addr().map_err(|why| format!("no port on the loopback: {why}"))?;
        let answer = Arc::new(Mutex::new(("application/json", String::new())));
        let (sender, asked) = channel();
        let shared = Arc::clone(&answer);
        std::thread::spawn(move || serve(&listener, &shared, &sender));
        Ok(Self { address: format!("http://{address}"), answer, asked })
    }

    pub(crate) fn will_answer(&self, answer: &Answer) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone_from(answer);
    }

    /// The one request that came since this was last called.
    pub(crate) fn was_asked(&self) -> Result<Asked, String> {
        let asked = self.asked.try_recv().map_err(|_| "no request arrived".to_owned())??;
        match self.asked.try_recv() {
            Ok(more) => Err(format!("more than one request arrived: {more:?}")),
            Err(_) => Ok(asked),
        }
    }
}

fn serve(listener: &TcpListener, answer: &Mutex<Answer>, asked: &Sender<Result<Asked, String>>) {
    for socket in listener.incoming() {
        let one = socket.map_err(|why| why.to_string()).and_then(|socket| {
            let request = read(&socket)?;
            Ok((socket, request))
        });
        let (mut socket, request) = match one {
            Ok(one) => one,
            Err(why) => {
                if asked.send(Err(format!("a request broke off: {why}"))).is_err() {
                    return;
                }
                continue;
            }
        };
        // Before the answer: whoever has that must find the request.
        if asked.send(Ok(request)).is_err() {
            return;
        }
        let (kind, body) = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // A client that has gone says so itself.
        let _ = socket.write_all((head + &body).as_bytes());
    }
}

fn read(socket: &TcpStream) -> Result<Asked, String> {
    let mut reader = BufReader::new(socket.take(MOST as u64));
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|_| line.trim_end().to_owned()).map_err(|why| why.to_string())
    };
    let first = next()?;
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = next()?.split_once(':') {
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if length > MOST {
        return Err(format!("{length} bytes are too many"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).map_err(|why| why.to_string())?;
    let body = serde_json::from_slice(&body).map_err(|why| format!("the body is not JSON: {why}"))?;
    let line = first.strip_suffix(" HTTP/1.1").unwrap_or(&first).to_owned();
    Ok(Asked { line, headers, body })
}
