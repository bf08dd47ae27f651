//! A journal, read from the database while the host works: what is open, and what was decided, told in the numbers of the program's leaves
//! instead of ids. It never writes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use abide::engine::event::{Command, Delivery, Happened, HostEvent, Outcome, Row, Verdict};
use abide::engine::{Payload, StepId};
use rusqlite::{Connection, OpenFlags};

use super::ast::Program;
use super::flow::{Code, code_of};

/// Something that a run was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Start(u32),
    Done(u32, u64),
    Failed(u32, Code),
    Fired(u32),
    Signal(u32, u64),
    Cancel,
}

/// Something that a run asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Step(u32),
    Sleep(u32),
    Signal(u32),
    Child(u32),
    Cancel(u32),
    Version(String, u32),
    Completed(u64),
    Failed(Code),
    Cancelled,
    Continued,
}

/// What a run was told, and what it asked for then.
pub(super) type Decision = (Told, BTreeSet<Asked>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Working(u32),
    RetryAt(i64),
    /// True if it is in doubt because its process ended.
    Doubt(bool),
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Step { attempt: Attempt, tries: usize, resolved: bool },
    Timer { due: i64 },
    Signal { name: String, due: Option<i64> },
    Child,
}

#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) uid: u32,
    pub(super) what: What,
}

#[derive(Debug, Default)]
pub(super) struct RunBook {
    pub(super) program: u32,
    pub(super) run: u32,
    pub(super) begun: bool,
    pub(super) ended: bool,
    pub(super) ops: BTreeMap<StepId, Op>,
    pub(super) decisions: Vec<Decision>,
    pub(super) cancelled: bool,
    /// Tries that failed and verdicts of the script.
    pub(super) tried: usize,
    /// Ids of all generations, by leaf; and the place of each command.
    pub(super) ids: HashMap<u32, (StepId, usize)>,
    generation: u32,
}

/// A message that lies in an inbox.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) kind: String,
    pub(super) name: String,
}

pub(super) struct Book {
    /// Another one after each change.
    pub(super) version: u64,
    conn: Connection,
    last_log: i64,
    last_run: i64,
    last_message: i64,
    pub(super) runs: BTreeMap<i64, RunBook>,
    pub(super) of_program: HashMap<u32, Vec<i64>>,
    pub(super) names: HashMap<i64, String>,
    /// Which run each row of the log and the inbox concerns.
    pub(super) rows: Vec<(i64, i64)>,
    pub(super) messages: Vec<(i64, i64)>,
    pub(super) inbox: HashMap<i64, Vec<Message>>,
    /// Senders' ids of messages that were taken.
    pub(super) senders: BTreeSet<String>,
    pub(super) diverged: Vec<String>,
    /// Where the run of each program and child number is.
    pub(super) keys: HashMap<(u32, u32), i64>,
    foreign: BTreeSet<i64>,
}

fn value<T: serde::de::DeserializeOwned>(payload: &Payload) -> T {
    match payload {
        Payload::Inline(json) => serde_json::from_str(json.get()).expect("a value of the programs"),
        Payload::Parts(_) => panic!("values of the programs are short"),
    }
}

impl Book {
    pub(super) fn open(db: &Path) -> Self {
        let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        Self {
            version: 0,
            conn,
            last_log: 0,
            last_run: 0,
            last_message: 0,
            runs: BTreeMap::new(),
            of_program: HashMap::new(),
            names: HashMap::new(),
            rows: Vec::new(),
            messages: Vec::new(),
            inbox: HashMap::new(),
            senders: BTreeSet::new(),
            diverged: Vec::new(),
            keys: HashMap::new(),
            foreign: BTreeSet::new(),
        }
    }

    /// What changes when something has happened.
    fn mark(&self) -> (i64, i64, usize, usize) {
        (self.last_log, self.last_message, self.inbox.values().map(Vec::len).sum(), self.diverged.len())
    }

