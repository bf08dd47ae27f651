//! Three reviewers side by side and an editor who makes one review of theirs. `cargo run --example parallel`; `ABIDE_MODEL` names a real model.
//! It never fails because one reviewer did: the editor is told.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;

fn script(instructions: &str, said: &str) -> Say {
    if instructions.starts_with("Make one") {
        return Say::Text(format!("One review of {} opinions.", said.matches("## ").count()));
    }
    Say::Text(format!("Seen as told ({instructions}): it is fine."))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = offline::model(script)?;
    let agent = |name: &str, what: &str| Agent::new(name).instructions(what).model(model.clone());
    let review = Parallel::new()
        .named("review")
        .branches([
            agent("security", "Look for what an attacker could use."),
            agent("speed", "Look for what is slow."),
            agent("style", "Look for what is hard to read."),
        ])
        .fan_in(agent("editor", "Make one review of these, the worst first."));
    let abide = Abide::open("parallel-example.db").agent(review).start().await?;
    let run = abide.run("review", "fn main() { loop {} }").await?;
    println!("{}", run.result::<String>().await?);
    for step in run.report()?.steps {
        println!("  {:<32} {}", step.id, step.status);
    }
    abide.shutdown().await;
    Ok(())
}
