//! A chain: an outline, a text after it, and a check in between. `cargo run --example chain -- "durable agents"`; `ABIDE_MODEL` names a real model.
//! It never asks the second agent about an outline that is too short.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;

fn script(instructions: &str, said: &str) -> Say {
    Say::Text(match instructions {
        "Outline it in three points." => format!("1. What is {said}? 2. Why? 3. How?"),
        _ => format!("A text after this outline: {said}"),
    })
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let topic = std::env::args().nth(1).unwrap_or_else(|| "durable agents".to_owned());
    let model = offline::model(script)?;
    let agent = |name: &str, what: &str| Agent::new(name).instructions(what).model(model.clone());
    let article = Chain::new()
        .named("article")
        .then(agent("outliner", "Outline it in three points."))
        .check(|outline| if outline.text.len() > 20 { Ok(()) } else { Err(terminal("the outline is too short")) })
        .then(agent("writer", "Write a paragraph after this outline."));
    let abide = Abide::open("chain-example.db").agent(article).start().await?;
    let run = abide.run("article", &topic).await?;
    println!("{}", run.result::<String>().await?);
    abide.shutdown().await;
    Ok(())
}
