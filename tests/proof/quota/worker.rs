//! The process that is killed: agents that each ask a model once, all begun at once. It judges nothing.

use std::path::PathBuf;
use std::time::Duration;

use abide::Abide;
use abide_llm::Provider;

use super::endpoint::{clock_file, read_clock};
use crate::support::agent;

/// The folder that a worker works in.
pub const FOLDER: &str = "ABIDE_QUOTA_FOLDER";
/// Where the model is.
pub const URL: &str = "ABIDE_QUOTA_URL";
/// How many runs there are.
pub const RUNS: &str = "ABIDE_QUOTA_RUNS";
/// The limit that the settings name, if they do.
pub const LIMIT: &str = "ABIDE_QUOTA_LIMIT";

/// The id of a run.
pub fn name(n: usize) -> String {
    format!("run-{n:03}")
}

async fn work(folder: PathBuf) {
    let mut model = agent::model(Provider::Openai, &std::env::var(URL).unwrap());
    model.requests_per_minute = std::env::var(LIMIT).ok().map(|limit| limit.parse().unwrap());
    let runs: usize = std::env::var(RUNS).unwrap().parse().unwrap();
    let mut builder = agent::asking(Abide::open(folder.join("runs.db")), model);
    let file = clock_file(&folder);
    if let Some(begun) = read_clock(&file) {
        builder = builder.clock(move || read_clock(&file).unwrap_or(begun));
    }
    let abide = builder.start().await.unwrap();
    for n in 0..runs {
        abide.run("ask", &name(n)).id(name(n)).await.unwrap();
    }
    while abide.list(100_000).unwrap().iter().any(|run| run.status != "completed") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    abide.shutdown().await;
}

#[test]
fn worker() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(folder));
}
