//! The folder the demo plays in: two files to read, an agent, its settings and its server's declaration. It only writes files;
//! what it leaves behind is removed with it, unless it is kept.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::ledger::Ledger;
use super::{script, server};

/// The run's id.
pub(super) const RUN: &str = "demo";

/// What the agent is asked.
pub(super) const PROMPT: &str = "Read two of the files, note what each of them says, and sum it up.";

const FILES: [(&str, &str); 2] = [
    ("eagle.txt", "The Eagle landed on the Moon on 20 July 1969. Two of the three people of Apollo 11 were aboard.\n"),
    ("voyager.txt", "Voyager 1 left the heliosphere in August 2012. It was launched in 1977, after its twin.\n"),
];

const AGENT: &str = "\
---
name: note-taker
description: Reads files and notes what they say
model: scripted
mcpServers: [demo]
maxTurns: 10
---
You read before you answer, and you note what you have read.
";

/// The server is trusted, so that what only reads may be repeated freely; a note must never be written twice.
const TOOLS: &str = r#"
[servers.demo]
trust = true

[tools."demo_add_note"]
policy = "allow"
effect = "once"
"#;

/// The folder.
pub(super) struct Stage {
    folder: TempDir,
}

impl Stage {
    /// Makes an empty one among the system's temporary files, or else (in a container that has no such folder) here.
    pub(super) fn new() -> io::Result<Self> {
        let make = |folder: &Path| tempfile::Builder::new().prefix("abide-demo-").tempdir_in(folder);
        let folder = make(&std::env::temp_dir()).or_else(|error| make(Path::new(".")).map_err(|_| error))?;
        Ok(Self { folder })
    }

    /// Writes the project: the model is at `base_url`, the server is this program.
    pub(super) fn furnish(&self, base_url: &str, program: &Path) -> io::Result<()> {
        std::fs::create_dir(self.files())?;
        for (name, text) in FILES {
            std::fs::write(self.files().join(name), text)?;
        }
        let Some(program) = program.to_str() else {
            return Err(io::Error::other("the path of this program is not Unicode, and .mcp.json must name it"));
        };
        // Only what is declared reaches a server.
        let env = json!({server::DOUBLE: format!("${{{}:-}}", server::DOUBLE)});
        let demo = json!({"command": program, "args": ["demo-server", "files"], "env": env});
        self.write(".mcp.json", &format!("{:#}\n", json!({"mcpServers": {"demo": demo}})))?;
        let model = script::NAME;
        let models =
            format!("[models.scripted]\nprovider = \"openai\"\nbase_url = \"{base_url}\"\nmodel = \"{model}\"\n");
        self.write("abide.toml", &(models + TOOLS))?;
        self.write("agent.md", AGENT)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        std::fs::write(self.folder.path().join(name), text)
    }

    /// The project's root.
    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the server.
    pub(super) fn files(&self) -> PathBuf {
        self.root().join("files")
    }

    /// The database.
    pub(super) fn db(&self) -> PathBuf {
        self.root().join("runs.db")
    }

    /// What the server has recorded.
    pub(super) fn calls(&self) -> Ledger {
        Ledger::new(self.files().join(server::CALLS))
    }

    /// What the model has recorded.
    pub(super) fn requests(&self) -> Ledger {
        Ledger::new(self.root().join("model-requests.jsonl"))
    }

    /// Leaves the folder where it is.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}
