//! The hand that moves the world: when nothing of a program moves by itself, it does one thing to it, chosen by the program's seed and by what
//! its journal says; when all wait for time, it moves the clock. It never looks at how fast anything is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use abide::engine::event::Verdict;
use abide::prelude::*;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::ast::{Dice, Program, TICK, Try, mix, value_of};
use super::book::{Attempt, Book, RunBook, What};
use super::flow::program;
use super::oracle::Action;
use super::quiet::{May, choose, crash_doubts, dues, is_over, is_quiet, runs_of, sender, steps, what_may_be_done};
use super::world::{Outside, World};

/// Nothing has moved for so long: it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host, its clock, and the world around it.
pub(super) struct Drive {
    pub(super) world: Arc<World>,
    pub(super) clock: Arc<AtomicI64>,
    /// What was done to each program.
    pub(super) actions: BTreeMap<u32, Vec<Action>>,
    abide: Option<Abide>,
    poke: Option<Run>,
    waiting: BTreeSet<u32>,
    crashed: bool,
}

impl Drive {
    /// Opens a host. `crashed`: on what another left behind.
    pub(super) async fn open(db: &Path, programs: Vec<Program>, clock: i64, crashed: bool) -> Self {
        let clock = Arc::new(AtomicI64::new(clock));
        let read = clock.clone();
        if !crashed {
            Abide::open(db).recover(false).start().await.unwrap().shutdown().await;
        }
        let mut book = Book::open(db);
        book.read(&programs);
        let mut outside = Outside::default();
        for run in book.runs.values() {
            outside.note(run);
        }
        let dice = Dice::new(book.rows.len() as u64 + u64::from(crashed)).into();
        let world = Arc::new(World { programs, state: outside.into(), book: book.into(), dice });
        let builder = Abide::open(db).clock(move || read.load(Ordering::SeqCst)).resource(world.clone());
        let still =
            |ctx: Ctx, (): ()| async move { ctx.step("still", (), |()| std::future::pending::<Result<()>>()).await };
        let abide = builder.workflow("program", program).workflow("poke", still).start().await.unwrap();
        let poke = abide.run("poke", &()).await.unwrap();
        Self {
            world,
            clock,
            actions: BTreeMap::new(),
            abide: Some(abide),
            poke: Some(poke),
            waiting: BTreeSet::new(),
            crashed,
        }
    }

    fn abide(&self) -> &Abide {
        self.abide.as_ref().unwrap()
    }

    pub(super) async fn start(&self) {
        let start =
            |p: &Program| self.abide().run("program", &(p.index, 0, 0, 0)).id(format!("p{}", p.index)).into_future();
        for started in join_all(self.world.programs.iter().map(start)).await {
            started.unwrap();
        }
    }

    pub(super) async fn close(mut self) {
        drop(self.poke.take());
        // Nothing is waited for: the steps that still wait are ended.
        self.world.state.lock().unwrap().gates.clear();
        self.abide.take().unwrap().shutdown().await;
    }

