//! Workflows from a file alone: `[workflows]` run, killed and resumed without a call that is made again, and refused when they cannot work.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::model::{Asked, Model, Say};
use crate::support::project::{Project, out};

/// An answer in words.
pub fn says(text: &str) -> Say {
    let message = json!({"role": "assistant", "content": text});
    Say::Body(json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2}}))
}

/// Instructions, and all that was said after them.
pub fn heard(asked: &Asked) -> (String, String) {
    let text = |content: &Value| match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let messages = asked.body["messages"].as_array().unwrap();
    let of = |system: bool| {
        let some = messages.iter().filter(|message| (message["role"] == "system") == system);
        some.map(|message| text(&message["content"])).collect::<Vec<_>>().join("\n\n")
    };
    (of(true), of(false))
}

/// A project with these workflows, and agents that call themselves by their instructions.
pub fn project(model: &Model, workflows: &str, agents: &[&str]) -> Project {
    let project = Project::new(model);
    project.write(".mcp.json", "{}");
    project.settings(model, &format!("[defaults]\nmodel = \"local\"\n{workflows}"));
    std::fs::create_dir_all(project.root.join(".abide/agents")).unwrap();
    for agent in agents {
        let text = format!("---\nname: {agent}\ndescription: a good {agent}\n---\nYou are {agent}.\n");
        project.write(&format!(".abide/agents/{agent}.md"), &text);
    }
    project
}

/// How often each request came, by its body.
pub fn counted(model: &Model) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for asked in model.asked() {
        *counts.entry(asked.body.to_string()).or_default() += 1;
    }
    counts
}

const REPORT: &str = "[workflows.report]\npattern = \"orchestrator\"\nagents = [\"researcher\", \"draft\"]\n\
                      [workflows.draft]\npattern = \"evaluator-optimizer\"\nagents = [\"writer\"]\nevaluator = \"reviewer\"\n\
                      at_least = 8\nrefinements = 3\ndescription = \"Writes what is reviewed\"\n";

/// Everybody of `REPORT`; what `hold` says of a request is not answered at first.
fn report(hold: fn(usize, &str, &str) -> bool) -> Model {
    Model::new(move |n, asked| {
        let (system, said) = heard(asked);
        if hold(n, &system, &said) {
            return Say::Held("never delivered");
        }
        if system.contains("You plan how") {
            let step = |agent: &str, what: &str| json!({"agent": agent, "instruction": what});
            let plan = match said.contains("What is done already") {
                false => json!({"complete": false, "steps": [
                    {"assignments": [step("researcher", "find one"), step("researcher", "find two")]},
                    {"assignments": [step("draft", "write it up")]}]}),
                true => json!({"complete": true, "steps": []}),
            };
            return says(&plan.to_string());
        }
        if system.contains("You make one answer") {
            return says("the report");
        }
        if system.contains("You rate") {
            let rating = if said.contains("second draft") { 9 } else { 5 };
            return says(&json!({"rating": rating, "feedback": "longer"}).to_string());
        }
        match system.trim() {
            "You are researcher." => says(&format!("found: {}", said.rsplit("\n\n").next().unwrap())),
            "You are writer." if said.contains("longer") => says("second draft"),
            "You are writer." => says("first draft"),
            other => panic!("{other}: {said}"),
        }
    })
}

