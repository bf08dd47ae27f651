//! The oracle: from what was done to a program, in order, it says what each of its runs must have been told and have asked for, by the rules
//! of DESIGN section 4 and none of abide's code. It reads no journal but for ids, by which the rules order some things.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use abide::engine::event::Verdict;

use super::ast::{Program, Try, child_uid, value_of};
use super::book::{Asked, Decision, Told};
use super::flow::{Code, Out, generation};
use super::plain::{Inside, Is, Leaf, Plain, Run};

/// Something that was done to a program.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// A step came to what its script says.
    Settle(u32),
    Signal {
        run: u32,
        name: String,
        value: u64,
    },
    Cancel,
    /// The clock moved here.
    Time(i64),
}

/// How ids order leaves: by the length and text of the id, by its text, and by the place of the command.
pub(super) trait Ids {
    fn id(&self, run: u32, uid: u32) -> (String, usize);
}

enum Message {
    Begin(u32),
    Cancel(u32),
    Ended { child: u32, out: Out },
}

pub(super) struct Oracle<'a> {
    program: &'a Program,
    ids: &'a dyn Ids,
    runs: BTreeMap<u32, Run>,
    messages: VecDeque<Message>,
    clock: i64,
}

impl<'a> Oracle<'a> {
    /// What each run was told and asked for, if this was done to the program.
    pub(super) fn run(
        program: &'a Program,
        ids: &'a dyn Ids,
        clock: i64,
        actions: &[Action],
    ) -> BTreeMap<u32, Vec<Decision>> {
        let mut oracle = Self { program, ids, runs: BTreeMap::new(), messages: VecDeque::new(), clock };
        oracle.messages.push_back(Message::Begin(0));
        oracle.work();
        for action in actions {
            oracle.act(action);
            oracle.work();
        }
        oracle.runs.into_iter().map(|(run, state)| (run, state.decisions)).collect()
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Settle(uid) => {
                let at = self.runs.iter().find(|(_, run)| run.is_open(*uid)).map(|(number, _)| *number);
                if let Some(number) = at {
                    self.turn(number, vec![self.settles(*uid)]);
                }
            }
            Action::Signal { run, name, value } => {
                if let Some(state) = self.runs.get_mut(run) {
                    state.mail.push((name.clone(), *value, self.clock));
                    self.turn(*run, Vec::new());
                }
            }
            Action::Cancel => self.turn(0, vec![Told::Cancel]),
            Action::Time(clock) => {
                self.clock = *clock;
                let numbers: Vec<u32> = self.runs.keys().copied().collect();
                let due: Vec<_> = numbers.into_iter().map(|number| (number, self.runs[&number].due(*clock))).collect();
                for (number, batch) in due {
                    if !batch.is_empty() {
                        self.turn(number, batch);
                    }
                }
            }
        }
    }

    /// What a step comes to by its script.
    fn settles(&self, uid: u32) -> Told {
        let value = value_of(self.program.seed, uid);
        let script = &self.program.step(uid).expect("a step of the program").script;
        match script.last() {
            Some(Try::Ok | Try::Doubt(Verdict::Landed)) | None => Told::Done(uid, value),
            Some(Try::Terminal) => Told::Failed(uid, Code::Terminal),
            Some(_) => Told::Failed(uid, Code::Failed),
        }
    }

    fn work(&mut self) {
        while let Some(message) = self.messages.pop_front() {
            match message {
                Message::Begin(number) => {
                    self.runs.insert(number, Run::new());
                    self.begin(number, 5 * u64::from(number != 0));
                }
                Message::Cancel(number) if self.runs.contains_key(&number) => self.turn(number, vec![Told::Cancel]),
                Message::Cancel(_) => {}
                Message::Ended { child, out } => {
                    let uid = child_uid(child);
                    let parent = self.runs.iter().find(|(_, run)| run.is_open(uid)).map(|(number, _)| *number);
                    let told = match out {
                        Ok(value) => Told::Done(uid, value),
                        Err(Code::Cancelled) => Told::Failed(uid, Code::Failed),
                        Err(code) => Told::Failed(uid, code),
                    };
                    if let Some(parent) = parent {
                        self.turn(parent, vec![told]);
                    }
                }
            }
        }
    }

    fn begin(&mut self, number: u32, acc: u64) {
        let spec = self.program.runs[number as usize].clone();
        let clock = self.clock;
        let run = self.runs.get_mut(&number).unwrap();
        let before = run.cell.lock().unwrap().now;
        run.cell = Arc::new(Mutex::new(Inside { run: number, now: clock.max(before), ..Inside::default() }));
        let ops = Plain(run.cell.clone());
        run.future = Some(Box::pin(generation(ops, spec, run.generation, acc)));
        let g = run.generation;
        self.deliver(number, Told::Start(g), clock);
        // A generation begins in the commit of the turn that ended the one before: what waits for it comes after.
        self.commit(number);
        self.turn(number, Vec::new());
    }

    /// A turn: what came, then what waits for whoever takes it, then what the process computes by itself.
    fn turn(&mut self, number: u32, batch: Vec<Told>) {
        for told in batch {
            if self.deliver(number, told, self.clock) {
                self.read_mail(number);
            }
        }
        self.read_mail(number);
        loop {
            let local = self.local(number);
            if local.is_empty() {
                break;
            }
            for uid in local {
                self.deliver(number, Told::Done(uid, value_of(self.program.seed, uid)), self.clock);
            }
            self.read_mail(number);
        }
        self.commit(number);
        let run = self.runs.get_mut(&number).unwrap();
        if let Some(acc) = run.next.take() {
            run.generation += 1;
            self.begin(number, acc);
        }
    }

    /// Others hear of a turn when it is committed; a child that was dropped in the very turn that asked for it is never begun.
    fn commit(&mut self, number: u32) {
        let run = self.runs.get_mut(&number).unwrap();
        let (began, stopped) = (std::mem::take(&mut run.began), std::mem::take(&mut run.stopped));
        for child in &began {
            if !stopped.contains(child) {
                self.messages.push_back(Message::Begin(*child));
            }
        }
        let cancelled: Vec<u32> = stopped.into_iter().filter(|child| !began.contains(child)).collect();
        self.messages.extend(cancelled.into_iter().map(Message::Cancel));
    }

    fn local(&self, number: u32) -> Vec<u32> {
        let inside = self.runs[&number].cell.lock().unwrap();
        let is_local = |leaf: &&Leaf| leaf.is == Is::Step { local: true } && leaf.settled.is_none();
        let mut local: Vec<u32> =
            inside.leaves.iter().filter(|(_, leaf)| is_local(leaf)).map(|(uid, _)| *uid).collect();
        local.sort_by_key(|uid| self.ids.id(number, *uid).1);
        local
    }

    fn read_mail(&mut self, number: u32) {
        loop {
            let run = &self.runs[&number];
            let found = run.mail.iter().enumerate().find_map(|(i, (name, value, at))| {
                let inside = run.cell.lock().unwrap();
                let waits = |leaf: &Leaf| {
                    leaf.settled.is_none() && matches!(&leaf.is, Is::Signal { name: other, .. } if other == name)
                };
                let waiters = inside.leaves.iter().filter(|(_, leaf)| waits(leaf)).map(|(uid, _)| *uid);
                let first = waiters.min_by_key(|uid| {
                    let id = self.ids.id(number, *uid).0;
                    (id.len(), id)
                });
                first.map(|uid| (i, Told::Signal(uid, *value), *at))
            });
            let Some((i, told, at)) = found else { return };
            if !self.deliver(number, told, at) {
                return;
            }
            self.runs.get_mut(&number).unwrap().mail.remove(i);
        }
    }

    /// False if nobody waits for it.
    fn deliver(&mut self, number: u32, told: Told, at: i64) -> bool {
        let ids = self.ids;
        let run = self.runs.get_mut(&number).unwrap();
        if run.future.is_none() {
            return false;
        }
        let cell = run.cell.clone();
        let mut inside = cell.lock().unwrap();
        match &told {
            Told::Start(_) => {}
            Told::Cancel if inside.cancelled => return false,
            Told::Cancel => {
                inside.now = inside.now.max(at);
                inside.cancelled = true;
                let mut open: Vec<u32> =
                    inside.leaves.iter().filter(|(_, leaf)| leaf.settled.is_none()).map(|(uid, _)| *uid).collect();
                open.sort_by_key(|uid| ids.id(number, *uid).0);
                for uid in open {
                    inside.settle(uid, Err(Code::Cancelled));
                    inside.asked.insert(Asked::Cancel(uid));
                }
            }
            Told::Done(uid, _) | Told::Failed(uid, _) | Told::Fired(uid) | Told::Signal(uid, _) => {
                let Some(leaf) = inside.leaves.get(uid).filter(|leaf| leaf.settled.is_none()) else { return false };
                let at = match (&leaf.is, &told) {
                    (Is::Timer { due }, _) | (Is::Signal { due: Some(due), .. }, Told::Failed(..)) => *due,
                    _ => at,
                };
                inside.now = inside.now.max(at);
                inside.settle(
                    *uid,
                    match &told {
                        Told::Done(_, value) | Told::Signal(_, value) => Ok(*value),
                        Told::Failed(_, code) => Err(*code),
                        _ => Ok(u64::from(*uid)),
                    },
                );
            }
        }
        drop(inside);
        let out = run.rest();
        run.ask(told);
        if let Some(out) = out
            && number != 0
        {
            self.messages.push_back(Message::Ended { child: number, out });
        }
        true
    }
}
