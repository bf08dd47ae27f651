//! An agent with a function, hooks and a memory on the real host, killed at every commit: no completed call is made again, a call that is
//! repeated is the same one, and what was said is remembered once.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use abide::prelude::*;
use abide_llm::{Agent, Before, Provider, ToolCall, ToolFunction};
use serde_json::{Value, json};

use super::rig::{worker, worker_folder};
use crate::support::agent::{lending, model};
use crate::support::model::{Model, Say};

fn agent(folder: &Path) -> Agent {
    let base_url = std::fs::read_to_string(folder.join("model")).unwrap();
    let log = folder.join("calls");
    let note = ToolFunction::with_schema("note", "Notes it", json!({"type": "object"}), move |given: Value| {
        let line = json!({"key": step_key().unwrap().to_string(), "given": given});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        writeln!(file, "{line}").unwrap();
        async move { Ok::<_, Error>(given) }
    });
    let signed = |call: ToolCall| async move {
        // Each process would say something else.
        let by = std::process::id();
        Ok::<_, Error>(Before::Change(json!({"n": call.arguments["n"], "by": by})))
    };
    Agent::new("clerk").model(model(Provider::Openai, &base_url)).memory("book").function(note).before_tool(signed)
}

async fn work(folder: &Path) {
    let agent = agent(folder);
    let talk = move |ctx: Ctx, text: String| {
        let agent = agent.clone();
        async move { Ok::<_, Error>(agent.run(&ctx, text).await?.text) }
    };
    let abide = lending(Abide::open(folder.join("runs.db"))).workflow("talk", talk).start().await.unwrap();
    let run = abide.run("talk", "note both").id("r").await.unwrap();
    assert_eq!(run.result::<String>().await.unwrap(), "noted");
    abide.shutdown().await;
}

#[test]
fn is_killed() {
    let Some(folder) = worker_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(work(&folder));
}

#[test]
fn a_killed_agent_calls_its_functions_and_remembers_once() {
    let mut whole = 0;
    for n in 1.. {
        let model = Model::by_turn(vec![
            Say::Calls(vec![("note", json!({"n": 1})), ("note", json!({"n": 2}))]),
            Say::Text("noted"),
        ]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model"), &model.base_url).unwrap();
        let point = if n % 2 == 1 { "commit.before" } else { "commit.after" };
        let ended = worker("host::own_tools::is_killed", dir.path(), Some(&format!("{point}:{}", (n + 1) / 2)));
        assert!(worker("host::own_tools::is_killed", dir.path(), None), "{n}: it does not go on");

        let calls = std::fs::read_to_string(dir.path().join("calls")).unwrap();
        let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in calls.lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            by_key.entry(call["key"].as_str().unwrap().to_owned()).or_default().push(call["given"].clone());
        }
        assert_eq!(by_key.len(), 2, "{n}: {calls}");
        for same in by_key.values() {
            assert!(same.len() <= 2 && same.iter().all(|given| *given == same[0]), "{n}: {same:?}");
        }
        assert!(model.count() <= 3, "{n}: {} requests", model.count());
        let conn = rusqlite::Connection::open(dir.path().join("runs.db")).unwrap();
        let (count, body): (u32, String) = conn
            .query_row("SELECT count(*), max(body) FROM memories", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((count, body.as_str()), (1, r#"{"input":"note both","answer":"noted"}"#), "{n}");
        // Killed before and after each of its commits.
        whole += u32::from(ended);
        if whole == 2 {
            assert!(n > 12, "only {n} crash points were reached");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_turn_of_such_an_agent_replays() {
    let model = Model::by_turn(vec![Say::Calls(vec![("note", json!({"n": 1}))]), Say::Text("noted")]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model"), &model.base_url).unwrap();
    let agent = agent(dir.path());
    let talk = move |ctx: Ctx, text: String| {
        let agent = agent.clone();
        async move {
            let first = agent.run(&ctx, text).await?;
            agent.run(&ctx, format!("again: {}", first.text)).await
        }
    };
    let abide = lending(Abide::open(dir.path().join("runs.db"))).check_replay(true).workflow("talk", talk);
    let abide = abide.start().await.unwrap();
    let run = abide.run("talk", "note it").id("r").await.unwrap();
    let answer: abide_llm::Answer = run.result().await.unwrap();
    assert_eq!(answer.text, "noted");
    let asked = model.asked();
    let first = |n: usize| asked[n].body["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(
        (first(0), first(2)),
        ("note it".to_owned(), "note it".to_owned()),
        "the second time it remembers the first"
    );
    let ids: Vec<String> = run.report().unwrap().steps.into_iter().map(|step| step.id).collect();
    let first = ["memory", "llm", "note.before", "note", "llm#2", "remember"].map(|step| format!("clerk/{step}"));
    // What it remembers counts as a turn to this model, so that it answers at once.
    let second = ["memory", "llm", "remember"].map(|step| format!("clerk#2/{step}"));
    assert_eq!(ids, [first.to_vec(), second.to_vec()].concat());
    abide.shutdown().await;
}
