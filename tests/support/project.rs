//! A project in a temporary folder, and the real binary called in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::mcp;
use super::model::{Model, PATIENCE};

/// The key that the model is called with, in the variable `TEST_KEY`.
pub const KEY: &str = "sk-test-0123456789";

/// A project with the model `local`, the server `fix` and the agent `helper.md`.
pub struct Project {
    pub dir: tempfile::TempDir,
    pub root: PathBuf,
    pub key: String,
}

/// What a call came to.
#[derive(Debug)]
pub struct Out {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    pub fn new(model: &Model) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("project");
        std::fs::create_dir(&root).unwrap();
        let project = Self { dir, root, key: KEY.to_owned() };
        project.settings(model, "");
        let servers = json!({"mcpServers": {"fix": mcp::declaration()}});
        project.write(".mcp.json", &servers.to_string());
        project.write("helper.md", "---\nname: helper\nmodel: local\nmaxTurns: 10\n---\nYou help.\n");
        project
    }

    /// Writes `abide.toml`: the model, and this.
    pub fn settings(&self, model: &Model, more: &str) {
        let url = &model.base_url;
        let text = format!(
            "[models.local]\nprovider = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\napi_key = \"${{TEST_KEY}}\"\n{more}"
        );
        self.write("abide.toml", &text);
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.root.join(file), text).unwrap();
    }

    /// Where the server writes its calls down.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("calls.jsonl")
    }

    pub fn calls(&self) -> Vec<(String, Value)> {
        mcp::calls(&self.log())
    }

    pub fn db(&self) -> PathBuf {
        self.root.join(".abide").join("runs.db")
    }

    /// The binary with these words, in this folder, with nothing of the caller's own settings.
    pub fn command(&self, cwd: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
        for name in ["ABIDE_DB", "ABIDE_LOG", "ABIDE_CRASH"] {
            command.env_remove(name);
        }
        command.args(args).current_dir(cwd).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("ABIDE_CONFIG_DIR", self.dir.path().join("config")).env("TEST_KEY", &self.key);
        command.env(mcp::GIVEN, self.log());
        command
    }

    /// Calls it in the project's folder, and waits for its end.
    pub fn abide(&self, args: &[&str]) -> Out {
        self.abide_in(&self.root, args)
    }

    pub fn abide_in(&self, cwd: &Path, args: &[&str]) -> Out {
        out(self.command(cwd, args).spawn().unwrap())
    }

    /// Starts it and leaves it to work.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(&self.root, args).spawn().unwrap()
    }

    /// The document of `show --json`.
    pub fn show(&self, run: &str) -> Value {
        self.abide(&["show", run, "--json"]).is(0).json()
    }

    /// Asks for the run's document until it is as wanted.
    pub fn wait_until(&self, run: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = std::time::Instant::now();
        loop {
            let out = self.abide(&["show", run, "--json"]);
            if out.code == 0 && wanted(&out.json()) {
                return out.json();
            }
            assert!(since.elapsed() < PATIENCE, "it never came to that: {out:?}");
        }
    }
}

/// Waits for the end of a call.
pub fn out(child: Child) -> Out {
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Out { code: out.status.code().unwrap_or(-1), stdout: text(out.stdout), stderr: text(out.stderr) }
}

impl Out {
    /// Checks the exit code.
    #[track_caller]
    pub fn is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Checks that stderr says this.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} is not in stderr:\n{}", self.stderr);
        self
    }

    /// The one document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The one error document on stderr.
    #[track_caller]
    pub fn error(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stderr).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        document["error"].clone()
    }
}
