//! The part of the corpus that agents wrote: their runs replay in the binary, from what they carry, and it finishes them. The model is scripted and
//! the server a small one of this test binary; the journals name both by variables, so that nothing of a machine is in them.

use std::process::Command;

use serde_json::{Value, json};

use super::acts::Act;
use super::corpus;
use super::journal::{Ends, Journal, Line, folder};
use crate::support::model::{Model, Say};
use crate::support::project::{Out, Project, out};

const NAME: &str = "agents";

/// What the model says in every story, now and later.
fn model() -> Model {
    Model::by_turn(vec![
        Say::Calls(vec![("fix_read", json!({"path": "a"})), ("fix_read", json!({"path": "b"}))]),
        Say::Calls(vec![("fix_write", json!({"path": "c", "text": "t".repeat(300)}))]),
        Say::Text("written"),
    ])
}

/// A project whose files name model and server by variables.
fn project(model: &Model) -> Project {
    let project = Project::new(model);
    let settings = "[models.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:${ABIDE_TEST_PORT}/v1\"\nmodel = \"m\"\napi_key = \"${TEST_KEY}\"\n";
    project.write("abide.toml", settings);
    let mut server = crate::support::mcp::declaration();
    server["command"] = json!("${ABIDE_TEST_SERVER}");
    project.write(".mcp.json", &json!({"mcpServers": {"fix": server}}).to_string());
    project
}

fn abide(project: &Project, model: &Model, words: &[&str]) -> Out {
    let mut command: Command = project.command(&project.root, words);
    let port = model.base_url.trim_end_matches("/v1").rsplit(':').next().unwrap();
    command.env("ABIDE_TEST_PORT", port).env("ABIDE_TEST_SERVER", std::env::current_exe().unwrap());
    out(command.spawn().unwrap())
}

/// Puts a journal into the project's database, replays it without a call, lets happen what then happens, and tells what came of it.
fn play_on(journal: &Journal) -> Vec<Ends> {
    let model = model();
    let project = project(&model);
    std::fs::create_dir(project.db().parent().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { abide::Abide::open(project.db()).start().await.unwrap().shutdown().await });
    journal.fill(&rusqlite::Connection::open(project.db()).unwrap(), Some(&project.root.to_string_lossy()));
    let replays = || {
        let all = abide(&project, &model, &["replay", "--all", "--json"]).is(0).json();
        assert!(all["runs"].as_array().unwrap().iter().all(|run| run["verdict"] == "same"), "{}: {all}", journal.name);
        abide(&project, &model, &["verify"]).is(0);
    };
    replays();
    assert_eq!((model.count(), project.calls().len()), (0, 0), "{}: a replay called something", journal.name);
    for one in journal.then() {
        let Act::Words { words, code } = one else { panic!("{}: {one:?}", journal.name) };
        abide(&project, &model, &words.iter().map(String::as_str).collect::<Vec<_>>()).is(*code);
    }
    replays();
    let ends = |run: &str| {
        let shown: Value = abide(&project, &model, &["show", run, "--json"]).is(0).json();
        let text = |what: &str| shown["run"][what].as_str().map(str::to_owned);
        let status = text("status").unwrap();
        Ends {
            run: run.to_owned(),
            status,
            waiting_for: text("waiting_for"),
            output: Some(shown["run"]["output"].clone()),
            error: text("error"),
        }
    };
    journal.runs().map(|run| ends(&run.id)).collect()
}

#[test]
fn recorded_agents_replay_and_finish_as_they_did() {
    let (mut files, mut runs) = (0, 0);
    for journal in corpus::all().into_iter().filter(Journal::is_agents) {
        assert_eq!(play_on(&journal), journal.ends(), "{}", journal.name);
        files += 1;
        runs += journal.runs().count();
    }
    println!(
        "{files} recorded journals of agents, {runs} runs replayed and finished: 0 differences, 0 calls made by a replay"
    );
    assert!(files > 0);
}

/// Writes the file if this version does not have it yet.
#[test]
fn record() {
    let name = format!("{}/{NAME}.jsonl", env!("CARGO_PKG_VERSION"));
    if std::env::var_os("ABIDE_RECORD").is_none() || folder().join(&name).exists() {
        return;
    }
    let model = model();
    let project = project(&model);
    let start = |id: &str, more: &[&str], code: i32| {
        let words = [&["run", "helper.md", "do it", "--id", id, "--trust"], more].concat();
        abide(&project, &model, &words).is(code);
    };
    start("ended", &["--yes"], 0);
    start("asks", &[], 3);
    start("asked", &[], 3);
    abide(&project, &model, &["approve", "asked", "--all", "--resume", "--trust"]).is(3);
    let words =
        |words: &[&str], code: i32| Act::Words { words: words.iter().map(|word| (*word).to_owned()).collect(), code };
    let then = [
        words(&["approve", "asks", "--all", "--resume", "--trust"], 3),
        words(&["deny", "asks", "--resume", "--trust"], 0),
        words(&["approve", "asked", "--resume", "--trust"], 0),
    ];
    let shows = "runs of an agent: one that ended, one that asks for its first calls, one for its last";
    let conn = rusqlite::Connection::open(project.db()).unwrap();
    let mut journal = Journal::dump(&name, &conn, shows, 0, &then);
    let ends = play_on(&journal);
    println!("{name}: {ends:?}");
    journal.lines.extend(ends.into_iter().map(Line::Ends));
    // What was read from files names them; the rows, which are chained, do not.
    journal.move_definitions(&project.root.display().to_string(), "/project");
    let text = journal.text();
    let exe = std::env::current_exe().unwrap().display().to_string();
    for place in [project.root.display().to_string(), exe, model.base_url.clone()] {
        assert!(!text.contains(&place), "{place} is in it");
    }
    journal.write();
}
