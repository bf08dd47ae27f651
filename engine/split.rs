//! Splits JSON text into parts: long strings, objects of a few hundred bytes and the known beginnings of arrays become chunks. It never changes a
//! byte.

use memchr::memchr2;

use crate::chunks::{Chunk, ChunkTable, Part, literal_hash};
use crate::hex;

/// A string literal shorter than this stays in the text around it.
const LITERAL: usize = 128;
/// An array shorter than this stays in the text around it.
const ARRAY: usize = 256;
/// The same for one of objects, such as the blocks of a model's answer, which go back to it as they are.
const BLOCKS: usize = 128;
/// Text beside an array that has grown is likely to come again: from this length on it is a chunk.
const BESIDE: usize = 32;
/// Objects of these lengths without a long string are chunks: a model's answer holds its message, and so does each request after it.
const OBJECT: std::ops::RangeInclusive<usize> = 80..=2_048;
/// Arrays nested deeper than this are text: a conversation's messages lie at depth 1 or 2.
const DEPTH: usize = 6;

/// Splits the compact JSON text of one value.
pub(crate) fn split(text: &str, table: &mut ChunkTable) -> Vec<Part> {
    let mut splitter = Splitter { text, table, parts: Vec::new(), text_from: 0, frame: 0, has_grown: false };
    splitter.walk(0, text.len(), 0);
    splitter.flush(text.len());
    if splitter.has_grown {
        splitter.share_text();
    }
    splitter.parts
}

struct Splitter<'a> {
    text: &'a str,
    table: &'a mut ChunkTable,
    parts: Vec<Part>,
    text_from: usize,
    /// Where an object starts that is only the frame of what is said: the value itself, or the one element of an array.
    frame: usize,
    /// An array of this value goes on where a known one ended.
    has_grown: bool,
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
                    let end = end_of_string(self.text.as_bytes(), at);
                    if end - at >= LITERAL {
                        let number = self.literal(at, end);
                        self.put_chunk(at, end, number);
                    }
                    at = end;
                }
                b'[' if depth < DEPTH => {
                    let array = self.scan(at);
                    if is_long_array(self.text, at, array.end) {
                        self.array(at, &array, depth);
                    }
                    at = array.end;
                }
                b'{' if at != self.frame => match end_of_chunk(self.text, at) {
                    Some(end) => {
                        let number = self.literal(at, end);
                        self.put_chunk(at, end, number);
                        at = end;
                    }
                    None => at += 1,
                },
                _ => at += 1,
            }
        }
    }

    /// The text around what has grown: of a request all but its messages.
    fn share_text(&mut self) {
        for part in &mut self.parts {
            let Part::Text(text) = part else { continue };
            if text.len() >= BESIDE {
                let hash = literal_hash(text);
                let known = self.table.find(&hash);
                let add = || Chunk::Prefix(hex::encode(&hash), vec![Part::Text(text.clone())]);
                *part = Part::Chunk(known.unwrap_or_else(|| self.table.add(hash, add())));
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

    /// The elements of the array that starts at `at`, but for those of a beginning that has just been seen: that is compared, which is
    /// quicker than taking it apart and hashing it.
    fn scan(&self, at: usize) -> Array {
        let bytes = self.text.as_bytes();
        let grown =
            self.table.grown(&self.text[at + 1..]).map(|(length, number, hash)| (at + 1 + length, number, hash));
        // An element that goes on is another one.
        let known = grown.filter(|(end, ..)| matches!(bytes.get(*end), Some(b',' | b']')));
        let (ends, end) = match known {
            None => ends_of_elements(bytes, at + 1),
            Some((end, ..)) if bytes[end] == b']' => (Vec::new(), end + 1),
            Some((end, ..)) => ends_of_elements(bytes, end + 1),
        };
        Array { known, ends, end }
    }

    /// The longest beginning of the array that is already a chunk, then the rest; both together become a new chunk.
    fn array(&mut self, from: usize, array: &Array, depth: usize) {
        let to = array.end;
        let mut hash = array.known.map_or([0_u8; 16], |(.., hash)| hash);
        let mut known = array.known.map(|(end, number, _)| (end, number));
        let mut start = known.map_or(from + 1, |(end, _)| end + 1);
        for end in &array.ends {
            hash = prefix_hash(&hash, &self.text[start..*end]);
            if let Some(number) = self.table.find(&hash) {
                known = Some((*end, number));
            }
            start = end + 1;
        }
        if let Some((end, number)) = known
            && end + 1 == to
        {
            self.table.note_grown(number, hash);
            self.put_chunk(from + 1, end, number);
            return;
        }
        // One element says nothing of what grows, and the chunk of a beginning has its price.
        if known.is_none() && array.ends.len() == 1 {
            self.frame = from + 1;
            self.walk(from + 1, to - 1, depth + 1);
            return;
        }
        self.has_grown |= known.is_some();
        let outer = std::mem::take(&mut self.parts);
        let outer_from = std::mem::replace(&mut self.text_from, from + 1);
        if let Some((end, number)) = known {
            self.put_chunk(from + 1, end, number);
        }
        let rest = known.map_or(from + 1, |(end, _)| end);
        self.walk(rest, to - 1, depth + 1);
        self.flush(to - 1);
        let inner = std::mem::replace(&mut self.parts, outer);
        self.text_from = outer_from;
        let number = self.table.add(hash, Chunk::Prefix(hex::encode(&hash), inner));
        self.table.note_grown(number, hash);
        self.put_chunk(from + 1, to - 1, number);
    }
}

/// Where the parts of an array are.
struct Array {
    /// A beginning that is known: where it ends, its chunk and its hash.
    known: Option<(usize, u32, [u8; 16])>,
    /// The ends of the elements behind that.
    ends: Vec<usize>,
    /// The position behind the array.
    end: usize,
}

fn prefix_hash(before: &[u8; 16], element: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"abide array prefix").update(before).update(element.as_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

/// The position behind the string literal that starts at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while let Some(next) = bytes.get(i..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        match bytes[i + next] {
            b'"' => return i + next + 1,
            _ => i += next + 2,
        }
    }
    bytes.len()
}

