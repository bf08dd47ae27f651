//! Tests of embeddings: exact bodies, and answers in order, out of order, short and odd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::tests::{ALL, model};
use super::*;

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t{n}")).collect()
}

#[test]
fn each_wire_has_its_body() {
    for (provider, expected) in [
        (Provider::Openai, json!({"model": "m", "input": ["t0", "t1"]})),
        (Provider::OpenaiResponses, json!({"model": "m", "input": ["t0", "t1"]})),
        (Provider::Ollama, json!({"model": "m", "input": ["t0", "t1"], "truncate": false})),
        (
            Provider::Gemini,
            json!({"requests": [{"model": "models/m", "content": {"parts": [{"text": "t0"}]}},
                                               {"model": "models/m", "content": {"parts": [{"text": "t1"}]}}]}),
        ),
    ] {
        assert_eq!(request(&model(provider), &texts(2)).unwrap(), expected);
    }
    let error = request(&model(Provider::Anthropic), &texts(1)).unwrap_err();
    assert!(error.message().contains("no embeddings"), "{error}");
    for (provider, count) in [(Provider::Openai, 0), (Provider::Gemini, 101)] {
        let error = request(&model(provider), &texts(count)).unwrap_err();
        assert!(error.message().contains(&count.to_string()), "{error}");
    }
}

#[test]
fn vectors_come_in_the_order_of_the_texts() {
    let data = json!({"object": "list", "usage": {"prompt_tokens": 8, "total_tokens": 8}, "data": [
        {"object": "embedding", "index": 1, "embedding": [0.5, -1]}, {"object": "embedding", "index": 0, "embedding": [1e-3, 2]}]});
    let gemini = json!({"embeddings": [{"values": [0.001, 2]}, {"values": [0.5, -1]}], "usageMetadata": {"promptTokenCount": 8}});
    let ollama = json!({"model": "m", "embeddings": [[0.001, 2], [0.5, -1]], "prompt_eval_count": 8});
    for (provider, body) in [(Provider::Openai, data), (Provider::Gemini, gemini), (Provider::Ollama, ollama)] {
        let read = parse(provider, &body, 2).unwrap();
        assert_eq!(read.vectors, [[0.001, 2.0], [0.5, -1.0]], "{provider:?}");
        assert_eq!(read.usage.input_tokens, 8);
        assert!(matches!(parse(provider, &body, 3), Err(WireError::NotAReply { .. })));
        assert!(matches!(parse(provider, &body, 1), Err(WireError::NotAReply { .. })));
    }
}

#[test]
fn what_is_no_vector_for_each_text_is_no_answer() {
    let one = |index: Value, embedding: Value| json!({"index": index, "embedding": embedding});
    for data in [
        json!([one(json!(0), json!([1])), one(json!(0), json!([1]))]),
        json!([one(json!(0), json!([1])), one(json!(7), json!([1]))]),
        json!([one(json!(0), json!([1])), one(json!(1), json!([1, 2]))]),
        json!([one(json!(0), json!([])), one(json!(1), json!([]))]),
        json!([one(json!(0), json!(["a"])), one(json!(1), json!([1]))]),
        json!([one(json!(0), json!("AAAA")), one(json!(1), json!("AAAA"))]),
        json!(null),
    ] {
        assert!(parse(Provider::Openai, &json!({"data": data}), 2).is_err(), "{data}");
    }
    for provider in ALL {
        for odd in [json!(null), json!([]), json!({"embeddings": {"values": 1}}), json!({"embeddings": [[null], 5]})] {
            assert!(parse(provider, &odd, 2).is_err(), "{odd}");
        }
    }
}
