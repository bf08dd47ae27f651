//! An agent over 1,000 files, sixteen at a time: stop it with Ctrl-C or `kill -9` and start it again, and no file that was handled is handled
//! again. `cargo run --release --example map_files -- 1000`; `ABIDE_MODEL` names a real model. It never holds more than sixteen files in memory.

#[path = "offline/mod.rs"]
mod offline;

use std::time::{Duration, Instant};

use abide::prelude::*;
use offline::Say;

const AT_ONCE: u32 = 16;
/// How long the scripted model thinks.
const LATENCY: Duration = Duration::from_millis(100);

fn script(_: &str, said: &str) -> Say {
    std::thread::sleep(LATENCY);
    Say::Text(format!("{} words", said.split_whitespace().count()))
}

async fn read(path: String) -> Result<String> {
    std::fs::read_to_string(&path).map_err(|error| terminal(format!("{path}: {error}")))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let files: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let folder = std::env::temp_dir().join("abide-map-example");
    std::fs::create_dir_all(&folder)?;
    let mut paths = Vec::new();
    for n in 0..files {
        let path = folder.join(format!("{n:04}.txt"));
        std::fs::write(&path, format!("This is file {n}, one of many. {}", "More words. ".repeat(50)))?;
        paths.push(path.to_string_lossy().into_owned());
    }
    let counter = Agent::new("counter").instructions("How many words are in this text?").model(offline::model(script)?);
    let handle = Function::new("handle", move |ctx, path: Input| {
        let counter = counter.clone();
        async move {
            let text: String = ctx.step("read", path.text, read).pure().await?;
            counter.run(&ctx, text).await
        }
    });
    let map = MapOver::new(handle).named("files").at_once(AT_ONCE as usize);
    let abide = Abide::open("map-example.db").agent(map).start().await?;
    let began = Instant::now();
    let run = abide.run("files", &serde_json::to_string(&paths)?).id(format!("all-{files}")).await?;
    let answers: Vec<serde_json::Value> = run.result().await?;
    let ideal = LATENCY * files.div_ceil(AT_ONCE);
    println!("{} files in {:.1?}; the model alone takes {ideal:.1?}", answers.len(), began.elapsed());
    println!("{}", answers.last().unwrap_or(&serde_json::Value::Null));
    for line in std::fs::read_to_string("/proc/self/status").unwrap_or_default().lines() {
        if line.starts_with("VmHWM") {
            println!("most memory: {}", line.trim_start_matches("VmHWM:").trim());
        }
    }
    abide.shutdown().await;
    Ok(())
}
