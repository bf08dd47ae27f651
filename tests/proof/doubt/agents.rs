//! The same with the real binary: an agent's calls of an MCP server, side by side, cut off by `kill -9`, and decided by `abide resolve` and by
//! a probe named in the settings. What the server has received is the judge. It never looks into the database.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::dice::Dice;
use crate::support::mcp;
use crate::support::model::{Model, Say};
use crate::support::project::{Project, out};

/// Calls side by side.
const WIDE: u64 = 16;

const RULES: &str = r#"
[servers.fix]
trust = true
[tools."fix_*"]
policy = "allow"
[tools."fix_peek"]
effect = "pure"
[tools."fix_put"]
effect = "idempotent"
[tools."fix_pay"]
effect = "once"
[tools."fix_wire"]
effect = "once"
reconcile = "fix_find"
"#;

/// What the calls of a run have come to so far.
struct Case {
    project: Project,
    dice: Dice,
    /// The tool of each call, and what `fix_find` says of it.
    tools: Vec<(&'static str, &'static str)>,
    /// How often somebody has said of a call that it did not happen.
    retries: BTreeMap<u64, usize>,
    kills: u64,
}

#[test]
fn calls_of_a_server_are_never_repeated_undecided() {
    let (cases, seed) = (super::super::count("doubt of agents", 2, 30), super::super::seed());
    let (next, kills) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::SeqCst);
                    if case >= cases {
                        return;
                    }
                    kills.fetch_add(play(seed.wrapping_mul(1_000_003).wrapping_add(case)), Ordering::SeqCst);
                }
            });
        }
    });
    println!(
        "{} kills of the binary in {cases} runs of {WIDE} calls: 0 once calls repeated undecided, every idempotency key kept",
        kills.load(Ordering::SeqCst)
    );
}

/// One run to its end; how often it was killed.
fn play(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let tools: Vec<_> = (0..WIDE)
        .map(|_| {
            let tool = *dice.one(&["fix_peek", "fix_put", "fix_pay", "fix_wire", "fix_pay", "fix_wire"]);
            (tool, *dice.one(&["landed", "did_not_happen", "unknown"]))
        })
        .collect();
    let call = |i: u64, (tool, find): (&'static str, &str)| {
        let arguments = json!({"n": i, "stall": u64::from(Dice::new(seed ^ i).below(4) > 0), "find": {"status": find}});
        (tool, arguments)
    };
    let calls = (0..).zip(&tools).map(|(i, tool)| call(i, *tool)).collect();
    let model = Model::by_turn(vec![Say::Calls(calls), Say::Text("over")]);
    let project = Project::new(&model);
    project.settings(&model, RULES);
    let mut case = Case { project, dice, tools, retries: BTreeMap::new(), kills: 0 };
    let mut words = vec!["run", "helper.md", "go", "--id", "r", "--trust"];
    // Each process ends by itself, or is killed when the server has received a few more calls.
    for _ in 0..40 {
        let more = 1 + case.dice.below(if words[0] == "run" { WIDE } else { 6 });
        let code = case.work(&words, more as usize);
        let shown = case.project.show("r");
        case.look(&shown);
        match code {
            Some(0) => {
                case.end(&shown);
                assert_eq!(model.count(), 2, "seed {seed}: no request of the model was repeated");
                return case.kills;
            }
            None | Some(3) => {}
            Some(code) => panic!("seed {seed}: exit code {code}"),
        }
        case.decide(&shown);
        words = vec!["resume", "r", "--trust"];
    }
    panic!("seed {seed}: the run never came to its end");
}

