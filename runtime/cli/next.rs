//! What can be done about a run that stands still: commands to paste. It does none of it.

use super::candidates::{Wants, describe, short_hash};
use super::clock::{now_ms, when};
use super::failure::{Failure, PARKED};
use super::form::question_of;
use super::hints::Hints;
use crate::report::Report;

/// Why a run that has not ended stands still, as a failure with exit code 3.
pub(crate) fn parked(report: &Report, hints: &Hints) -> Failure {
    Failure::new(PARKED, "parked", standing(report), next(report, hints).join("\n"))
}

/// What a run is doing or waiting for, in a sentence.
pub(crate) fn standing(report: &Report) -> String {
    let run = &report.run;
    let why = run.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match (run.status, run.waiting_for) {
        ("waiting", Some(what)) => {
            // A call that is kept open for its answer is looked at again and again: that time is nobody's business.
            let looks = report.steps.iter().any(|step| step.kind == "timer" && step.status == "scheduled");
            let until = run.until_ms.filter(|_| !(looks && matches!(what, "answer" | "approval")));
            let until = until.map(|ms| format!(" until {}", when(ms, now_ms()))).unwrap_or_default();
            let queue =
                run.queue.as_ref().filter(|_| what == "queue").map(|name| format!(" `{name}`")).unwrap_or_default();
            format!("run `{}` {}{queue}{until}{why}", run.id, waits_for(what))
        }
        (status, _) => format!("run `{}` is {status}{why}", run.id),
    }
}

/// `waiting_for` as a person says it.
pub(crate) fn waits_for(what: &str) -> &'static str {
    match what {
        "timer" => "waits for a time",
        "rate_limit" => "waits out a rate limit",
        "signal" => "waits for a signal",
        "child" => "waits for another run",
        "queue" => "waits for a place in its queue",
        "approval" => "waits for approval",
        "answer" => "waits for an answer",
        "in_doubt" => "waits for a word on a step in doubt",
        "trust" => "waits for your consent to what its files ask for",
        "credentials" => "waits for valid credentials",
        "quota" => "waits for quota at the provider",
        "budget" => "waits for a higher budget",
        _ => "waits",
    }
}

/// The commands that move a run, each with what it is about.
pub(crate) fn next(report: &Report, hints: &Hints) -> Vec<String> {
    let run = &report.run;
    let id = run.id.as_str();
    let mut lines = Vec::new();
    match run.status {
        "completed" | "failed" | "cancelled" => return lines,
        "running" => {
            lines.push(format!("watch it: {}", hints.command(&["show", id])));
            return lines;
        }
        "interrupted" | "paused" | "diverged" => {
            lines.push(format!("go on: {}", hints.command(&["resume", id])));
        }
        _ => {}
    }
    // A living process hears of a message by itself; otherwise somebody has to go on with the run.
    let onward: &[&str] = if run.owner_pid.is_some() { &[] } else { &["--resume"] };
    let command = |words: &[&str]| hints.command(&[words, onward].concat());
    for (wants, verbs) in [
        (Wants::Approval, &[&["approve", id][..], &["deny", id]][..]),
        (Wants::Answer, &[&["answer", id, "JSON"], &["answer", id, "--decline"]]),
        (
            Wants::Verdict,
            &[&["resolve", id, "--retry"], &["resolve", id, "--result", "JSON"], &["resolve", id, "--fail", "MSG"]],
        ),
    ] {
        let found: Vec<_> = report.steps.iter().filter(|step| wants.is(step)).collect();
        for step in &found {
            lines.push(describe(step, 160));
            if wants == Wants::Verdict {
                lines.push("  it did not happen, it happened with this result, or let it fail:".to_owned());
            }
            let words_of = |words: &[&str]| {
                // Only a server's question can be declined, and an address is not answered in JSON.
                let question = question_of(step.input.as_ref());
                match (question.map(|question| question.wants), words) {
                    (None, [_, _, "--decline"]) => None,
                    (Some(abide_mcp::Wants::Visit(_)), [verb, id, "JSON"]) => {
                        Some(vec![(*verb).to_owned(), (*id).to_owned(), "true".to_owned()])
                    }
                    (_, words) => Some(words.iter().map(|word| (*word).to_owned()).collect()),
                }
            };
            for words in verbs.iter().filter_map(|words| words_of(words)) {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let which: &[&str] = if found.len() > 1 { &["--step", &step.id] } else { &[] };
                // An approval counts for what is shown here.
                let shown: &[&str] =
                    if words.first() == Some(&"approve") { &["--hash", short_hash(step)] } else { &[] };
                lines.push(format!("  {}", command(&[&words[..], which, shown].concat())));
            }
        }
    }
    for step in report.steps.iter().filter(|s| s.kind == "signal" && s.status == "scheduled" && s.asks.is_none()) {
        lines.push(command(&["signal", id, &step.name, "JSON"]));
    }
    match run.waiting_for {
        Some("trust") => {
            lines.push(format!("consent for good: {}", hints.command(&["trust", id])));
            lines.push(format!("then: {}", hints.command(&["resume", id])));
            lines.push(format!("or for this once: {}", hints.command(&["resume", id, "--trust"])));
        }
        Some("credentials") => match run.error.as_deref().and_then(login_of) {
            Some(server) => {
                lines.push(format!("log in: {}", hints.command(&["login", server])));
                lines.push(format!("then: {}", hints.command(&["resume", id])));
            }
            None => lines.push(format!("set a valid key, then: {}", hints.command(&["resume", id]))),
        },
        Some("quota") => lines.push(format!("when there is more: {}", hints.command(&["resume", id]))),
        Some("budget") => {
            lines.push(format!("raise it, and go on: {}", hints.command(&["resume", id, "--budget", "+AMOUNT"])));
        }
        Some("timer" | "rate_limit" | "child" | "queue") if run.owner_pid.is_none() => {
            lines.push(format!("go on: {}", hints.command(&["resume", id])));
        }
        _ => {}
    }
    lines
}

