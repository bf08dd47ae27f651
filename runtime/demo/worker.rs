//! One process of the demo that works on the run: this program itself, started anew. It never talks to the process but by
//! starting it, waiting for it and killing it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use super::server::DOUBLE;
use super::stage::Stage;

/// How many of its last lines on stderr are quoted.
const QUOTED: usize = 12;

/// A started process; dropping it kills it.
pub(super) struct Worker {
    child: Child,
    id: u32,
    verb: String,
    errors: PathBuf,
}

impl Worker {
    /// Starts `abide VERB WORDS..` on the stage's database.
    pub(super) fn spawn(program: &Path, stage: &Stage, verb: &str, words: &[&str]) -> io::Result<Self> {
        let errors = stage.root().join(format!("{verb}.log"));
        let mut command = Command::new(program);
        command.arg(verb).args(words).args(["--yes", "--trust", "--db"]).arg(stage.db());
        // What the user has set up has no part in this, and no proxy leads to a model on this machine.
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_ascii_uppercase();
            if (upper.starts_with("ABIDE_") && name != DOUBLE) || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command.env("ABIDE_CONFIG_DIR", stage.root().join("config")).env("NO_COLOR", "1");
        // A pipe that is closed at once, as an empty container has no null device.
        command
            .stdin(Stdio::piped())
            .stdout(File::create(errors.with_extension("out"))?)
            .stderr(File::create(&errors)?);
        let mut child = command.current_dir(stage.root()).kill_on_drop(true).spawn()?;
        drop(child.stdin.take());
        Ok(Self { id: child.id().unwrap_or_default(), child, verb: verb.to_owned(), errors })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// What was started, for messages.
    pub(super) fn verb(&self) -> &str {
        &self.verb
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it (SIGKILL where there is one: it cannot notice) and waits until it is gone.
    pub(super) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Its last lines on stderr, indented.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(QUOTED)..).unwrap_or_default();
        if last.is_empty() { "  (nothing on stderr)".to_owned() } else { format!("  {}", last.join("\n  ")) }
    }
}
