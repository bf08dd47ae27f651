//! Reads an answer's bytes as they come, within limits of size and of silence. It never interprets them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use reqwest::Response;

use crate::stream::ReadError;

/// The rest of an answer.
pub(crate) struct Source {
    response: Response,
    /// Bytes that may still come.
    left: usize,
    /// More came than that.
    is_cut: bool,
    idle_timeout_s: u64,
    heard: Heard,
}

/// Has the model begun to speak? Before it has, it may well be silent for longer than between two words: it reads a long
/// prompt, or reasons without showing it.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<AtomicBool>);

impl Heard {
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Source {
    pub(crate) fn new(response: Response, most: usize, idle_timeout_s: u64) -> Self {
        Self { response, left: most, is_cut: false, idle_timeout_s, heard: Heard::default() }
    }

    /// Whoever finds that the model has begun to speak notes it here.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The bytes as they come. After an error nothing more comes; of an answer that is too long, what is allowed came before.
    pub(crate) fn bytes(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        stream::try_unfold(self, |mut source| async {
            let more = source.next().await?;
            Ok(more.map(|bytes| (bytes, source)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.is_cut {
            return Err(ReadError::TooLong);
        }
        let Some(mut bytes) = self.chunk().await? else { return Ok(None) };
        if bytes.len() > self.left {
            bytes.truncate(self.left);
            self.is_cut = true;
        }
        self.left -= bytes.len();
        Ok(Some(bytes))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        if !self.heard.is_so() {
            return Ok(self.response.chunk().await?);
        }
        match tokio::time::timeout(Duration::from_secs(self.idle_timeout_s), self.response.chunk()).await {
            Ok(chunk) => Ok(chunk?),
            Err(_) => Err(ReadError::Silent(self.idle_timeout_s)),
        }
    }
}

/// What could be read of a body.
pub(crate) struct Body {
    pub(crate) read: Vec<u8>,
    /// Why it is not all of it.
    pub(crate) error: Option<ReadError>,
}

impl Body {
    pub(crate) async fn read(source: Source) -> Self {
        let mut bytes = pin!(source.bytes());
        let mut body = Self { read: Vec::new(), error: None };
        loop {
            match bytes.try_next().await {
                Ok(Some(more)) => body.read.extend_from_slice(&more),
                Ok(None) => return body,
                Err(error) => return Self { error: Some(error), ..body },
            }
        }
    }
}
