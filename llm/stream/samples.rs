//! Streams as the wires send them, with what they come to: the samples of the tests. Nothing else uses them.

use serde_json::{Value, json};

use super::{Delta, Framing};
use crate::model::Provider;

pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) provider: Provider,
    pub(super) framing: Framing,
    /// As they are sent.
    pub(super) events: Vec<String>,
    /// Fewer of them are no answer.
    pub(super) needed: usize,
    pub(super) answer: Value,
    pub(super) shown: Vec<Delta>,
}

pub(super) fn samples() -> Vec<Sample> {
    vec![
        chat_text(),
        chat_calls(),
        messages_text(),
        messages_thinking(),
        responses(),
        responses_unnumbered(),
        gemini(),
        gemini_signed(),
        ollama(),
    ]
}

fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

fn thought(text: &str) -> Delta {
    Delta::Reasoning(text.to_owned())
}

fn call(name: &str) -> Delta {
    Delta::ToolCall { name: name.to_owned() }
}

/// Events that are data alone.
fn data(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// Events that say their type twice.
fn typed(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event))).collect()
}

fn chunk(choices: &Value, usage: &Value) -> Value {
    json!({"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m-1", "system_fingerprint": "fp",
           "choices": choices, "usage": usage})
}

fn delta(delta: &Value, finish: &Value) -> Value {
    chunk(&json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), &Value::Null)
}

fn chat(chunks: &[Value]) -> Vec<String> {
    data(chunks).into_iter().chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn chat_text() -> Sample {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    Sample {
        name: "chat, text",
        provider: Provider::Openai,
        framing: Framing::Sse,
        events: chat(&[
            // As Azure begins.
            json!({"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "object": ""}),
            delta(&json!({"role": "assistant", "content": "", "refusal": null}), &Value::Null),
            delta(&json!({"reasoning_content": "Hm"}), &Value::Null),
            delta(&json!({"reasoning_content": "m."}), &Value::Null),
            delta(&json!({"content": "Grüß "}), &Value::Null),
            delta(&json!({"content": "dich 👋"}), &Value::Null),
            delta(&json!({}), &json!("stop")),
            chunk(&json!([]), &usage),
        ]),
        needed: 9,
        answer: json!({
            "id": "c-1", "object": "chat.completion", "created": 7, "model": "m-1", "system_fingerprint": "fp",
            "prompt_filter_results": [{"prompt_index": 0}], "usage": usage,
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop", "message": {
                "role": "assistant", "content": "Grüß dich 👋", "reasoning_content": "Hmm.", "refusal": null}}],
        }),
        shown: vec![thought("Hm"), thought("m."), text("Grüß "), text("dich 👋")],
    }
}

fn chat_calls() -> Sample {
    let piece = |piece: &Value| delta(&json!({"tool_calls": [piece]}), &Value::Null);
    let begin = |index: u64, id: &str, name: &str, arguments: &str| {
        piece(
            &json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}),
        )
    };
    let more = |index: u64, text: &str| piece(&json!({"index": index, "function": {"arguments": text}}));
    let whole = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    Sample {
        name: "chat, calls",
        provider: Provider::Openai,
        framing: Framing::Sse,
        events: chat(&[
            delta(&json!({"role": "assistant", "content": null}), &Value::Null),
            begin(0, "a", "fs_read", ""),
            more(0, "{\"path\":"),
            begin(1, "b", "fs_list", "{}"),
            more(0, "\"ä.txt\"}"),
            delta(&json!({}), &json!("tool_calls")),
        ]),
        needed: 7,
        answer: json!({
            "id": "c-1", "object": "chat.completion", "created": 7, "model": "m-1", "system_fingerprint": "fp", "usage": null,
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": null,
                "tool_calls": [whole("a", "fs_read", "{\"path\":\"ä.txt\"}"), whole("b", "fs_list", "{}")]}}],
        }),
        shown: vec![call("fs_read"), call("fs_list")],
    }
}

fn start(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn grow(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn message_start() -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 25, "cache_read_input_tokens": 4, "output_tokens": 1}}})
}

fn message(content: &Value, stop_reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
           "stop_reason": stop_reason, "stop_sequence": null,
           "usage": {"input_tokens": 25, "cache_read_input_tokens": 4, "output_tokens": 15}})
}

fn message_end(stop_reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
               "usage": {"input_tokens": null, "output_tokens": 15}}),
        json!({"type": "message_stop"}),
    ]
}

