//! A model on loopback that speaks every wire, streamed or not: it calls one tool again and again, and keeps each request's body byte for byte as
//! it came, with the time. It never looks into a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use abide_llm::Provider;
use serde_json::{Value, json};

/// The tool that it calls.
pub(super) const TOOL: &str = "books_read";

/// A request's body, and when it was there.
type Asked = (Vec<u8>, Instant);

pub(super) struct Mock {
    pub(super) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Mock {
    /// Its answer number `turns` is a text; all before call the tool.
    pub(super) fn new(provider: Provider, stream: bool, turns: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let Some(body) = read(&socket) else { continue };
                let n = {
                    let mut kept = kept.lock().unwrap();
                    kept.push((body, Instant::now()));
                    kept.len()
                };
                answer(&socket, provider, stream, n, n >= turns);
            }
        });
        Self { base_url, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn read(socket: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(socket);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn answer(mut socket: &TcpStream, provider: Provider, stream: bool, n: usize, last: bool) {
    let whole = whole(provider, n, last);
    let (kind, body) = match (stream, provider) {
        (false, _) => ("application/json", whole.to_string()),
        (true, Provider::Ollama) => ("application/x-ndjson", lines(&whole)),
        (true, _) => ("text/event-stream", events(provider, &whole)),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever asked may be gone.
    let _ = socket.write_all(format!("{head}{body}").as_bytes());
}

/// The answer of this turn as one body.
fn whole(provider: Provider, n: usize, last: bool) -> Value {
    let text = match last {
        true => "All is read: the chapters agree.".to_owned(),
        false => format!("Chapter {n} bears on the question, \"so far\" at least; I read it before I answer."),
    };
    let id = format!("call-{n}");
    let arguments = json!({"chapter": n, "whole": true});
    let calls = |call: Value| if last { vec![] } else { vec![call] };
    match provider {
        Provider::Anthropic => {
            let call = json!({"type": "tool_use", "id": id, "name": TOOL, "input": arguments});
            let content = [vec![json!({"type": "text", "text": text})], calls(call)].concat();
            json!({"id": format!("msg-{n}"), "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": if last { "end_turn" } else { "tool_use" }, "usage": {"input_tokens": 900 * n, "output_tokens": 40}})
        }
        Provider::OpenaiResponses => {
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            let message = json!({"type": "message", "id": format!("said-{n}"), "role": "assistant", "status": "completed", "content": [part]});
            let call = json!({"type": "function_call", "id": format!("fc-{n}"), "call_id": id, "name": TOOL,
                "arguments": arguments.to_string(), "status": "completed"});
            let output = [vec![message], calls(call)].concat();
            json!({"id": format!("resp-{n}"), "object": "response", "status": "completed", "model": "m",
                "output": output, "usage": {"input_tokens": 900 * n, "output_tokens": 40}})
        }
        Provider::Gemini => {
            let call = json!({"functionCall": {"id": id, "name": TOOL, "args": arguments}, "thoughtSignature": format!("signed-{n}")});
            let parts = [vec![json!({"text": text})], calls(call)].concat();
            json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
                "modelVersion": "m", "usageMetadata": {"promptTokenCount": 900 * n, "candidatesTokenCount": 40}})
        }
        Provider::Ollama => {
            let call = json!({"id": id, "function": {"name": TOOL, "arguments": arguments}});
            json!({"model": "m", "message": {"role": "assistant", "content": text, "tool_calls": calls(call)}, "done": true,
                "done_reason": "stop", "prompt_eval_count": 900 * n, "eval_count": 40})
        }
        _ => {
            let call =
                json!({"id": id, "type": "function", "function": {"name": TOOL, "arguments": arguments.to_string()}});
            let mut message = json!({"role": "assistant", "content": text});
            if !last {
                message["tool_calls"] = json!([call]);
            }
            json!({"id": format!("chat-{n}"), "object": "chat.completion", "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": if last { "stop" } else { "tool_calls" }}],
                "usage": {"prompt_tokens": 900 * n, "completion_tokens": 40, "total_tokens": 900 * n + 40}})
        }
    }
}

