//! A thousand inputs, sixteen at a time: stop it with Ctrl-C or `kill -9` and start it again, and every input is handled once.
//! `cargo run --example batch`. It never reads a file: what it handles is made up.

use std::time::Duration;

use abide::prelude::*;

async fn handle(n: u32) -> Result<u32> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(n.count_ones())
}

async fn batch(ctx: Ctx, count: u32) -> Result<u32> {
    let bits =
        ctx.map("items", 0..count, |ctx, n| async move { ctx.step("handle", n, handle).await }).concurrency(16).await;
    bits.into_iter().sum()
}

#[tokio::main]
async fn main() -> std::result::Result<(), HostError> {
    let abide = Abide::open("batch-example.db").workflow("batch", batch).start().await?;
    let run = abide.run("batch", &1_000).id("all-of-them").await?;
    let already = run.report()?.steps.iter().filter(|s| s.status == "completed").count();
    println!("{already} handled before; going on");
    let sum: u32 = run.result().await?;
    println!("done: {sum} bits in {} steps", run.report()?.steps.len());
    abide.shutdown().await;
    Ok(())
}
