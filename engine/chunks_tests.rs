//! Tests of `chunks` and `split`: byte for byte, linear, and safe on damaged references.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn raw(value: &Value) -> Json {
    serde_json::value::to_raw_value(value).unwrap()
}

fn message(i: usize) -> Value {
    json!({"role": if i.is_multiple_of(2) {"user"} else {"assistant"}, "content": format!("{i} \"quoted\" \n {}", "x".repeat(4000))})
}

#[test]
fn short_values_stay_inline_and_long_ones_come_back_byte_for_byte() {
    let mut table = ChunkTable::default();
    assert!(matches!(table.encode(raw(&json!({"a": 1}))), Payload::Inline(_)));
    for value in [
        json!({"messages": [message(0), message(1), [1, [2, "]\\\"[".repeat(90)]], {}], "tools": [], "n": 1.5e10, "s": "é😀".repeat(100)}),
        json!("y".repeat(1000)),
        json!(vec![json!("z"); 300]),
        json!({"k".repeat(300): [[], [[]], "", null]}),
    ] {
        let text = raw(&value);
        let payload = table.encode(text.clone());
        assert!(matches!(payload, Payload::Parts(_)), "{value}");
        assert_eq!(table.decode(&payload).unwrap().get(), text.get());
    }
}

#[test]
fn a_conversation_is_stored_once_however_often_it_is_sent() {
    let mut table = ChunkTable::default();
    let mut reread = ChunkTable::default();
    let (mut stored, mut messages, mut unique) = (0, Vec::new(), 0);
    for turn in 0..100 {
        messages.push(message(turn));
        unique += message(turn).to_string().len();
        let request =
            raw(&json!({"model": "m", "messages": messages, "tools": [{"name": "t", "description": "d".repeat(500)}]}));
        let payload = table.encode(request.clone());
        let chunks = table.take_fresh();
        stored += serde_json::to_string(&payload).unwrap().len() + serde_json::to_string(&chunks).unwrap().len();
        let chunks: Vec<Chunk> = serde_json::from_str(&serde_json::to_string(&chunks).unwrap()).unwrap();
        let payload: Payload = serde_json::from_str(&serde_json::to_string(&payload).unwrap()).unwrap();
        reread.learn(chunks);
        assert_eq!(reread.decode(&payload).unwrap().get(), request.get(), "turn {turn}");
        if turn == 50 {
            // A run that was resumed goes on referring to what its journal holds.
            let mut resumed = ChunkTable::default();
            resumed.learn(table.bodies.clone());
            table = resumed;
        }
    }
    assert!(stored * 100 < unique * 106, "{stored} bytes for {unique} unique ones");
}

#[test]
fn a_tool_result_sent_back_to_the_model_is_not_stored_again() {
    let mut table = ChunkTable::default();
    let text = "line one\nline two\n".repeat(300);
    table.encode(raw(&json!({"content": [{"type": "text", "text": text}]})));
    let first = serde_json::to_string(&table.take_fresh()).unwrap().len();
    table.encode(raw(&json!({"messages": [{"role": "tool", "content": text}]})));
    let second = serde_json::to_string(&table.take_fresh()).unwrap().len();
    assert!(second * 20 < first, "{second} after {first}");
}

/// Bytes that an encoded value adds to a journal.
fn cost(table: &mut ChunkTable, value: &Value) -> usize {
    let payload = table.encode(raw(value));
    assert_eq!(table.decode(&payload).unwrap().get(), value.to_string());
    serde_json::to_string(&payload).unwrap().len() + serde_json::to_string(&table.take_fresh()).unwrap().len()
}

