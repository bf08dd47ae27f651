//! Vectors of texts as steps of a run: they stand in the line of their model's account, and count for the budget of the run.

use std::time::Duration;

use abide::prelude::*;
use abide::{Raise, Settled};
use abide_llm::{Limit, Provider};
use serde_json::json;

use super::rig::{Rig, until, within};
use crate::support::agent::{lending, model};
use crate::support::model::{Model, Say};

const MINUTE: Duration = Duration::from_secs(61);

/// Of each text its length, 40 tokens each.
fn vectors() -> Model {
    Model::new(|_, asked| {
        let texts = asked.body["input"].as_array().unwrap();
        let of = |(index, text): (usize, &serde_json::Value)| json!({"index": index, "embedding": [text.as_str().unwrap().len()]});
        let data: Vec<_> = texts.iter().enumerate().map(of).collect();
        Say::Body(json!({"data": data, "usage": {"prompt_tokens": 40, "total_tokens": 40}}))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_wait_in_line_and_count_for_the_budget() {
    let (rig, service) = (Rig::new(), vectors());
    let mut asked = model(Provider::Openai, &service.base_url);
    asked.requests_per_minute = Some(1);
    let workflow = move |ctx: Ctx, texts: Vec<String>| {
        let asked = asked.clone();
        async move {
            let most = Limit { max_tokens: Some(90), ..Limit::default() };
            let mut all = Vec::new();
            for text in texts {
                all.push(asked.embed_within(&ctx, &[text], &most).await?.concat());
            }
            Ok::<_, Error>(all)
        }
    };
    let abide = lending(rig.open_at_clock()).workflow("embed", workflow).start().await.unwrap();
    let run = abide.run("embed", &["a", "bcd", "ef"]).id("r").await.unwrap();
    for count in 1..=2 {
        until(|| service.count() == count && run.inspect().unwrap().status == "waiting").await;
        rig.advance(MINUTE);
    }
    // 80 of 90 are spent, and a third may come to more than what is left.
    let parked = within(run.settled()).await.unwrap();
    assert!(matches!(parked, Settled::Parked { waiting_for: Some("budget"), .. }), "{parked:?}");
    assert_eq!(service.count(), 2);
    run.raise_budget(Raise { tokens: 100, ..Raise::default() }).await.unwrap();
    let run = abide.resume("r", false).await.unwrap();
    rig.advance(MINUTE);
    let all: Vec<Vec<f32>> = within(run.result()).await.unwrap();
    assert_eq!(all, [[1.0], [3.0], [2.0]]);
    let spending = run.spending().unwrap();
    assert!(spending.iter().all(|s| (s.calls, s.input_tokens) == (3, 120)), "{spending:?}");
    abide.shutdown().await;
}
