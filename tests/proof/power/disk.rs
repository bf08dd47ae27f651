//! A disk that loses power: what lies on it for certain, what may lie on it, and states in between. It knows bytes and syncs, and no SQLite.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::record::{Op, Which};
use crate::proof::dice::Dice;

/// The unit that a disk writes whole or not at all, and SQLite's page.
const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// Something that may or may not have reached the disk.
#[derive(Clone)]
enum May {
    Write { at: u64, data: Arc<[u8]>, from: usize, to: usize, stuck: bool },
    Truncate(u64),
}

/// A file as a disk knows it.
#[derive(Clone, Default)]
struct File {
    sure: Vec<u8>,
    may: Vec<May>,
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = at as usize;
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl File {
    /// What was written since the last sync is certain now; what a failed sync gave up stays uncertain where nothing was written over it.
    fn sync(&mut self) {
        let mut left: Vec<May> = Vec::new();
        for one in self.may.drain(..) {
            match one {
                May::Write { stuck: true, .. } => left.push(one),
                May::Write { at, data, from, to, .. } => {
                    put(&mut self.sure, at + from as u64, &data[from..to]);
                    let (begin, end) = (at + from as u64, at + to as u64);
                    left = left.into_iter().flat_map(|old| without(old, begin, end)).collect();
                }
                May::Truncate(size) => self.sure.truncate(size as usize),
            }
        }
        self.may = left;
    }

    fn give_up(&mut self) {
        for one in &mut self.may {
            if let May::Write { stuck, .. } = one {
                *stuck = true;
            }
        }
    }
}

/// What is left of an uncertain write when this range of the file has become certain.
fn without(old: May, begin: u64, end: u64) -> Vec<May> {
    let May::Write { at, data, from, to, stuck } = old else { return vec![old] };
    let (lo, hi) = (at + from as u64, at + to as u64);
    if hi <= begin || lo >= end {
        return vec![May::Write { at, data, from, to, stuck }];
    }
    let mut left = Vec::new();
    if lo < begin {
        left.push(May::Write { at, data: data.clone(), from, to: (begin - at) as usize, stuck });
    }
    if hi > end {
        left.push(May::Write { at, data, from: (end - at) as usize, to, stuck });
    }
    left
}

/// What a power loss leaves.
pub struct State {
    pub db: Vec<u8>,
    pub log: Option<Vec<u8>>,
    /// The same for equal choices at one moment.
    pub choice: u64,
}

/// How a power loss treats what was not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Nothing,
    Everything,
    /// Each write is there whole or not at all.
    Some,
    /// Each piece of this size is there or not.
    Torn(u64),
    /// What came first is there, and the last of it torn.
    Prefix(u64),
    /// What came last is there, and what came before is not.
    Suffix(u64),
    /// One write is missing.
    Without(u64),
    /// Each sector that is written just now is there, or not, or garbage.
    Garbage,
}

/// The disk at one moment of a recording.
#[derive(Clone, Default)]
pub struct Disk {
    db: File,
    log: File,
    /// Whether the log's name is on the disk for certain, and whether it is there by now.
    log_sure: bool,
    log_now: bool,
    /// The log under its old name, as long as its removal is not certain.
    old_log: Option<File>,
}

