//! A report every night, by a durable timer: the process may be stopped and started at any time, and a night is neither missed nor done twice.
//! `cargo run --example nightly` waits two seconds for a night and ends after three; `ABIDE_MODEL` names a real model. It never grows: each night is
//! a new generation of the run.

#[path = "offline/mod.rs"]
mod offline;

use std::time::Duration;

use abide::prelude::*;
use offline::Say;
use serde::{Deserialize, Serialize};

const NIGHT: Duration = Duration::from_secs(2);

#[derive(Clone, Serialize, Deserialize)]
struct Nights {
    left: u32,
    reports: Vec<String>,
}

fn script(_: &str, said: &str) -> Say {
    Say::Text(format!("In short: {said}"))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let reporter = Agent::new("reporter").instructions("Report in one sentence.").model(offline::model(script)?);
    let app = Abide::open("nightly-example.db").agents().workflow("nightly", move |ctx, mut nights: Nights| {
        let reporter = reporter.clone();
        async move {
            if nights.left == 0 {
                return Ok(nights.reports);
            }
            ctx.sleep(NIGHT).await?;
            let events = format!("{} reports were made before this one", nights.reports.len());
            nights.reports.push(reporter.run(&ctx, events).await?.text);
            nights.left -= 1;
            ctx.continue_as_new::<Vec<String>>(&nights)
        }
    });
    let abide = app.start().await?;
    let run = abide.run("nightly", &Nights { left: 3, reports: Vec::new() }).id("nightly").await?;
    for report in run.result::<Vec<String>>().await? {
        println!("{report}");
    }
    abide.shutdown().await;
    Ok(())
}