/// The position behind the object that starts at `at`, if that is a chunk.
fn end_of_chunk(text: &str, at: usize) -> Option<usize> {
    let near = text.as_bytes().get(..text.len().min(at + OBJECT.end()))?;
    let (mut i, mut depth) = (at, 0_usize);
    while let Some(byte) = near.get(i) {
        match byte {
            b'"' => {
                // However long the string is, no more of it is looked at.
                let end = end_of_string(near.get(..near.len().min(i + LITERAL))?, i);
                if end - i >= LITERAL {
                    return None;
                }
                i = end;
                continue;
            }
            // A list in it is known by itself.
            b'[' => {
                let (ends, end) = ends_of_elements(near, i + 1);
                if is_long_array(text, i, end) && ends.len() > 1 {
                    return None;
                }
            }
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return OBJECT.contains(&(i + 1 - at)).then_some(i + 1);
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// Is the array between these positions, brackets included, worth a chunk?
fn is_long_array(text: &str, from: usize, to: usize) -> bool {
    let of_objects = text.as_bytes().get(from + 1) == Some(&b'{');
    to - from >= if of_objects { BLOCKS } else { ARRAY }
}

/// The position behind the array or object that starts at `at`.
fn end_of_value(bytes: &[u8], at: usize) -> usize {
    let (mut i, mut depth) = (at, 0_usize);
    while i < bytes.len() {
        match bytes[i] {
            b'"' => {
                i = end_of_string(bytes, i);
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

/// The end of each element of an array, from the start of one on, and the position behind its bracket.
fn ends_of_elements(bytes: &[u8], from: usize) -> (Vec<usize>, usize) {
    let (mut ends, mut i) = (Vec::new(), from);
    while i < bytes.len() {
        match bytes[i] {
            b'"' => i = end_of_string(bytes, i),
            b'[' | b'{' => i = end_of_value(bytes, i),
            b',' => {
                ends.push(i);
                i += 1;
            }
            b']' => {
                if i > from {
                    ends.push(i);
                }
                return (ends, i + 1);
            }
            _ => i += 1,
        }
    }
    (ends, bytes.len())
}
