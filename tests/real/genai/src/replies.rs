//! What the endpoint answers: replies in the form that each vendor documents. It never looks at a request.

use abide_llm::Provider;
use serde_json::{Value, json};

use crate::server::Answer;

/// An answer that says `text`.
pub(crate) fn saying(wire: Provider, text: &str) -> Answer {
    whole(&match wire {
        Provider::Openai => chat(&json!({"role": "assistant", "content": text}), "stop"),
        Provider::OpenaiResponses => responses(&json!([message(text)])),
        Provider::Anthropic => messages(&json!([{"type": "text", "text": text}]), "end_turn"),
        Provider::Gemini => gemini(&json!([{"text": text}])),
        _ => ollama(&json!({"role": "assistant", "content": text})),
    })
}

/// An answer that thinks, says something, and calls `weather` and `clock` side by side.
pub(crate) fn calling(wire: Provider) -> Answer {
    const SAID: &str = "I look it up.";
    let (city, zone) = (json!({"city": "Paris", "unit": "celsius"}), json!({"zone": "Europe/Paris"}));
    whole(&match wire {
        Provider::Openai => {
            let call = |id: &str, name: &str, arguments: &Value| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}});
            let calls = [call("call_A1", "weather", &city), call("call_B2", "clock", &zone)];
            chat(&json!({"role": "assistant", "content": SAID, "tool_calls": calls}), "tool_calls")
        }
        Provider::OpenaiResponses => {
            let call = |id: &str, call: &str, name: &str, arguments: &Value| json!({"id": id, "type": "function_call", "status": "completed", "call_id": call, "name": name, "arguments": arguments.to_string()});
            responses(&json!([
                {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAB"},
                message(SAID), call("fc_1", "call_A1", "weather", &city), call("fc_2", "call_B2", "clock", &zone)]))
        }
        Provider::Anthropic => {
            let call = |id: &str, name: &str, input: &Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
            messages(
                &json!([
                {"type": "thinking", "thinking": "Two calls.", "signature": "EqQB"}, {"type": "text", "text": SAID},
                call("toolu_A1", "weather", &city), call("toolu_B2", "clock", &zone)]),
                "tool_use",
            )
        }
        Provider::Gemini => gemini(&json!([
            {"text": SAID},
            {"functionCall": {"id": "a1", "name": "weather", "args": city}, "thoughtSignature": "c2lnbmVk"},
            {"functionCall": {"id": "b2", "name": "clock", "args": zone}}])),
        _ => {
            let call = |id: &str, at: u64, name: &str, arguments: &Value| json!({"id": id, "function": {"index": at, "name": name, "arguments": arguments}});
            let calls = [call("call_A1", 0, "weather", &city), call("call_B2", 1, "clock", &zone)];
            ollama(&json!({"role": "assistant", "content": SAID, "thinking": "Two calls.", "tool_calls": calls}))
        }
    })
}

/// [`saying`] as a stream.
pub(crate) fn streaming(wire: Provider, text: &str) -> Answer {
    let event = |event: &Value| match event.get("type").and_then(Value::as_str) {
        Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    let all = |events: &[Value]| events.iter().map(event).collect::<String>();
    let sse = |text: String| ("text/event-stream", text);
    match wire {
        Provider::Openai => {
            let chunk = |choices: Value, usage: Value| json!({"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m-1", "choices": choices, "usage": usage});
            let delta = |delta: Value, finish: Value| {
                chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
            };
            let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
            let said = delta(json!({"role": "assistant", "content": text}), Value::Null);
            sse(all(&[said, delta(json!({}), json!("stop")), chunk(json!([]), usage)]) + "data: [DONE]\n\n")
        }
        Provider::OpenaiResponses => {
            let mut events = vec![
                json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
                json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}}),
                json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
                json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text}),
                json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text}),
                json!({"type": "response.output_item.done", "output_index": 0, "item": message(text)}),
                json!({"type": "response.completed", "response": responses(&json!([message(text)]))}),
            ];
            for (number, event) in events.iter_mut().enumerate() {
                if let Some(event) = event.as_object_mut() {
                    event.insert("sequence_number".to_owned(), json!(number));
                }
            }
            sse(all(&events))
        }
        Provider::Anthropic => sse(all(&[
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [], "stop_reason": null, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
            json!({"type": "message_stop"}),
        ])),
        Provider::Gemini => sse(all(&[gemini(&json!([{"text": text}]))])),
        _ => {
            let line = |content: &str, done: bool| json!({"model": "m-1", "created_at": "2026-01-01T00:00:00Z", "done": done, "done_reason": done.then_some("stop"), "message": {"role": "assistant", "content": content}, "prompt_eval_count": 9, "eval_count": 3});
            ("application/x-ndjson", format!("{}\n{}\n", line(text, false), line("", true)))
        }
    }
}

fn whole(body: &Value) -> Answer {
    ("application/json", body.to_string())
}

fn chat(message: &Value, finish: &str) -> Value {
    json!({"id": "c-1", "object": "chat.completion", "created": 7, "model": "m-1",
           "choices": [{"index": 0, "message": message, "finish_reason": finish}],
           "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})
}

fn message(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
           "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn responses(output: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": "m-1", "output": output,
           "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}})
}

fn messages(content: &Value, stop: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": content, "stop_reason": stop,
           "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 3}})
}

fn gemini(parts: &Value) -> Value {
    json!({"modelVersion": "m-1", "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": parts}}],
           "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}})
}

fn ollama(message: &Value) -> Value {
    json!({"model": "m-1", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop", "message": message,
           "prompt_eval_count": 9, "eval_count": 3})
}
