//! Payloads as references to content-addressed chunks, so that a journal stays linear in what was said (DESIGN rule 12).
//! It never looks at what a payload means: long strings, objects and growing arrays are found in its JSON text alone.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::event::Json;
use crate::split::split;

/// A payload shorter than this stays inline.
const INLINE: usize = 256;

/// The longest text of one value, in bytes. A damaged journal may refer to a chunk twice in each of fifty others.
pub const MOST_VALUE: usize = 256 << 20;

/// The most parts of one value.
const MOST_PARTS: usize = 1 << 20;

/// Arrays that are expected to grow: the messages and the tools of two conversations side by side.
const GROWING: usize = 4;

/// A JSON value in a journal: inline, or pieced together from text and numbered chunks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Payload {
    /// The value itself.
    #[serde(rename = "v")]
    Inline(Json),
    /// Its text in parts.
    #[serde(rename = "p")]
    Parts(Vec<Part>),
}

/// A part of a payload's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// The number of a chunk, counted from the start of the generation's journal.
    Chunk(u32),
    /// JSON text as it is.
    Text(String),
}

/// The body of a chunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Chunk {
    /// The text of a string, quotes included, or of an object.
    #[serde(rename = "s")]
    Literal(Json),
    /// The first elements of an array: hex hash of them, and their text in parts.
    #[serde(rename = "a")]
    Prefix(String, Vec<Part>),
}

/// The chunks of one generation: those of its journal, and the index by content of what a new payload may refer to.
#[derive(Debug, Default)]
pub struct ChunkTable {
    bodies: Vec<Chunk>,
    index: HashMap<[u8; 16], u32>,
    indexed: usize,
    fresh: usize,
    /// The beginnings of arrays that were seen last, with their hashes: the next request repeats one of them.
    grown: VecDeque<(u32, [u8; 16])>,
}

/// Why a payload cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It refers to a chunk that no row has brought.
    #[error("chunk {0} is referred to and was never recorded")]
    Missing(u32),
    /// Its parts make up more than any value holds.
    #[error("its chunks make up more than {} MiB or {MOST_PARTS} parts", MOST_VALUE >> 20)]
    TooLarge,
    /// Its parts do not make up a JSON value.
    #[error("its chunks do not make up a JSON value: {0}")]
    NotJson(String),
}

impl ChunkTable {
    /// Takes in the chunks of a row that was read.
    pub fn learn(&mut self, chunks: Vec<Chunk>) {
        self.bodies.extend(chunks);
        self.fresh = self.bodies.len();
    }

    /// The chunks that were made since the last call: they go into the next row.
    pub fn take_fresh(&mut self) -> Vec<Chunk> {
        let fresh = self.bodies[self.fresh..].to_vec();
        self.fresh = self.bodies.len();
        fresh
    }

    /// Encodes a value: short ones inline, long ones through chunks.
    pub fn encode(&mut self, value: Json) -> Payload {
        if value.get().len() < INLINE {
            return Payload::Inline(value);
        }
        self.build_index();
        let parts = split(value.get(), self);
        if parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Payload::Inline(value);
        }
        Payload::Parts(parts)
    }

    /// The value behind a payload, byte for byte.
    pub fn decode(&self, payload: &Payload) -> Result<Json, ChunkError> {
        match payload {
            Payload::Inline(value) => Ok(value.clone()),
            Payload::Parts(parts) => serde_json::value::RawValue::from_string(self.text(parts)?)
                .map_err(|e| ChunkError::NotJson(e.to_string())),
        }
    }

    /// Like [`Self::decode`], without copying an inline value.
    pub fn into_value(&self, payload: Payload) -> Result<Json, ChunkError> {
        match payload {
            Payload::Inline(value) => Ok(value),
            parts @ Payload::Parts(_) => self.decode(&parts),
        }
    }

    fn text(&self, parts: &[Part]) -> Result<String, ChunkError> {
        let mut out = String::new();
        let whole = self.pieces(parts, |piece| {
            out.push_str(piece);
            if out.len() > MOST_VALUE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if whole { Ok(out) } else { Err(ChunkError::TooLarge) }
    }

    // A stack of its own instead of recursion: prefixes nest as deep as a conversation is long. A chunk refers
    // only to chunks before it, so a damaged journal cannot send it in circles.
    /// The text behind these parts, piece by piece. False if `each` broke it off.
    fn pieces(&self, parts: &[Part], mut each: impl FnMut(&str) -> ControlFlow<()>) -> Result<bool, ChunkError> {
        let mut stack = vec![(parts.iter(), u32::MAX)];
        let mut seen = 0;
        while let Some((iter, below)) = stack.last_mut() {
            seen += 1;
            if seen > MOST_PARTS {
                return Err(ChunkError::TooLarge);
            }
            let piece = match iter.next() {
                None => {
                    stack.pop();
                    continue;
                }
                Some(Part::Text(text)) => text.as_str(),
                Some(Part::Chunk(n)) => {
                    let known = if n < below { self.bodies.get(*n as usize) } else { None };
                    match known.ok_or(ChunkError::Missing(*n))? {
                        Chunk::Literal(literal) => literal.get(),
                        Chunk::Prefix(_, inner) => {
                            stack.push((inner.iter(), *n));
                            continue;
                        }
                    }
                }
            };
            if each(piece).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of the arrays that were seen last, the one that this text begins with: its length, its chunk and its hash.
    pub(crate) fn grown(&self, text: &str) -> Option<(usize, u32, [u8; 16])> {
        let begins = |number: u32| {
            let mut rest = text;
            let whole = self.pieces(&[Part::Chunk(number)], |piece| match rest.strip_prefix(piece) {
                Some(after) => {
                    rest = after;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            });
            matches!(whole, Ok(true)).then(|| text.len() - rest.len())
        };
        self.grown.iter().rev().find_map(|(number, hash)| Some((begins(*number)?, *number, *hash)))
    }

    /// Notes the beginning of an array as one that is likely to go on.
    pub(crate) fn note_grown(&mut self, number: u32, hash: [u8; 16]) {
        self.grown.retain(|(known, _)| *known != number);
        if self.grown.len() == GROWING {
            self.grown.pop_front();
        }
        self.grown.push_back((number, hash));
    }

    // Only a run that goes live needs the index, so replay does not pay for it.
    fn build_index(&mut self) {
        while let Some(body) = self.bodies.get(self.indexed) {
            let hash = match body {
                Chunk::Literal(text) => Some(literal_hash(text.get())),
                Chunk::Prefix(hash, _) => crate::hex::decode(hash),
            };
            if let Some(hash) = hash {
                self.index.entry(hash).or_insert(self.indexed as u32);
            }
            self.indexed += 1;
        }
    }

    pub(crate) fn find(&self, hash: &[u8; 16]) -> Option<u32> {
        self.index.get(hash).copied()
    }

    pub(crate) fn add(&mut self, hash: [u8; 16], body: Chunk) -> u32 {
        let number = self.bodies.len() as u32;
        self.bodies.push(body);
        self.index.insert(hash, number);
        self.indexed = self.bodies.len();
        number
    }
}

/// The content address of a string's or an object's text.
pub(crate) fn literal_hash(text: &str) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    out
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
