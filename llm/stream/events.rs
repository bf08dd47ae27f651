//! Cuts the bytes of a stream into events and hands them to an assembler, up to the terminal one. It never looks into an event.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sse_stream::SseByteStream;

use super::{Assembler, Broken, Delta};

/// How a stream is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON text a line.
    Lines,
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection broke")]
    Connection(#[from] reqwest::Error),
    #[error("nothing more came for {0} s")]
    Silent(u64),
    #[error("longer than the limit")]
    TooLong,
}

impl Framing {
    /// By the answer's `Content-Type`; `None` for an answer that is one JSON text.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/event-stream" => Some(Self::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// Puts an answer together from its bytes, which may be cut anywhere. Reads no further than the terminal event.
pub(crate) async fn assemble<S>(
    mut assembler: Assembler,
    framing: Framing,
    bytes: S,
    show: &mut (dyn FnMut(Delta) + Send),
) -> Result<Value, Broken>
where
    S: Stream<Item = Result<Bytes, ReadError>> + Send,
{
    // A last event without its empty line is whole if the body is; one that was cut off is no JSON.
    let mut bytes = pin!(bytes.chain(stream::once(async { Ok(Bytes::from_static(b"\n\n")) })));
    match framing {
        Framing::Sse => {
            let mut events = pin!(SseByteStream::new(bytes));
            while let Some(event) = events.next().await {
                let event = event.map_err(unreadable)?;
                if let Some(data) = event.data.filter(|data| !data.trim().is_empty()) {
                    assembler.event(event.event.as_deref(), &data, &mut *show)?;
                }
                if assembler.is_over() {
                    // If the body's end is there already, its connection can be used again.
                    let _ = events.next().now_or_never();
                    break;
                }
            }
        }
        Framing::Lines => {
            let mut open = Vec::new();
            'read: while let Some(more) = bytes.try_next().await? {
                let mut pieces = more.split(|byte| *byte == b'\n').peekable();
                while let Some(piece) = pieces.next() {
                    open.extend_from_slice(piece);
                    if pieces.peek().is_none() {
                        break;
                    }
                    line(&mut assembler, &open, &mut *show)?;
                    open.clear();
                    if assembler.is_over() {
                        let _ = bytes.next().now_or_never();
                        break 'read;
                    }
                }
            }
        }
    }
    assembler.answer()
}

fn line(assembler: &mut Assembler, line: &[u8], show: &mut dyn FnMut(Delta)) -> Result<(), Broken> {
    let text = std::str::from_utf8(line).map_err(|error| not_text(&error))?;
    if text.trim().is_empty() { Ok(()) } else { assembler.event(None, text, show) }
}

fn unreadable(error: sse_stream::Error) -> Broken {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<ReadError>() {
            Ok(error) => Broken::Read(*error),
            Err(error) => not_text(&error),
        },
        other => not_text(&other),
    }
}

fn not_text(error: &dyn std::fmt::Display) -> Broken {
    Broken::Malformed { why: format!("an event cannot be read ({error})"), event: String::new() }
}