fn messages_text() -> Sample {
    let mut events = vec![
        message_start(),
        start(0, &json!({"type": "text", "text": ""})),
        json!({"type": "ping"}),
        grow(0, &json!({"type": "text_delta", "text": "Hallo "})),
        grow(0, &json!({"type": "citations_delta", "citation": {"cited_text": "x"}})),
        grow(0, &json!({"type": "text_delta", "text": "Wörld"})),
        grow(0, &json!({"type": "citations_delta", "citation": {"cited_text": "y"}})),
        stop(0),
    ];
    events.extend(message_end("end_turn"));
    Sample {
        name: "messages, text",
        provider: Provider::Anthropic,
        framing: Framing::Sse,
        needed: events.len(),
        events: typed(&events),
        answer: message(
            &json!([{"type": "text", "text": "Hallo Wörld", "citations": [{"cited_text": "x"}, {"cited_text": "y"}]}]),
            "end_turn",
        ),
        shown: vec![text("Hallo "), text("Wörld")],
    }
}

fn messages_thinking() -> Sample {
    let mut events = vec![
        message_start(),
        start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        grow(0, &json!({"type": "thinking_delta", "thinking": "Let me "})),
        grow(0, &json!({"type": "thinking_delta", "thinking": "see"})),
        grow(0, &json!({"type": "signature_delta", "signature": "EqQB=="})),
        stop(0),
        start(1, &json!({"type": "redacted_thinking", "data": "Emwk"})),
        stop(1),
        start(2, &json!({"type": "tool_use", "id": "toolu_1", "name": "fs_read", "input": {}})),
        grow(2, &json!({"type": "input_json_delta", "partial_json": ""})),
        grow(2, &json!({"type": "input_json_delta", "partial_json": "{\"path\": \"ä"})),
        grow(2, &json!({"type": "input_json_delta", "partial_json": ".txt\"}"})),
        stop(2),
        start(3, &json!({"type": "tool_use", "id": "toolu_2", "name": "fs_list", "input": {}})),
        stop(3),
        start(4, &json!({"type": "compaction", "content": "a"})),
        grow(4, &json!({"type": "compaction_delta", "content": "b"})),
        stop(4),
    ];
    events.extend(message_end("tool_use"));
    Sample {
        name: "messages, thinking and calls",
        provider: Provider::Anthropic,
        framing: Framing::Sse,
        needed: events.len(),
        events: typed(&events),
        answer: message(
            &json!([
                {"type": "thinking", "thinking": "Let me see", "signature": "EqQB=="},
                {"type": "redacted_thinking", "data": "Emwk"},
                {"type": "tool_use", "id": "toolu_1", "name": "fs_read", "input": {"path": "ä.txt"}},
                {"type": "tool_use", "id": "toolu_2", "name": "fs_list", "input": {}},
                {"type": "compaction", "content": "ab"},
            ]),
            "tool_use",
        ),
        shown: vec![thought("Let me "), thought("see"), call("fs_read"), call("fs_list")],
    }
}

fn responses() -> Sample {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
                           "encrypted_content": "gAAA"});
    let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                      "content": [{"type": "output_text", "text": "Grüß dich", "annotations": []}]});
    let called = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "fs_read",
                        "arguments": "{\"path\":\"ä\"}", "status": "completed"});
    let answer = |status: &str, output: Value, usage: Value| {
        json!({"id": "resp_1", "object": "response", "status": status, "error": null, "incomplete_details": null,
               "model": "m-1", "output": output, "usage": usage})
    };
    let whole = answer("completed", json!([reasoning, said, called]), json!({"input_tokens": 3, "output_tokens": 4}));
    let begun = answer("in_progress", json!([]), Value::Null);
    let text_delta = |text: &str| json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": text});
    let events = [
        json!({"type": "response.created", "sequence_number": 0, "response": begun}),
        json!({"type": "response.in_progress", "sequence_number": 1, "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1"}}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "msg_1"}}),
        text_delta("Grüß "),
        text_delta("dich"),
        json!({"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Grüß dich"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": said}),
        json!({"type": "response.output_item.added", "output_index": 2,
               "item": {"type": "function_call", "name": "fs_read", "call_id": "call_1", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"path\":\"ä\"}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": called}),
        json!({"type": "response.completed", "sequence_number": 13, "response": whole}),
    ];
    Sample {
        name: "responses",
        provider: Provider::OpenaiResponses,
        framing: Framing::Sse,
        needed: events.len(),
        events: typed(&events),
        answer: whole,
        shown: vec![thought("Hm"), text("Grüß "), text("dich"), call("fs_read")],
    }
}

/// As llama.cpp sends it, and with the output nowhere but in its items.
fn responses_unnumbered() -> Sample {
    let plain = |event: String| {
        let (head, data) = event.trim_end().split_once("\ndata: ").unwrap_or_default();
        let mut data: Value = serde_json::from_str(data).unwrap_or_default();
        if let Some(fields) = data.as_object_mut() {
            fields.retain(|key, _| key != "output_index" && key != "sequence_number");
        }
        if data["type"] == "response.completed" {
            data["response"]["output"] = json!([]);
        }
        format!("{head}\ndata: {data}\n\n")
    };
    let sample = responses();
    let events = sample.events.into_iter().map(plain).collect();
    Sample { name: "responses, not numbered", events, ..sample }
}

fn candidate(parts: &Value, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
        candidate["safetyRatings"] = json!([{"category": "c"}]);
    }
    json!({"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r",
           "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": if finish.is_some() { 9 } else { 5 }}})
}