    /// Reads what is new.
    pub(super) fn read(&mut self, programs: &[Program]) {
        let before = self.mark();
        self.conn.prepare_cached("BEGIN").unwrap().execute([]).unwrap();
        let mut rows: Vec<(i64, i64, String)> = Vec::new();
        {
            let mut names = self.conn.prepare_cached("SELECT key, id FROM runs WHERE key > ?1").unwrap();
            let found = names.query_map([self.last_run], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
            for (key, id) in found.unwrap().flatten() {
                self.last_run = self.last_run.max(key);
                self.names.insert(key, id);
            }
            let mut log = self.conn.prepare_cached("SELECT id, run, body FROM log WHERE id > ?1 ORDER BY id").unwrap();
            let found = log.query_map([self.last_log], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            rows.extend(found.map(Result::unwrap));
            let mut open =
                self.conn.prepare_cached("SELECT run, kind, name FROM inbox WHERE body IS NOT NULL").unwrap();
            let found = open.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))).unwrap();
            self.inbox.clear();
            for (run, kind, name) in found.map(Result::unwrap) {
                self.inbox.entry(run).or_default().push(Message { kind, name });
            }
            let mut sent = self.conn.prepare_cached("SELECT id, run, sender FROM inbox WHERE id > ?1").unwrap();
            let found = sent.query_map([self.last_message], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?))
            });
            for (id, run, sender) in found.unwrap().map(Result::unwrap) {
                self.last_message = self.last_message.max(id);
                self.messages.push((id, run));
                self.senders.extend(sender);
            }
            let sql =
                "SELECT h.run, n.error FROM heads h LEFT JOIN notes n ON n.run = h.run WHERE h.status = 'diverged'";
            let mut diverged = self.conn.prepare_cached(sql).unwrap();
            let found = diverged.query_map([], |row| {
                Ok(format!("run {}: {:?}", row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?))
            });
            self.diverged = found.unwrap().map(Result::unwrap).collect();
        }
        self.conn.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
        for (id, run, body) in rows {
            self.last_log = id;
            self.rows.push((id, run));
            let row: Row = serde_json::from_str(&body).unwrap();
            self.take(run, row, programs);
        }
        self.version += u64::from(before != self.mark());
    }

    /// Closes waiters that took a signal which was delivered to another one, and kept when that one was dropped before it looked.
    pub(super) fn close(&mut self, taken: &HashMap<(u32, u32), u64>) {
        for run in self.runs.values_mut() {
            let RunBook { program, ops, decisions, .. } = run;
            let was_told = |uid, value| {
                let other = |told: &Told| matches!(told, Told::Signal(whose, told) if *whose != uid && *told == value);
                decisions.iter().any(|(told, _)| other(told))
            };
            ops.retain(|_, op| {
                let took = taken.get(&(*program, op.uid)).filter(|_| matches!(op.what, What::Signal { .. }));
                !took.is_some_and(|value| was_told(op.uid, *value))
            });
        }
    }

    fn take(&mut self, key: i64, row: Row, programs: &[Program]) {
        let start = row.deliveries.iter().find_map(|d| match &d.on {
            Happened::Start(start) => Some(start),
            _ => None,
        });
        let created = row.host.iter().find_map(|event| match event {
            HostEvent::Created(start) => Some(start),
            _ => None,
        });
        if let Some(start) = start.or(created) {
            if start.workflow != "program" {
                self.foreign.insert(key);
            } else if let Entry::Vacant(place) = self.runs.entry(key) {
                let (program, run, _, _): (u32, u32, u32, u64) = value(&start.input);
                place.insert(RunBook { program, run, ..RunBook::default() });
                self.of_program.entry(program).or_default().push(key);
                self.keys.insert((program, run), key);
            }
        }
        if self.foreign.contains(&key) {
            return;
        }
        let book = self.runs.get_mut(&key).expect("a run that was created");
        for delivery in row.deliveries {
            book.deliver(delivery, &programs[book.program as usize]);
        }
        for event in row.host {
            book.host(event);
        }
    }

    /// What the database says of a run, for a person.
    pub(super) fn head(&self, key: i64) -> String {
        let sql = "SELECT status, waiting_for, until_ms, owner, epoch FROM heads WHERE run = ?1";
        let text = self.conn.query_row(sql, [key], |row| {
            let (status, what): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let (until, owner): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            Ok(format!("{status} for {what:?} until {until:?}, owner {owner:?}, epoch {:?}", row.get::<_, i64>(4)?))
        });
        text.unwrap_or_else(|error| error.to_string())
    }

    /// Was this leaf asked for and then dropped or cancelled?
    pub(super) fn was_cancelled(&self, program: u32, uid: u32) -> bool {
        let runs = self.of_program.get(&program).into_iter().flatten().filter_map(|key| self.runs.get(key));
        let mut asked = runs.flat_map(|run| &run.decisions).flat_map(|(_, asked)| asked);
        asked.any(|one| *one == Asked::Cancel(uid))
    }

    /// The open step of this leaf.
    pub(super) fn step(&self, program: u32, uid: u32) -> Option<&Op> {
        let keys = self.of_program.get(&program)?;
        keys.iter().find_map(|key| {
            let ops = &self.runs.get(key)?.ops;
            ops.values().find(|op| op.uid == uid && matches!(op.what, What::Step { .. }))
        })
    }
}

