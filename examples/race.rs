//! Two sources asked at once, with a time limit over both: the first answer wins, the rest is cancelled in the journal.
//! `cargo run --example race`. It never asks anybody: the sources are timers.

use std::time::Duration;

use abide::prelude::*;
use futures_util::future::{Either, select};

async fn ask(source: (String, u64)) -> Result<String> {
    let (name, ms) = source;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(format!("an answer from {name}"))
}

async fn first_answer(ctx: Ctx, sources: Vec<(String, u64)>) -> Result<String> {
    let race = ctx.race("sources", sources, |ctx, source| async move { ctx.step("ask", source, ask).await });
    match select(race, ctx.sleep(Duration::from_secs(1))).await {
        Either::Left(((_, answer), _)) => answer,
        Either::Right(_) => Err(terminal("nobody answered within a second")),
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), HostError> {
    let abide = Abide::open("race-example.db").workflow("first_answer", first_answer).start().await?;
    let sources = [("the slow one", 400), ("the quick one", 30)].map(|(name, ms)| (name.to_owned(), ms));
    let run = abide.run("first_answer", &sources).await?;
    let answer: String = run.result().await?;
    println!("{answer}");
    for step in run.report()?.steps {
        println!("  {:<20} {}", step.id, step.status);
    }
    abide.shutdown().await;
    Ok(())
}
