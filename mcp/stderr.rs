//! Keeps the last lines a server wrote on stderr, for the error that its death becomes. It never writes them to a log:
//! they may quote a secret, which only the one who reads them here can hide.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::lines::{Line, next_line};

/// How many lines are kept.
const LINES: usize = 20;

/// How much of a line is kept, in bytes.
const LONGEST: usize = 2_000;

/// How long an ended process's last lines are waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// One of the last lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastLine {
    pub(crate) text: String,
    /// It was longer. What stands at its end may be half a secret.
    pub(crate) is_cut: bool,
}

/// The last lines of a server's stderr. Dropping it stops the reading.
pub(crate) struct Stderr {
    lines: Arc<Mutex<VecDeque<LastLine>>>,
    end: watch::Receiver<()>,
    reading: AbortHandle,
}

impl Stderr {
    /// Reads until the stream ends.
    pub(crate) fn read(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let (reader_lives, end) = watch::channel(());
        let reading = tokio::spawn(async move {
            let _reader_lives = reader_lives;
            let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
            while let Ok(kind @ (Line::Whole | Line::Cut)) = next_line(&mut reader, &mut line, LONGEST, |_| ()).await {
                let is_cut = kind == Line::Cut;
                let text = String::from_utf8_lossy(&line);
                // Half a character may stand at the end, and hide that half a secret does.
                let text = if is_cut { text.trim_end_matches('\u{FFFD}') } else { text.trim_end() };
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LINES {
                    kept.pop_front();
                }
                kept.push_back(LastLine { text: text.to_owned(), is_cut });
            }
        });
        Self { lines, end, reading: reading.abort_handle() }
    }

    /// The last lines of a server that has ended: waits a moment for what is still on its way.
    pub(crate) async fn last_words(&self) -> Vec<LastLine> {
        // What holds the pipe open may outlive the server, so this cannot wait for the end alone.
        let _ = tokio::time::timeout(PATIENCE, self.end.clone().changed()).await;
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_and_long_ones_cut() {
        let mut text = (0..30).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        text.extend(["\nwords ", &"x".repeat(5_000)]);
        let lines = Stderr::read(std::io::Cursor::new(text.into_bytes())).last_words().await;
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.first().unwrap(), &LastLine { text: "line 11".to_owned(), is_cut: false });
        let last = lines.last().unwrap();
        assert!(last.is_cut && last.text.len() == LONGEST, "{last:?}");
    }
}