impl RunBook {
    fn deliver(&mut self, delivery: Delivery, program: &Program) {
        let mut done = |id: &StepId| self.ops.remove(id).map_or(0, |op| op.uid);
        let told = match &delivery.on {
            Happened::Start(start) => {
                let (.., g, _): (u32, u32, u32, u64) = value(&start.input);
                (self.begun, self.ended, self.generation) = (true, false, g);
                self.ops.clear();
                Told::Start(g)
            }
            Happened::Done { id, out } => Told::Done(done(id), value(out)),
            Happened::Failed { id, error } => Told::Failed(done(id), code_of(error)),
            Happened::Fired { id } => Told::Fired(done(id)),
            Happened::Signal { id, value: sent } => Told::Signal(done(id), value(sent)),
            Happened::Cancel => {
                self.cancelled = true;
                Told::Cancel
            }
        };
        let mut asked = BTreeSet::new();
        for command in delivery.commands {
            let one = self.ask(command, program);
            assert!(asked.insert(one.clone()), "{one:?} is asked for twice");
        }
        self.decisions.push((told, asked));
    }

    fn ask(&mut self, command: Command, program: &Program) -> Asked {
        let (id, uid, what, asked) = match command {
            Command::Step(step) => {
                let (_, uid, _): (u32, u32, u64) = value(&step.input);
                let what = What::Step { attempt: Attempt::Working(1), tries: 0, resolved: false };
                (step.id, uid, what, Asked::Step(uid))
            }
            Command::Sleep { id, ms, due } => {
                let uid = (ms % 1_000) as u32;
                (id, uid, What::Timer { due }, Asked::Sleep(uid))
            }
            Command::Signal(signal) => {
                let uid = value(signal.about.as_ref().expect("the leaf's number"));
                (signal.id, uid, What::Signal { name: signal.name, due: signal.due }, Asked::Signal(uid))
            }
            Command::Child(child) => {
                let (_, run, _, _): (u32, u32, u32, u64) = value(&child.input);
                let uid = super::ast::child_uid(run);
                assert!((run as usize) < program.runs.len(), "a child that the program has not");
                (child.id, uid, What::Child, Asked::Child(uid))
            }
            Command::Cancel { id } => {
                let uid = self.ops.remove(&id).map_or(0, |op| op.uid);
                return Asked::Cancel(uid);
            }
            Command::Version { change, value } => return Asked::Version(change, value),
            Command::End(outcome) => {
                self.ended = !matches!(outcome, Outcome::Continued(_));
                self.ops.clear();
                return match outcome {
                    Outcome::Completed(out) => Asked::Completed(value(&out)),
                    Outcome::Failed(error) => Asked::Failed(code_of(&error)),
                    Outcome::Cancelled(_) => Asked::Cancelled,
                    Outcome::Continued(_) => Asked::Continued,
                };
            }
        };
        let place = self.ids.len();
        self.ids.insert(uid, (id.clone(), place));
        let before = self.ops.insert(id.clone(), Op { uid, what });
        assert!(before.is_none(), "id {id} is given twice");
        asked
    }

    fn host(&mut self, event: HostEvent) {
        let id = match &event {
            HostEvent::Attempt { id, .. }
            | HostEvent::Retry { id, .. }
            | HostEvent::InDoubt { id, .. }
            | HostEvent::Resolved { id, .. } => id.clone(),
            _ => return,
        };
        let Some(Op { what: What::Step { attempt, tries, resolved }, .. }) = self.ops.get_mut(&id) else { return };
        match event {
            HostEvent::Attempt { n, .. } => *attempt = Attempt::Working(n),
            HostEvent::Retry { next, .. } => {
                *attempt = Attempt::RetryAt(next);
                (*tries, self.tried) = (*tries + 1, self.tried + 1);
            }
            HostEvent::InDoubt { why, .. } => {
                let crash = why.starts_with("the process that ran it");
                *attempt = Attempt::Doubt(crash);
                self.tried += usize::from(!crash);
            }
            HostEvent::Resolved { verdict: Verdict::Retry, .. } => {
                if *attempt == Attempt::Doubt(false) {
                    (*tries, self.tried) = (*tries + 1, self.tried + 1);
                }
                *resolved = true;
            }
            _ => {}
        }
    }
}
