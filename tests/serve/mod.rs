//! `abide serve`, called by clients that know nothing of abide.

mod door;
mod lines;
mod nested;
mod people;
mod runs;
mod workflows;

use std::io::{BufRead, BufReader};
use std::process::Child;

use serde_json::{Value, json};

use crate::support::model::Model;
use crate::support::project::Project;

/// A running server; it ends with its test.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    /// `abide serve --http 127.0.0.1:0 --trust` with these words.
    fn start(project: &Project, words: &[&str]) -> Self {
        let args = [&["serve", "--http", "127.0.0.1:0", "--trust", "--json"], words].concat();
        Self::of(project.spawn(&args))
    }

    fn of(mut child: Child) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            panic!("it does not serve: {:?}", crate::support::project::out(child));
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap();
        let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/mcp")).unwrap().to_owned();
        Self { child, address }
    }

    /// One that ends by itself at this point, as `kill -9` would end it.
    fn doomed(project: &Project, point: &str) -> Self {
        let mut command = project.command(&project.root, &["serve", "--http", "127.0.0.1:0", "--trust", "--json"]);
        Self::of(command.env("ABIDE_CRASH", point).spawn().unwrap())
    }

    /// Waits for its end.
    fn ended(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A project whose agent `helper` is found by its name.
fn project(model: &Model, settings: &str) -> Project {
    let project = Project::new(model);
    project.settings(model, settings);
    let folder = project.root.join(".abide").join("agents");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "---\nname: helper\ndescription: Helps\nmodel: local\nmaxTurns: 10\n---\nYou help.\n";
    std::fs::write(folder.join("helper.md"), text).unwrap();
    project
}

const ALLOWED: &str = "[tools.\"fix_*\"]\npolicy = \"allow\"\n";

/// The first text of a result.
fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {result}"))
}

fn arguments(input: &str, id: &str) -> Value {
    json!({"input": input, "id": id})
}
