//! A refund that survives a crash at any line: a plan, an approval by a person, a payment that must not happen twice, a day's wait.
//! `cargo run --example refund` runs it whole with a small amount; `cargo run --example refund -- 900` waits for an approval, also if you
//! stop it with Ctrl-C and start it again. It never pays anybody.

use std::time::Duration;

use abide::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Ticket {
    number: u32,
    amount: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Plan {
    amount: u32,
    account: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    key: String,
    amount: u32,
}

async fn plan_refund(ticket: Ticket) -> Result<Plan> {
    println!("  planning refund of ticket {}", ticket.number);
    Ok(Plan { amount: ticket.amount, account: format!("account of ticket {}", ticket.number) })
}

async fn pay(plan: Plan) -> Result<Receipt> {
    // The same key on every attempt, also after a crash: a bank that knows it pays once.
    let key = step_key().unwrap_or_default().to_string();
    println!("  paying {} to {} with key {key}", plan.amount, plan.account);
    Ok(Receipt { key, amount: plan.amount })
}

async fn refund(ctx: Ctx, ticket: Ticket) -> Result<Receipt> {
    let plan: Plan = ctx.step("plan", ticket, plan_refund).await?;
    if plan.amount > 500 && !ctx.signal::<bool>("approval").timeout(Duration::from_secs(86_400)).await? {
        return Err(terminal("refused"));
    }
    let receipt: Receipt = ctx.step("pay", plan, pay).once().await?;
    ctx.sleep(Duration::from_secs(2)).await?;
    Ok(receipt)
}

#[tokio::main]
async fn main() -> std::result::Result<(), HostError> {
    let amount = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(90);
    let abide = Abide::open("refund-example.db").workflow("refund", refund).start().await?;
    let run = abide.run("refund", &Ticket { number: 7, amount }).id(format!("ticket-7-{amount}")).await?;
    if amount > 500 {
        println!("waiting for `approval`; press Enter to approve, or Ctrl-C and start again later");
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {
            run.signal_once("approval", &true, "the first approval").await.ok();
        }
    }
    let receipt: Receipt = run.result().await?;
    println!("{receipt:?}");
    abide.shutdown().await;
    Ok(())
}
