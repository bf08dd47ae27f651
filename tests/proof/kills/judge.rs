//! What the database holds once all is over, beside what the ledger says it must. It changes nothing.

use std::path::Path;

use super::ledger::Account;
use super::load::{self, SIGNALS};

fn read<T>(folder: &Path, f: impl AsyncFnOnce(&abide::Abide) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = load::open(folder).recover(false).existing().start().await.unwrap();
        let out = f(&abide).await;
        abide.shutdown().await;
        out
    })
}

/// The runs that have not ended, for a message.
pub fn open_runs(folder: &Path) -> String {
    read(folder, async |abide| {
        let runs = abide.list(100_000).unwrap().into_iter();
        let open = runs.filter(|info| !["completed", "failed", "cancelled"].contains(&info.status));
        let lines = open.map(|info| format!("{} {} {:?} {:?}", info.id, info.status, info.waiting_for, info.error));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// What the ledger says was acknowledged and the database does not hold, and whatever else is wrong with it.
pub fn lost(folder: &Path, account: &Account) -> Vec<String> {
    let mut lost = account.lost.clone();
    read(folder, async |abide| {
        for info in abide.list(100_000).unwrap() {
            let report = abide.report(&info.id).unwrap();
            let output = report.run.output.as_ref().map_or("nothing", |output| output.get()).to_owned();
            if info.status != "completed" {
                lost.push(format!("{} is {}: {:?}", info.id, info.status, report.run.error));
            } else if !info.id.ends_with("-kid") && output != load::expected(&info.id).to_string() {
                lost.push(format!("{} came to {output}, and not to {}", info.id, load::expected(&info.id)));
            }
            if account.results.get(&info.id).is_some_and(|told| *told != output) {
                lost.push(format!("{} came to {output}, and its waiter heard something else", info.id));
            }
        }
        let missing = account.started.iter().chain(account.results.keys()).filter(|run| abide.get(run).is_err());
        lost.extend(missing.map(|run| format!("{run} was acknowledged, and there is no such run")));
        lost.extend(abide.verify(None).unwrap().broken.into_iter().map(|b| format!("{}: {}", b.run, b.why)));
    });
    lost.extend(strays(folder));
    let conn = rusqlite::Connection::open(folder.join("runs.db")).unwrap();
    let ask = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let forks =
        ask("SELECT count(*) FROM (SELECT 1 FROM log WHERE prev IS NOT NULL GROUP BY prev HAVING count(*) > 1)");
    if forks > 0 {
        lost.push(format!("{forks} rows have two that follow them"));
    }
    for (run, signal) in &account.signals {
        let kept = "SELECT count(*) FROM inbox JOIN runs ON key = run WHERE runs.id = ?1 AND sender = ?2";
        let kept: i64 = conn.query_row(kept, [run, signal], |row| row.get(0)).unwrap();
        if kept != 1 || !SIGNALS.iter().any(|(id, _)| id == signal) {
            lost.push(format!("the signal {signal} of {run} was acknowledged, and is there {kept} times"));
        }
    }
    lost
}

/// Owner files that no row names, once somebody has registered after everybody: a process that died while it registered left them.
fn strays(folder: &Path) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { load::open(folder).start().await.unwrap().shutdown().await });
    let conn = rusqlite::Connection::open(folder.join("runs.db")).unwrap();
    let named =
        |file: &str| conn.query_row("SELECT count(*) FROM owners WHERE file = ?1", [file], |row| row.get::<_, i64>(0));
    let files = std::fs::read_dir(folder.join("runs.db-owners")).unwrap().flatten();
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| named(name).unwrap() == 0).map(|name| format!("the owner file {name} is nobody's")).collect()
}
