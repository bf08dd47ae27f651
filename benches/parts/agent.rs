//! Resident memory of an agent's run of fifty turns, each with a tool call, by the real binary. The model is a script on loopback.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{memory_mb, show_mb};
use crate::model::{Model, Say};

const TURNS: usize = 50;

pub(super) fn measure(dir: &Path) {
    let model = Model::new(|n, _| match n {
        n if n < TURNS => Say::Calls(vec![("demo_list_files", json!({}))]),
        // Held open, so that the process can be looked at with its fifty turns behind it.
        _ => Say::Held("done"),
    });
    let root = dir.join("agent");
    let files = root.join("files");
    std::fs::create_dir_all(&files).unwrap();
    let abide = env!("CARGO_BIN_EXE_abide");
    let servers = json!({"mcpServers": {"demo": {"command": abide, "args": ["demo-server", files]}}});
    std::fs::write(root.join(".mcp.json"), servers.to_string()).unwrap();
    let url = &model.base_url;
    let settings = format!(
        "[models.m]\nprovider = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\n[tools.\"demo_*\"]\npolicy = \"allow\"\n\
         [limits]\nidentical_calls = {TURNS}\n"
    );
    std::fs::write(root.join("abide.toml"), settings).unwrap();
    std::fs::write(root.join("a.md"), format!("---\nname: a\nmodel: m\nmaxTurns: {}\n---\nYou look.\n", TURNS + 5))
        .unwrap();
    let mut run = Command::new(abide)
        .args(["run", "a.md", "look", "--trust", "--yes", "--json", "--db", "agent.db"])
        .env("ABIDE_CONFIG_DIR", root.join("config"))
        .current_dir(&root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    model.wait_for(TURNS + 1);
    let (now, peak) = (memory_mb(run.id(), "VmRSS"), memory_mb(run.id(), "VmHWM"));
    model.open_gate();
    assert!(run.wait().unwrap().success());
    println!("an agent after {TURNS} turns: {} resident, {} at the peak (aim: 20 MB)", show_mb(now), show_mb(peak));
}
