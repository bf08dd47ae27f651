//! `abide demo`, as a person calls it: it must succeed, and it must be able to fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn demo(words: &[&str], temp: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
    command.arg("demo").args(words).env("TMPDIR", temp).env("TMP", temp).env("TEMP", temp).current_dir(temp);
    // Nothing of the user's own may get in the way.
    command.env("HTTP_PROXY", "http://127.0.0.1:1").env("ABIDE_DB", "elsewhere.db");
    command.env_remove("ABIDE_DEMO_SERVER_DOUBLE").envs(env.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn abide(words: &[&str], db: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_abide")).args(words).arg("--db").arg(db).output().unwrap()
}

#[test]
fn it_kills_and_resumes_repeats_nothing_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let done = demo(&[], temp.path(), &[]);
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{out}{err}");
    for part in [
        "script, not an AI",
        "Completed: 5 model calls and 6 tool calls",
        "After the kill: 8 replayed from the journal, 3 called live;\n0 completed calls repeated.",
        "1 model call was in flight",
        "[scripted reply, no AI] I read 2 files and kept 2 notes.",
    ] {
        assert!(out.contains(part), "no {part:?} in:\n{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_call_that_the_server_counts_twice_is_named_and_fails_it() {
    let temp = tempfile::tempdir().unwrap();
    // One call before the kill and one after it.
    for (call, tool) in [("4", "add_note"), ("6", "list_notes")] {
        let done = demo(&["--json"], temp.path(), &[("ABIDE_DEMO_SERVER_DOUBLE", call)]);
        assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&told["ok"], &told["repeated"]), (&Value::Bool(false), &Value::from(1)), "{told:#}");
        let named = told["wrong"].as_array().unwrap();
        assert!(named.len() == 1 && named[0].as_str().unwrap().contains(tool), "{told:#}");
    }
    let done = demo(&[], temp.path(), &[("ABIDE_DEMO_SERVER_DOUBLE", "4")]);
    assert_eq!(done.status.code(), Some(1));
    let out = text(&done.stdout);
    assert!(out.contains("1 completed call REPEATED") && out.contains("wrong: `note-taker/demo_add_note"), "{out}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn what_it_keeps_can_be_looked_at() {
    let temp = tempfile::tempdir().unwrap();
    let done = demo(&["--keep", "--json"], temp.path(), &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let folder = PathBuf::from(told["folder"].as_str().unwrap());
    let db = folder.join("runs.db");

    let shown = abide(&["show", "demo", "--json"], &db);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["run"]["status"], "completed");
    let calls =
        shown["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == "llm" || step["kind"] == "tool");
    assert_eq!(calls.count(), told["calls"].as_array().unwrap().len());
    assert_eq!(abide(&["verify"], &db).status.code(), Some(0));

    // The notes themselves: each was written once.
    let notes = std::fs::read_to_string(folder.join("files").join("notes.md")).unwrap();
    assert_eq!(notes.lines().count(), 2, "{notes}");
}
