//! Research with an approval: a planner and its workers find out, a person allows the publication, a writer and a reviewer write it up.
//! `cargo run --example orchestrator`, and stop and start it as you like; `ABIDE_MODEL` names a real model. It never publishes unasked.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(instructions: &str, said: &str) -> Say {
    if instructions.contains("You plan how") {
        let done = said.contains("What is done already");
        let one = |what: &str| json!({"agent": "researcher", "instruction": what});
        let steps = json!([{"assignments": [one("find out why"), one("find out how")]}]);
        return Say::Json(json!({"complete": done, "steps": if done { json!([]) } else { steps }}));
    }
    if instructions.contains("You rate") {
        let rating = if said.contains("at length") { 9 } else { 5 };
        return Say::Json(json!({"rating": rating, "feedback": "longer"}));
    }
    Say::Text(match instructions {
        "You write clearly." if said.contains("longer") => "The report, at length.".to_owned(),
        "You write clearly." => "The report.".to_owned(),
        "You search and summarize." => format!("Found: {}", said.lines().last().unwrap_or_default()),
        _ => "All that was found, in short.".to_owned(),
    })
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let model = offline::model(script)?;
    let agent = |name: &str| Agent::new(name).model(model.clone());
    let researcher = agent("researcher").description("Finds things out").instructions("You search and summarize.");
    let writer = agent("writer").instructions("You write clearly.");
    let research = Orchestrator::new(agent("planner")).named("research").workers([researcher]).plan(Full);
    let draft = EvaluatorOptimizer::new(writer, agent("reviewer")).named("draft").at_least(8).refinements(3);
    let app = Abide::open("orchestrator-example.db").agent(research.clone()).agent(draft.clone());
    let app = app.workflow("report", move |ctx, topic: String| {
        let (research, draft) = (research.clone(), draft.clone());
        async move {
            let notes = research.run(&ctx, format!("Research {topic}")).await?;
            if !ctx.signal::<bool>("approval").await? {
                return Err(terminal("it is not to be published"));
            }
            Ok::<_, Error>(draft.run(&ctx, notes.text()).await?.text)
        }
    });
    let abide = app.start().await?;
    let run = abide.run("report", "durable agents").id("report-1").await?;
    // In earnest a person says so: `abide signal report-1 approval true`.
    run.signal_once("approval", &true, "the first approval").await.ok();
    println!("{}", run.result::<String>().await?);
    for step in run.report()?.steps {
        println!("  {:<40} {}", step.id, step.status);
    }
    abide.shutdown().await;
    Ok(())
}
