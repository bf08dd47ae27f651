//! Which step a message is meant for, where a run has one or several that wait for it. It guesses nothing: several
//! candidates are listed, and the user names one.

use abide_llm::ToolCall;

use super::failure::{Failure, USAGE};
use super::question::{in_short, question_of};
use super::screen::short;
use crate::report::Report;
use crate::{HostError, StepReport};

/// Digits of a question's hash that are printed, and the fewest that are taken.
const SHOWN: usize = 16;

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    Approval,
    Answer,
    Verdict,
}

impl Wants {
    /// Does this step wait for it?
    pub(crate) fn is(self, step: &StepReport) -> bool {
        match self {
            Self::Approval => step.status == "scheduled" && step.asks == Some("approval"),
            Self::Answer => step.status == "scheduled" && step.asks == Some("answer"),
            Self::Verdict => step.status == "in_doubt",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Approval => "waits for approval",
            Self::Answer => "waits for an answer",
            Self::Verdict => "is in doubt",
        }
    }
}

/// Refuses what can only be said to a run that has not ended.
pub(crate) fn open_run(report: &Report) -> Result<(), Failure> {
    match report.run.status {
        status @ ("completed" | "failed" | "cancelled") => {
            Err(HostError::Ended { run: report.run.id.clone(), status: status.to_owned() }.into())
        }
        _ => Ok(()),
    }
}

/// The steps that are meant: the one that is named, all, or the only one there is.
pub(crate) fn choose<'r>(
    report: &'r Report,
    wants: Wants,
    step: Option<&str>,
    all: bool,
) -> Result<Vec<&'r StepReport>, Failure> {
    open_run(report)?;
    let run = &report.run.id;
    let found: Vec<&StepReport> = report.steps.iter().filter(|step| wants.is(step)).collect();
    if let Some(id) = step {
        return match (found.iter().find(|step| step.id == id), report.steps.iter().find(|step| step.id == id)) {
            (Some(step), _) => Ok(vec![step]),
            (None, Some(other)) => Err(wrong(
                format!("step `{id}` of run `{run}` {}: it is {}", not(wants), other.status),
                list(run, wants, &found),
            )),
            (None, None) => Err(wrong(format!("run `{run}` has no step `{id}`"), list(run, wants, &found))),
        };
    }
    match found.len() {
        0 => Err(wrong(format!("no step of run `{run}` {}", wants.words()), list(run, wants, &found))),
        1 => Ok(found),
        _ if all => Ok(found),
        n => {
            let also = if wants == Wants::Approval { " (or --all)" } else { "" };
            Err(wrong(
                format!("{n} steps of run `{run}` {}: say which", plural(wants)),
                format!("name one with --step{also}:\n{}", lines(&found)),
            ))
        }
    }
}

/// Refuses an answer to what is not asked any more; `shown` is the beginning of the hash of what the user was shown.
pub(crate) fn still_asks(step: &StepReport, shown: Option<&str>) -> Result<(), Failure> {
    let Some(shown) = shown else { return Ok(()) };
    let hash = step.hash.as_deref().unwrap_or_default();
    if shown.len() >= SHOWN && hash.starts_with(shown) {
        return Ok(());
    }
    Err(wrong(
        format!(
            "step `{}` asks something else than was shown with hash {shown}: it has hash {}",
            step.id,
            short_hash(step)
        ),
        format!("read what it asks now, then approve that:\n  {}", describe(step, 160)),
    ))
}

/// As much of a question's hash as is printed.
pub(crate) fn short_hash(step: &StepReport) -> &str {
    step.hash.as_deref().and_then(|hash| hash.get(..SHOWN)).unwrap_or_default()
}

fn wrong(message: String, help: String) -> Failure {
    Failure::new(USAGE, "step", message, help)
}

fn not(wants: Wants) -> &'static str {
    match wants {
        Wants::Approval => "does not wait for approval",
        Wants::Answer => "does not wait for an answer",
        Wants::Verdict => "is not in doubt",
    }
}

fn plural(wants: Wants) -> &'static str {
    match wants {
        Wants::Approval => "wait for approval",
        Wants::Answer => "wait for an answer",
        Wants::Verdict => "are in doubt",
    }
}

fn list(run: &str, wants: Wants, found: &[&StepReport]) -> String {
    if found.is_empty() {
        format!("`abide show {}` lists its steps", crate::shell::quote(run))
    } else {
        format!("these {}:\n{}", plural(wants), lines(found))
    }
}

fn lines(found: &[&StepReport]) -> String {
    let lines: Vec<String> = found.iter().map(|step| format!("  {}", describe(step, 160))).collect();
    lines.join("\n")
}

/// A step on one line: its id and what it is about, at most this many characters of that.
pub(crate) fn describe(step: &StepReport, most: usize) -> String {
    match about(step) {
        Some(about) => format!("{}: {}", step.id, short(&about, most)),
        None => step.id.clone(),
    }
}

/// What a step is about: a tool with its arguments, or its input.
pub(crate) fn about(step: &StepReport) -> Option<String> {
    let input = step.input.as_ref()?.get();
    if let Some(asked) = question_of(step) {
        return Some(in_short(&asked));
    }
    match serde_json::from_str::<ToolCall>(input) {
        Ok(call) => Some(format!("{} {} {}", call.server, call.tool, call.arguments)),
        Err(_) => Some(input.to_owned()),
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
pub(crate) mod tests;