impl Disk {
    pub fn new(db: Vec<u8>) -> Self {
        Self { db: File { sure: db, may: Vec::new() }, ..Self::default() }
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { on, at, data } => {
                let may = May::Write { at: *at, data: data.clone(), from: 0, to: data.len(), stuck: false };
                self.file(*on).may.push(may);
            }
            Op::Truncate { on, size } => self.file(*on).may.push(May::Truncate(*size)),
            Op::FailedSync { on } => self.file(*on).give_up(),
            Op::Sync { on } => {
                self.file(*on).sync();
                if *on == Which::Log {
                    // SQLite syncs the folder with the first sync of a new file.
                    (self.log_sure, self.old_log) = (true, None);
                }
            }
            Op::Appear => (self.log, self.log_now, self.log_sure) = (File::default(), true, false),
            Op::Vanish => {
                let old = std::mem::take(&mut self.log);
                if self.log_sure || self.old_log.is_none() {
                    self.old_log = Some(old);
                }
                (self.log_now, self.log_sure) = (false, false);
            }
        }
    }

    fn file(&mut self, on: Which) -> &mut File {
        match on {
            Which::Db => &mut self.db,
            Which::Log => &mut self.log,
        }
    }

    /// True if a power loss now can leave one state only.
    pub fn is_settled(&self) -> bool {
        self.db.may.is_empty() && self.log.may.is_empty() && self.log_sure == self.log_now && self.old_log.is_none()
    }

    /// As many different states as were asked for, or as there are: each is what a power loss at this moment may leave.
    pub fn states(&self, most: usize, dice: &mut Dice, mut check: impl FnMut(State)) -> usize {
        let mut seen = HashSet::new();
        let tries = if self.is_settled() { 1 } else { most * 3 };
        for n in 0..tries {
            if seen.len() >= most {
                break;
            }
            let writes = (self.db.may.len() + self.log.may.len()) as u64;
            let fate = match n {
                0 => Fate::Nothing,
                1 => Fate::Everything,
                _ => match dice.below(7) {
                    0 => Fate::Some,
                    1 => Fate::Torn(SECTOR),
                    2 => Fate::Torn(PAGE),
                    3 => Fate::Prefix(dice.below(writes + 1)),
                    4 => Fate::Suffix(dice.below(writes + 1)),
                    5 => Fate::Without(dice.below(writes.max(1))),
                    _ => Fate::Garbage,
                },
            };
            let state = self.state(fate, dice);
            if seen.insert(state.choice) {
                check(state);
            }
        }
        seen.len()
    }

    fn state(&self, fate: Fate, dice: &mut Dice) -> State {
        let mut choice = DefaultHasher::new();
        let mut place = 0;
        let db = fall(&self.db, fate, dice, &mut place, &mut choice);
        let uncertain = self.log_sure != self.log_now || self.old_log.is_some();
        let new = match fate {
            _ if !uncertain => self.log_now,
            Fate::Nothing => self.log_sure,
            Fate::Everything => self.log_now,
            _ => dice.below(2) == 0,
        };
        (uncertain, new).hash(&mut choice);
        let log = match (&self.old_log, new) {
            (_, true) if self.log_now => Some(fall(&self.log, fate, dice, &mut place, &mut choice)),
            (Some(old), false) => Some(fall(old, fate, dice, &mut place, &mut choice)),
            _ => None,
        };
        State { db, log, choice: choice.finish() }
    }
}

/// A file after the power was lost.
fn fall(file: &File, fate: Fate, dice: &mut Dice, place: &mut u64, choice: &mut DefaultHasher) -> Vec<u8> {
    let mut out = file.sure.clone();
    for one in &file.may {
        let n = *place;
        *place += 1;
        let (at, data) = match one {
            May::Truncate(size) => {
                let there = keeps(fate, n, dice);
                there.hash(choice);
                if there && (*size as usize) < out.len() {
                    out.truncate(*size as usize);
                }
                continue;
            }
            May::Write { at, data, from, to, .. } => (at + *from as u64, &data[*from..*to]),
        };
        let unit = match fate {
            Fate::Torn(unit) => unit,
            Fate::Prefix(last) if last == n => SECTOR,
            Fate::Garbage => SECTOR,
            _ => {
                let there = keeps(fate, n, dice);
                there.hash(choice);
                if there {
                    put(&mut out, at, data);
                }
                continue;
            }
        };
        let mut begin = 0;
        while begin < data.len() {
            let to_edge = (unit - (at + begin as u64) % unit) as usize;
            let end = data.len().min(begin + to_edge);
            let there = dice.below(if matches!(fate, Fate::Garbage) { 4 } else { 2 });
            there.hash(choice);
            match there {
                0 => {}
                3 => {
                    let noise: Vec<u8> = (begin..end).map(|_| dice.roll() as u8).collect();
                    put(&mut out, at + begin as u64, &noise);
                }
                _ => put(&mut out, at + begin as u64, &data[begin..end]),
            }
            begin = end;
        }
    }
    out
}

/// Is the whole of this write there?
fn keeps(fate: Fate, n: u64, dice: &mut Dice) -> bool {
    match fate {
        Fate::Nothing => false,
        Fate::Everything => true,
        Fate::Some | Fate::Torn(_) | Fate::Garbage => dice.below(2) == 0,
        Fate::Prefix(last) => n < last,
        Fate::Suffix(first) => n >= first,
        Fate::Without(missing) => n != missing,
    }
}
