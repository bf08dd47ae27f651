//! Reads a stream line by line without ever holding more of a line than a limit. It never parses what it reads.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What one call of [`next_line`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The whole line is in the buffer, without its line end.
    Whole,
    /// The line was longer than the limit: only its beginning is in the buffer.
    Cut,
    /// The stream has ended.
    End,
}

/// Reads the next line into `line`, which it empties first. A last line without a line end counts as a line. All parts of a
/// line that is longer than `limit` are shown to `long` in their order.
pub(crate) async fn next_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    line: &mut Vec<u8>,
    limit: usize,
    mut long: impl FnMut(&[u8]),
) -> io::Result<Line> {
    line.clear();
    line.shrink_to(SPARE);
    let (mut cut, mut any) = (false, false);
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() && !any {
            return Ok(Line::End);
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        let room = limit.saturating_sub(line.len());
        if !cut && part.len() > room {
            cut = true;
            long(line);
        }
        if cut {
            long(part);
        }
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let (taken, ended) = (part.len() + usize::from(end.is_some()), end.is_some() || available.is_empty());
        reader.consume(taken);
        if ended {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(if cut { Line::Cut } else { Line::Whole });
        }
    }
}

/// One giant line must not keep its memory for as long as the server lives.
const SPARE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    async fn all(text: &str, buffer: usize, limit: usize) -> Vec<(String, Line)> {
        let mut reader = tokio::io::BufReader::with_capacity(buffer, text.as_bytes());
        let (mut line, mut found) = (Vec::new(), Vec::new());
        loop {
            match next_line(&mut reader, &mut line, limit, |_| ()).await.unwrap() {
                Line::End => return found,
                kind => found.push((String::from_utf8(line.clone()).unwrap(), kind)),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_whole_whatever_the_buffer() {
        for buffer in [1, 2, 3, 64] {
            let expected = ["one", "", "two", "last"].map(|text| (text.to_owned(), Line::Whole));
            assert_eq!(all("one\n\ntwo\r\nlast", buffer, 10).await, expected, "{buffer}");
        }
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_not_lost() {
        for buffer in [1, 4, 64] {
            let expected = [("1234".to_owned(), Line::Cut), ("5678".to_owned(), Line::Whole)];
            assert_eq!(all("123456\n5678\n", buffer, 4).await, expected, "{buffer}");
        }
    }

    #[tokio::test]
    async fn an_empty_stream_has_no_line() {
        assert_eq!(all("", 8, 8).await, []);
    }
}
