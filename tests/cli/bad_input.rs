//! Whatever is wrong with what a user gives: a clear error, the right exit code, nothing lost.

use std::process::Command;

use serde_json::json;

use crate::support::mcp;
use crate::support::model::{Model, Say};
use crate::support::project::Project;

fn answers() -> (Model, Project) {
    let model = Model::new(|_, _| Say::Text("hello"));
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    (model, project)
}

#[test]
fn runs_that_cannot_be_found_are_named() {
    let (_model, project) = answers();
    for words in [&["ls"][..], &["show", "r"], &["resume"], &["signal", "r", "x"], &["verify"], &["trust", "r"]] {
        let out = project.abide(&[words, &["--json"]].concat()).is(6);
        assert_eq!(out.error()["code"], "no_database", "{words:?}");
    }
    assert!(!project.db().exists(), "only run makes a database");
    for id in ["twin-1", "twin-2"] {
        project.abide(&["run", "helper.md", "hi", "--id", id]).is(0);
    }
    for (words, code, error, says) in [
        (&["show", "nope"][..], 6, "no_such_run", "`nope`"),
        (&["resume", "nope"], 6, "no_such_run", "`nope`"),
        (&["show", "twin"], 2, "ambiguous", "twin-1"),
        (&["resume", "twin"], 2, "ambiguous", "twin-2"),
        (&["signal", "twin-1", "x"], 2, "ended", "completed"),
        (&["resolve", "twin-1", "--retry"], 2, "ended", "completed"),
    ] {
        let out = project.abide(&[words, &["--json"]].concat()).is(code);
        assert_eq!(out.error()["code"], error, "{words:?}");
        assert!(out.error()["message"].as_str().unwrap().contains(says), "{out:?}");
        assert!(!out.error()["help"].as_str().unwrap().is_empty(), "{out:?}");
    }
}

#[test]
fn wrong_use_is_told_with_exit_2() {
    let (model, project) = answers();
    for words in [
        &["run"][..],
        &["run", "helper.md"],
        &["run", "helper.md", "  "],
        &["run", "helper.md", "@none.txt"],
        &["run", "helper.md", "hi", "--id", ""],
        &["run", "helper.md", "hi", "--id", "a\nb"],
        &["run", "helper.md", "hi", "--nonsense"],
        &["frobnicate"],
        &["ls", "--limit", "many"],
    ] {
        let out = project.abide(&[words, &["--json"]].concat()).is(2);
        assert!(out.stdout.is_empty(), "{out:?}");
        assert!(!out.error()["message"].as_str().unwrap().is_empty(), "{out:?}");
        project.abide(words).is(2);
    }
    project.abide(&["run", "nobody", "hi"]).is(6).says("there is no agent `nobody`");
    project.abide(&["run", "helper.md", "hi", "--model", "nomodel"]).is(8).says("there is no model `nomodel`");
    assert_eq!(model.count(), 0);
    assert!(project.abide(&["--help"]).is(0).stdout.contains("abide [OPTIONS] <COMMAND>"));
    assert!(project.abide(&["--version"]).is(0).stdout.starts_with("abide "));
}

#[test]
fn a_database_that_is_not_ours_is_refused_and_left_alone() {
    let (_model, project) = answers();
    let dir = project.dir.path().to_owned();
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("text.db"), "just some text, longer than a header of a hundred bytes would be".repeat(9))
        .unwrap();
    std::fs::write(file("empty.db"), "").unwrap();
    let other = rusqlite::Connection::open(file("other.db")).unwrap();
    other.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 3;").unwrap();
    project.abide(&["run", "helper.md", "hi", "--id", "r", "--db", &file("newer.db")]).is(0);
    let newer = rusqlite::Connection::open(file("newer.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 4711").unwrap();
    drop((other, newer));
    for (name, says) in [
        ("text.db", "not a database"),
        ("empty.db", "0 bytes"),
        ("other.db", "another program"),
        ("newer.db", "newer abide"),
        ("", "not a file"),
    ] {
        let before = std::fs::read(file(name)).ok();
        for words in [&["ls"][..], &["run", "helper.md", "hi"], &["resume"]] {
            let out = project.abide(&[words, &["--json", "--db", &file(name)]].concat()).is(8);
            assert_eq!(out.error()["code"], "database");
            assert!(out.error()["message"].as_str().unwrap().contains(says), "{out:?}");
        }
        assert_eq!(std::fs::read(file(name)).ok(), before, "{name} is as it was");
    }
    project.abide(&["run", "helper.md", "hi", "--db", &file("no/such/folder.db")]).is(8).says("does not exist");
    let read_only = file("ro.db");
    project.abide(&["run", "helper.md", "hi", "--db", &read_only]).is(0);
    // Where a system knows links by that command.
    let linked = Command::new("ln").args(["-s", &read_only, &file("link.db")]).status();
    if linked.is_ok_and(|status| status.success()) {
        project.abide(&["ls", "--db", &file("link.db")]).is(8).says("symbolic link");
        project.abide(&["run", "helper.md", "hi", "--db", &file("link.db")]).is(8).says("symbolic link");
    }
    let mut permissions = std::fs::metadata(&read_only).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions).unwrap();
    project.abide(&["ls", "--db", &read_only]).is(8).says("read-only");
}

