//! Random workflows on the real host, crashed in every state that they are in and resumed: the same decisions as without a crash, the same as a
//! plain interpreter makes, and no step that starts when it must not. A failure names the program and how to run it alone.

mod ast;
mod book;
mod cuts;
mod draw;
mod drive;
mod flow;
mod oracle;
mod plain;
mod quiet;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use ast::{Program, TICK, mix};
use book::{Book, Decision};
use drive::Drive;
use oracle::{Ids, Oracle};

/// Programs side by side in one database.
const TOGETHER: u32 = 60;
/// When the clock starts.
const BEGIN: i64 = TICK * 1_000;

#[test]
fn crashed_in_any_state_random_programs_decide_the_same() {
    let wanted = super::count("programs", 200, 100_000);
    let alone = std::env::var("ABIDE_PROGRAM").ok().map(|text| alone(&text));
    let together = if wanted < 5_000 { u64::from(TOGETHER) / 6 } else { u64::from(TOGETHER) };
    let (points, programs, next) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    // Two at a time: most of it is waiting for a host's threads.
    std::thread::scope(|threads| {
        for _ in 0..if alone.is_some() { 1 } else { 2 } {
            threads.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                while points.load(Ordering::SeqCst) < wanted {
                    let first = next.fetch_add(together, Ordering::SeqCst);
                    let numbers = alone.clone().unwrap_or(first..=first + together - 1).collect::<Vec<_>>();
                    let tried = runtime.block_on(numbered_batch(&numbers));
                    points.fetch_add(tried, Ordering::SeqCst);
                    programs.fetch_add(numbers.len() as u64, Ordering::SeqCst);
                    if alone.is_some() {
                        break;
                    }
                }
            });
        }
    });
    let (points, programs) = (points.into_inner(), programs.into_inner());
    println!("{points} programs x crash points ({programs} programs): 0 divergences");
}

/// Tries the programs of these numbers; how many states they were crashed in.
async fn numbered_batch(numbers: &[u64]) -> u64 {
    let drawn = numbers.iter().zip(0..).map(|(n, index)| Program::draw(index, mix(super::seed(), *n))).collect();
    match batch(drawn).await {
        Ok(tried) => tried,
        Err(Wrong { programs, why }) => {
            let which: Vec<u64> = programs.iter().map(|p| numbers[*p as usize]).collect();
            let seed = super::seed();
            let (one, first, last) = (which[0], numbers[0], numbers[numbers.len() - 1]);
            panic!(
                "{why}\nprograms {which:?}\nalone: ABIDE_SEED={seed} ABIDE_PROGRAM={one}, among its neighbours: ABIDE_PROGRAM={first}-{last}"
            );
        }
    }
}

/// The programs that somebody wants to see: `12`, or `0-19`.
fn alone(text: &str) -> std::ops::RangeInclusive<u64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().expect("a number")..=last.parse().expect("a number")
}

struct Wrong {
    programs: Vec<u32>,
    why: String,
}

