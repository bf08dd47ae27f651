//! Splits JSON text into parts: long string literals and the known beginnings of arrays become chunks. It never changes a byte.

use crate::chunks::{Chunk, ChunkTable, Part, literal_hash};
use crate::hex;

/// A string literal shorter than this stays in the text around it.
const LITERAL: usize = 128;
/// An array shorter than this stays in the text around it.
const ARRAY: usize = 256;
/// Arrays nested deeper than this are text: a conversation's messages lie at depth 1 or 2.
const DEPTH: usize = 6;

/// Splits the compact JSON text of one value.
pub(crate) fn split(text: &str, table: &mut ChunkTable) -> Vec<Part> {
    let mut splitter = Splitter { text, table, parts: Vec::new(), text_from: 0 };
    splitter.walk(0, text.len(), 0);
    splitter.flush(text.len());
    splitter.parts
}

struct Splitter<'a> {
    text: &'a str,
    table: &'a mut ChunkTable,
    parts: Vec<Part>,
    text_from: usize,
}

impl Splitter<'_> {
    fn flush(&mut self, to: usize) {
        if self.text_from < to {
            self.parts.push(Part::Text(self.text[self.text_from..to].to_owned()));
        }
        self.text_from = to;
    }

    fn put_chunk(&mut self, from: usize, to: usize, number: u32) {
        self.flush(from);
        self.parts.push(Part::Chunk(number));
        self.text_from = to;
    }

    fn walk(&mut self, from: usize, to: usize, depth: usize) {
        let mut at = from;
        while at < to {
            match self.text.as_bytes()[at] {
                b'"' => {
                    let end = end_of_string(self.text, at);
                    if end - at >= LITERAL {
                        let number = self.literal(at, end);
                        self.put_chunk(at, end, number);
                    }
                    at = end;
                }
                b'[' if depth < DEPTH => {
                    let end = end_of_value(self.text, at);
                    if end - at >= ARRAY {
                        self.array(at, end, depth);
                    }
                    at = end;
                }
                _ => at += 1,
            }
        }
    }

    fn literal(&mut self, from: usize, to: usize) -> u32 {
        let text = &self.text[from..to];
        let hash = literal_hash(text);
        if let Some(known) = self.table.find(&hash) {
            return known;
        }
        match serde_json::value::RawValue::from_string(text.to_owned()) {
            Ok(raw) => self.table.add(hash, Chunk::Literal(raw)),
            // Not reached for text that a serializer wrote; a prefix of one part holds any text.
            Err(_) => self.table.add(hash, Chunk::Prefix(hex::encode(&hash), vec![Part::Text(text.to_owned())])),
        }
    }

    /// The longest beginning of the array that is already a chunk, then the rest; both together become a new chunk.
    fn array(&mut self, from: usize, to: usize, depth: usize) {
        let ends = ends_of_elements(self.text, from + 1, to - 1);
        let mut hash = [0_u8; 16];
        let mut known = None;
        let mut start = from + 1;
        for (i, end) in ends.iter().enumerate() {
            hash = prefix_hash(&hash, &self.text[start..*end]);
            if let Some(number) = self.table.find(&hash) {
                known = Some((i, *end, number));
            }
            start = end + 1;
        }
        if let Some((i, end, number)) = known
            && i + 1 == ends.len()
        {
            self.put_chunk(from + 1, end, number);
            return;
        }
        let outer = std::mem::take(&mut self.parts);
        let outer_from = std::mem::replace(&mut self.text_from, from + 1);
        if let Some((_, end, number)) = known {
            self.put_chunk(from + 1, end, number);
        }
        let rest = known.map_or(from + 1, |(_, end, _)| end);
        self.walk(rest, to - 1, depth + 1);
        self.flush(to - 1);
        let inner = std::mem::replace(&mut self.parts, outer);
        self.text_from = outer_from;
        let number = self.table.add(hash, Chunk::Prefix(hex::encode(&hash), inner));
        self.put_chunk(from + 1, to - 1, number);
    }
}

fn prefix_hash(before: &[u8; 16], element: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"abide array prefix").update(before).update(element.as_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

/// The position behind the string literal that starts at `at`.
fn end_of_string(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The position behind the array or object that starts at `at`.
fn end_of_value(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut i, mut depth) = (at, 0_usize);
    while i < bytes.len() {
        match bytes[i] {
            b'"' => {
                i = end_of_string(text, i);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// The end of each element between the brackets of an array.
fn ends_of_elements(text: &str, from: usize, to: usize) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut ends, mut i) = (Vec::new(), from);
    while i < to {
        match bytes[i] {
            b'"' => i = end_of_string(text, i),
            b'[' | b'{' => i = end_of_value(text, i),
            b',' => {
                ends.push(i);
                i += 1;
            }
            _ => i += 1,
        }
    }
    if from < to {
        ends.push(to);
    }
    ends
}
