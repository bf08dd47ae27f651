//! Tests of routers, classifiers and maps: with a scripted model, crashed after every event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::testing::{Asked, agent, crash_everywhere, gives, model, says};
use super::*;
use crate::input::Input;

fn desk() -> Router {
    let routes =
        ["billing", "technical"].map(|name| agent(name).instructions(name).description(format!("{name} help")));
    Router::new(agent("desk")).named("support").routes(routes)
}

/// Chooses these; whoever is asked says who it is.
fn choosing(choices: &'static [(&str, f64)]) -> impl Fn(&Asked) -> Result<Value, String> + Send + Sync {
    move |asked| {
        if !asked.system.contains("You decide who") {
            return says(&format!("{} of {}", asked.system, asked.said));
        }
        let one =
            |(name, confidence): &(&str, f64)| json!({"name": name, "confidence": confidence, "reason": "because"});
        gives(&json!({"choices": choices.iter().map(one).collect::<Vec<_>>()}))
    }
}

/// What a router chooses, as the answer of a function.
fn chosen(router: Router) -> Function {
    Function::new("chosen", move |ctx, input: Input| {
        let router = router.clone();
        async move { Ok(serde_json::to_string(&router.choose(&ctx, input).await?).unwrap_or_default()) }
    })
}

#[test]
fn a_router_asks_the_best_that_it_chose() {
    let played = crash_everywhere(desk(), "x", choosing(&[("billing", 0.4), ("technical", 7.0)]));
    let answer = played.answer.unwrap();
    assert_eq!((answer.text(), answer.turns), ("technical of x", 2));
    assert_eq!(played.ran, ["support/desk/llm", "support/technical/llm"]);
    let system = &played.asked[0].system;
    assert!(system.contains("at most 1 of these") && system.contains("- billing: billing help"), "{system}");

    let both = crash_everywhere(desk().top(2), "x", choosing(&[("billing", 0.4), ("technical", 0.6)]));
    assert_eq!(both.answer.unwrap().text, "## technical\n\ntechnical of x\n\n## billing\n\nbilling of x");

    let played = crash_everywhere(chosen(desk().top(2)), "x", choosing(&[("billing", 0.4), ("billing", 0.5)]));
    assert_eq!(played.answer.unwrap().text, r#"[{"name":"billing","confidence":0.4,"reason":"because"}]"#);
}

#[test]
fn an_unknown_category_is_dropped_and_none_left_is_an_empty_list_and_an_error_of_run() {
    let played = crash_everywhere(desk(), "x", choosing(&[("weather", 0.9), ("billing", 0.2)]));
    assert_eq!(played.answer.unwrap().text, "billing of x");
    let played = crash_everywhere(chosen(desk()), "x", choosing(&[("weather", 0.9)]));
    assert_eq!(played.answer.unwrap().text, "[]");
    let error = crash_everywhere(desk(), "x", choosing(&[("weather", 0.9)])).answer.unwrap_err();
    for part in ["`support` found nobody", "it named `weather`", "there are `billing`, `technical`"] {
        assert!(error.message().contains(part), "{error}");
    }
    let error = crash_everywhere(Router::new(agent("desk")), "x", choosing(&[])).answer.unwrap_err();
    assert!(error.message().contains("has nobody to choose"), "{error}");
}

/// Vectors that count letters; anything else is said back.
fn letters(asked: &Asked) -> Result<Value, String> {
    let Some(texts) = asked.body["input"].as_array() else { return says(&format!("{}!", asked.system)) };
    let vector = |text: &Value| {
        let text = text.as_str().unwrap().to_lowercase();
        let count = |letter: char| text.chars().filter(|c| *c == letter).count();
        ('a'..='z').map(count).collect::<Vec<_>>()
    };
    let data = texts.iter().enumerate().map(|(i, text)| json!({"index": i, "embedding": vector(text)}));
    Ok(json!({"data": data.collect::<Vec<_>>(), "usage": {"prompt_tokens": 5}}))
}

#[test]
fn a_router_by_embedding_asks_the_likest() {
    let animals = [("zoo", "zzz zebra"), ("bees", "bbb bees"), ("plain", "")];
    let animals = animals.map(|(name, about)| agent(name).instructions(name).description(about));
    let router = Router::by_embedding(model()).routes(animals);
    let played = crash_everywhere(router.clone(), "bees and bumblebees", letters);
    assert_eq!(played.answer.unwrap().text, "bees!");
    assert_eq!(played.ran, ["router/embed", "router/bees/llm"]);
    assert_eq!(played.asked[0].body["input"], json!(["bees and bumblebees", "zzz zebra", "bbb bees", "plain"]));
    let all = crash_everywhere(chosen(router.top(3)), "zebra", letters).answer.unwrap().text;
    let all: Vec<Choice> = serde_json::from_str(&all).unwrap();
    assert_eq!((all[0].name.as_str(), all.len(), all[0].reason.is_none()), ("zoo", 3, true));
    assert!(all.iter().all(|one| (0.0..=1.0).contains(&one.confidence)), "{all:?}");
}

#[test]
fn intents_are_found_with_their_entities() {
    let what = |by: IntentClassifier| by.intent("refund", ["money back"]).intent("bug", ["it crashes"]).top(2);
    let found = |asked: &Asked| {
        assert!(asked.system.contains("- refund: money back\n- bug: it crashes"), "{}", asked.system);
        gives(&json!({"intents": [
            {"name": "bug", "confidence": 0.3, "entities": []},
            {"name": "weather", "confidence": 1.0, "entities": []},
            {"name": "refund", "confidence": 0.8, "entities": [{"name": "order", "value": "7"}]}]}))
    };
    let answer = crash_everywhere(what(IntentClassifier::new(agent("ear"))), "x", found).answer.unwrap();
    let expected = json!({"intents": [
        {"name": "refund", "confidence": 0.8, "entities": {"order": "7"}},
        {"name": "bug", "confidence": 0.3, "entities": {}}]});
    assert_eq!((answer.text.as_str(), answer.value), ("refund", Some(expected)));

    let sure = what(IntentClassifier::new(agent("ear"))).at_least(0.9);
    let error = crash_everywhere(sure, "x", found).answer.unwrap_err();
    assert!(error.message().contains("found no intent") && error.message().contains("`refund`, `bug`"), "{error}");

    let played = crash_everywhere(what(IntentClassifier::by_embedding(model())), "it crashed", letters);
    assert_eq!((played.answer.unwrap().text.as_str(), played.ran), ("bug", vec!["classifier/embed".to_owned()]));
}

#[test]
fn a_map_works_on_each_item_and_a_failed_one_is_a_value() {
    let map = || MapOver::new(agent("reader")).at_once(2);
    let echo =
        |asked: &Asked| if asked.said == "bad" { Err("no".to_owned()) } else { says(&asked.said.to_uppercase()) };
    let played = crash_everywhere(map(), "a\n\nbad\n c ", echo);
    let value = played.answer.unwrap().value.unwrap();
    assert_eq!((&value[0], &value[2]), (&json!({"item": "a", "answer": "A"}), &json!({"item": "c", "answer": "C"})));
    assert!(value[1]["error"].as_str().unwrap().contains("no"), "{value}");
    let mut ran = played.ran.clone();
    ran.sort();
    assert_eq!(ran, ["map/item[0]/reader/llm", "map/item[1]/reader/llm", "map/item[2]/reader/llm"]);

    let played = crash_everywhere(map(), r#"["same", "same", {"n": 1}]"#, echo);
    assert_eq!(played.answer.unwrap().value.unwrap()[2], json!({"item": "{\"n\":1}", "answer": "{\"N\":1}"}));
    for (input, why) in [("[1, 2", "begins as JSON"), (" \n ", "no item")] {
        let error = crash_everywhere(map(), input, echo).answer.unwrap_err();
        assert!(error.message().contains("`map` is no list") && error.message().contains(why), "{error}");
    }
}
