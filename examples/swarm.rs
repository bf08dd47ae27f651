//! A swarm: a triage that hands the conversation over, with what it has written down. `cargo run --example swarm`; `ABIDE_MODEL` names a real
//! model. It never hands over more than ten times.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(instructions: &str, _: &str) -> Say {
    if instructions.starts_with("You find out") {
        let variables = json!([{"name": "order", "value": "7"}]);
        return Say::Call("hand_over_to_refunds", json!({"why": "wants money back", "variables": variables}));
    }
    Say::Text(format!("It is paid back. I knew this:\n{instructions}"))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = offline::model(script)?;
    let agent = |name: &str, what: &str| Agent::new(name).instructions(what).model(model.clone());
    let support = Swarm::new(agent("triage", "You find out what {{customer}} wants, and hand over."))
        .named("support")
        .agent(agent("refunds", "You pay back.").description("Pays money back"))
        .agent(agent("sales", "You sell.").description("Sells things"))
        .variable("customer", "Ada");
    let abide = Abide::open("swarm-example.db").agent(support).start().await?;
    let run = abide.run("support", "I want my money back for order 7").await?;
    println!("{}", run.result::<String>().await?);
    abide.shutdown().await;
    Ok(())
}
