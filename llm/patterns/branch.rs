//! Pieces of work side by side. A failed one is a value among the others; only the cancellation of the run ends them all.

use std::sync::Arc;

use abide_engine::{Ctx, Error, Result, terminal};

use super::Work;
use super::words::section;
use super::work::Tally;
use crate::agent::Answer;
use crate::agent_text::foreign;
use crate::input::Input;

/// What one of several came to.
#[derive(Debug, Clone)]
pub struct Branch {
    /// Who worked on it.
    pub name: String,
    /// What came of it.
    pub result: Result<Answer>,
}

impl Branch {
    /// As others are told of it: under this title.
    pub(crate) fn section(&self, title: &str) -> [String; 2] {
        section(title, self.result.as_ref().map(Answer::text))
    }
}

/// Works on all, at most `at_once` at a time, in branches of this name: `name[3]/agent/llm`. What came of them comes in their order.
pub(crate) async fn fan_out(
    ctx: &Ctx,
    name: &'static str,
    works: Vec<(Arc<dyn Work>, Input)>,
    at_once: usize,
    tally: &mut Tally,
) -> Result<Vec<Branch>> {
    let one = |ctx: Ctx, (work, input): (Arc<dyn Work>, Input)| async move {
        let result = work.begin(&ctx, input).await;
        Branch { name: work.name().to_owned(), result }
    };
    let branches = ctx.map(name, works, one).concurrency(at_once).await;
    for branch in &branches {
        match &branch.result {
            Ok(answer) => tally.add(answer),
            Err(error) if error.is_cancelled() => return Err(error.clone()),
            Err(_) => {}
        }
    }
    Ok(branches)
}

/// The error of several that all failed; none if one of them did not.
pub(crate) fn all_failed(pattern: &str, branches: &[Branch]) -> Option<Error> {
    let why = |branch: &Branch| {
        branch.result.as_ref().err().map(|error| format!("{}: {}", branch.name, foreign(error.message())))
    };
    let all: Option<Vec<String>> = branches.iter().map(why).collect();
    let all = all.filter(|all| !all.is_empty())?;
    Some(terminal(format!("all {} branches of `{pattern}` failed: {}", all.len(), all.join("; "))))
}
