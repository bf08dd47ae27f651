//! The same from Rust: instructions that a function writes, an answer in the form of a type, a conversation that is or is not
//! remembered, and a program that watches what is spent while it is spent.

use abide::ProgressKind;
use abide::prelude::*;
use abide_llm::{Price, schemars};
use serde_json::json;

use super::{agents, gives, heard, outcome, says};
use crate::support::model::Model;

#[test]
fn a_function_writes_an_agents_instructions_from_its_input() {
    let model = Model::new(|_, asked| says(&heard(asked, "system")));
    let guide = agents(&model)("guide").instructions("Be brief.");
    let guide = guide.instructions_by(|input| match input.text.as_str() {
        "" => Err(terminal("say where to")),
        place => Ok(format!("You know {place} well.")),
    });
    assert_eq!(outcome(guide.clone(), "Rome").unwrap(), "You know Rome well.\n\nBe brief.");
    assert!(outcome(guide, "").unwrap_err().contains("say where to"));
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(crate = "abide_llm::schemars", deny_unknown_fields)]
struct Book {
    title: String,
    pages: u32,
}

#[test]
fn an_answer_comes_in_the_form_of_a_type() {
    let model = Model::new(|_, _| gives(&json!({"title": "Bees", "pages": 9})));
    let librarian = agents(&model)("librarian").output_as::<Book>("book");
    let said = outcome(librarian, "which?").unwrap();
    assert_eq!(serde_json::from_value::<Book>(said).unwrap(), Book { title: "Bees".into(), pages: 9 });
    let format = &model.asked()[0].body["response_format"]["json_schema"];
    assert_eq!((&format["name"], &format["strict"]), (&json!("book"), &json!(true)));
}

#[test]
fn a_conversation_is_remembered_only_if_the_agent_says_so() {
    for (remembers, users) in [(false, 1), (true, 2)] {
        let model = Model::new(|_, _| says("well"));
        let agent = agents(&model)("talker");
        let agent = if remembers { agent.memory("talk") } else { agent };
        let twice = Function::new("twice", move |ctx, _| {
            let agent = agent.clone();
            async move {
                agent.run(&ctx, "one").await?;
                agent.run(&ctx, "two").await
            }
        });
        outcome(twice, "x").unwrap();
        let second = model.asked().pop().unwrap();
        let said = second.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "user").count();
        assert_eq!(said, users, "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_watches_what_is_spent() {
    let model = Model::new(|_, _| says("well"));
    let mut agent = agents(&model)("talker");
    if let Some(model) = &mut agent.model {
        model.price = Some(Price { input: 100.0, output: 1_000.0, cache_read: None, cache_write: None });
    }
    let dir = tempfile::tempdir().unwrap();
    let twice = Chain::new().named("twice").then(agent.clone()).then(agent);
    let abide = Abide::open(dir.path().join("runs.db")).agent(twice).start().await.unwrap();
    let mut progress = abide.progress();
    let run = abide.run("twice", "hello").await.unwrap();
    run.result::<String>().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = tokio::time::timeout(crate::support::model::PATIENCE, progress.recv()).await.unwrap().unwrap();
        if let ProgressKind::Spent { id, spender, spent } = event.what {
            seen.push((id, spender.to_string(), spent.tokens(), spent.nano_usd));
        }
    }
    let call = |id: &str| (id.to_owned(), "talker".to_owned(), 12, Some(3_000_000));
    assert_eq!(seen, [call("twice/talker/llm"), call("twice/talker#2/llm")]);
    // The tree of a program's own agents has all tokens; what they cost is what the budget has counted.
    let tree = run.calls().unwrap();
    assert_eq!((tree.calls, tree.input_tokens, tree.cost_usd), (2, 20, None));
    let whole = run.spending().unwrap().into_iter().find(|row| row.spender.is_none()).unwrap();
    assert!((whole.cost_usd.unwrap() - 0.006).abs() < 1e-9);
    abide.shutdown().await;
}