#[test]
fn broken_files_are_named_with_their_line() {
    let (model, project) = answers();
    let settings = std::fs::read_to_string(project.root.join("abide.toml")).unwrap();
    for (file, text, says) in [
        ("abide.toml", "[models\n", "abide.toml:1"),
        ("abide.toml", "[modells.x]\n", "models"),
        (".mcp.json", "{\"mcpServers\": {", ".mcp.json"),
        ("helper.md", "---\nname: [\n---\nx\n", "helper.md"),
        ("helper.md", "---\nname: helper\nmodel: local\n---\n", "no instructions"),
        ("helper.md", "---\nname: helper\nmcpServers: [none]\n---\nx\n", "`none`"),
    ] {
        let before = std::fs::read_to_string(project.root.join(file)).unwrap();
        project.write(file, text);
        let out = project.abide(&["run", "helper.md", "hi", "--json"]).is(8);
        let error = out.error().to_string();
        assert!(error.contains(says), "{file}: {error}");
        project.write(file, &before);
    }
    assert_eq!(std::fs::read_to_string(project.root.join("abide.toml")).unwrap(), settings);
    assert!(!project.db().exists(), "nothing was begun");
    project.abide(&["run", "helper.md", "hi"]).is(0);
    assert_eq!(model.count(), 1);
}

#[test]
fn a_server_that_does_not_start_stops_the_run_and_it_can_be_resumed() {
    let (model, project) = answers();
    project.write(".mcp.json", "{\"mcpServers\": {\"gone\": {\"command\": \"./no-such-program\"}}}");
    let out = project.abide(&["run", "helper.md", "hi", "--id", "r", "--trust", "--json"]).is(8);
    assert_eq!(out.error()["code"], "environment");
    assert!(out.error()["message"].as_str().unwrap().contains("no-such-program"), "{out:?}");
    assert_eq!((&out.json()["run"]["status"], model.count()), (&json!("interrupted"), 0));
    project.abide(&["resume", "r", "--trust"]).is(8).says("no-such-program");
    project.abide(&["resume", "--trust"]).is(8);
}

#[test]
fn a_model_that_answers_garbage_is_asked_again_and_a_refusal_is_final() {
    let model = Model::new(|n, asked| match (n, asked.body["messages"][1]["content"].as_str().unwrap()) {
        (_, "refuse") => Say::Status(400, json!({"error": {"message": "no such model"}}), vec![]),
        (0, _) => Say::Garbage("<html>a proxy's page</html>"),
        (1, _) => Say::Garbage("{\"choices\": []}"),
        _ => Say::Text("at last"),
    });
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    let out = project.abide(&["run", "helper.md", "hi", "--id", "r"]).is(0);
    assert_eq!(out.stdout, "at last\n");
    assert_eq!(project.show("r")["steps"][0]["attempts"], 3);
    let failed = project.abide(&["run", "helper.md", "refuse", "--id", "f", "--json"]).is(1);
    assert_eq!(failed.json()["run"]["status"], "failed");
    assert!(failed.error()["message"].as_str().unwrap().contains("no such model"), "{failed:?}");
    project.abide(&["resume", "f"]).is(1).says("no such model");
}

#[test]
fn servers_that_cannot_be_used_are_told_once_each_and_in_plain_words() {
    let model = Model::new(|_, _| Say::Text("never asked"));
    let project = Project::new(&model);
    let servers = json!({"mcpServers": {
        "fix": mcp::declaration(),
        "gone": {"command": "no-such-program-anywhere"},
        "ends": {"command": env!("CARGO_BIN_EXE_abide"), "args": ["--version"]},
        "web": {"type": "http", "url": "http://127.0.0.1:9/mcp"},
    }});
    project.write(".mcp.json", &servers.to_string());
    let out = project.abide(&["tools", "--trust"]).is(8);
    assert!(out.stdout.contains("does write"), "one that cannot be used hides no other: {}", out.stdout);
    for words in [
        "`no-such-program-anywhere` was not found",
        "it ended before it had answered",
        "it could not be spoken to",
        "3 of 4 servers could not be listed",
    ] {
        assert_eq!(out.stderr.matches(words).count(), 1, "{words}: {}", out.stderr);
    }
    assert!(!out.stderr.contains("::"), "no names of the program's own parts: {}", out.stderr);
    let alone = project.abide(&["tools", "gone", "--trust"]).is(8);
    assert_eq!(alone.stderr.matches("was not found").count(), 1, "{}", alone.stderr);
}