#[test]
fn a_workflow_in_a_workflow_runs_from_a_file_alone() {
    let model = report(|_, _, _| false);
    let project = project(&model, REPORT, &["researcher", "writer", "reviewer"]);
    let out = project.abide(&["run", "report", "the topic", "--id", "r"]).is(0);
    assert_eq!(out.stdout, "the report\n");
    let shown = project.show("r");
    assert_eq!(shown["run"]["workflow"], "workflow:report");
    let mut ids: Vec<&str> = shown["steps"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let expected = [
        "planner#2/llm",
        "planner/llm",
        "step#2[0]/draft/reviewer#2/llm",
        "step#2[0]/draft/reviewer/llm",
        "step#2[0]/draft/writer#2/llm",
        "step#2[0]/draft/writer/llm",
        "step[0]/researcher/llm",
        "step[1]/researcher/llm",
        "synthesizer/llm",
    ];
    assert_eq!(ids, expected.map(|id| format!("report/{id}")));
    assert!(project.abide(&["ls"]).is(0).stdout.contains("workflow:report  completed"));
    project.abide(&["replay", "--all"]).is(0);
}

#[test]
fn a_workflow_that_is_killed_in_the_middle_makes_no_call_again_and_needs_no_file() {
    // The 5th request is the first draft, the 8th the second rating.
    for held in [1, 4, 7] {
        let model = match held {
            1 => report(|n, _, _| n == 1),
            4 => report(|n, _, _| n == 4),
            _ => report(|n, _, _| n == 7),
        };
        let project = project(&model, REPORT, &["researcher", "writer", "reviewer"]);
        let mut killed = project.spawn(&["run", "report", "the topic", "--id", "r"]);
        // Of two side by side, the other one may still be on its way.
        model.wait_for(if held == 1 { 3 } else { held + 1 });
        project.wait_until("r", |shown| {
            let open = shown["steps"].as_array().unwrap().iter().filter(|step| step["status"] != "completed");
            open.count() == 1
        });
        killed.kill().unwrap();
        out(killed);
        std::fs::remove_dir_all(project.root.join(".abide/agents")).unwrap();
        project.write("abide.toml", "");
        assert_eq!(project.abide(&["resume", "r"]).is(0).stdout, "the report\n", "held {held}");
        let counts = counted(&model);
        assert_eq!(counts.values().filter(|n| **n > 1).count(), 1, "{held}: only the call in flight was made again");
        assert_eq!((model.count(), counts.len()), (10, 9), "{held}");
    }
}

const EVERY: &str = r#"[models.vectors]
provider = "openai"
base_url = "BASE"
model = "v"
[workflows.steps]
pattern = "chain"
agents = ["writer", "researcher"]
[workflows.all]
pattern = "parallel"
agents = ["writer", "researcher"]
fan_in = "steps"
[workflows.desk]
pattern = "router"
agents = ["writer", "steps"]
[workflows.likest]
pattern = "router"
embed = "vectors"
agents = ["writer", "researcher"]
[workflows.want]
pattern = "classifier"
[workflows.want.intents]
refund = ["money back"]
bug = ["it crashes"]
[workflows.near]
pattern = "classifier"
embed = "vectors"
intents = { zoo = ["zzz"], bees = ["bbb", "ebb"] }
[workflows.hands]
pattern = "swarm"
agents = ["writer", "steps"]
variables = { customer = "Ada" }
[workflows.study]
pattern = "deep-orchestrator"
agents = ["writer", "all"]
max_turns = 50
[workflows.each]
pattern = "map"
agents = ["writer"]
parallel = 2
"#;

/// Everybody of `EVERY`.
fn everybody() -> Model {
    Model::new(|_, asked| {
        if let Some(texts) = asked.body["input"].as_array() {
            let of = |text: &Value| ["z", "b", "w", "r"].map(|c| text.as_str().unwrap().matches(c).count());
            let data = texts.iter().map(|text| json!({"embedding": of(text)}));
            return Say::Body(json!({"data": data.collect::<Vec<_>>()}));
        }
        let (system, said) = heard(asked);
        let given = |value: Value| says(&value.to_string());
        if system.contains("You decide who") {
            return given(json!({"choices": [{"name": "steps", "confidence": 1.0, "reason": "all of it"}]}));
        }
        if system.contains("You find out what") {
            return given(json!({"intents": [{"name": "bug", "confidence": 0.9, "entities": []}]}));
        }
        if system.contains("You plan how") {
            let complete = said.contains("What is done already");
            let one = json!({"name": "a", "agent": "all", "instruction": "do it", "needs": []});
            return given(
                json!({"complete": complete, "steps": if complete { json!([]) } else { json!([{"assignments": [one]}]) }}),
            );
        }
        if system.contains("You keep what") {
            return given(json!({"facts": []}));
        }
        if system.contains("You make one answer") {
            return says("concluded");
        }
        if system.contains("customer: Ada") {
            return Say::Calls(vec![("hand_over_to_steps", json!({"why": "yours", "variables": []}))]);
        }
        says(&format!("{} heard", if system.contains("writer") { "writer" } else { "researcher" }))
    })
}

#[test]
fn every_pattern_runs_from_a_file_and_replays() {
    let model = everybody();
    let project = project(&model, &EVERY.replace("BASE", &model.base_url), &["writer", "researcher"]);
    let each = json!([{"item": "x", "answer": "writer heard"}, {"item": "y", "answer": "writer heard"}]);
    let intents =
        |name: &str, confidence: f64| json!({"intents": [{"name": name, "confidence": confidence, "entities": {}}]});
    for (name, input, output) in [
        ("steps", "x", json!("researcher heard")),
        ("all", "x", json!("researcher heard")),
        ("desk", "x", json!("researcher heard")),
        ("likest", "rrr", json!("researcher heard")),
        ("want", "x", intents("bug", 0.9)),
        ("near", "zz", intents("zoo", 1.0)),
        ("hands", "x", json!("researcher heard")),
        ("study", "x", json!("concluded")),
        ("each", "x\ny", each),
    ] {
        let run = project.abide(&["run", name, input, "--id", name, "--json"]).is(0).json();
        assert_eq!((&run["run"]["output"], &run["run"]["workflow"]), (&output, &json!(format!("workflow:{name}"))));
    }
    let asked = model.count();
    let all = project.abide(&["replay", "--all", "--json"]).is(0).json();
    assert!(all["runs"].as_array().unwrap().iter().all(|run| run["verdict"] == "same"), "{all}");
    assert_eq!(model.count(), asked);
}

#[test]
fn a_map_that_is_killed_often_works_on_every_item_once() {
    const ITEMS: usize = 60;
    let gate = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let open = gate.clone();
    // As many answers as the gate says; those after it never come.
    let model = Model::new(move |n, asked| {
        let (_, said) = heard(asked);
        if n >= open.load(std::sync::atomic::Ordering::SeqCst) {
            Say::Held("never delivered")
        } else {
            says(&said.to_uppercase())
        }
    });
    let text = "[workflows.each]\npattern = \"map\"\nagents = [\"reader\"]\nparallel = 16\n";
    let project = project(&model, text, &["reader"]);
    let items: Vec<String> = (0..ITEMS).map(|n| format!("file-{n}.txt")).collect();
    project.write("list.txt", &items.join("\n"));
    let completed = |shown: &Value| {
        let steps = shown["steps"].as_array().unwrap().iter().filter(|step| step["status"] == "completed");
        steps.map(|step| step["input"]["messages"][1]["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut known: Vec<String> = Vec::new();
    for kill in 0..5 {
        let before = model.count();
        gate.store(before + 10, std::sync::atomic::Ordering::SeqCst);
        let words: &[&str] = if kill == 0 { &["run", "each", "@list.txt", "--id", "m"] } else { &["resume", "m"] };
        let mut killed = project.spawn(words);
        // Sixteen go on while ten are answered: none of them may still be on its way when the next count is taken.
        let (more, all) = (known.len() + 10, before + (ITEMS - known.len()).min(10 + 16));
        known = completed(&project.wait_until("m", |shown| completed(shown).len() == more && model.count() == all));
        killed.kill().unwrap();
        out(killed);
    }
    let asked_after = model.count();
    gate.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    let done = project.abide(&["resume", "m", "--json"]).is(0).json();
    let answers = done["run"]["output"].as_array().unwrap();
    assert_eq!(answers.len(), ITEMS);
    for (item, answer) in items.iter().zip(answers) {
        assert_eq!(*answer, json!({"item": item, "answer": item.to_uppercase()}));
    }
    let again: Vec<String> = model.asked()[asked_after..].iter().map(|asked| heard(asked).1).collect();
    assert_eq!((known.len(), again.len()), (50, 10));
    assert!(known.iter().all(|item| !again.contains(item)), "what was done is not asked again");
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let model = report(|_, _, _| false);
    for (text, problem, help) in [
        (
            "[workflows.a]\npattern = \"chain\"\nagents = [\"b\"]\n[workflows.b]\npattern = \"chain\"\nagents = [\"a\"]",
            "a -> b -> a",
            "leave it out",
        ),
        (
            "[workflows.a]\npattern = \"chain\"\nagents = [\"writter\"]",
            "there is no agent `writter`; did you mean `writer`",
            "writer",
        ),
        (
            "[workflows.a]\npattern = \"orchestrator\"\nplanner = \"c\"\nagents = [\"writer\"]\n[workflows.c]\npattern = \"chain\"\nagents = [\"writer\"]",
            "`planner` of [workflows.a] is the workflow `c`",
            "name an agent",
        ),
        (
            "[workflows.a]\npattern = \"chain\"\nagents = [\"writer\"]\nmodel = \"a\"\nplaner = \"x\"",
            "unknown key `planer`",
            "known keys",
        ),
    ] {
        let project = project(&model, text, &["writer"]);
        let refused = project.abide(&["run", "a", "go", "--json"]).is(8).error();
        let (message, fix) = (refused["message"].as_str().unwrap(), refused["help"].as_str().unwrap());
        assert!(message.contains("abide.toml:") && message.contains(problem), "{message}");
        assert!(fix.contains(help), "{fix}");
    }
    let project = project(&model, REPORT, &["writer"]);
    let refused = project.abide(&["run", "reprot", "go", "--json"]).is(6).error();
    assert!(refused["message"].as_str().unwrap().contains("did you mean `report`"), "{refused}");
    assert_eq!(model.count(), 0);
}

#[test]
fn one_file_is_enough_and_is_not_needed_any_more_once_a_run_has_begun() {
    let model = Model::new(|n, asked| {
        let (system, said) = heard(asked);
        match system.trim() {
            _ if n == 1 => Say::Held("never delivered"),
            "You find." => says(&format!("found {said}")),
            "You write." => says(&format!("wrote: {said}")),
            other => panic!("{other}"),
        }
    });
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    std::fs::remove_dir_all(project.root.join(".abide/agents")).ok();
    let one = "[defaults]\nmodel = \"local\"\n[workflows.both]\npattern = \"chain\"\nagents = [\"finder\", \"writer\"]\n\
               [agents.finder]\ninstructions = \"You find.\"\n[agents.writer]\ninstructions = \"You write.\"\n";
    project.settings(&model, one);
    let checked = project.abide(&["check"]).is(0).stdout;
    assert!(checked.contains("finder") && checked.contains("chain of finder (agents), writer (agents)"), "{checked}");
    let mut killed = project.spawn(&["run", "both", "it", "--id", "b"]);
    model.wait_for(2);
    project.wait_until("b", |shown| shown["steps"].as_array().is_some_and(|steps| steps.len() == 2));
    killed.kill().unwrap();
    out(killed);
    project.settings(&model, "");
    assert_eq!(project.abide(&["resume", "b"]).is(0).stdout, "wrote: found it\n");
    assert_eq!(counted(&model).values().copied().collect::<std::collections::BTreeSet<_>>(), [1, 2].into());
    let error = project.abide(&["run", "finder", "it"]).is(6).stderr;
    assert!(error.contains("finder"), "{error}");
}