/// The server that a message wants its reader to log in to.
pub(crate) fn login_of(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("`abide login ")?;
    rest.split_once('`').map(|(server, _)| server)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::candidates::tests::report;
    use super::*;

    fn commands(report: &Report) -> String {
        next(report, &Hints::default()).join("\n")
    }

    #[test]
    fn each_standstill_has_its_commands() {
        let mut one = report("waiting", &[("a", "scheduled", Some("approval")), ("b", "in_doubt", None)]);
        for expected in [
            "abide approve r1 --hash 0123456789abcdef --resume",
            "abide deny r1 --resume",
            "abide resolve r1 --retry --resume",
            "abide resolve r1 --result JSON --resume",
            "abide resolve r1 --fail MSG --resume",
        ] {
            assert!(commands(&one).contains(expected), "{}", commands(&one));
        }
        one.run.owner_pid = Some(7);
        assert!(
            commands(&one).contains("abide approve r1 --hash 0123456789abcdef\n"),
            "a living process needs no resume"
        );
        let two = report("waiting", &[("a", "scheduled", Some("approval")), ("b#2", "scheduled", Some("approval"))]);
        assert!(commands(&two).contains("abide approve r1 --step a --hash 0123456789abcdef --resume"));
        assert!(commands(&two).contains(&format!("--step {}", crate::shell::quote("b#2"))));
        for (waiting_for, expected) in [
            ("trust", "abide trust r1"),
            ("credentials", "set a valid key, then: abide resume r1"),
            ("budget", "abide resume r1 --budget +AMOUNT"),
            ("rate_limit", "go on: abide resume r1"),
        ] {
            let mut waits = report("waiting", &[]);
            waits.run.waiting_for = Some(waiting_for);
            assert!(commands(&waits).contains(expected), "{waiting_for}");
        }
        for status in ["interrupted", "paused", "diverged"] {
            assert_eq!(commands(&report(status, &[])), "go on: abide resume r1");
        }
        assert_eq!(commands(&report("completed", &[])), "");
    }

    #[test]
    fn a_standstill_is_told_in_a_sentence() {
        let mut waits = report("waiting", &[]);
        (waits.run.waiting_for, waits.run.error) = (Some("credentials"), Some("401".into()));
        let failure = parked(&waits, &Hints::default());
        assert_eq!((failure.exit, failure.message.as_str()), (3, "run `r1` waits for valid credentials: 401"));
        assert_eq!(standing(&report("paused", &[])), "run `r1` is paused");
        waits.run.error = Some("it wants you to log in: `abide login my docs`, or set the `headers`".into());
        let quoted = crate::shell::quote("my docs");
        assert_eq!(commands(&waits), format!("log in: abide login {quoted}\nthen: abide resume r1"));
    }
}
