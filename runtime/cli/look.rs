//! `abide ls`, `abide show` and `abide verify`: what is recorded, for a person or a program. They change nothing.

use std::fmt::Write as _;

use abide_engine::event::{By, Verdict};
use comfy_table::{ContentArrangement, Table, presets};

use super::args::{Ls, Target, Verify};
use super::clock::{length, now_ms, when};
use super::end::{Runs, result, say_next};
use super::failure::{ENVIRONMENT, Failure};
use super::next::waits_for;
use super::screen::{clean, short};
use super::session::{Opened, Session};
use crate::report::{Report, RunReport};
use crate::{RunInfo, StepReport};

/// The most characters of an input, output or error in a summary.
const MOST: usize = 300;

/// What a check of the chains cannot tell.
const NOT_NOTICED: &str = "what cannot be noticed: a tail that was cut off together with the head that names it, and changes of what is in no \
                           journal (messages not delivered yet, times, owners)";

/// Opens the database, looks, and closes it.
pub(super) async fn looking<T>(
    session: &Session,
    look: impl FnOnce(&Opened) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let opened = session.open(false).await?;
    let seen = look(&opened);
    opened.close().await;
    seen
}

/// Carries out `abide ls`.
pub(crate) async fn ls(session: &Session, args: &Ls) -> Result<(), Failure> {
    let json = session.screen.json;
    let (infos, runs) = looking(session, |opened| {
        let infos = opened.abide.list(args.limit)?;
        // A run whose journal cannot be read is listed all the same.
        let report = |info: &RunInfo| {
            opened.abide.report(&info.id).map_or_else(|_| RunReport::of(info.clone()), |report| report.run)
        };
        let runs = if json { infos.iter().map(report).collect() } else { Vec::new() };
        Ok((infos, runs))
    })
    .await?;
    if json {
        return session.screen.document(&Runs { runs });
    }
    if infos.is_empty() {
        session.screen.say("there are no runs yet: `abide run` starts one");
        return Ok(());
    }
    let now = now_ms();
    let rows = infos.iter().map(|info| {
        let waits = info.waiting_for.map(|what| what.replace('_', " ")).unwrap_or_default();
        let until = info.until_ms.map(|ms| when(ms, now)).unwrap_or_default();
        let age = format!("{} ago", length(now - info.created_ms));
        [info.id.clone(), info.workflow.clone(), info.status.to_owned(), waits, until, age]
    });
    session.screen.data(&table(["RUN", "WORKFLOW", "STATUS", "WAITS FOR", "UNTIL", "STARTED"], rows));
    Ok(())
}

/// Carries out `abide show`.
pub(crate) async fn show(session: &Session, args: &Target) -> Result<(), Failure> {
    let report = looking(session, |opened| Ok(opened.abide.report(&args.run)?)).await?;
    if session.screen.json {
        return session.screen.document(&report);
    }
    session.screen.data(&summary(&report));
    say_next(session, &report);
    Ok(())
}

/// Carries out `abide verify`.
pub(crate) async fn verify(session: &Session, args: &Verify) -> Result<(), Failure> {
    if args.repair && session.db.path.symlink_metadata().is_ok() {
        let path = session.db.path.clone();
        let repaired = tokio::task::spawn_blocking(move || crate::Abide::repair(path)).await;
        let repaired = repaired.map_err(|e| crate::HostError::Storage { why: e.to_string() })??;
        session.screen.say(if repaired {
            "the file was rewritten, and its disk has synced it"
        } else {
            "nothing is to be repaired: no sync of it has failed"
        });
    }
    let verified = looking(session, |opened| {
        let only = args.run.as_deref().map(|run| opened.abide.get(run)).transpose()?;
        Ok(opened.abide.verify(only.as_ref().map(crate::Run::id))?)
    })
    .await?;
    if session.screen.json {
        session.screen.document(&verified)?;
    } else {
        for broken in &verified.broken {
            session.screen.data(&format!("broken  {}: {}", broken.run, broken.why));
        }
        session.screen.data(&format!(
            "checked {} runs, {} rows: {} broken",
            verified.runs,
            verified.rows,
            verified.broken.len()
        ));
        session.screen.say(NOT_NOTICED);
    }
    if verified.broken.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = verified.broken.iter().map(|broken| broken.run.as_str()).collect();
    Err(Failure::new(
        ENVIRONMENT,
        "journal",
        format!("the journal is not whole: {}", names.join(", ")),
        "keep a copy of the database before anything else, and restore one from before the damage",
    ))
}