/// The two halves of a text.
fn halves(text: &Value) -> [String; 2] {
    let text = text.as_str().unwrap();
    let (a, b) = text.split_at(text.len() / 2);
    [a.to_owned(), b.to_owned()]
}

fn lines(whole: &Value) -> String {
    let line = |message: Value| json!({"model": "m", "message": message, "done": false}).to_string() + "\n";
    let [a, b] = halves(&whole["message"]["content"]);
    let said = [a, b].map(|text| line(json!({"role": "assistant", "content": text}))).concat();
    let called = line(json!({"role": "assistant", "content": "", "tool_calls": whole["message"]["tool_calls"]}));
    let mut end = whole.clone();
    end["message"] = json!({"role": "assistant", "content": ""});
    format!("{said}{called}{end}\n")
}

fn events(provider: Provider, whole: &Value) -> String {
    let events = match provider {
        Provider::Anthropic => messages(whole),
        Provider::OpenaiResponses => {
            let done = whole["output"].as_array().unwrap().iter().enumerate();
            let done =
                done.map(|(i, item)| json!({"type": "response.output_item.done", "output_index": i, "item": item}));
            let begun = json!({"type": "response.created", "response": {"id": whole["id"], "status": "in_progress", "output": []}});
            std::iter::once(begun)
                .chain(done)
                .chain([json!({"type": "response.completed", "response": whole})])
                .collect()
        }
        Provider::Gemini => {
            let parts = whole["candidates"][0]["content"]["parts"].as_array().unwrap();
            let begin = halves(&parts[0]["text"]);
            let mut end = whole.clone();
            end["candidates"][0]["content"]["parts"][0]["text"] = json!(begin[1]);
            vec![
                json!({"candidates": [{"content": {"parts": [{"text": begin[0]}], "role": "model"}, "index": 0}]}),
                end,
            ]
        }
        _ => chat(whole),
    };
    let named = |event: &Value| event["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
    let end = if provider == Provider::Openai { "data: [DONE]\n\n" } else { "" };
    events.iter().map(|event| format!("{}data: {event}\n\n", named(event))).collect::<String>() + end
}

fn chat(whole: &Value) -> Vec<Value> {
    let (choice, message) = (&whole["choices"][0], &whole["choices"][0]["message"]);
    let chunk = |choices: Value, usage: &Value| json!({"id": whole["id"], "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage});
    let delta = |delta: Value, finish: &Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), &Value::Null)
    };
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}), &Value::Null)];
    chunks.extend(halves(&message["content"]).map(|text| delta(json!({"content": text}), &Value::Null)));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let [a, b] = halves(&call["function"]["arguments"]);
        let begin =
            json!({"index": 0, "id": call["id"], "type": "function", "function": {"name": TOOL, "arguments": a}});
        chunks.push(delta(json!({"tool_calls": [begin]}), &Value::Null));
        chunks.push(delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": b}}]}), &Value::Null));
    }
    chunks.extend([delta(json!({}), &choice["finish_reason"]), chunk(json!([]), &whole["usage"])]);
    chunks
}

fn messages(whole: &Value) -> Vec<Value> {
    let mut begun = whole.clone();
    (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
    let mut events = vec![json!({"type": "message_start", "message": begun})];
    for (i, block) in whole["content"].as_array().unwrap().iter().enumerate() {
        let mut empty = block.clone();
        let pieces = if block["type"] == "text" {
            empty["text"] = json!("");
            halves(&block["text"]).map(|text| json!({"type": "text_delta", "text": text}))
        } else {
            empty["input"] = json!({});
            halves(&json!(block["input"].to_string()))
                .map(|text| json!({"type": "input_json_delta", "partial_json": text}))
        };
        events.push(json!({"type": "content_block_start", "index": i, "content_block": empty}));
        events.extend(pieces.map(|piece| json!({"type": "content_block_delta", "index": i, "delta": piece})));
        events.push(json!({"type": "content_block_stop", "index": i}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"]}, "usage": {"output_tokens": 40}}));
    events.push(json!({"type": "message_stop"}));
    events
}
