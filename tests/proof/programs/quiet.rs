//! What a program's journal says may happen next: whether it moves by itself, and if not, what may be done to it. It does nothing.

use std::collections::BTreeSet;

use super::ast::{Dice, Program, child_uid, mix};
use super::book::{Attempt, Book, RunBook, What};
use super::world::Outside;

/// Something that may be done to a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum May {
    Step(u32),
    Signal(usize),
    Cancel,
    Time,
}

pub(super) fn sender(p: u32, i: usize) -> String {
    format!("{p}/{i}")
}

pub(super) fn runs_of(book: &Book, p: u32) -> impl Iterator<Item = &RunBook> {
    book.of_program.get(&p).into_iter().flatten().map(|key| &book.runs[key])
}

pub(super) fn is_over(book: &Book, p: u32) -> bool {
    let mut runs = runs_of(book, p).peekable();
    runs.peek().is_some() && runs.all(|run| run.ended)
}

pub(super) fn dues(run: &RunBook) -> impl Iterator<Item = i64> {
    run.ops.values().filter_map(|op| match &op.what {
        What::Timer { due } | What::Signal { due: Some(due), .. } => Some(*due),
        What::Step { attempt: Attempt::RetryAt(at), .. } => Some(*at),
        _ => None,
    })
}

/// Open steps: run, id, leaf, attempt, tries so far.
pub(super) fn steps(book: &Book, p: u32) -> impl Iterator<Item = (i64, String, u32, Attempt, usize)> {
    let keys = book.of_program.get(&p).into_iter().flatten();
    keys.flat_map(|key| {
        book.runs[key].ops.iter().filter_map(|(id, op)| match &op.what {
            What::Step { attempt, tries, .. } => Some((*key, id.to_string(), op.uid, *attempt, *tries)),
            _ => None,
        })
    })
}

pub(super) fn crash_doubts(book: &Book, p: u32) -> Vec<(i64, String, u32)> {
    let doubts = steps(book, p).filter(|step| step.3 == Attempt::Doubt(true));
    doubts.map(|(key, id, uid, ..)| (key, id, uid)).collect()
}

/// True if nothing of the program moves before something is done to it.
pub(super) fn is_quiet(book: &Book, state: &Outside, p: u32, clock: i64) -> bool {
    let Some(keys) = book.of_program.get(&p) else { return false };
    keys.iter().all(|key| {
        let run = &book.runs[key];
        if run.ended {
            return true;
        }
        let waits =
            |name: &str| run.ops.values().any(|op| matches!(&op.what, What::Signal { name: n, .. } if n == name));
        let mail = book.inbox.get(key).into_iter().flatten();
        let unread = mail.clone().any(|m| m.kind != "signal" || waits(&m.name));
        let at_gate = |uid: u32, n: u32| state.gates.get(&(p, uid)).is_some_and(|gate| gate.n == n);
        let moving = run.ops.values().any(|op| match &op.what {
            What::Step { attempt: Attempt::Working(n), .. } => !at_gate(op.uid, *n),
            What::Child => !book.keys.contains_key(&(p, op.uid - child_uid(0))),
            _ => false,
        });
        run.begun && !unread && !moving && dues(run).all(|at| at > clock)
    })
}

pub(super) fn what_may_be_done(book: &Book, program: &Program) -> Vec<May> {
    let p = program.index;
    let mut may: BTreeSet<May> = steps(book, p)
        .filter(|step| !matches!(step.3, Attempt::RetryAt(_)))
        .map(|(.., uid, _, _)| May::Step(uid))
        .collect();
    let is_open = |run: u32| book.keys.get(&(p, run)).is_some_and(|key| !book.runs[key].ended);
    for (i, sent) in program.signals.iter().enumerate() {
        if is_open(sent.run) && !book.senders.contains(&sender(p, i)) {
            may.insert(May::Signal(i));
        }
    }
    if program.cancel && is_open(0) && !runs_of(book, p).any(|run| run.run == 0 && run.cancelled) {
        may.insert(May::Cancel);
    }
    if runs_of(book, p).filter(|run| !run.ended).flat_map(dues).next().is_some() {
        may.insert(May::Time);
    }
    may.into_iter().collect()
}

/// Chosen by the seed and by how far the program is, never by when.
pub(super) fn choose<'a>(book: &Book, program: &Program, may: &'a [May]) -> Option<&'a May> {
    let (p, runs) = (program.index, || runs_of(book, program.index));
    let sent = (0..program.signals.len()).filter(|i| book.senders.contains(&sender(p, *i))).count();
    let far = runs().map(|run| run.decisions.len() * 64 + run.tried).sum::<usize>() * 64 + sent;
    let mut dice = Dice::new(mix(program.seed, far as u64));
    let first = &may.get(dice.below(may.len() as u64) as usize)?;
    // A cancel is rare, unless nothing else is left to do.
    let others: Vec<&May> = may.iter().filter(|one| **one != May::Cancel).collect();
    match first {
        May::Cancel if !others.is_empty() && dice.percent(70) => Some(others[dice.below(others.len() as u64) as usize]),
        first => Some(first),
    }
}
