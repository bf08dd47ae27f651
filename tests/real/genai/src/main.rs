//! Compares, request by request, what abide sends to a model with what the independent crate `genai` sends for the same conversation. It
//! never reaches further than the loopback.
//!
//! Line, headers and body are compared as they arrive; nothing but the order of keys is set aside. Every difference must stand in
//! `differences.toml`, with the reason and where that is written; what nothing explains, and what explains nothing any more, fails.
//! `--list` prints every difference.

mod conversations;
mod differences;
#[cfg(test)]
mod differences_tests;
mod replies;
mod server;
mod talk;

use std::collections::BTreeSet;
use std::process::ExitCode;

use abide_llm::Provider;

use crate::differences::Table;
use crate::talk::{Bench, Subject};

/// Two where a vendor's models are not asked alike.
const MODELS: [(Provider, &str); 8] = [
    (Provider::Openai, "gpt-4.1"),
    (Provider::Openai, "gpt-5-mini"),
    (Provider::OpenaiResponses, "gpt-4.1"),
    (Provider::OpenaiResponses, "gpt-5-mini"),
    (Provider::Anthropic, "claude-sonnet-4-5"),
    (Provider::Gemini, "gemini-2.5-flash"),
    (Provider::Gemini, "gemini-3-pro-preview"),
    (Provider::Ollama, "qwen3"),
];

fn main() -> ExitCode {
    let list = std::env::args().any(|word| word == "--list");
    match run(list) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(list: bool) -> Result<String, String> {
    let table = Table::read(include_str!("../differences.toml"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|why| why.to_string())?;
    let mut bench = Bench::new()?;
    for (wire, name) in MODELS {
        let subject = Subject::new(wire, name, &bench.server.address)?;
        runtime.block_on(conversations::all(&subject, &mut bench))?;
    }
    if list {
        bench.differences.iter().for_each(|one| println!("{one}"));
    }
    let wires = MODELS.iter().map(|(wire, _)| wire.as_str()).collect::<BTreeSet<_>>().len();
    let found = format!("{} requests on {wires} wires: {} differences", bench.requests, bench.differences.len());
    let wrong = table.judge(&bench.differences);
    if wrong.is_empty() {
        return Ok(format!("{found}, all explained"));
    }
    Err(format!("{}\n{found}, {} not as explained", wrong.join("\n"), wrong.len()))
}
