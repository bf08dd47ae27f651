//! Tests of the comparison itself: that it finds what differs, and that a table is wrong in both directions. They never send anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::differences::{Difference, Table, between};
use crate::server::Asked;

fn asked(body: Value) -> Asked {
    Asked {
        line: "POST /v1".to_owned(),
        headers: BTreeMap::from([("content-length".to_owned(), "1".to_owned())]),
        body,
    }
}

fn found(abide: Value, genai: Value) -> Vec<Difference> {
    let of = |(at, abide, genai)| Difference { wire: "w", model: "m-1", during: "talk".to_owned(), at, abide, genai };
    between(&asked(abide), &asked(genai)).into_iter().map(of).collect()
}

fn table(at: &str, values: &str, more: &str) -> Table {
    let text = format!(
        "[[difference]]\nwires = [\"w\"]\nat = \"{at}\"\nvalues = {{ {values} }}\nwhy = \"y\"\nsource = \"s\"\n{more}"
    );
    Table::read(&text).unwrap()
}

#[test]
fn nothing_but_the_order_of_keys_is_set_aside() {
    let same = |abide: &str, genai: &str| {
        found(serde_json::from_str(abide).unwrap(), serde_json::from_str(genai).unwrap()).is_empty()
    };
    assert!(same(r#"{"a": 1, "b": [{"c": null, "d": "x"}]}"#, r#"{"b": [{"d": "x", "c": null}], "a": 1}"#));
    for (abide, genai) in
        [("1", "1.0"), ("[1, 2]", "[2, 1]"), (r#"{"a": null}"#, "{}"), ("{}", "[]"), ("[1]", "[1, 1]")]
    {
        assert!(!same(abide, genai), "{abide} {genai}");
    }
    let places = found(json!({"a/b": {"c": [1, 2]}}), json!({"a/b": {"c": [1]}, "d": 3}));
    let places: Vec<_> = places.iter().map(|one| (one.at.as_str(), one.abide.is_some(), one.genai.is_some())).collect();
    assert_eq!(places, [("/a~1b/c/1", true, false), ("/d", false, true)]);
}

#[test]
fn lines_and_headers_are_compared_too() {
    let (mut ours, mut theirs) = (asked(json!({})), asked(json!({})));
    ours.headers.insert("x-a".to_owned(), "1".to_owned());
    theirs.headers.insert("x-b".to_owned(), "2".to_owned());
    theirs.headers.insert("content-length".to_owned(), "2".to_owned());
    theirs.line = "POST /v2".to_owned();
    let places: Vec<_> = between(&ours, &theirs).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(places, ["line", "header x-a", "header x-b"]);
}

#[test]
fn an_explanation_holds_for_just_its_place_and_values() {
    let differences = found(json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]}));
    let wrong = |at: &str, values: &str, more: &str| table(at, values, more).judge(&differences).len();
    let right = r#"are = { abide = "1", genai = "2" }"#;
    assert_eq!(wrong("/a/*/b", right, ""), 0);
    assert_eq!(wrong("/a/*/b", right, "model = \"m\"\nduring = [\"talk\"]"), 0);
    // One difference that nothing explains, and one explanation of nothing.
    for (at, values, more) in [
        ("/a/*", right, ""),
        ("/a/*/c", right, ""),
        ("/a/*/b", r#"are = { abide = "1", genai = "3" }"#, ""),
        ("/a/*/b", r#"are = { abide = "absent", genai = "2" }"#, ""),
        ("/a/*/b", right, "model = \"n\""),
        ("/a/*/b", right, "during = [\"other\"]"),
    ] {
        assert_eq!(wrong(at, values, more), 2, "{at} {values} {more}");
    }
    assert_eq!(table("/a/*/b", right, "").judge(&[]).len(), 1);
}

#[test]
fn what_is_spelt_otherwise_must_be_the_same() {
    let same = found(json!([{"fileData": {"mimeType": "a"}}]), json!([{"file_data": {"mime_type": "a"}}]));
    let other = found(json!([{"fileData": {"mimeType": "a"}}]), json!([{"file_data": {"mime_type": "b"}}]));
    let table_of_pairs = table("/*/fileData", r#"genai_has_it_at = "/*/file_data""#, "");
    assert_eq!(table_of_pairs.judge(&same).len(), 0);
    assert_eq!(table_of_pairs.judge(&other).len(), 3);
    let blocks = table("/c", r#"genai_has_the_text_of = "text""#, "");
    let block = |text: &str| found(json!({"c": [{"type": "text", "text": text}]}), json!({"c": "Hello"}));
    assert_eq!(blocks.judge(&block("Hello")).len(), 0);
    assert_eq!(blocks.judge(&block("Hallo")).len(), 2);
}

#[test]
fn an_entry_without_a_source_is_refused() {
    let text =
        "[[difference]]\nwires = []\nat = \"/a\"\nvalues = { genai_has_it_at = \"/b\" }\nwhy = \"y\"\nsource = \" \"";
    assert!(Table::read(text).unwrap_err().contains("no source"));
}
