//! Replies of a model, byte for byte as they come over a socket: status lines, headers, bodies and streams, on every wire.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use abide_llm::{CallOptions, Client, EnvVars, ModelConfig, Provider, Redactor, SecretRef, Vars, parse};
use serde_json::{Value, json};

use super::Attack;

const PROVIDERS: [Provider; 5] =
    [Provider::Openai, Provider::OpenaiResponses, Provider::Anthropic, Provider::Gemini, Provider::Ollama];

const KEY: &str = "sk-hostile-0123456789";

struct Keys;

impl Vars for Keys {
    fn var(&self, name: &str) -> Option<String> {
        if name == "KEY" { Some(KEY.to_owned()) } else { EnvVars.var(name) }
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

/// Answers every request with what is there.
fn serve(answer: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.lock().unwrap().clone();
            let mut asked = [0; 16 << 10];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(&answer);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // Whoever has not read all of it is not cut off.
            let _ = stream.read(&mut asked);
        }
    });
    format!("http://{address}/v1")
}

pub fn attack() -> Attack {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let base_url = serve(answer.clone());
    let client = Client::default().reply_bytes(64 << 10);
    Box::new(move |input| {
        let body = input.windows(4).position(|four| four == b"\r\n\r\n").map_or(input, |at| &input[at + 4..]);
        for provider in PROVIDERS {
            if let Ok(value) = serde_json::from_slice::<Value>(body) {
                let _ = parse(provider, &value);
            }
            *answer.lock().unwrap() = input
                .iter()
                .copied()
                .flat_map(|byte| if byte == 1 { KEY.as_bytes().to_vec() } else { vec![byte] })
                .collect();
            let model = ModelConfig {
                base_url: Some(base_url.clone()),
                api_key: Some(SecretRef::Template("${KEY}".to_owned())),
                timeout_s: Some(20),
                ..ModelConfig::new(provider, "m")
            };
            let redactor = Redactor::default();
            let body = serde_json::value::to_raw_value(&json!({"model": "m", "messages": []})).unwrap();
            match runtime.block_on(client.call(&model, &body, CallOptions::new("key", &Keys, &redactor))) {
                Ok(reply) => {
                    assert!(!reply.to_string().contains(KEY), "the key is in what is kept");
                    parse(provider, &reply).expect("what is kept is a reply");
                }
                Err(error) => {
                    assert!(!error.message().is_empty() && error.message().len() < 10_000, "{}", error.message().len());
                    assert!(!error.message().contains("sk-hos"), "a part of the key in {}", error.message());
                }
            }
        }
    })
}
