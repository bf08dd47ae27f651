//! The replies of the demo's model. There is no AI in them: they are written here, and follow from the conversation alone, so
//! that whoever asks the same gets the same. It keeps no state.

use serde_json::{Value, json};

/// What the model calls itself.
pub(super) const NAME: &str = "scripted-no-ai";

/// Put before all that it says.
const LABEL: &str = "[scripted reply, no AI]";

/// How many results of tools a conversation has when both notes have been written.
pub(super) const NOTES_WRITTEN: usize = 5;

/// The texts of the tool results in a request's conversation, in order.
pub(super) fn results(body: &Value) -> Vec<&str> {
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let results = messages.iter().filter(|message| message.get("role").and_then(Value::as_str) == Some("tool"));
    results.map(|message| message.get("content").and_then(Value::as_str).unwrap_or_default()).collect()
}

/// The answer to a Chat Completions request: the files listed, two of them read at once, a note on each, the notes listed,
/// and a summary that quotes what was read.
pub(super) fn completion(body: &Value) -> Value {
    let results = results(body);
    let call = |says: &str, calls: Vec<(&str, Value)>| calls_of(body, results.len(), says, &calls);
    let message = match results.as_slice() {
        [] => call("What is there to read?", vec![("list_files", json!({}))]),
        [list] => {
            let read = |name| ("read_file", json!({"path": name}));
            call("I read the first two files.", names(list).map(read).collect())
        }
        [list, first, second] => {
            let note =
                |(name, text): (&str, &&str)| ("add_note", json!({"text": format!("{name}: {}", sentence(text))}));
            call("I note what each of them says.", names(list).zip([first, second]).map(note).collect())
        }
        [_, _, _, _, _] => call("Are both notes there?", vec![("list_notes", json!({}))]),
        [list, first, second, _, _, notes, ..] => {
            let kept = notes.lines().filter(|line| line.starts_with("- ")).count();
            let quote = |(name, text): (&str, &&str)| format!("{name} says: \"{}\"", sentence(text));
            let quotes: Vec<String> = names(list).zip([first, second]).map(quote).collect();
            says(&format!("I read 2 files and kept {kept} notes. {}", quotes.join(" ")))
        }
        _ => says("I know no way on from this conversation."),
    };
    let finish = if message.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    json!({"id": format!("scripted-{}", results.len()), "object": "chat.completion", "model": NAME, "choices": [choice]})
}

/// The two files that are read.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter(|name| name.rsplit_once('.').is_some_and(|(_, ending)| ending == "txt")).take(2)
}

fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => text,
    }
}

fn says(text: &str) -> Value {
    json!({"role": "assistant", "content": format!("{LABEL} {text}")})
}

/// A message with calls, of the tools' names as this request offers them.
fn calls_of(body: &Value, turn: usize, text: &str, calls: &[(&str, Value)]) -> Value {
    let offered: Vec<&str> = body
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.pointer("/function/name")?.as_str())
        .collect();
    let mut asked = Vec::new();
    for (index, (tool, arguments)) in calls.iter().enumerate() {
        let Some(name) = offered.iter().find(|name| name.ends_with(tool)) else {
            return says(&format!("I was not offered the tool `{tool}`, so I cannot go on."));
        };
        let function = json!({"name": name, "arguments": arguments.to_string()});
        asked.push(json!({"id": format!("call_{turn}_{index}"), "type": "function", "function": function}));
    }
    if asked.is_empty() {
        return says("There is nothing to read.");
    }
    let mut message = says(text);
    if let Some(message) = message.as_object_mut() {
        message.insert("tool_calls".to_owned(), Value::Array(asked));
    }
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn body(results: &[&str]) -> Value {
        let tool = |name: &str| json!({"type": "function", "function": {"name": format!("demo_{name}")}});
        let tools = ["list_files", "read_file", "add_note", "list_notes"].map(tool);
        let mut messages = vec![json!({"role": "user", "content": "Go."})];
        messages.extend(results.iter().map(|text| json!({"role": "tool", "tool_call_id": "c", "content": text})));
        json!({"model": NAME, "messages": messages, "tools": tools})
    }

    fn calls(results: &[&str]) -> Vec<(String, Value)> {
        let reply = completion(&body(results));
        let calls =
            reply.pointer("/choices/0/message/tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
        let call = |call: &Value| {
            let text = |pointer| call.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            (text("/function/name"), serde_json::from_str(&text("/function/arguments")).unwrap())
        };
        calls.iter().map(call).collect()
    }

    #[test]
    fn the_conversation_alone_decides() {
        let (list, a, b) = ("a.txt\nb.txt\nnotes.md", "Ants march. Far.", "Bees\ndance.");
        let expect = |results: &[&str], expected: &[(&str, Value)]| {
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            assert_eq!(calls(results), expected);
        };
        expect(&[], &[("demo_list_files", json!({}))]);
        let read = |name: &str| ("demo_read_file", json!({"path": name}));
        expect(&[list], &[read("a.txt"), read("b.txt")]);
        let note = |text: &str| ("demo_add_note", json!({"text": text}));
        expect(&[list, a, b], &[note("a.txt: Ants march."), note("b.txt: Bees dance.")]);
        let noted = [list, a, b, "noted", "noted"];
        assert_eq!(noted.len(), NOTES_WRITTEN);
        expect(&noted, &[("demo_list_notes", json!({}))]);
        let reply = completion(&body(&[list, a, b, "noted", "noted", "[Note: started anew]\n- a\n- b"]));
        let text = reply.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap();
        assert!(text.starts_with(LABEL) && text.contains("kept 2 notes") && text.contains("\"Bees dance.\""), "{text}");
        assert_eq!(reply.pointer("/choices/0/finish_reason"), Some(&json!("stop")));
    }

    #[test]
    fn what_it_does_not_know_it_says() {
        for body in [json!({}), json!([]), json!({"messages": 1}), body(&["a", "b"]), body(&["no files"])] {
            let reply = completion(&body);
            let text = reply.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default();
            assert!(text.starts_with(LABEL), "{reply}");
            assert_eq!(reply.pointer("/choices/0/finish_reason"), Some(&json!("stop")));
        }
    }
}
