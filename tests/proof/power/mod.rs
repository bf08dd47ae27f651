//! Power loss: the real writer on a disk that keeps what was not synced aside, and then drops, reorders and tears it at every moment. Every state
//! must hold what was acknowledged by then.

mod check;
mod disk;
pub mod history;
mod record;
mod sync;

use std::collections::HashSet;

use check::{Need, Whole};
use disk::Disk;
use history::{FILE, History};
pub use record::{Ack, Recorder, Syncs};

use crate::proof::dice::Dice;

/// What was found in the states of a history.
#[derive(Default, Debug)]
struct Found {
    states: u64,
    moments: u64,
    lost: u64,
    corrupt: u64,
    /// Checked down to every page and index.
    deep: u64,
    first: Option<String>,
}

/// Loses power at every moment of a history, in at most so many ways each.
fn lose_power(history: &History, whole: &Whole, ways: usize, most: u64, dice: &mut Dice, found: &mut Found) {
    let mut disk = Disk::new(history.before.clone());
    let mut acks = history.tape.acks.iter().peekable();
    let mut need = Need::default();
    let mut seen = HashSet::new();
    for (at, op) in history.tape.ops.iter().enumerate() {
        while let Some((_, ack)) = acks.next_if(|(when, _)| *when <= at) {
            let promised = whole.promised(ack);
            need = Need { log: need.log.max(promised.log), message: need.message.max(promised.message) };
        }
        disk.apply(op);
        found.moments += 1;
        let mut picks = Dice::new(dice.roll());
        disk.states(ways.min((most - found.states) as usize), dice, |state| {
            found.states += 1;
            let size = state.db.len();
            let mut deep = |rows| {
                let is_deep = seen.insert((size, rows)) || picks.below(64) == 0;
                found.deep += u64::from(is_deep);
                is_deep
            };
            if let Err(why) = whole.check(state, need, &mut deep) {
                *(if why.starts_with("lost") { &mut found.lost } else { &mut found.corrupt }) += 1;
                found.first.get_or_insert(format!("after operation {at}: {why}"));
            }
        });
        if found.states >= most {
            return;
        }
    }
}

fn live(seed: u64, syncs: Syncs) -> (History, Whole) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let history = runtime.block_on(history::live(folder.path(), seed, syncs));
    let whole = Whole::read(&folder.path().join(FILE));
    (history, whole)
}

#[test]
fn a_power_loss_at_any_moment_loses_nothing_acknowledged() {
    let most = super::count("power", 4_000, 1_000_000);
    let mut found = Found::default();
    let mut dice = Dice::new(super::seed());
    let mut histories = 0;
    while found.states < most {
        let seed = dice.roll();
        let (history, whole) = live(seed, Syncs::Honest);
        histories += 1;
        let ways = if most > 100_000 { 24 } else { 3 };
        lose_power(&history, &whole, ways, most, &mut dice, &mut found);
        assert!(found.first.is_none(), "{found:?}\nagain with ABIDE_SEED={}", super::seed());
    }
    println!(
        "{} states of {histories} histories ({} moments, {} checked page by page): {} lost acknowledged events, {} corrupt files",
        found.states, found.moments, found.deep, found.lost, found.corrupt
    );
}

#[test]
fn a_disk_whose_sync_lies_is_caught() {
    let (history, whole) = live(super::seed(), Syncs::Lying);
    let mut found = Found::default();
    lose_power(&history, &whole, 2, 2_000, &mut Dice::new(super::seed()), &mut found);
    println!("a lying sync: {} of {} states have lost something", found.lost + found.corrupt, found.states);
    assert!(found.lost > 0, "{found:?}");
}
