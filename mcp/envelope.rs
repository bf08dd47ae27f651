//! What can be known of a message that cannot be read, because it is too long, nested too deep or broken: which request it
//! answers, so that whoever waits for it is told instead of waiting. It keeps a few bytes of the message and no more.

use rmcp::model::{ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage};

/// The code of the error that takes the place of an answer that cannot be read: within JSON-RPC's range for servers.
pub(crate) const UNREADABLE: i32 = -32_050;

/// How deep JSON may nest: `serde_json`'s own limit.
const DEEPEST: usize = 127;

/// The most bytes of a key or an id that are kept.
const KEPT: usize = 256;

/// A message seen byte by byte.
#[derive(Default)]
pub(crate) struct Envelope {
    depth: usize,
    deepest: usize,
    in_string: bool,
    escaped: bool,
    /// The key of the member whose value is being seen.
    key: Option<Vec<u8>>,
    text: Vec<u8>,
    id: Option<RequestId>,
    is_call: bool,
    is_answer: bool,
}

impl Envelope {
    /// Sees the next bytes.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.see_one(*byte);
        }
    }

    fn see_one(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.member_ends();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 && self.key.is_none() => self.key = Some(std::mem::take(&mut self.text)),
            b',' if self.depth == 1 => self.member_ends(),
            other if !other.is_ascii_whitespace() => self.keep(other),
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.text.len() < KEPT {
            self.text.push(byte);
        }
    }

    fn member_ends(&mut self) {
        let value = std::mem::take(&mut self.text);
        match self.key.take().as_deref() {
            Some(b"\"id\"") => self.id = serde_json::from_slice(&value).ok(),
            Some(b"\"method\"") => self.is_call = true,
            Some(b"\"result\"" | b"\"error\"") => self.is_answer = true,
            _ => {}
        }
    }

    /// The error for whoever waits for this message, if it is an answer: that it cannot be read, and why. `limit` is given
    /// if the message is longer than that many bytes.
    pub(crate) fn error(self, limit: Option<usize>) -> Option<ServerJsonRpcMessage> {
        let id = self.id.filter(|_| self.is_answer && !self.is_call)?;
        Some(match limit {
            Some(limit) => too_long(limit, id),
            None if self.deepest > DEEPEST => dropped(&format!("is JSON nested deeper than {DEEPEST} levels"), id),
            None => broken(id),
        })
    }
}

/// The error in the place of an answer of more than `limit` bytes.
pub(crate) fn too_long(limit: usize, id: RequestId) -> ServerJsonRpcMessage {
    let why = format!(
        "is longer than the limit of {limit} bytes for one message: ask for less at a time, or raise `frame_mib` under \
         [limits] in abide.toml"
    );
    dropped(&why, id)
}

/// The error in the place of an answer that is none.
pub(crate) fn broken(id: RequestId) -> ServerJsonRpcMessage {
    dropped("is not a message in JSON and UTF-8 as the protocol has them", id)
}

fn dropped(why: &str, id: RequestId) -> ServerJsonRpcMessage {
    let error = ErrorData::new(ErrorCode(UNREADABLE), format!("the server's answer {why}: it was dropped"), None);
    JsonRpcMessage::error(error, Some(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn answered(line: &str, limit: Option<usize>) -> Option<(RequestId, String)> {
        let mut envelope = Envelope::default();
        // In pieces, as a stream brings it.
        line.as_bytes().chunks(3).for_each(|part| envelope.see(part));
        match envelope.error(limit)? {
            JsonRpcMessage::Error(error) => Some((error.id.unwrap(), error.error.message.into_owned())),
            _ => None,
        }
    }

    #[test]
    fn the_request_is_found_wherever_its_id_stands() {
        for (line, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8,"method":"x"}}"#.to_owned(), Some(RequestId::Number(7))),
            (
                r#"{"result":["\"id\":9,",{"a":"]}"}], "id" : "b\"c" }"#.to_owned(),
                Some(RequestId::String("b\"c".into())),
            ),
            (format!(r#"{{"result":{}{},"id":3}}"#, "[".repeat(9_000), "]".repeat(9_000)), Some(RequestId::Number(3))),
            (r#"{"id":3,"error":{}}"#.to_owned(), Some(RequestId::Number(3))),
            (r#"{"id":3,"method":"ping"}"#.to_owned(), None),
            (r#"{"id":3,"method":"ping","result":1}"#.to_owned(), None),
            (r#"{"id":null,"result":1}"#.to_owned(), None),
            (r#"{"id":{"a":1},"result":1}"#.to_owned(), None),
            (r#"}}]]"id":3,"result":1"#.to_owned(), None),
            ("no json".to_owned(), None),
        ] {
            assert_eq!(answered(&line, Some(10)).map(|(id, _)| id), id, "{}", line.get(..60).unwrap_or(&line));
        }
    }

    #[test]
    fn the_error_says_what_is_wrong_and_the_limit() {
        let deep = format!(r#"{{"result":{}{},"id":3}}"#, "[".repeat(200), "]".repeat(200));
        assert!(answered(&deep, None).unwrap().1.contains("deeper than 127"));
        let long = answered(r#"{"result":1,"id":3}"#, Some(10)).unwrap().1;
        assert!(long.contains("limit of 10 bytes") && long.contains("frame_mib"), "{long}");
        assert!(answered(r#"{"result":01,"id":3}"#, None).unwrap().1.contains("UTF-8"));
    }
}