#[test]
fn what_a_model_said_goes_back_to_it_as_a_reference() {
    let call = |n: u32| json!({"id": format!("call-{n}"), "name": "books_read", "arguments": "{\"chapter\":1,\"whole\":true}", "type": "function"});
    let said = |n: u32| json!({"role": "assistant", "content": "I read on.", "tool_calls": [call(n)], "extra": {"deep": [1, "]}"]}});
    let blocks = |n: u32| json!([{"type": "text", "text": "I read on, and it is quite a lot."}, call(n)]);
    let request = |messages: &[Value]| json!({"messages": messages, "model": "m", "tool_choice": "auto", "seed": 1, "top_p": 0.25});
    for answer in [
        |_: &Value, said: Value| json!({"choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}], "id": "c", "usage": {"n": 1}}),
        |blocks: &Value, _| json!({"content": blocks, "id": "c", "model": "m", "stop_reason": "tool_use", "usage": {"n": 1}, "x": "x".repeat(60)}),
    ] {
        let (mut table, mut messages) =
            (ChunkTable::default(), vec![json!({"role": "system", "content": "s".repeat(99)}), json!("?".repeat(99))]);
        for n in 0..6 {
            cost(&mut table, &answer(&blocks(n), said(n)));
            let whole = answer(&blocks(n), said(n)).get("choices").is_some();
            messages.push(if whole { said(n) } else { json!({"role": "assistant", "content": blocks(n)}) });
            let costs = cost(&mut table, &request(&messages));
            // A hash, and a few numbers: neither the message nor what stands beside the messages comes again.
            assert!(n < 2 || costs < 130, "turn {n}: {costs} bytes");
        }
    }
}

#[test]
fn a_table_that_was_read_goes_on_as_the_one_that_was_written() {
    let mut written = ChunkTable::default();
    let mut messages = Vec::new();
    for n in 0..12 {
        messages.extend([message(n), json!({"role": "user", "content": [{"type": "text", "text": "y".repeat(40 + n)}, {"n": n, "more": "z".repeat(50)}]})]);
        let request = raw(&json!({"messages": messages, "model": "a model with a long name", "n": [n]}));
        let mut read = ChunkTable::default();
        read.learn(serde_json::from_str(&serde_json::to_string(&written.bodies).unwrap()).unwrap());
        let text = |table: &mut ChunkTable| {
            let payload = table.encode(request.clone());
            serde_json::to_string(&(payload, table.take_fresh())).unwrap()
        };
        assert_eq!(text(&mut read), text(&mut written), "turn {n}");
    }
}

#[test]
fn damaged_references_are_errors() {
    let mut table = ChunkTable::default();
    let parts = |n| Payload::Parts(vec![Part::Chunk(n)]);
    assert_eq!(table.decode(&parts(0)).unwrap_err(), ChunkError::Missing(0));
    table.learn(vec![Chunk::Prefix(String::new(), vec![Part::Chunk(0)])]);
    assert_eq!(table.decode(&parts(0)).unwrap_err(), ChunkError::Missing(0));
    assert!(matches!(table.decode(&Payload::Parts(vec![Part::Text("{".into())])), Err(ChunkError::NotJson(_))));
}

#[test]
fn chunks_that_double_each_other_are_refused() {
    for text in ["", "x".repeat(100).as_str()] {
        let mut table = ChunkTable::default();
        let doubled = |n: u32| Chunk::Prefix("00".to_owned(), vec![Part::Chunk(n), Part::Chunk(n)]);
        let first = Chunk::Prefix("00".to_owned(), vec![Part::Text(text.to_owned())]);
        table.learn(std::iter::once(first).chain((0..50).map(doubled)).collect());
        assert_eq!(table.decode(&Payload::Parts(vec![Part::Chunk(50)])).map(drop), Err(ChunkError::TooLarge));
    }
}

#[test]
fn what_is_compared_with_the_last_request_and_what_is_hashed_anew_are_split_alike() {
    // Numbers, short and long elements, elements that begin like known ones, arrays side by side, and arrays that shrink again.
    let element = |i: u64| match i % 5 {
        0 => json!(i),
        1 => json!({"role": "user", "content": format!("{i} {}", "x".repeat(300))}),
        2 => json!([i, "]\\\"[".repeat(40), {}]),
        3 => json!("é".repeat(i as usize % 9)),
        _ => message(i as usize),
    };
    let (mut live, mut bodies) = (ChunkTable::default(), Vec::new());
    let mut seed = 7_u64;
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut arrays = vec![Vec::new(); 6];
    for round in 0..400 {
        let which = dice(6) as usize;
        match dice(8) {
            0 => {
                let half = arrays[which].len() / 2;
                arrays[which].truncate(half);
            }
            1 => arrays[which] = arrays[dice(6) as usize].clone(),
            2 => arrays[which].push(json!(dice(300))),
            _ => arrays[which].push(element(dice(60))),
        }
        let value =
            raw(&json!({"model": "m", "messages": arrays[which], "tools": arrays[dice(6) as usize], "n": round}));
        let mut anew = ChunkTable::default();
        anew.learn(bodies.clone());
        let (payload, other) = (live.encode(value.clone()), anew.encode(value.clone()));
        let text = |payload: &Payload| serde_json::to_string(payload).unwrap();
        assert_eq!(text(&payload), text(&other), "round {round}");
        assert_eq!(live.decode(&payload).unwrap().get(), value.get(), "round {round}");
        bodies.extend(live.take_fresh());
    }
}
