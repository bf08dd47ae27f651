//! `abide usage`: what runs have used and cost, as kept with each commit, and each call of a run as its journal has it. It prices nothing.

use serde_json::json;

use super::args::Usage as Args;
use super::failure::Failure;
use super::look::{looking, table};
use super::session::Session;
use crate::Spending;
use crate::agents::CallTree;

/// Carries out `abide usage`.
pub(crate) async fn usage(session: &Session, args: &Args) -> Result<(), Failure> {
    looking(session, |opened| match &args.run {
        Some(run) => one(session, &opened.abide, run, args.calls),
        None => all(session, &opened.abide, args.limit),
    })
    .await
}

fn one(session: &Session, abide: &crate::Abide, run: &str, calls: bool) -> Result<(), Failure> {
    let run = abide.get(run)?;
    let spending = run.spending()?;
    if session.screen.json {
        let calls = calls.then(|| run.calls()).transpose()?;
        let mut document = json!({"run": run.id(), "spending": spending});
        if let Some(calls) = calls {
            document["calls"] = json!(calls);
        }
        return session.screen.document(&document);
    }
    if calls {
        let mut rows = Vec::new();
        branch(&run.calls()?, 0, &mut rows);
        session.screen.data(&lines("CALL", rows.iter().map(|(name, row)| (name.clone(), row))));
        return Ok(());
    }
    let rows = spending.iter().map(|row| {
        let name = row.spender.clone().unwrap_or_else(|| "all, with the runs below".to_owned());
        (name, row)
    });
    session.screen.data(&lines("AGENT", rows));
    Ok(())
}

fn all(session: &Session, abide: &crate::Abide, limit: u32) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for info in abide.list(limit)? {
        let whole = abide.get(&info.id)?.spending()?.into_iter().find(|row| row.spender.is_none());
        rows.extend(whole.map(|row| (info.id, row)));
    }
    if session.screen.json {
        let rows: Vec<_> = rows.iter().map(|(run, row)| json!({"run": run, "spending": row})).collect();
        return session.screen.document(&json!({ "runs": rows }));
    }
    if rows.is_empty() {
        session.screen.say("no run has called a model yet");
        return Ok(());
    }
    session.screen.data(&lines("RUN", rows.iter().map(|(run, row)| (run.clone(), row))));
    Ok(())
}

/// The lines of a tree, each part below what it is in.
fn branch(tree: &CallTree, depth: usize, rows: &mut Vec<(String, Spending)>) {
    let row = Spending {
        calls: tree.calls,
        input_tokens: tree.input_tokens,
        output_tokens: tree.output_tokens,
        cache_read_tokens: tree.cache_read_tokens,
        cache_write_tokens: tree.cache_write_tokens,
        cost_usd: tree.cost_usd,
        ..Spending::default()
    };
    rows.push((format!("{}{}", "  ".repeat(depth), tree.name), row));
    tree.children.iter().for_each(|child| branch(child, depth + 1, rows));
}

fn lines<'r>(first: &str, rows: impl Iterator<Item = (String, &'r Spending)>) -> String {
    let header = [first, "CALLS", "LOST", "TOKENS IN", "FROM CACHE", "TOKENS OUT", "USD"];
    let cells = rows.map(|(name, row)| {
        let usd = row.cost_usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.4}"));
        let counts = [row.calls, row.lost, row.input_tokens, row.cache_read_tokens, row.output_tokens];
        let [calls, lost, sent, cached, received] = counts.map(|n| n.to_string());
        [name, calls, lost, sent, cached, received, usd]
    });
    table(header, cells)
}
