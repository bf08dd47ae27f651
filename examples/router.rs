//! A support router: a desk sends each request to whom it is for. `cargo run --example router -- "I want my money back"`; `ABIDE_MODEL` names a
//! real model. It never answers for somebody who does not exist.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(instructions: &str, said: &str) -> Say {
    if instructions.contains("You decide who") {
        let name = if said.contains("money") { "billing" } else { "technical" };
        return Say::Json(json!({"choices": [{"name": name, "confidence": 0.9, "reason": "it is about that"}]}));
    }
    Say::Text(format!("{instructions} About \"{said}\": it is done."))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let request = std::env::args().nth(1).unwrap_or_else(|| "I want my money back".to_owned());
    let model = offline::model(script)?;
    let agent = |name: &str| Agent::new(name).model(model.clone());
    let support = Router::new(agent("desk")).named("support").routes([
        agent("billing").description("Invoices, refunds and prices").instructions("You are billing."),
        agent("technical").description("Errors and installation").instructions("You are the engineer."),
    ]);
    let abide = Abide::open("router-example.db").agent(support).start().await?;
    let run = abide.run("support", &request).await?;
    println!("{}", run.result::<String>().await?);
    abide.shutdown().await;
    Ok(())
}
