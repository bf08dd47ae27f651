//! Draws a program from a seed. It never draws one that waits for ever: every signal that is waited for is sent.

use std::sync::Arc;

use abide::engine::event::Verdict;

use super::ast::{Dice, Kind, LANES, Node, Other, Program, RunSpec, Sent, StepSpec, TICK, Try};

impl Program {
    pub(super) fn draw(index: u32, seed: u64) -> Self {
        let mut maker =
            Maker { dice: Dice::new(seed), uid: 0, left: 0, runs: vec![None], signals: Vec::new(), run: 0, names: 0 };
        maker.left = 3 + maker.dice.below(12) as i64;
        maker.fill_run(0);
        let cancel = maker.dice.percent(25);
        let runs = maker.runs.into_iter().flatten().collect();
        Self { index, seed, runs, signals: maker.signals, cancel }
    }
}

struct Maker {
    dice: Dice,
    uid: u32,
    /// Leaves that may still be made.
    left: i64,
    runs: Vec<Option<RunSpec>>,
    signals: Vec<Sent>,
    /// The run that is being made.
    run: u32,
    names: u32,
}

impl Maker {
    fn uid(&mut self) -> u32 {
        self.uid += 1;
        self.left -= 1;
        self.uid
    }

    /// A time of its own for each leaf, longer than a tick of the clock.
    fn ms(&mut self, uid: u32) -> u64 {
        assert!(uid < 1_000, "too many leaves");
        (1 + self.dice.below(6)) * TICK as u64 + self.dice.below(1_000) * 1_000 + u64::from(uid)
    }

    fn fill_run(&mut self, run: u32) {
        let before = std::mem::replace(&mut self.run, run);
        let first = self.edge("first");
        let count = if self.dice.percent(20) { 2 } else { 1 };
        let generations = (0..count).map(|_| Arc::new(self.node(0))).collect();
        let last = self.edge("last");
        self.runs[run as usize] = Some(RunSpec { first, generations, last });
        self.run = before;
    }

    /// The first or last step of a child.
    fn edge(&mut self, name: &'static str) -> Option<StepSpec> {
        let step = |uid| StepSpec { uid, name, kind: Kind::Idempotent, script: vec![Try::Ok], drawn: false };
        (self.run != 0).then(|| step(self.uid()))
    }

    fn node(&mut self, depth: u32) -> Node {
        if depth >= 4 || self.left <= 1 || self.dice.percent(12) {
            return self.leaf(depth);
        }
        match self.dice.below(12) {
            0..=2 => self.seq(depth),
            3 | 4 => Node::Join(self.some(depth)),
            5 => Node::TryJoin(self.some(depth)),
            6 => Node::Race { uid: self.uid(), branches: self.some(depth) },
            7 => {
                let (uid, at_once) = (self.uid(), 1 + self.dice.below(3) as usize);
                Node::Map { uid, at_once, branches: self.some(depth) }
            }
            8 => Node::Scope { uid: self.uid(), body: Box::new(self.node(depth + 1)) },
            9 => Node::Catch(Box::new(self.node(depth + 1))),
            _ => {
                let other = [Other::DropNow, Other::DropLater, Other::Await][self.dice.below(3) as usize];
                let mut part = || Box::new(self.node(depth + 1));
                Node::Select { first: part(), second: part(), then: part(), other }
            }
        }
    }

    fn seq(&mut self, depth: u32) -> Node {
        let mut parts = vec![self.node(depth + 1)];
        for _ in 0..1 + self.dice.below(3) {
            match self.dice.below(10) {
                0 => {
                    let n = self.dice.below(3);
                    parts.push(Node::Version { change: format!("v{n}"), newest: 1 + n as u32 });
                }
                1 => {
                    let uid = self.uid();
                    let script = vec![Try::Ok];
                    parts.push(Node::Step(StepSpec { uid, name: "here", kind: Kind::Local, script, drawn: false }));
                }
                _ => parts.push(self.node(depth + 1)),
            }
        }
        Node::Seq(parts)
    }

    fn some(&mut self, depth: u32) -> Vec<Node> {
        let most = if self.dice.percent(3) { 33 } else { 2 + self.dice.below(3) };
        if most > 30 {
            self.left = self.left.max(0);
            return (0..most).map(|_| self.step()).collect();
        }
        (0..most).map(|_| self.node(depth + 1)).collect()
    }

    fn leaf(&mut self, depth: u32) -> Node {
        match self.dice.below(20) {
            0..=3 => {
                let uid = self.uid();
                Node::Sleep { uid, ms: self.ms(uid) }
            }
            4..=6 => self.signal(),
            7 | 8 if depth > 0 && self.runs.len() < LANES as usize => {
                let run = self.runs.len() as u32;
                self.runs.push(None);
                self.left = self.left.max(2);
                self.fill_run(run);
                Node::Child { run }
            }
            _ => self.step(),
        }
    }

    fn signal(&mut self) -> Node {
        let uid = self.uid();
        // Now and then several wait for the same name.
        if self.names == 0 || self.dice.percent(60) {
            self.names += 1;
        }
        let name = format!("sig{}", self.names);
        let timeout = if self.dice.percent(40) { Some(self.ms(uid)) } else { None };
        let value = self.dice.next() >> 12;
        self.signals.push(Sent { run: self.run, name: name.clone(), value });
        Node::Signal { uid, name, timeout }
    }

    fn step(&mut self) -> Node {
        let uid = self.uid();
        let name = ["s", "t", "u"][self.dice.below(3) as usize];
        let kind = match self.dice.below(10) {
            0..=4 => Kind::Idempotent,
            5 => Kind::Pure,
            _ => Kind::Once,
        };
        let script = if kind == Kind::Once { self.once() } else { self.repeatable() };
        let drawn = self.run == 0 && self.dice.percent(30);
        Node::Step(StepSpec { uid, name, kind, script, drawn })
    }

    fn repeatable(&mut self) -> Vec<Try> {
        let mut script = Vec::new();
        while script.len() < 3 && self.dice.percent(20) {
            script.push(if self.dice.percent(50) { Try::Plain } else { Try::RetryAfter(1_500) });
        }
        script.truncate(2);
        match self.dice.below(20) {
            0 | 1 => script.push(Try::Terminal),
            // Worn out: the last of three.
            2 => script = vec![Try::Plain; 3],
            _ => {}
        }
        if script.len() < 3 && script.last() != Some(&Try::Terminal) {
            script.push(Try::Ok);
        }
        script
    }

    fn once(&mut self) -> Vec<Try> {
        let mut script = Vec::new();
        if self.dice.percent(15) {
            script.push(Try::DidNotHappen);
        }
        match self.dice.below(10) {
            0 => script.push(Try::Terminal),
            1 => script.extend([Try::Doubt(Verdict::Retry), Try::Ok]),
            2 => script.push(Try::Doubt(Verdict::Landed)),
            3 => script.push(Try::Doubt(Verdict::Fail)),
            _ => script.push(Try::Ok),
        }
        script
    }
}
