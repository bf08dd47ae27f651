//! Adds one piece of JSON to what there is of it: texts are joined, lists matched by `index`, objects merged. It knows no wire.

use serde_json::{Map, Value, json};

/// Keys whose texts are whole in each piece that has them, so that they are set and not joined.
const WHOLE: [&str; 6] = ["id", "type", "role", "format", "object", "status"];

/// So many items from the end one of the same `index` is looked for: a list of millions must not take hours.
const LOOKED_AT: usize = 1_024;

/// Adds `piece`.
pub(super) fn grow(into: &mut Value, piece: Value) {
    match (into, piece) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(items), Value::Array(more)) => more.into_iter().for_each(|item| grow_list(items, item)),
        (Value::Object(map), Value::Object(more)) => grow_map(map, more),
        // A text goes on as a list of parts, or the other way round.
        (into @ Value::String(_), more @ Value::Array(_)) => {
            let text = into.take();
            *into = if text == "" { json!([]) } else { json!([{"type": "text", "text": text}]) };
            grow(into, more);
        }
        (into @ Value::Array(_), Value::String(more)) => {
            if !more.is_empty() {
                grow(into, json!([{"type": "text", "text": more}]));
            }
        }
        (into, piece) => *into = piece,
    }
}

/// Adds each key of `more`.
pub(super) fn grow_map(map: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, piece) in more {
        grow_key(map, &key, piece);
    }
}

/// Adds `piece` at this key.
pub(super) fn grow_key(map: &mut Map<String, Value>, key: &str, piece: Value) {
    match map.get_mut(key) {
        None => {
            map.insert(key.to_owned(), piece);
        }
        Some(known) if WHOLE.contains(&key) => set(known, piece),
        Some(known) => grow(known, piece),
    }
}

/// Sets the keys of `more`; what is null or empty takes nothing away.
pub(super) fn set_all(map: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match map.get_mut(&key) {
            Some(known) => set(known, value),
            None => {
                map.insert(key, value);
            }
        }
    }
}

fn set(known: &mut Value, value: Value) {
    if !value.is_null() && value != "" {
        *known = value;
    }
}

/// Adds to the item of the same `index` and `type`, or to a text that the list ends in; else at the end.
fn grow_list(items: &mut Vec<Value>, item: Value) {
    let same = match item.get("index") {
        Some(index) => {
            let is_same = |known: &Value| known.get("index") == Some(index) && known.get("type") == item.get("type");
            items.iter_mut().rev().take(LOOKED_AT).find(|known| is_same(known))
        }
        None => items.last_mut().filter(|last| is_text(last) && is_text(&item)),
    };
    match same {
        Some(known) => match item {
            Value::Object(mut more) => {
                more.remove("index");
                grow(known, Value::Object(more));
            }
            _ => *known = item,
        },
        None => items.push(item),
    }
}

/// A part that is a text and nothing else.
fn is_text(part: &Value) -> bool {
    let only = part.as_object().is_some_and(|part| part.len() == 2);
    only && part.get("type").is_some_and(|kind| kind == "text") && part.get("text").is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_piece_is_added() {
        for (known, piece, expected) in [
            (json!("a"), json!("b"), json!("ab")),
            (json!("a"), json!(null), json!("a")),
            (json!(null), json!("a"), json!("a")),
            (json!(1), json!(2), json!(2)),
            (json!({"a": "x"}), json!({"a": "y", "b": 1}), json!({"a": "xy", "b": 1})),
            (json!({"id": "x", "role": "r"}), json!({"id": "y", "role": ""}), json!({"id": "y", "role": "r"})),
            (json!([1]), json!([1, 2]), json!([1, 1, 2])),
            (
                json!([{"index": 0, "type": "t", "text": "a"}]),
                json!([{"index": 0, "type": "t", "text": "b"}, {"index": 0, "type": "u", "text": "c"}]),
                json!([{"index": 0, "type": "t", "text": "ab"}, {"index": 0, "type": "u", "text": "c"}]),
            ),
            (
                json!("a"),
                json!([{"type": "text", "text": "b"}, {"type": "other"}]),
                json!([{"type": "text", "text": "ab"}, {"type": "other"}]),
            ),
            (json!(""), json!([{"type": "other"}]), json!([{"type": "other"}])),
            (json!([{"type": "other"}]), json!("a"), json!([{"type": "other"}, {"type": "text", "text": "a"}])),
            (json!([]), json!(""), json!([])),
        ] {
            let mut grown = known.clone();
            grow(&mut grown, piece.clone());
            assert_eq!(grown, expected, "{known} and {piece}");
        }
    }

    #[test]
    fn what_is_set_is_not_taken_away() {
        let mut map = json!({"a": 1, "b": "x"}).as_object().cloned().unwrap_or_default();
        set_all(&mut map, json!({"a": null, "b": "", "c": null, "d": 2}).as_object().cloned().unwrap_or_default());
        assert_eq!(Value::Object(map), json!({"a": 1, "b": "x", "c": null, "d": 2}));
    }
}
