//! How a command ends that stayed with runs: the result or the document, and the exit code. It never waits for anything but
//! the database to close.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::drive::{Driven, End};
use super::failure::{Failure, INTERRUPTED, OWNED};
use super::next::{next, parked, standing};
use super::screen::Screen;
use super::session::{Opened, Session};
use super::stop::Stop;
use crate::report::{Report, RunReport};
use crate::{HostError, Run, Settled};

/// Ends a command that stayed with one run.
pub(crate) async fn one(session: &Session, opened: Opened, run: &Run, driven: Driven) -> Result<(), Failure> {
    let ends = match driven {
        Driven::Interrupted(stop) => return interrupted(session, opened, &stop, &[run.id()]).await,
        Driven::Over(ends) => ends,
    };
    let told = match ends.into_iter().next() {
        Some(end) => tell(session, run, &end),
        None => Ok(()),
    };
    opened.close().await;
    told
}

/// Ends a command that stayed with several runs, or with none.
pub(crate) async fn all(session: &Session, opened: Opened, runs: Vec<Run>, driven: Driven) -> Result<(), Failure> {
    let ends = match driven {
        Driven::Interrupted(stop) => {
            let ids: Vec<&str> = runs.iter().map(Run::id).collect();
            return interrupted(session, opened, &stop, &ids).await;
        }
        Driven::Over(ends) => ends,
    };
    let mut reports = Vec::new();
    let mut worst: Option<Failure> = None;
    for (run, end) in runs.iter().zip(ends) {
        let told = verdict(session, run, &end);
        let report = run.report();
        if !session.screen.json {
            match (&told, &report) {
                (Ok(()), Ok(report)) => session.screen.say(&standing(report)),
                (Err(failure), _) => session.screen.say(&failure.text()),
                (Ok(()), Err(_)) => {}
            }
        }
        reports.extend(report.map(|report| report.run));
        worst = [worst, told.err()].into_iter().flatten().min_by_key(|failure| rank(failure.exit));
    }
    if session.screen.json {
        session.screen.document(&Runs { runs: reports })?;
    }
    opened.close().await;
    match worst {
        // All has been said already.
        Some(failure) if !session.screen.json => {
            let message = format!("{} of {} runs did not complete", failed_count(&reports_of(&runs)), runs.len());
            Err(Failure { message, help: "`abide ls` lists them".to_owned(), ..failure })
        }
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// `{"runs":[..]}`.
#[derive(Serialize)]
pub(crate) struct Runs {
    pub(crate) runs: Vec<RunReport>,
}

fn reports_of(runs: &[Run]) -> Vec<Report> {
    runs.iter().filter_map(|run| run.report().ok()).collect()
}

fn failed_count(reports: &[Report]) -> usize {
    reports.iter().filter(|report| report.run.status != "completed").count()
}

/// Of several exit codes the one to end with: what is broken comes before what waits.
fn rank(exit: u8) -> usize {
    const ORDER: [u8; 7] = [8, 5, 1, 6, 7, 4, 3];
    ORDER.iter().position(|code| *code == exit).unwrap_or(ORDER.len())
}

/// What one run came to: document or result on stdout, and why it did not complete.
pub(crate) fn tell(session: &Session, run: &Run, end: &Result<End, HostError>) -> Result<(), Failure> {
    let verdict = verdict(session, run, end);
    if session.screen.json {
        match (run.report(), &verdict) {
            (Ok(report), _) => session.screen.document(&report)?,
            (Err(error), Ok(())) => return Err(error.into()),
            (Err(_), Err(_)) => {}
        }
    } else if let Ok(End::Settled(Settled::Completed(value))) = end {
        session.screen.data(&result(value));
        incomplete(&session.screen, run);
    }
    verdict
}

fn verdict(session: &Session, run: &Run, end: &Result<End, HostError>) -> Result<(), Failure> {
    let id = || run.id().to_owned();
    match end {
        Ok(End::Settled(Settled::Completed(_))) => Ok(()),
        Ok(End::Settled(Settled::Failed(error))) => {
            Err(HostError::Failed { run: id(), error: error.message().to_owned() }.into())
        }
        Ok(End::Settled(Settled::Cancelled)) => Err(HostError::Cancelled { run: id() }.into()),
        Ok(End::Settled(Settled::Parked { .. }) | End::Left) => Err(parked(&run.report()?, &session.hints)),
        Ok(End::Settled(Settled::Stopped(error))) | Err(error) => Err(error.clone().into()),
        Ok(End::Settled(Settled::TakenOver)) => {
            let pid = run.inspect()?.owner_pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
            let message = format!("run `{}` was taken over by another process{pid}", run.id());
            Err(Failure::new(OWNED, "taken_over", message, session.hints.command(&["show", run.id()])))
        }
    }
}

/// A result for a reader: a text as it is, anything else as JSON.
pub(crate) fn result(value: &RawValue) -> String {
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => text,
        Ok(other) => serde_json::to_string_pretty(&other).unwrap_or_else(|_| value.get().to_owned()),
        Err(_) => value.get().to_owned(),
    }
}

/// An answer that the model did not bring to its end is no full answer.
fn incomplete(screen: &Screen, run: &Run) {
    let note = run.inspect().ok().and_then(|info| info.progress);
    let note = note.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if let Some(why) = note.as_ref().and_then(|note| note.get("incomplete")) {
        screen.say(&format!("note: the model did not bring this answer to its end ({why})"));
    }
}

/// What is left to do about an open run, for a person.
pub(crate) fn say_next(session: &Session, report: &Report) {
    let lines = next(report, &session.hints);
    if !lines.is_empty() {
        session.screen.say(&format!("\n{}", lines.join("\n")));
    }
}

/// Ends after Ctrl-C: the runs are let go of and can be resumed. A second Ctrl-C ends at once.
async fn interrupted(session: &Session, opened: Opened, stop: &Stop, runs: &[&str]) -> Result<(), Failure> {
    session.screen.say("stopping: what may not be cut off is waited for; once more to stop at once");
    tokio::select! {
        () = opened.close() => {}
        () = stop.asked() => {}
    }
    let lines: Vec<String> = runs.iter().map(|run| session.hints.command(&["resume", run])).collect();
    Err(Failure::new(INTERRUPTED, "interrupted", "interrupted; nothing is lost, go on with", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_text_is_printed_as_it_is_and_json_as_json() {
        for (json, expected) in
            [(r#""two\nlines""#, "two\nlines"), ("{\"a\":1}", "{\n  \"a\": 1\n}"), ("null", "null"), ("7", "7")]
        {
            assert_eq!(result(&RawValue::from_string(json.to_owned()).unwrap()), expected);
        }
    }

    #[test]
    fn what_is_broken_comes_before_what_waits() {
        let worst = |codes: &[u8]| codes.iter().copied().min_by_key(|code| rank(*code)).unwrap();
        assert_eq!(worst(&[3, 1, 4]), 1);
        assert_eq!(worst(&[1, 8]), 8);
        assert_eq!(worst(&[7, 3]), 7);
    }
}
