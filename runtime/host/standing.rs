//! Where a run stands: working, waiting for what and until when, or parked. A pure function of what is open; it never acts.

use abide_engine::{Open, OpenWhat, StepId, Wait};

use super::resident::StepState;
use crate::store::HeadState;

/// What a run that has no attempt under way waits for.
pub(crate) fn standing<'a>(open: &[Open], state_of: impl Fn(&StepId) -> Option<&'a StepState>) -> HeadState {
    if open.is_empty() {
        // It has ended, or its next generation has: that is committed next.
        return running();
    }
    let mut people: Option<&'static str> = None;
    let mut time: Option<(i64, &'static str)> = None;
    let mut child = false;
    let mut ask = |what: &'static str| people = Some(people.map_or(what, |before| urgent(before, what)));
    for one in open {
        match &one.what {
            OpenWhat::Step(_) => match state_of(&one.id) {
                Some(StepState::RetryAt { at, rate_limit, .. }) => {
                    earlier(&mut time, *at, if *rate_limit { "rate_limit" } else { "timer" });
                }
                Some(StepState::Queued { at, .. }) => earlier(&mut time, *at, "rate_limit"),
                Some(StepState::InDoubt(_)) => ask("in_doubt"),
                Some(StepState::Parked { what, .. }) => ask(what.as_str()),
                Some(StepState::Working { .. } | StepState::Probing { .. } | StepState::Held { .. }) | None => {
                    return running();
                }
            },
            OpenWhat::Timer { due } => earlier(&mut time, *due, "timer"),
            OpenWhat::Signal { wait, due, .. } => {
                ask(match wait {
                    Wait::Signal => "signal",
                    Wait::Approval => "approval",
                    Wait::Answer => "answer",
                });
                if let Some(due) = due {
                    earlier(&mut time, *due, "signal");
                }
            }
            OpenWhat::Child { .. } => child = true,
            _ => return running(),
        }
    }
    let until_ms = time.map(|(at, _)| at);
    let waiting_for = people.or(if child { Some("child") } else { time.map(|(_, what)| what) });
    // Parked: nothing of it moves by itself.
    let release = until_ms.is_none() && !child;
    HeadState { status: "waiting", waiting_for, until_ms, release }
}

/// A run that works.
pub(crate) fn running() -> HeadState {
    HeadState { status: "running", waiting_for: None, until_ms: None, release: false }
}

fn earlier(time: &mut Option<(i64, &'static str)>, at: i64, what: &'static str) {
    if time.is_none_or(|(before, _)| at < before) {
        *time = Some((at, what));
    }
}

/// Of two things people are needed for, the one to name: what blocks the most comes first.
fn urgent(a: &'static str, b: &'static str) -> &'static str {
    const ORDER: [&str; 8] = ["in_doubt", "trust", "credentials", "quota", "budget", "approval", "answer", "signal"];
    let rank = |what: &str| ORDER.iter().position(|o| *o == what).unwrap_or(ORDER.len());
    if rank(a) <= rank(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::super::doubt::Doubt;
    use super::*;

    fn open(id: &str, what: OpenWhat) -> Open {
        Open { id: id.into(), what }
    }

    fn signal(wait: Wait, due: Option<i64>) -> OpenWhat {
        OpenWhat::Signal { wait, name: "x".into(), due, hash: [0; 16] }
    }

    #[test]
    fn what_blocks_most_is_named_and_the_earliest_time_is_kept() {
        let none = |_: &StepId| None;
        let at = |opens: &[Open]| {
            let s = standing(opens, none);
            (s.waiting_for, s.until_ms, s.release)
        };
        let timer = |due| open("sleep", OpenWhat::Timer { due });
        assert_eq!(at(&[timer(9), timer(5)]), (Some("timer"), Some(5), false));
        assert_eq!(at(&[open("a", signal(Wait::Signal, None))]), (Some("signal"), None, true));
        assert_eq!(at(&[open("a", signal(Wait::Signal, None)), timer(7)]), (Some("signal"), Some(7), false));
        let both = [open("a", signal(Wait::Signal, Some(3))), open("b", signal(Wait::Approval, None))];
        assert_eq!(at(&both), (Some("approval"), Some(3), false));
        assert_eq!(at(&[open("c", OpenWhat::Child { run: "r".into() })]), (Some("child"), None, false));
    }

    #[test]
    fn a_step_in_doubt_parks_the_run_only_when_nothing_else_can_move() {
        let doubt = Doubt { n: 1, failures: 0, failed: false, why: String::new(), undecided: false };
        let doubt = StepState::InDoubt(doubt);
        let step = || {
            let run: abide_engine::StepFn = std::sync::Arc::new(|| Box::pin(async { Ok(crate::host::inner::null()) }));
            OpenWhat::Step(abide_engine::StepAsked {
                run,
                kind: abide_engine::StepKind::Step,
                effect: abide_engine::Effect::Once,
                retry: abide_engine::Retry::default(),
                timeout_ms: None,
                local: false,
                probe: None,
                admission: None,
                fits: |_| Ok(()),
            })
        };
        let parked = standing(&[open("pay", step())], |_| Some(&doubt));
        assert_eq!((parked.waiting_for, parked.release), (Some("in_doubt"), true));
        let two = [open("pay", step()), open("sleep", OpenWhat::Timer { due: 4 })];
        let waits = standing(&two, |_| Some(&doubt));
        assert_eq!((waits.waiting_for, waits.until_ms, waits.release), (Some("in_doubt"), Some(4), false));
        assert_eq!(standing(&[open("pay", step())], |_| None).status, "running");
    }
}