/// Runs programs side by side, whole, and then from each of their states.
async fn batch(programs: Vec<Program>) -> Result<u64, Wrong> {
    let all: BTreeSet<u32> = programs.iter().map(|p| p.index).collect();
    let wrong = |why: String| Wrong { programs: all.iter().copied().collect(), why };
    let dir = cuts::folder();
    let db = dir.path().join("runs.db");
    let mut whole = Drive::open(&db, programs.clone(), BEGIN, false).await;
    let pin = cuts::pin(&db);
    whole.start().await;
    whole.finish(&all).await.map_err(wrong)?;
    whole.check_starts().map_err(wrong)?;
    let decided: BTreeMap<u32, BTreeMap<u32, Vec<Decision>>> = {
        let book = whole.world.book.lock().unwrap();
        all.iter().map(|p| (*p, decisions(&book, *p))).collect()
    };
    for program in &programs {
        let p = program.index;
        let book = whole.world.book.lock().unwrap();
        let actions = whole.actions.get(&p).cloned().unwrap_or_default();
        let expected = Oracle::run(program, &Recorded(&book, p), BEGIN, &actions);
        same(&expected, &decided[&p]).map_err(|why| Wrong {
            programs: vec![p],
            why: format!("not what the plain interpreter decides: {why}\nafter {actions:?}\nof {program:#?}"),
        })?;
    }
    let ids: Vec<_> = {
        let book = whole.world.book.lock().unwrap();
        programs.iter().map(|program| ids(&book, program.index)).collect()
    };
    for program in &programs {
        numbered(program, &ids[program.index as usize])
            .map_err(|why| Wrong { programs: vec![program.index], why: format!("{why}\nof {program:#?}") })?;
    }
    let mut tape = cuts::Tape::of(&db);
    let mut points = 0;
    let plan = tape.plan(&whole.world.book.lock().unwrap());
    for (at, which) in plan {
        let cut = tape.cuts[at];
        let dir = cuts::folder();
        let db = dir.path().join("runs.db");
        let keep: Vec<i64> = {
            let book = whole.world.book.lock().unwrap();
            which.iter().flat_map(|p| book.of_program[p].clone()).collect()
        };
        tape.lay(&cut, &db, &keep);
        let mut crashed = Drive::open(&db, programs.clone(), cut.clock, true).await;
        // Who took a signal that was kept, no journal tells: a run that sleeps would have to be woken to know.
        let taken = whole.world.state.lock().unwrap().taken.clone();
        crashed.world.state.lock().unwrap().taken.extend(taken);
        let wrong = |why: String| Wrong {
            programs: which.iter().copied().collect(),
            why: format!("crashed after commit {at}: {why}"),
        };
        crashed.finish(&which).await.map_err(wrong)?;
        crashed.check_starts().map_err(wrong)?;
        for p in &which {
            let book = crashed.world.book.lock().unwrap();
            same(&decided[p], &decisions(&book, *p)).map_err(|why| Wrong {
                programs: vec![*p],
                why: format!("crashed after commit {at}, it decides otherwise: {why}\nof {:#?}", programs[*p as usize]),
            })?;
            if ids[*p as usize] != self::ids(&book, *p) {
                return Err(wrong("it gives other ids".to_owned()));
            }
            points += 1;
        }
        crashed.close().await;
    }
    drop(pin);
    whole.close().await;
    Ok(points)
}

/// What each run of a program was told, and asked for.
fn decisions(book: &Book, p: u32) -> BTreeMap<u32, Vec<Decision>> {
    book.of_program[&p].iter().map(|key| (book.runs[key].run, book.runs[key].decisions.clone())).collect()
}

/// The id of each leaf.
fn ids(book: &Book, p: u32) -> BTreeMap<u32, String> {
    let all = book.of_program[&p].iter().flat_map(|key| &book.runs[key].ids);
    all.map(|(uid, (id, _))| (*uid, id.to_string())).collect()
}

/// Ids are paths, numbered from one in each scope, whatever happens in others (DESIGN rule 6).
fn numbered(program: &Program, ids: &BTreeMap<u32, String>) -> Result<(), String> {
    let paths = program.paths();
    let mut numbers: BTreeMap<&(u32, usize, String), BTreeSet<usize>> = BTreeMap::new();
    for (uid, id) in ids {
        let path = &paths[uid];
        let (text, number) = id.rsplit_once('#').map_or((id.as_str(), Ok(1)), |(text, n)| (text, n.parse()));
        if text != path.2 {
            return Err(format!("leaf {uid} has the id {id} and is at {path:?}"));
        }
        numbers.entry(path).or_default().insert(number.unwrap_or(0));
    }
    let gap = numbers.into_iter().find(|(_, given)| !given.iter().copied().eq(1..=given.len()));
    gap.map_or(Ok(()), |(path, given)| Err(format!("at {path:?} the numbers are {given:?}")))
}

fn same(expected: &BTreeMap<u32, Vec<Decision>>, found: &BTreeMap<u32, Vec<Decision>>) -> Result<(), String> {
    for run in expected.keys().chain(found.keys()) {
        let none = Vec::new();
        let (expected, found) = (expected.get(run).unwrap_or(&none), found.get(run).unwrap_or(&none));
        let differs = (0..expected.len().max(found.len())).find(|i| expected.get(*i) != found.get(*i));
        if let Some(i) = differs {
            let from = i.saturating_sub(2);
            let some = |all: &[Decision]| format!("{:?}", all.iter().skip(from).take(4).collect::<Vec<_>>());
            return Err(format!("run {run}, decision {i}: expected\n{}\nfound\n{}", some(expected), some(found)));
        }
    }
    Ok(())
}

/// Ids as the journal has them.
struct Recorded<'a>(&'a Book, u32);

impl Ids for Recorded<'_> {
    fn id(&self, run: u32, uid: u32) -> (String, usize) {
        let key = self.0.keys.get(&(self.1, run));
        let known = key.and_then(|key| self.0.runs[key].ids.get(&uid));
        known.map_or_else(|| (String::new(), 0), |(id, place)| (id.to_string(), *place))
    }
}