    /// Works until these programs have ended.
    pub(super) async fn finish(&mut self, which: &BTreeSet<u32>) -> Result<(), String> {
        let (mut last_move, mut seen, mut again) = (Instant::now(), None, true);
        loop {
            let now = {
                let mut book = self.world.book.lock().unwrap();
                book.read(&self.world.programs);
                let state = self.world.state.lock().unwrap();
                book.close(&state.taken);
                Some((book.version, state.version()))
            };
            if now == seen && !again {
                if last_move.elapsed() > PATIENCE {
                    return Err(format!("nothing moves any more: {}", self.standing(which)));
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
                continue;
            }
            (seen, again, last_move) = (now, false, Instant::now());
            let mut sends: Vec<BoxFuture<'static, ()>> = Vec::new();
            let mut left = 0;
            let mut quiet = true;
            {
                let world = self.world.clone();
                let (book, state) = (world.book.lock().unwrap(), world.state.lock().unwrap());
                if let Some(fault) = state.faults.first().or(book.diverged.first()) {
                    return Err(fault.clone());
                }
                let mut opened = Vec::new();
                for p in which {
                    if is_over(&book, *p) {
                        continue;
                    }
                    left += 1;
                    let clock = self.clock.load(Ordering::SeqCst);
                    if !is_quiet(&book, &state, *p, clock) {
                        (quiet, _) = (false, self.waiting.remove(p));
                    } else if !self.waiting.contains(p) {
                        (quiet, again) = (false, true);
                        let program = &world.programs[*p as usize];
                        self.decide(&book, program, &mut opened, &mut sends)?;
                    }
                }
                drop((book, state));
                for (p, uid, how) in opened {
                    self.world.open(p, uid, how);
                }
            }
            if left == 0 {
                return Ok(());
            }
            join_all(sends).await;
            if quiet {
                self.tick(which).await?;
                again = true;
            }
        }
    }

    /// All wait for time: the clock moves to the tick of the earliest that is due.
    async fn tick(&mut self, which: &BTreeSet<u32>) -> Result<(), String> {
        let due = {
            let book = self.world.book.lock().unwrap();
            which.iter().flat_map(|p| runs_of(&book, *p)).flat_map(dues).min()
        };
        let Some(due) = due else { return Err(format!("nothing is due: {}", self.standing(which))) };
        let clock = (due + TICK - 1) / TICK * TICK;
        self.clock.store(clock, Ordering::SeqCst);
        {
            let book = self.world.book.lock().unwrap();
            for p in which.iter().filter(|p| !is_over(&book, **p)) {
                self.actions.entry(*p).or_default().push(Action::Time(clock));
                if runs_of(&book, *p).flat_map(dues).any(|at| at <= clock) {
                    self.waiting.remove(p);
                }
            }
        }
        // Every shard looks at the clock when anybody hears of a message.
        self.poke.as_ref().unwrap().signal("tick", &()).await.map_err(|e| e.to_string())
    }

    /// What stands where nothing moves, for a person.
    fn standing(&self, which: &BTreeSet<u32>) -> String {
        let (book, state) = (self.world.book.lock().unwrap(), self.world.state.lock().unwrap());
        let clock = self.clock.load(Ordering::SeqCst);
        let stuck = which.iter().filter(|p| !is_over(&book, **p) && !is_quiet(&book, &state, **p, clock));
        let mut text = format!("at {clock}");
        for p in stuck.take(2) {
            for key in book.of_program.get(p).into_iter().flatten() {
                let (run, head) = (&book.runs[key], book.head(*key));
                let gates: Vec<_> = state.gates.keys().filter(|(other, _)| other == p).collect();
                let (ops, mail) = (&run.ops, book.inbox.get(key));
                text += &format!("\nprogram {p} run {} {head}: {ops:?}, inbox {mail:?}, gates {gates:?}", run.run);
            }
        }
        text
    }

    /// Does one thing to a program that does not move by itself.
    fn decide(
        &mut self,
        book: &Book,
        program: &Program,
        opened: &mut Vec<(u32, u32, Try)>,
        sends: &mut Vec<BoxFuture<'static, ()>>,
    ) -> Result<(), String> {
        let p = program.index;
        // What a crash left in doubt is tried again, or lies until its turn comes.
        for (key, id, uid) in crash_doubts(book, p) {
            if mix(program.seed, u64::from(uid)).is_multiple_of(2) {
                sends.push(self.resolve(book, key, &id, Verdict::Retry, 0));
                return Ok(());
            }
        }
        let may = what_may_be_done(book, program);
        let Some(chosen) = choose(book, program, &may) else {
            return Err(format!("nothing can be done to program {p}: {program:#?}"));
        };
        match chosen {
            May::Time => drop(self.waiting.insert(p)),
            May::Cancel => {
                self.act(p, Action::Cancel);
                let run = self.run(book, book.keys[&(p, 0)]);
                sends.push(async move { run.cancel().await.unwrap() }.boxed());
            }
            May::Signal(i) => {
                let sent = program.signals[*i].clone();
                let run = self.run(book, book.keys[&(p, sent.run)]);
                let (name, value) = (sent.name.clone(), sent.value);
                self.act(p, Action::Signal { run: sent.run, name: sent.name, value });
                let sender = sender(p, *i);
                sends.push(async move { assert!(run.signal_once(&name, &value, &sender).await.unwrap()) }.boxed());
            }
            May::Step(uid) => self.settle(book, program, *uid, opened, sends),
        }
        Ok(())
    }

    fn settle(
        &mut self,
        book: &Book,
        program: &Program,
        uid: u32,
        opened: &mut Vec<(u32, u32, Try)>,
        sends: &mut Vec<BoxFuture<'static, ()>>,
    ) {
        let (p, script) = (program.index, &program.step(uid).unwrap().script);
        let Some((key, id, attempt, tries)) = steps(book, p).find(|step| step.2 == uid).map(|s| (s.0, s.1, s.3, s.4))
        else {
            return;
        };
        let how = script.get(tries).copied().unwrap_or(Try::Ok);
        let over = match (attempt, how) {
            (Attempt::Doubt(false), Try::Doubt(verdict)) => {
                sends.push(self.resolve(book, key, &id, verdict, value_of(program.seed, uid)));
                verdict != Verdict::Retry
            }
            (Attempt::Doubt(_), Try::Ok) => {
                sends.push(self.resolve(book, key, &id, Verdict::Landed, value_of(program.seed, uid)));
                true
            }
            (Attempt::Doubt(_), _) => {
                sends.push(self.resolve(book, key, &id, Verdict::Retry, 0));
                false
            }
            (_, how) => {
                opened.push((p, uid, how));
                tries + 1 == script.len() && !matches!(how, Try::Doubt(_))
            }
        };
        if over {
            self.act(p, Action::Settle(uid));
        }
    }

    fn act(&mut self, p: u32, action: Action) {
        self.actions.entry(p).or_default().push(action);
    }

    fn run(&self, book: &Book, key: i64) -> Run {
        self.abide().get(&book.names[&key]).unwrap()
    }

    fn resolve(&self, book: &Book, key: i64, id: &str, verdict: Verdict, value: u64) -> BoxFuture<'static, ()> {
        let (run, id) = (self.run(book, key), id.to_owned());
        async move {
            let result = serde_json::value::to_raw_value(&value).unwrap();
            run.resolve(&id, verdict, Some(result), Some("no")).await.unwrap();
        }
        .boxed()
    }

    /// What a step was started for, as often as its script says, if nothing was cut off.
    pub(super) fn check_starts(&self) -> Result<(), String> {
        let state = self.world.state.lock().unwrap();
        for ((p, uid), started) in &state.started {
            let script = &self.world.programs[*p as usize].step(*uid).unwrap().script;
            let distinct: BTreeSet<_> = started.iter().collect();
            let most = script.len();
            if distinct.len() != started.len() || started.len() > most && !self.crashed {
                return Err(format!("step {uid} of program {p} started as {started:?}, and its script is {script:?}"));
            }
        }
        Ok(())
    }
}

impl Outside {
    /// What a run's journal says of the time before a crash.
    fn note(&mut self, run: &RunBook) {
        for op in run.ops.values() {
            if let What::Step { attempt: Attempt::Working(n), .. } = &op.what {
                self.cut_off.insert((run.program, op.uid), *n);
            }
        }
        for (told, _) in &run.decisions {
            if let super::book::Told::Done(uid, _) | super::book::Told::Failed(uid, _) = told {
                self.over.insert((run.program, *uid));
            }
        }
    }
}
