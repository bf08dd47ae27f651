//! Agents and patterns of a program's own, on the host: registered by name or used in a workflow, replayed before each commit.

use abide::prelude::*;
use serde_json::{Value, json};

use crate::support::agent::model;
use crate::support::model::{Model, Say};

/// Says back who was asked, in JSON where that is wanted.
fn echoing() -> Model {
    Model::new(|_, asked| {
        let system = asked.body["messages"][0]["content"].as_str().unwrap();
        let content = match system.contains("You rate") {
            true => json!({"rating": 9, "feedback": ""}).to_string(),
            false => format!("{system} was here"),
        };
        Say::Body(json!({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}))
    })
}

fn agents(model_at: &Model) -> impl Fn(&str) -> Agent + use<> {
    let model = model(abide::llm::Provider::Openai, &model_at.base_url);
    move |name| Agent::new(name).instructions(name).model(model.clone())
}

fn result<T: serde::de::DeserializeOwned>(builder: abide::Builder, workflow: &str, input: &str) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = builder.check_replay(true).start().await.unwrap();
        let run = abide.run(workflow, input).await.unwrap();
        let result = run.result().await.unwrap();
        abide.shutdown().await;
        result
    })
}

#[test]
fn an_agent_and_a_pattern_are_workflows_by_their_names() {
    let served = echoing();
    let agent = agents(&served);
    let dir = tempfile::tempdir().unwrap();
    let open = || Abide::open(dir.path().join("runs.db"));
    assert_eq!(result::<String>(open().agent(agent("solo")), "solo", "x"), "solo was here");
    let all = Parallel::new().named("all").branches([agent("a"), agent("b")]);
    let said: String = result(open().agent(all), "all", "x");
    assert_eq!(said, "## a\n\na was here\n\n## b\n\nb was here");
    let items: Value = result(open().agent(MapOver::new(agent("each"))), "map", "x\ny");
    assert_eq!(items, json!([{"item": "x", "answer": "each was here"}, {"item": "y", "answer": "each was here"}]));
}

#[test]
fn patterns_are_used_in_workflows_beside_steps() {
    let served = echoing();
    let agent = agents(&served);
    let dir = tempfile::tempdir().unwrap();
    let draft = EvaluatorOptimizer::new(agent("writer"), agent("reviewer")).named("draft");
    let notes = Chain::new().named("notes").then(agent("reader"));
    let app = Abide::open(dir.path().join("runs.db")).agents().workflow("report", move |ctx, topic: String| {
        let (draft, notes) = (draft.clone(), notes.clone());
        async move {
            let notes = notes.run(&ctx, topic).await?;
            let text = draft.run(&ctx, notes.text()).await?.text;
            ctx.step("shout", text, |text| async move { Ok::<_, Error>(text.to_uppercase()) }).await
        }
    });
    assert_eq!(result::<String>(app, "report", "x"), "WRITER WAS HERE");
    assert_eq!(served.count(), 3);
}
