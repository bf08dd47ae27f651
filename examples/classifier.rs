//! What does somebody want? An intent, how sure it is, and what the text says about it, used by a workflow of one's own.
//! `cargo run --example classifier -- "Where is order 7?"`; `ABIDE_MODEL` names a real model. It never answers the question itself.

#[path = "offline/mod.rs"]
mod offline;

use abide::prelude::*;
use offline::Say;
use serde_json::json;

fn script(_: &str, said: &str) -> Say {
    let number: String = said.chars().filter(char::is_ascii_digit).collect();
    let entities = if number.is_empty() { json!([]) } else { json!([{"name": "order", "value": number}]) };
    let name = if said.contains("back") { "refund" } else { "track" };
    Say::Json(json!({"intents": [{"name": name, "confidence": 0.8, "entities": entities}]}))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "Where is order 7?".to_owned());
    let what = IntentClassifier::new(Agent::new("listener").model(offline::model(script)?))
        .intent("refund", ["I want my money back", "Please cancel my order"])
        .intent("track", ["Where is my parcel?"]);
    let app = Abide::open("classifier-example.db").agents().workflow("listen", move |ctx, text: String| {
        let what = what.clone();
        async move {
            let found = what.classify(&ctx, text).await?;
            Ok::<_, Error>(found.first().map_or_else(
                || "nothing that we do".to_owned(),
                |one| format!("{} ({:.0} %), {:?}", one.name, one.confidence * 100.0, one.entities),
            ))
        }
    });
    let abide = app.start().await?;
    println!("{}", abide.run("listen", &text).await?.result::<String>().await?);
    abide.shutdown().await;
    Ok(())
}
