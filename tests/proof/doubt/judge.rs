//! Whether what the outside saw, what was decided and what the journal says agree. It reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use abide::Report;
use abide::engine::event::{By, Verdict};

use super::worker::{Kind, WIDE, kind, probed_value, said_value, value};

/// What somebody said of an attempt.
pub type Said = BTreeMap<(u64, u32), Verdict>;

/// What the outside has seen, by call and attempt.
#[derive(Default)]
pub struct Ledger {
    begun: Vec<(u64, u32)>,
    over: BTreeSet<(u64, u32)>,
    asked: BTreeMap<(u64, u32), usize>,
    landed: BTreeSet<(u64, u32)>,
    not: BTreeSet<(u64, u32)>,
    keys: BTreeMap<u64, BTreeSet<String>>,
}

impl Ledger {
    pub fn read(folder: &Path) -> Self {
        let mut ledger = Self::default();
        for line in std::fs::read_to_string(folder.join("ledger")).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be cut off.
            let [what, i, n, ref key @ ..] = words[..] else { continue };
            let (Ok(i), Ok(n)) = (i.parse(), n.parse()) else { continue };
            if let [key] = key {
                ledger.keys.entry(i).or_default().insert((*key).to_owned());
            }
            match what {
                "begin" => ledger.begun.push((i, n)),
                "end" | "error" => drop(ledger.over.insert((i, n))),
                "asked" => *ledger.asked.entry((i, n)).or_default() += 1,
                "landed" => drop(ledger.landed.insert((i, n))),
                "not" => drop(ledger.not.insert((i, n))),
                other => panic!("what is {other}?"),
            }
        }
        ledger
    }
}

/// What is known of one run over all its processes.
pub struct Judge {
    pub seed: u64,
    pub said: Said,
    /// Attempts whose probe could not tell, and how often it had been asked then.
    closed: BTreeMap<(u64, u32), usize>,
    /// Attempts that a kill has cut off.
    cut_off: BTreeSet<(u64, u32)>,
}

fn number(id: &str) -> u64 {
    id.strip_prefix('s').unwrap().parse().unwrap()
}

impl Judge {
    pub fn new(seed: u64) -> Self {
        Self { seed, said: Said::new(), closed: BTreeMap::new(), cut_off: BTreeSet::new() }
    }

    /// After a kill: nothing that may not be repeated was, and what was in flight is in doubt or will be repeated. Returns how many
    /// calls this kill has cut off.
    pub fn look(&mut self, ledger: &Ledger, report: &Report) -> usize {
        self.keys(ledger);
        self.repeats(ledger);
        let mut in_flight = 0;
        for step in &report.steps {
            let (i, n) = (number(&step.id), step.attempts);
            let last = ledger.begun.iter().filter(|(of, _)| *of == i).map(|(_, n)| *n).max();
            assert!(last.is_none_or(|last| last <= n), "{}: attempt {last:?} began, the journal knows {n}", step.id);
            let open = last == Some(n) && step.ended_ms.is_none();
            let cut_off =
                step.status == "running" || step.error.as_deref().is_some_and(|e| e.starts_with("the process that"));
            match kind(self.seed, i) {
                Kind::Pure | Kind::Idempotent => assert_ne!(step.status, "in_doubt", "{} may be repeated", step.id),
                _ if open && !self.decided(ledger, i, n) => {
                    assert_eq!(step.status, "in_doubt", "{} was cut off", step.id)
                }
                _ => {}
            }
            in_flight += usize::from(open && cut_off && self.cut_off.insert((i, n)));
            if step.status == "in_doubt" && probe_gave_up(step.error.as_deref()) {
                let asked = ledger.asked.get(&(i, n)).copied().unwrap_or_default();
                let before = *self.closed.entry((i, n)).or_insert(asked);
                assert_eq!(before, asked, "{}: its probe could not tell, and was asked again", step.id);
            }
        }
        in_flight
    }

    /// Has somebody, or a probe, said that this attempt did not happen?
    fn decided(&self, ledger: &Ledger, i: u64, n: u32) -> bool {
        self.said.get(&(i, n)) == Some(&Verdict::Retry) || ledger.not.contains(&(i, n))
    }

    /// Every attempt and every probe of a call has the same key, and no other has it.
    fn keys(&self, ledger: &Ledger) {
        let mut all = BTreeSet::new();
        for (i, keys) in &ledger.keys {
            assert_eq!(keys.len(), 1, "s{i} was called with several keys: {keys:?}");
            assert!(keys.iter().all(|key| all.insert(key)), "s{i} has the key of another");
        }
    }

    /// A `once` call begins again only after a decision that it did not happen, and once for each.
    fn repeats(&self, ledger: &Ledger) {
        let mut seen = BTreeSet::new();
        for (i, n) in &ledger.begun {
            if matches!(kind(self.seed, *i), Kind::Pure | Kind::Idempotent) {
                continue;
            }
            assert!(seen.insert((i, n)), "attempt {n} of the once step s{i} began twice");
            assert!(
                *n == 1 || self.decided(ledger, *i, n - 1),
                "the once step s{i} began again without a decision about attempt {}",
                n - 1
            );
        }
    }

    /// The end: each call has come to what was decided of it, and the journal says who decided.
    pub fn end(&self, ledger: &Ledger, report: &Report) {
        let output = report.run.output.as_ref().unwrap_or_else(|| panic!("{:?}", report.run.error));
        let came: Vec<std::result::Result<u64, String>> = serde_json::from_str(output.get()).unwrap();
        assert_eq!(came.len() as u64, WIDE);
        for step in &report.steps {
            let i = number(&step.id);
            let came = came[i as usize].clone();
            let last = match step.resolved {
                Some(Verdict::Retry) => step.attempts - 1,
                _ => step.attempts,
            };
            let expected = match (step.resolved, step.resolved_by) {
                (Some(verdict), Some(By::Person)) => {
                    assert_eq!(self.said.get(&(i, last)), Some(&verdict), "{}: nobody said that", step.id);
                    match verdict {
                        Verdict::Retry => Ok(value(i)),
                        Verdict::Landed => Ok(said_value(i)),
                        Verdict::Fail => Err(format!("said of {i}")),
                    }
                }
                (Some(Verdict::Retry), Some(By::Probe)) if ledger.not.contains(&(i, last)) => Ok(value(i)),
                (Some(Verdict::Landed), Some(By::Probe)) if ledger.landed.contains(&(i, last)) => Ok(probed_value(i)),
                (None, None) => {
                    let said = self.said.keys().any(|(of, _)| *of == i);
                    assert!(!said, "{}: what was said of it is not in the journal", step.id);
                    Ok(value(i))
                }
                other => panic!("{}: {other:?} has no ground", step.id),
            };
            assert_eq!(came, expected, "{} ({:?}, {:?})", step.id, step.resolved, step.resolved_by);
            assert_eq!(step.status, if came.is_ok() { "completed" } else { "failed" }, "{}", step.id);
            if came == Ok(value(i)) {
                assert!(ledger.over.contains(&(i, step.attempts)), "{} has a result of nothing", step.id);
            }
        }
    }
}

/// Has its probe been asked in vain?
pub fn probe_gave_up(error: Option<&str>) -> bool {
    error.is_some_and(|error| error.contains("; its probe"))
}
