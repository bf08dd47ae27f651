//! A writer and a reviewer, until it has 8 points of 10. `cargo run --example evaluator_optimizer`; `ABIDE_MODEL` names a real model.
//! It never writes more than four drafts, and gives the best of them.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(instructions: &str, said: &str) -> Say {
    if instructions.contains("You rate") {
        let words = said.split_whitespace().count();
        return Say::Json(json!({"rating": if words > 28 { 9 } else { 6 }, "feedback": "say what it is for"}));
    }
    Say::Text(if said.contains("what it is for") {
        "abide runs agents that survive kill -9, so that nobody has to start them again and pay twice.".to_owned()
    } else {
        "abide runs agents.".to_owned()
    })
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = offline::model(script)?;
    let agent = |name: &str, what: &str| Agent::new(name).instructions(what).model(model.clone());
    let draft = EvaluatorOptimizer::new(
        agent("writer", "You write one sentence for a README."),
        agent("reviewer", "You have read too many READMEs."),
    );
    let abide = Abide::open("draft-example.db").agent(draft.named("draft").at_least(8).refinements(3)).start().await?;
    let run = abide.run("draft", "What is abide?").await?;
    println!("{}", run.result::<String>().await?);
    for step in run.report()?.steps {
        println!("  {:<24} {}", step.id, step.status);
    }
    abide.shutdown().await;
    Ok(())
}