/// A run for a person.
fn summary(report: &Report) -> String {
    let run = &report.run;
    let now = now_ms();
    let mut lines = vec![("run", run.id.clone()), ("workflow", run.workflow.clone())];
    let waits = run.waiting_for.map(|what| format!(", {}", waits_for(what))).unwrap_or_default();
    let until = run.until_ms.map(|ms| format!(" until {}", when(ms, now))).unwrap_or_default();
    let owner = run.owner_pid.map(|pid| format!(", worked on by process {pid}")).unwrap_or_default();
    lines.push(("status", format!("{}{waits}{until}{owner}", run.status)));
    lines.push(("started", format!("{}, last change {}", when(run.created_ms, now), when(run.updated_ms, now))));
    if run.generation > 0 {
        lines.push(("generation", run.generation.to_string()));
    }
    let texts = [("input", &run.input), ("progress", &run.progress), ("output", &run.output)];
    lines.extend(texts.into_iter().filter_map(|(name, json)| Some((name, short(&result(json.as_ref()?), MOST)))));
    lines.extend(run.error.as_ref().map(|error| ("error", short(error, MOST))));
    let usage = &run.usage;
    if usage.input_tokens + usage.output_tokens > 0 {
        let cost = usage.cost_usd.map(|usd| format!(", ${usd:.4}")).unwrap_or_default();
        lines.push(("tokens", format!("{} in, {} out{cost}", usage.input_tokens, usage.output_tokens)));
    }
    let mut out = String::new();
    for (name, text) in lines {
        let _ = writeln!(out, "{name:<10} {text}");
    }
    if !report.steps.is_empty() {
        out.push('\n');
        out.push_str(&table(["STEP", "KIND", "STATUS", "TRIES", "TOOK", "ERROR"], report.steps.iter().map(row)));
    }
    out.trim_end().to_owned()
}

fn row(step: &StepReport) -> [String; 6] {
    let took = step.ended_ms.map(|ended| length(ended - step.started_ms)).unwrap_or_default();
    let tries = if step.attempts > 0 { step.attempts.to_string() } else { String::new() };
    let mut status = step.status.replace('_', " ");
    if let (Some(verdict), Some(by)) = (step.resolved, step.resolved_by) {
        let said = match verdict {
            Verdict::Retry => "did not happen",
            Verdict::Landed => "happened",
            Verdict::Fail => "let it fail",
        };
        let by = if by == By::Probe { "its probe" } else { "a person" };
        let _ = write!(status, " ({by}: {said})");
    }
    let error = step.error.as_deref().map(|error| short(error, 80)).unwrap_or_default();
    [step.id.clone(), step.kind.to_owned(), status, tries, took, error]
}

/// Columns without lines; nothing is wrapped, so that each row stays one line.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows.map(|row| row.map(|cell| short(&clean(&cell), MOST))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::candidates::tests::report;
    use super::*;

    #[test]
    fn a_run_is_summed_up_with_a_row_for_each_step() {
        let mut one = report("waiting", &[("a/llm", "completed", None), ("a/fs_write", "in_doubt", None)]);
        (one.run.waiting_for, one.run.usage.input_tokens) = (Some("in_doubt"), 12);
        one.run.output = serde_json::value::RawValue::from_string("\"two\\nlines\"".to_owned()).ok();
        let text = summary(&one);
        for expected in [
            "run        r1\n",
            "status     waiting, waits for a word on a step in doubt\n",
            "output     two lines\n",
            "tokens     12 in, 0 out\n",
            "STEP        KIND  STATUS     TRIES",
            "a/fs_write  tool  in doubt   1",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }

    #[test]
    fn who_decided_a_doubt_is_told() {
        let mut one = report("completed", &[("a/fs_write", "completed", None)]);
        one.steps[0].resolved = Some(Verdict::Landed);
        one.steps[0].resolved_by = Some(By::Person);
        assert!(summary(&one).contains("completed (a person: happened)"), "{}", summary(&one));
        (one.steps[0].resolved, one.steps[0].resolved_by) = (Some(Verdict::Retry), Some(By::Probe));
        assert!(summary(&one).contains("completed (its probe: did not happen)"), "{}", summary(&one));
    }

    #[test]
    fn what_comes_from_elsewhere_stays_on_its_line() {
        let text = table(["A", "B"], [["x\u{1b}[2J\ny".to_owned(), "z".to_owned()]].into_iter());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("x\\u{1b}[2J y"), "{text}");
    }
}
