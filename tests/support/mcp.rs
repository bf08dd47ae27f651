//! A small MCP server on stdio, played by this very test binary: started with the variable [`LOG`] it serves, otherwise its
//! test does nothing. It writes down each call before it answers.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where the calls are written down.
pub const LOG: &str = "ABIDE_TEST_SERVER_LOG";

/// The variable of abide's own surroundings that the declaration refers to.
pub const GIVEN: &str = "ABIDE_TEST_LOG";

/// How long the tool `slow` takes.
pub const SLOW: std::time::Duration = std::time::Duration::from_millis(400);

/// The declaration of the server; its calls go to the file that the variable [`GIVEN`] names.
pub fn declaration() -> Value {
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "support::mcp::serve", "--nocapture"];
    json!({"command": program, "args": args, "env": {LOG: format!("${{{GIVEN}}}")}})
}

/// Where a call carries its step's idempotency key.
const KEY: &str = "io.abide/idempotency-key";

/// The idempotency keys of the calls so far.
pub fn keys(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let key = |line: &str| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    text.lines().map(key).collect()
}

/// The calls so far: tool and arguments.
pub fn calls(log: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let call = |line: &str| {
        let call: Value = serde_json::from_str(line).unwrap();
        (call["name"].as_str().unwrap().to_owned(), call["arguments"].clone())
    };
    text.lines().map(call).collect()
}

#[test]
fn serve() {
    let Some(log) = std::env::var_os(LOG).map(PathBuf::from) else { return };
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else { continue };
        let answer = match method {
            "initialize" => Ok(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "fixture", "version": "1"}})),
            "tools/list" => Ok(json!({"tools": tools()})),
            "tools/call" => match call(&log, &message["params"]) {
                Some(result) => Ok(result),
                None => continue,
            },
            _ => Err(json!({"code": -32601, "message": "no such method"})),
        };
        let slow = method == "tools/call" && message["params"]["name"] == "slow";
        let reply = match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        };
        let say = move || {
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{reply}").unwrap();
            stdout.flush().unwrap();
        };
        if slow {
            // Others are served meanwhile.
            std::thread::spawn(move || {
                std::thread::sleep(SLOW);
                say();
            });
        } else {
            say();
        }
    }
    // Without the harness's own last words.
    std::process::exit(0);
}

fn tools() -> Vec<Value> {
    let tool = |name: &str, read_only: bool| {
        json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": read_only}})
    };
    vec![
        tool("read", true),
        tool("write", false),
        tool("hang", false),
        tool("slow", true),
        tool("find", true),
        tool("peek", false),
        tool("put", false),
        tool("pay", false),
        tool("wire", false),
    ]
}

/// Writes the call down. `hang` is never answered; `find` answers with what the arguments say under `find`; any other is not answered
/// as often as they say under `stall`.
fn call(log: &Path, params: &Value) -> Option<Value> {
    let line = json!({"name": params["name"], "arguments": params["arguments"], "key": params["_meta"][KEY]});
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
    file.sync_all().unwrap();
    let text = format!("{} of {}", params["name"].as_str().unwrap(), params["arguments"]);
    if params["name"] == "find" {
        let found = &params["arguments"]["find"];
        return Some(json!({"content": [{"type": "text", "text": found.to_string()}], "structuredContent": found}));
    }
    // As often as the arguments say, this very call is not answered.
    let line = line.to_string();
    let before = std::fs::read_to_string(log).unwrap().lines().filter(|known| *known == line).count() as u64;
    if params["arguments"]["stall"].as_u64().is_some_and(|stall| before <= stall) {
        return None;
    }
    (params["name"] != "hang").then(|| json!({"content": [{"type": "text", "text": text}], "isError": false}))
}
