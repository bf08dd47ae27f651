//! The smallest durable program: it counts, one step a number, and goes on where it was stopped.
//! `cargo run --example counter` counts to 200; `-- 500` to 500. It never forgets a number.

use abide::prelude::*;

async fn count(ctx: Ctx, to: u32) -> Result<u32> {
    let mut n = 0;
    while n < to {
        n = ctx.step("count", n, |n| async move { Ok::<_, Error>(n + 1) }).await?;
    }
    Ok(n)
}

#[tokio::main]
async fn main() -> std::result::Result<(), HostError> {
    let to: u32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(200);
    let abide = Abide::open("counter-example.db").workflow("count", count).start().await?;
    let run = abide.run("count", &to).id(format!("to-{to}")).await?;
    let counted: u32 = run.result().await?;
    println!("counted to {counted}");
    abide.shutdown().await;
    Ok(())
}
