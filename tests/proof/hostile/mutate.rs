//! Inputs from seeds: the n-th of a target is the same for the same seed on every machine. It knows no format but that texts nest and repeat.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What stands between the seeds of a file.
const BETWEEN: &str = "\n====\n";

/// What is odd in most formats.
const ODD: [&str; 34] = [
    "0",
    "-1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"",
    "\\",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "${",
    "${HOME}",
    "}",
    "]",
    "{{",
    "[[",
    "---\n",
    "\n",
    "\r\n",
    "*",
    "&a",
    "..",
    "/",
    "%s",
    "\u{10ffff}",
];

/// One change; places and lengths are fractions of what is there.
#[derive(Debug, Clone)]
enum Edit {
    Byte(f64, u8),
    Remove(f64, f64),
    Repeat(f64, f64, u16),
    Move(f64, f64, f64),
    Odd(f64, usize),
    Number(f64, usize),
    Deep(f64, u16, bool),
    Cut(f64),
}

/// The seeds in a file's text.
pub fn seeds(text: &str) -> Vec<Vec<u8>> {
    text.split(BETWEEN).map(|seed| seed.trim_end_matches('\n').as_bytes().to_vec()).collect()
}

/// The same for seeds that are written with `\\r`, `\\n`, `\\xNN` and `\\\\`, as what stands on a wire.
pub fn escaped_seeds(text: &str) -> Vec<Vec<u8>> {
    let plain = |seed: Vec<u8>| {
        let mut out = Vec::new();
        let mut bytes = seed.into_iter();
        while let Some(byte) = bytes.next() {
            out.push(match (byte, if byte == b'\\' { bytes.next() } else { None }) {
                (_, Some(b'r')) => b'\r',
                (_, Some(b'n')) => b'\n',
                (_, Some(b'x')) => {
                    let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                (_, Some(other)) => other,
                (byte, None) => byte,
            });
        }
        out
    };
    seeds(text).into_iter().map(plain).collect()
}

/// The input of this number: first the seeds themselves, then what chance makes of them.
pub fn input(target: &str, seed: u64, index: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    if let Some(seed) = seeds.get(index as usize) {
        return seed.clone();
    }
    let entropy = blake3::hash(format!("{target} {seed} {index}").as_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, entropy.as_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (0..seeds.len(), proptest::collection::vec(edit(), 1..5));
    let (which, edits) = strategy.new_tree(&mut runner).unwrap().current();
    let mut bytes = seeds[which].clone();
    for edit in edits {
        bytes = apply(bytes, edit);
        bytes.truncate(1 << 20);
    }
    bytes
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0.0..1.0_f64;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        3 => (at(), 0.0..0.2).prop_map(|(at, part)| Edit::Remove(at, part)),
        2 => (at(), 0.0..0.2, 1..200_u16).prop_map(|(at, part, times)| Edit::Repeat(at, part, times)),
        3 => (at(), 0.0..0.3, at()).prop_map(|(from, part, to)| Edit::Move(from, part, to)),
        5 => (at(), 0..ODD.len()).prop_map(|(at, which)| Edit::Odd(at, which)),
        6 => (at(), 0..10_usize).prop_map(|(at, which)| Edit::Number(at, which)),
        1 => (at(), 1..20_000_u16, any::<bool>()).prop_map(|(at, deep, closed)| Edit::Deep(at, deep, closed)),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn apply(mut bytes: Vec<u8>, edit: Edit) -> Vec<u8> {
    let len = bytes.len();
    let place = |at: f64| ((len as f64 * at) as usize).min(len);
    let range = |at: f64, part: f64| place(at)..place((at + part).min(1.0)).max(place(at));
    match edit {
        Edit::Byte(at, byte) => {
            if let Some(there) = bytes.get_mut(place(at)) {
                *there = byte;
            }
        }
        Edit::Remove(at, part) => drop(bytes.drain(range(at, part))),
        Edit::Repeat(at, part, times) => {
            let piece = bytes[range(at, part)].repeat(usize::from(times));
            bytes.splice(place(at)..place(at), piece);
        }
        Edit::Move(from, part, to) => {
            let piece = bytes[range(from, part)].to_vec();
            bytes.splice(place(to)..place(to), piece);
        }
        Edit::Odd(at, which) => drop(bytes.splice(place(at)..place(at), ODD[which].bytes())),
        Edit::Number(at, which) => {
            // The next whole number becomes an odd one.
            let Some(start) = (place(at)..len).find(|i| bytes[*i].is_ascii_digit()) else { return bytes };
            let end = (start..len).find(|i| !bytes[*i].is_ascii_digit()).unwrap_or(len);
            bytes.splice(start..end, ODD[which].bytes());
        }
        Edit::Deep(at, deep, closed) => {
            let deep = usize::from(deep);
            let text = "[".repeat(deep) + &"]".repeat(if closed { deep } else { 0 });
            bytes.splice(place(at)..place(at), text.into_bytes());
        }
        Edit::Cut(at) => bytes.truncate(place(at)),
    }
    bytes
}
