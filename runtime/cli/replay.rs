//! `abide replay`: the code of now against what was recorded. It calls nothing and changes nothing.

use serde::Serialize;

use super::args::Replay;
use super::failure::{DIVERGED, ENVIRONMENT, Failure};
use super::session::{Opened, Session};
use crate::{Divergence, HostError, Replayed};

/// What became of one run.
#[derive(Serialize)]
struct Line {
    id: String,
    workflow: String,
    /// `same`, `diverged`, `unknown` for a workflow that this program does not have, or `unreadable`.
    verdict: &'static str,
    generations: u32,
    rows: usize,
    divergences: Vec<Divergence>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Lines<'a> {
    runs: &'a [Line],
}

/// Carries out `abide replay`.
pub(crate) async fn replay(session: &Session, args: &Replay) -> Result<(), Failure> {
    let opened = session.open(false).await?;
    let lines = lines(&opened, args).await;
    opened.close().await;
    let lines = lines?;
    if session.screen.json {
        session.screen.document(&Lines { runs: &lines })?;
    } else {
        tell(session, &lines);
    }
    verdict(&lines)
}

async fn lines(opened: &Opened, args: &Replay) -> Result<Vec<Line>, Failure> {
    if let Some(id) = &args.run {
        return Ok(vec![Line::same_or_diverged(opened.abide.replay(id).await?)]);
    }
    let mut lines = Vec::new();
    for info in opened.abide.list(u32::MAX)? {
        let replayed = opened.abide.replay(&info.id).await;
        lines
            .push(replayed.map_or_else(|error| Line::of_error(info.id, info.workflow, &error), Line::same_or_diverged));
    }
    Ok(lines)
}

impl Line {
    fn same_or_diverged(replayed: Replayed) -> Self {
        Self {
            verdict: if replayed.is_same() { "same" } else { "diverged" },
            id: replayed.id,
            workflow: replayed.workflow,
            generations: replayed.generations,
            rows: replayed.rows,
            divergences: replayed.divergences,
            error: None,
        }
    }

    fn of_error(id: String, workflow: String, error: &HostError) -> Self {
        let verdict = if matches!(error, HostError::NoWorkflow { .. }) { "unknown" } else { "unreadable" };
        let error = Some(error.to_string());
        Self { id, workflow, verdict, generations: 0, rows: 0, divergences: Vec::new(), error }
    }
}

fn tell(session: &Session, lines: &[Line]) {
    for line in lines {
        for parts in &line.divergences {
            let generation =
                if line.generations > 1 { format!(" (generation {})", parts.generation) } else { String::new() };
            session.screen.data(&format!("diverged    {}{generation}: {}", line.id, parts.why));
            session.screen.say(&format!("  {}", parts.help));
        }
        if let Some(error) = &line.error {
            session.screen.data(&format!("{:<11} {}: {error}", line.verdict, line.id));
        }
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let rows: usize = lines.iter().map(|line| line.rows).sum();
    let (same, diverged) = (count("same"), count("diverged"));
    session.screen.data(&format!("replayed {} runs, {rows} rows: {diverged} diverged", same + diverged));
    let unknown = count("unknown");
    if unknown > 0 {
        session.screen.say(&format!(
            "{unknown} runs were not replayed: their workflows are in another program, whose own `replay` knows them"
        ));
    }
}

/// A divergence outweighs a run that cannot be read.
fn verdict(lines: &[Line]) -> Result<(), Failure> {
    let ids = |verdict| {
        let ids: Vec<&str> = lines.iter().filter(|line| line.verdict == verdict).map(|line| line.id.as_str()).collect();
        (!ids.is_empty()).then(|| ids.join(", "))
    };
    if let Some(ids) = ids("diverged") {
        let help = "put the code back, or gate the change with ctx.version(..); `abide show` lists what was recorded";
        return Err(Failure::new(DIVERGED, "diverged", format!("the code does not do what was recorded: {ids}"), help));
    }
    if let Some(ids) = ids("unreadable") {
        let help = "`abide verify` checks the journals; `abide replay RUN` says what is wrong with one";
        return Err(Failure::new(ENVIRONMENT, "journal", format!("these runs cannot be replayed: {ids}"), help));
    }
    Ok(())
}
