//! The same with the binary itself: an agent's run, killed while it starts its server, asks its model or calls a tool, and resumed until it
//! ends. The model's and the server's own records are the judge.

use std::time::Duration;

use serde_json::{Value, json};

use crate::proof::dice::Dice;
use crate::support::model::{Asked, Model, Say};
use crate::support::project::{Project, out};

const SETTINGS: &str =
    "[tools.\"fix_*\"]\npolicy = \"allow\"\n[tools.\"fix_read\"]\npolicy = \"allow\"\neffect = \"pure\"\n";

fn turn(asked: &Asked) -> usize {
    asked.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count()
}

fn script() -> Model {
    Model::by_turn(vec![
        Say::Calls(vec![("fix_read", json!({"n": 1})), ("fix_write", json!({"n": 2}))]),
        Say::Calls(vec![("fix_write", json!({"n": 3}))]),
        Say::Calls(vec![("fix_read", json!({"n": 4}))]),
        Say::Text("done"),
    ])
}

/// Says what became of each call in doubt, as the server wrote it down.
fn resolve(project: &Project) {
    let document = project.show("r");
    let steps = document["steps"].as_array().unwrap();
    for step in steps.iter().filter(|step| step["status"] == "in_doubt") {
        let (id, arguments) = (step["id"].as_str().unwrap(), &step["input"]["arguments"]);
        let happened = project.calls().iter().any(|(name, given)| name == "write" && given == arguments);
        let text = json!({"content": [{"type": "text", "text": "it was written"}], "isError": false}).to_string();
        let verdict: &[&str] = if happened { &["--result", &text] } else { &["--retry"] };
        let words: Vec<&str> = ["resolve", "r", "--step", id].iter().chain(verdict).copied().collect();
        project.abide(&words).is(0);
    }
}

/// Calls the binary until the run has ended.
fn finish(project: &Project, seed: u64) {
    for _ in 0..20 {
        let call = project.abide(&["resume", "r", "--trust"]);
        match call.code {
            0 => return assert_eq!(call.stdout, "done\n", "seed {seed}"),
            3 => resolve(project),
            // Killed before its start was committed: nothing of it was acknowledged.
            6 => drop(project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"])),
            code => panic!("seed {seed}: {code}: {call:?}"),
        }
    }
    panic!("seed {seed}: stuck: {}", project.show("r"));
}

/// One run, killed a few times. How often it was.
fn play(dice: &mut Dice, seed: u64) -> u64 {
    let model = script();
    let project = Project::new(&model);
    project.settings(&model, SETTINGS);
    let mut kills = 0;
    for n in 0..4 {
        let words: &[&str] =
            if n == 0 { &["run", "helper.md", "go", "--id", "r", "--trust"] } else { &["resume", "r", "--trust"] };
        let mut child = project.spawn(words);
        std::thread::sleep(Duration::from_micros(dice.below(80_000)));
        let _ = child.kill();
        kills += u64::from(out(child).code == -1);
    }
    finish(&project, seed);
    let turns: Vec<usize> = model.asked().iter().map(turn).collect();
    assert!(turns.is_sorted(), "seed {seed}: a completed request was sent again: {turns:?}");
    let written = |n: u32| project.calls().iter().filter(|(name, a)| name == "write" && a["n"] == n).count();
    assert_eq!((written(2), written(3)), (1, 1), "seed {seed}: a call that is to happen once: {:?}", project.calls());
    let runs: Value = project.show("r")["run"].clone();
    assert_eq!(runs["status"], "completed", "seed {seed}");
    verify(&project);
    kills
}

fn verify(project: &Project) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = abide::Abide::open(project.db()).recover(false).existing().start().await.unwrap();
        assert!(abide.verify(None).unwrap().broken.is_empty());
        abide.shutdown().await;
    });
}

#[test]
fn a_killed_binary_goes_on_where_it_was() {
    let wanted = crate::proof::count("kills of the binary", 6, 500);
    let seed = crate::proof::seed();
    let mut dice = Dice::new(seed);
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        kills += play(&mut dice, seed);
        runs += 1;
    }
    println!(
        "{kills} kills of the binary in {runs} agents' runs: 0 calls of a tool repeated, 0 requests repeated, 0 runs stuck"
    );
}
