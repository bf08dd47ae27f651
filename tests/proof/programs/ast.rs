//! Random workflows as data: the tree of a program, and what can be said of it without running it. `draw` draws one.

use std::collections::HashMap;
use std::sync::Arc;

use abide::engine::event::Verdict;

/// The clock moves in ticks of this many milliseconds; every sleep is longer, and its last three digits are its leaf's number.
pub(super) const TICK: i64 = 1_000_000;

/// Each run of a program has ticks of its own, one of so many, for what it waits for: so what is due in two of them at a time, and could
/// reach one of them in one turn or in two, is never left to chance.
pub(super) const LANES: i64 = 4;

/// How long to wait from `now` on, at least so long, for a time that lies in this run's ticks.
pub(super) fn in_lane(run: u32, now: i64, ms: u64) -> u64 {
    let tick = (now + ms as i64 + TICK - 1) / TICK;
    ms + ((i64::from(run) - tick).rem_euclid(LANES) * TICK) as u64
}

/// A small generator of random numbers (splitmix64): the same on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True in so many of a hundred.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Two values in one; order matters.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    (a.rotate_left(7) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
}

/// What an attempt of a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    Ok,
    /// A failure for good.
    Terminal,
    /// A failure that is tried again, or the last of those.
    Plain,
    RetryAfter(u64),
    DidNotHappen,
    /// A once step that does not know, and what a person says of it.
    Doubt(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Idempotent,
    Pure,
    Once,
    Local,
}

#[derive(Debug, Clone)]
pub(super) struct StepSpec {
    pub(super) uid: u32,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What its attempts come to, one after the other.
    pub(super) script: Vec<Try>,
    /// Its input holds a random number of the run's.
    pub(super) drawn: bool,
}

/// A part of a workflow. Each leaf has a number of its own in the program.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Step(StepSpec),
    Sleep {
        uid: u32,
        ms: u64,
    },
    Signal {
        uid: u32,
        name: String,
        timeout: Option<u64>,
    },
    Child {
        run: u32,
    },
    Seq(Vec<Node>),
    /// All of them, whatever comes of each.
    Join(Vec<Node>),
    /// All of them, or the first error: then the others are dropped.
    TryJoin(Vec<Node>),
    Race {
        uid: u32,
        branches: Vec<Node>,
    },
    Map {
        uid: u32,
        at_once: usize,
        branches: Vec<Node>,
    },
    Scope {
        uid: u32,
        body: Box<Node>,
    },
    /// The first of two; what becomes of the other, and what is done in between.
    Select {
        first: Box<Node>,
        second: Box<Node>,
        then: Box<Node>,
        other: Other,
    },
    Catch(Box<Node>),
    Version {
        change: String,
        newest: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    DropNow,
    DropLater,
    Await,
}

/// A run of a program: the root, or a child.
#[derive(Debug, Clone)]
pub(super) struct RunSpec {
    /// One tree a generation.
    pub(super) generations: Vec<Arc<Node>>,
    /// A child begins with this step: a cancel that comes with its start, in the same turn or in the next, finds nothing else.
    pub(super) first: Option<StepSpec>,
    /// A child ends with this step, so that it never ends by itself.
    pub(super) last: Option<StepSpec>,
}

/// A signal that somebody sends to a run at some time.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) run: u32,
    pub(super) name: String,
    pub(super) value: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) index: u32,
    pub(super) seed: u64,
    pub(super) runs: Vec<RunSpec>,
    pub(super) signals: Vec<Sent>,
    /// Somebody may cancel it.
    pub(super) cancel: bool,
}

/// What a step gives.
pub(super) fn value_of(seed: u64, uid: u32) -> u64 {
    mix(seed, u64::from(uid)) >> 12
}

impl Node {
    fn paths(&self, scope: &str, to: &mut impl FnMut(u32, String)) {
        let below = |name: &str| if scope.is_empty() { name.to_owned() } else { format!("{scope}/{name}") };
        let mut branches = |name: String, all: &[Node]| {
            for (i, branch) in all.iter().enumerate() {
                branch.paths(&format!("{name}[{i}]"), to);
            }
        };
        match self {
            Self::Race { uid, branches: all } => branches(below(&format!("race{uid}")), all),
            Self::Map { uid, branches: all, .. } => branches(below(&format!("map{uid}")), all),
            Self::Step(step) => to(step.uid, below(step.name)),
            Self::Sleep { uid, .. } => to(*uid, below("sleep")),
            Self::Signal { uid, name, .. } => to(*uid, below(name)),
            Self::Child { run } => to(child_uid(*run), below("program")),
            Self::Seq(all) | Self::Join(all) | Self::TryJoin(all) => all.iter().for_each(|n| n.paths(scope, to)),
            Self::Scope { uid, body } => body.paths(&below(&format!("in{uid}")), to),
            Self::Catch(body) => body.paths(scope, to),
            Self::Select { first, second, then, .. } => {
                [first, second, then].into_iter().for_each(|n| n.paths(scope, to));
            }
            Self::Version { .. } => {}
        }
    }
}

impl Program {
    pub(super) fn step(&self, uid: u32) -> Option<&StepSpec> {
        fn find(node: &Node, uid: u32) -> Option<&StepSpec> {
            match node {
                Node::Step(step) => (step.uid == uid).then_some(step),
                Node::Seq(all) | Node::Join(all) | Node::TryJoin(all) => all.iter().find_map(|n| find(n, uid)),
                Node::Race { branches, .. } | Node::Map { branches, .. } => branches.iter().find_map(|n| find(n, uid)),
                Node::Scope { body, .. } | Node::Catch(body) => find(body, uid),
                Node::Select { first, second, then, .. } => {
                    [first, second, then].into_iter().find_map(|n| find(n, uid))
                }
                _ => None,
            }
        }
        self.runs.iter().find_map(|run| {
            let own = run.first.iter().chain(&run.last).find(|step| step.uid == uid);
            own.or_else(|| run.generations.iter().find_map(|node| find(node, uid)))
        })
    }

    /// Run, generation and id without its number, for each leaf.
    pub(super) fn paths(&self) -> HashMap<u32, (u32, usize, String)> {
        let mut paths = HashMap::new();
        for (run, number) in self.runs.iter().zip(0..) {
            for (g, node) in run.generations.iter().enumerate() {
                node.paths("", &mut |uid, path| drop(paths.insert(uid, (number, g, path))));
            }
            if let Some(first) = &run.first {
                paths.insert(first.uid, (number, 0, first.name.to_owned()));
            }
            if let Some(last) = &run.last {
                paths.insert(last.uid, (number, run.generations.len() - 1, last.name.to_owned()));
            }
        }
        paths
    }
}

/// The number of the leaf that starts this run.
pub(super) fn child_uid(run: u32) -> u32 {
    1_000 + run
}
