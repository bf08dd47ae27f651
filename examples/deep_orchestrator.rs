//! Work that takes long: assignments that need each other, facts that are kept, and an answer before the budget is used up.
//! `cargo run --example deep_orchestrator`; `ABIDE_MODEL` names a real model. It never does the same thing twice.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(instructions: &str, said: &str) -> Say {
    if instructions.contains("You plan how") {
        let done = said.contains("What is done already");
        let one = |name: &str, agent: &str, what: &str, needs: &[&str]| json!({"name": name, "agent": agent, "instruction": what, "needs": needs});
        let gather = json!({"assignments": [one("prices", "gatherer", "gather the prices", &[]), one("sizes", "gatherer", "gather the sizes", &[])]});
        let compare = json!({"assignments": [one("compare", "analyst", "compare them", &["prices", "sizes"])]});
        return Say::Json(json!({"complete": done, "steps": if done { json!([]) } else { json!([gather, compare]) }}));
    }
    if instructions.contains("You keep what") {
        return Say::Json(
            json!({"facts": [{"topic": "market", "fact": "The small one is cheaper.", "confidence": 0.8}]}),
        );
    }
    let heard = said.matches("## ").count();
    Say::Text(format!("{} ({heard} results seen)", said.lines().last().unwrap_or_default()))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = offline::model(script)?;
    let agent = |name: &str, what: &str| Agent::new(name).description(what).model(model.clone());
    let study = DeepOrchestrator::new(agent("planner", ""))
        .named("study")
        .workers([agent("gatherer", "Gathers data"), agent("analyst", "Compares what was gathered")])
        .budget(Limit { max_tokens: Some(200_000), max_time_s: Some(3_600), ..Limit::default() });
    let abide = Abide::open("deep-example.db").agent(study).start().await?;
    let run = abide.run("study", "Which of the two is worth its price?").await?;
    println!("{}", run.result::<String>().await?);
    for step in run.report()?.steps.iter().filter(|step| step.kind == "llm") {
        println!("  {:<40} {}", step.id, step.status);
    }
    abide.shutdown().await;
    Ok(())
}