fn gemini_answer(parts: &Value, finish: &str) -> Value {
    candidate(parts, Some(finish))
}

fn gemini() -> Sample {
    Sample {
        name: "gemini, text",
        provider: Provider::Gemini,
        framing: Framing::Sse,
        events: data(&[
            candidate(&json!([{"text": "Let me", "thought": true}]), None),
            candidate(&json!([{"text": " see", "thought": true}]), None),
            candidate(&json!([{"text": "Grüß "}]), None),
            candidate(&json!([{"text": "dich"}, {"text": " 👋"}]), Some("STOP")),
        ]),
        needed: 4,
        answer: gemini_answer(&json!([{"text": "Let me see", "thought": true}, {"text": "Grüß dich 👋"}]), "STOP"),
        shown: vec![thought("Let me"), thought(" see"), text("Grüß "), text("dich"), text(" 👋")],
    }
}

fn gemini_signed() -> Sample {
    let first = json!({"functionCall": {"name": "fs_read", "args": {"path": "ä"}}, "thoughtSignature": "Cs=="});
    let second = json!({"functionCall": {"name": "fs_list", "args": {}}});
    Sample {
        name: "gemini, calls and signatures",
        provider: Provider::Gemini,
        framing: Framing::Sse,
        events: data(&[
            candidate(&json!([{"text": "I look"}]), None),
            candidate(&json!([first, second]), None),
            candidate(&json!([{"text": "a"}]), None),
            candidate(&json!([{"text": "b"}]), None),
            candidate(&json!([{"text": "", "thoughtSignature": "Ds=="}]), Some("STOP")),
        ]),
        needed: 5,
        answer: gemini_answer(
            &json!([{"text": "I look"}, first, second, {"text": "ab"}, {"text": "", "thoughtSignature": "Ds=="}]),
            "STOP",
        ),
        shown: vec![text("I look"), call("fs_read"), call("fs_list"), text("a"), text("b")],
    }
}

fn ollama() -> Sample {
    let line = |message: Value| json!({"model": "q", "created_at": "t", "message": message, "done": false});
    let call_of = |name: &str| json!({"function": {"index": 0, "name": name, "arguments": {"path": "ä"}}});
    let end = json!({"model": "q", "created_at": "u", "message": {"role": "assistant", "content": ""}, "done": true,
                     "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 298});
    let mut answer = end.clone();
    answer["message"] = json!({"role": "assistant", "content": "Grüß dich", "thinking": "Hmm",
                               "tool_calls": [call_of("fs_read"), call_of("fs_list")]});
    let lines = [
        line(json!({"role": "assistant", "content": "", "thinking": "Hm"})),
        line(json!({"role": "assistant", "content": "", "thinking": "m"})),
        line(json!({"role": "assistant", "content": "Grüß "})),
        line(json!({"role": "assistant", "content": "dich"})),
        line(json!({"role": "assistant", "content": "", "tool_calls": [call_of("fs_read")]})),
        line(json!({"role": "assistant", "content": "", "tool_calls": [call_of("fs_list")]})),
        end,
    ];
    Sample {
        name: "ollama",
        provider: Provider::Ollama,
        framing: Framing::Lines,
        needed: lines.len(),
        events: lines.iter().map(|line| format!("{line}\n")).collect(),
        answer,
        shown: vec![thought("Hm"), thought("m"), text("Grüß "), text("dich"), call("fs_read"), call("fs_list")],
    }
}
