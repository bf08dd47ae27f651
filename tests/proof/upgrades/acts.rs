//! What happens to runs from outside, as data: the files of the corpus hold what is to happen to their unfinished runs. It decides nothing.

use std::time::Duration;

use abide::engine::event::Verdict;
use abide::engine::{Json, Wait};
use abide::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Desk, within};

/// One thing that happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Act {
    Start {
        run: String,
        workflow: String,
        input: Value,
    },
    /// Only recorded: nobody begins it.
    Detached {
        run: String,
        workflow: String,
        input: Value,
    },
    /// Waits until it stands so.
    Stands {
        run: String,
        status: String,
        waiting_for: Option<String>,
    },
    /// Waits until this step stands so.
    Step {
        run: String,
        step: String,
        status: String,
    },
    Signal {
        run: String,
        name: String,
        value: Value,
    },
    Answer {
        run: String,
        wait: Wait,
        step: String,
        value: Value,
    },
    Resolve {
        run: String,
        step: String,
        verdict: Verdict,
        result: Option<Value>,
        message: Option<String>,
    },
    Cancel {
        run: String,
    },
    Pause {
        run: String,
    },
    Advance {
        ms: u64,
    },
    Resume {
        run: String,
    },
    /// The binary is called with these words and ends with this code: for the runs of agents.
    Words {
        words: Vec<String>,
        code: i32,
    },
    /// Opens the gate of steps that wait while a journal is recorded.
    Open,
}

/// Lets it happen.
pub(super) async fn act(desk: &Desk, abide: &Abide, act: &Act) {
    let run = |id: &str| abide.get(id).unwrap();
    match act {
        Act::Start { run, workflow, input } => drop(abide.run(workflow, input).id(run).await.unwrap()),
        Act::Detached { run, workflow, input } => drop(abide.run(workflow, input).id(run).detached().await.unwrap()),
        Act::Stands { run: id, status, waiting_for } => super::until(&run(id), status, waiting_for.as_deref()).await,
        Act::Step { run: id, step, status } => {
            within(async {
                while !run(id).report().unwrap().steps.iter().any(|s| s.id == *step && s.status == status) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        Act::Signal { run: id, name, value } => run(id).signal(name, value).await.unwrap(),
        Act::Answer { run: id, wait, step, value } => run(id).answer(*wait, step, value).await.unwrap(),
        Act::Resolve { run: id, step, verdict, result, message } => {
            let result = result.as_ref().map(|value| -> Json { abide::engine::event::json(value).unwrap() });
            run(id).resolve(step, *verdict, result, message.as_deref()).await.unwrap();
        }
        Act::Cancel { run: id } => run(id).cancel().await.unwrap(),
        Act::Pause { run: id } => run(id).pause().await.unwrap(),
        Act::Advance { ms } => desk.advance(Duration::from_millis(*ms)),
        Act::Words { .. } => panic!("that is for the binary"),
        Act::Open => drop(desk.gate.send_replace(true)),
        Act::Resume { run } => drop(within(abide.resume(run, false)).await),
    }
}
