//! The model of the examples: the one that the variable `ABIDE_MODEL` names (`local` of your abide.toml, `openai/gpt-5-mini` ...), or else a
//! script on this machine, so that an example runs without a key. It never leaves the loopback by itself.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use abide::llm::Provider;
use abide::prelude::ModelConfig;
use serde_json::{Value, json};

/// What a scripted model says to its instructions and to all that it was told.
pub(crate) type Script = fn(&str, &str) -> Say;

/// An answer, or a call of a tool with its arguments.
#[allow(dead_code)]
pub(crate) enum Say {
    Text(String),
    Json(Value),
    Call(&'static str, Value),
}

/// The model of an example.
pub(crate) fn model(script: Script) -> Result<ModelConfig, Box<dyn Error>> {
    if let Ok(name) = std::env::var("ABIDE_MODEL") {
        return Ok(abide::agents::model(&name)?);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let base_url = format!("http://{}/v1", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream, script));
        }
    });
    let model = ModelConfig::new(Provider::Openai, "scripted");
    Ok(ModelConfig { base_url: Some(base_url), stream: Some(false), ..model })
}

fn answer(stream: &TcpStream, script: Script) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().to_lowercase().split_once(": ") {
            Some(("content-length", n)) => length = n.parse().unwrap_or(0),
            Some(_) => {}
            None if line.starts_with("POST") => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = match script(&said(&body, true), &said(&body, false)) {
        Say::Text(text) => json!({"role": "assistant", "content": text}),
        Say::Json(value) => json!({"role": "assistant", "content": value.to_string()}),
        Say::Call(name, arguments) => json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]}),
    };
    let finish = if message["content"].is_null() { "tool_calls" } else { "stop" };
    let reply = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2}});
    let reply = reply.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let mut stream = stream;
    write!(stream, "{head}Content-Length: {}\r\n\r\n{reply}", reply.len())
}

/// The instructions, or everything else in one text.
fn said(body: &Value, instructions: bool) -> String {
    let text = |content: &Value| match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let some = messages.iter().filter(|message| (message["role"] == "system") == instructions);
    some.map(|message| text(&message["content"])).collect::<Vec<_>>().join("\n\n")
}
