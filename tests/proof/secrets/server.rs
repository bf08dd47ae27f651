//! An MCP server that tells everything it knows: played by this test binary, started with [`PLAYS`] in its environment.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// The variable that says so.
pub const PLAYS: &str = "ABIDE_TEST_LEAKY";

#[test]
fn serve() {
    if std::env::var_os(PLAYS).is_none() {
        return;
    }
    let told = ["A", "B", "C", "D"].map(|name| std::env::var(name).unwrap_or_default());
    let known = format!("{} {}", told.join(" "), std::env::args().next_back().unwrap_or_default());
    eprintln!("started with {known}");
    eprintln!("{}{known}", "y".repeat(1_930));
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else { continue };
        let answer = match method {
            "initialize" => json!({"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "leaky", "version": known}}}),
            "tools/list" => {
                json!({"result": {"tools": [{"name": "tell", "description": known, "inputSchema": {"type": "object", "title": known}}]}})
            }
            "tools/call" => call(&message["params"]["arguments"], &known),
            _ => json!({"error": {"code": -32601, "message": format!("no such method, says {known}")}}),
        };
        let mut answer = answer;
        (answer["jsonrpc"], answer["id"]) = (json!("2.0"), id.clone());
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{known}\n{answer}").unwrap();
        stdout.flush().unwrap();
    }
    // Without the harness's own last words.
    std::process::exit(0);
}

fn call(arguments: &Value, known: &str) -> Value {
    let text = format!("{known} {}", arguments["text"].as_str().unwrap_or_default());
    match arguments["mode"].as_str() {
        Some("refuse") => json!({"error": {"code": -32000, "message": text, "data": {"why": text}}}),
        Some("error") => json!({"result": {"content": [{"type": "text", "text": text}], "isError": true}}),
        Some("die") => {
            // More lines than are kept, the first of them lost.
            for _ in 0..30 {
                eprintln!("dying with {text}");
            }
            std::process::exit(1);
        }
        _ => {
            json!({"result": {"content": [{"type": "text", "text": text}], "structuredContent": {"known": known, text: [1]}}})
        }
    }
}
