//! Budgets under a storm of kills: processes that spend are killed again and again in the middle of calls, and no run ever has more answered than
//! its budget allows. What a killed call has used nobody knows: it counts as all that it could have. It judges money and tokens alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abide::Abide;
use abide::prelude::*;
use abide_llm::{Agent, Limit, Price, Provider};
use serde_json::json;

use super::{PATIENCE, Worker, worker};
use crate::proof::dice::Dice;
use crate::support::agent;
use crate::support::model::{Model, Say};

/// The runs, each with a budget of so many tokens; the odd ones are held by what they cost.
const RUNS: usize = 6;
const TOKENS: u64 = 6_000;
/// What each answered call uses.
const SENT: u64 = 40;
const RECEIVED: u64 = 8;
/// US dollars for a million tokens.
const PRICE: f64 = 1_000_000.0;
/// More questions than any budget allows.
const QUESTIONS: usize = 200;

fn name(n: usize) -> String {
    format!("spender-{n}")
}

/// What a run may spend: tokens, or a dollar for each.
fn budget(n: usize) -> Limit {
    let dollars = TOKENS as f64;
    match n % 2 {
        0 => Limit { max_tokens: Some(TOKENS), ..Limit::default() },
        _ => Limit { max_cost_usd: Some(dollars), ..Limit::default() },
    }
}

async fn spend(folder: PathBuf) {
    let mut model = agent::model(Provider::Openai, &std::env::var(worker::URL).unwrap());
    model.max_tokens = Some(u32::try_from(RECEIVED).unwrap());
    model.price = Some(Price { input: PRICE, output: PRICE, cache_read: None, cache_write: None });
    let workflow = move |ctx: Ctx, n: usize| {
        let agent = Agent::new("spender").model(model.clone()).run_budget(budget(n));
        async move {
            for question in 0..QUESTIONS {
                agent.run(&ctx, format!("{} asks {question}", name(n))).await?;
            }
            Ok::<_, Error>(())
        }
    };
    let builder = agent::lending(Abide::open(folder.join("runs.db"))).workflow("spend", workflow);
    let abide = builder.start().await.unwrap();
    for n in 0..RUNS {
        abide.run("spend", &n).id(name(n)).await.unwrap();
    }
    while !abide.list(100).unwrap().iter().all(|run| run.waiting_for == Some("budget")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    abide.shutdown().await;
}

#[test]
fn spender() {
    let Some(folder) = std::env::var_os(worker::FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(spend(folder));
}

fn spawn(folder: &Path, model: &Model) -> Worker {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let errors = std::fs::File::options().append(true).create(true).open(folder.join("errors")).unwrap();
    command.args(["--exact", "proof::quota::budget::spender", "--nocapture"]).env_remove("ABIDE_CRASH");
    command.stdout(Stdio::null()).stderr(errors).stdin(Stdio::null());
    command.env(worker::FOLDER, folder).env(worker::URL, &model.base_url);
    Worker(command.spawn().unwrap())
}

/// Tokens that were answered to each run.
fn answered(model: &Model) -> Vec<u64> {
    let asked = model.asked();
    let of = |n: usize| asked.iter().filter(|one| one.body.to_string().contains(&format!("{} asks", name(n)))).count();
    (0..RUNS).map(|n| of(n) as u64 * (SENT + RECEIVED)).collect()
}

#[test]
fn no_budget_is_overshot_in_a_storm_of_kills() {
    let storms = crate::proof::count("storms of kills", 1, 20);
    let mut dice = Dice::new(crate::proof::seed());
    let (mut killed, mut closest, mut lost) = (0, 0, 0_u64);
    for _ in 0..storms {
        let dir = tempfile::tempdir().unwrap();
        let model = Model::new(|_, _| {
            // Long enough for a kill to fall into it.
            std::thread::sleep(Duration::from_millis(2));
            Say::Body(json!({"id": "r", "object": "chat.completion", "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": SENT, "completion_tokens": RECEIVED, "total_tokens": SENT + RECEIVED}}))
        });
        let since = Instant::now();
        loop {
            let mut worker = spawn(dir.path(), &model);
            let until = model.count() + 1 + dice.below(30) as usize;
            let ended = loop {
                if let Some(status) = worker.0.try_wait().unwrap() {
                    break Some(status);
                }
                if model.count() >= until {
                    break None;
                }
                assert!(since.elapsed() < PATIENCE * 4, "it does not end");
                std::thread::sleep(Duration::from_micros(300));
            };
            for (n, tokens) in answered(&model).into_iter().enumerate() {
                assert!(tokens <= TOKENS, "{} has had {tokens} tokens of {TOKENS} answered", name(n));
            }
            let Some(status) = ended else {
                killed += 1;
                continue;
            };
            let errors = std::fs::read_to_string(dir.path().join("errors")).unwrap_or_default();
            assert!(status.success(), "{errors}");
            break;
        }
        closest = closest.max(answered(&model).into_iter().max().unwrap());
        let conn = rusqlite::Connection::open(dir.path().join("runs.db")).unwrap();
        let sql = "SELECT sum(lost) FROM spend WHERE spender = ''";
        lost += conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    }
    assert!(killed > 0 && lost > 0, "{killed} kills cut {lost} calls off");
    println!(
        "{killed} kills of {RUNS} spending runs in {storms} storms: {lost} calls cut off, each counted in full; at most {closest} of {TOKENS} tokens or \
         dollars answered to a run: an overshoot of 0"
    );
}