impl Case {
    /// Starts the binary and kills it when so many more calls have come. Its exit code, if it ended by itself.
    fn work(&mut self, words: &[&str], more: usize) -> Option<i32> {
        let wanted = self.project.calls().len() + more;
        let mut child: Child = self.project.spawn(words);
        loop {
            if child.try_wait().unwrap().is_some() {
                return Some(out(child).code);
            }
            let received = std::fs::read_to_string(self.project.log()).unwrap_or_default().matches('\n').count();
            if received >= wanted {
                child.kill().unwrap();
                child.wait().unwrap();
                self.kills += 1;
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the server has received agrees with what was decided.
    fn look(&self, shown: &Value) {
        let mut keys = BTreeMap::<u64, BTreeSet<String>>::new();
        let (mut times, mut asked) = (BTreeMap::<u64, usize>::new(), BTreeMap::<u64, usize>::new());
        for ((tool, arguments), key) in self.project.calls().into_iter().zip(mcp::keys(&self.project.log())) {
            let i = arguments["n"].as_u64().unwrap();
            keys.entry(i).or_default().insert(key);
            *if tool == "find" { &mut asked } else { &mut times }.entry(i).or_default() += 1;
        }
        assert!(keys.values().all(|keys| keys.len() == 1), "a call came with several keys: {keys:?}");
        assert_eq!(keys.values().flatten().collect::<BTreeSet<_>>().len(), keys.len(), "two calls have one key");
        for step in shown["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == "tool") {
            let i = step["input"]["arguments"]["n"].as_u64().unwrap();
            let (tool, find) = self.tools[i as usize];
            if matches!(tool, "fix_peek" | "fix_put") {
                assert_ne!(step["status"], "in_doubt", "{step}");
                continue;
            }
            let denied = tool == "fix_wire" && find == "did_not_happen";
            let probed = asked.get(&i).copied().filter(|_| denied).unwrap_or_default();
            let decided = self.retries.get(&i).copied().unwrap_or_default() + probed;
            let times = times.get(&i).copied().unwrap_or_default();
            assert!(times <= 1 + decided, "{times} calls and {decided} decisions: {step}");
            if step["resolved"].is_null() && times > 0 {
                assert!(step["status"] == "completed" || step["status"] == "in_doubt", "{step}");
            }
        }
    }

    /// Somebody decides one after the other, in any order, and now and then leaves one for later.
    fn decide(&mut self, shown: &Value) {
        let steps = shown["steps"].as_array().unwrap();
        let mut doubts: Vec<&Value> = steps.iter().filter(|step| step["status"] == "in_doubt").collect();
        while !doubts.is_empty() {
            let step = doubts.swap_remove(self.dice.below(doubts.len() as u64) as usize);
            let i = step["input"]["arguments"]["n"].as_u64().unwrap();
            let waits_for_probe =
                self.tools[i as usize].0 == "fix_wire" && !step["error"].to_string().contains("its probe");
            if waits_for_probe || self.dice.below(4) == 0 {
                continue;
            }
            let result = json!({"content": [{"type": "text", "text": format!("said of {i}")}]}).to_string();
            let said = match self.dice.below(3) {
                0 => vec!["--retry"],
                1 => vec!["--result", &result],
                _ => vec!["--fail", "said"],
            };
            let id = step["id"].as_str().unwrap();
            let words = [&["resolve", "r", "--step", id, "--json"][..], &said].concat();
            let recorded = self.project.abide(&words).is(0).json();
            let new = recorded["recorded"][0]["new"] == true;
            if new && said[0] == "--retry" {
                *self.retries.entry(i).or_default() += 1;
            }
            if self.dice.below(4) == 0 {
                let again = [&["resolve", "r", "--step", id, "--json"][..], &["--fail", "said twice"]].concat();
                assert_eq!(
                    self.project.abide(&again).is(0).json()["recorded"][0]["new"],
                    false,
                    "the first word counts"
                );
            }
        }
    }

    /// Each call has come to what was decided of it.
    fn end(&self, shown: &Value) {
        let steps = shown["steps"].as_array().unwrap();
        let tools: Vec<&Value> = steps.iter().filter(|step| step["kind"] == "tool").collect();
        assert_eq!(tools.len() as u64, WIDE);
        for step in tools {
            let i = step["input"]["arguments"]["n"].as_u64().unwrap();
            let text = step["output"]["content"][0]["text"].as_str().unwrap_or_default();
            match (step["resolved"].as_str(), step["resolved_by"].as_str()) {
                (Some("landed"), Some("person")) => assert_eq!(text, format!("said of {i}")),
                (Some("landed"), Some("probe")) => assert!(text.contains("The call has happened."), "{step}"),
                (Some("fail"), Some("person")) => {
                    assert_eq!((&step["status"], &step["error"]), (&json!("failed"), &json!("said")))
                }
                (Some("retry"), Some("person" | "probe")) | (None, None) => assert!(text.contains(" of {"), "{step}"),
                other => panic!("{other:?}: {step}"),
            }
        }
    }
}
