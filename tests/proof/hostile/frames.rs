//! Messages of an MCP server over pipes in memory: it behaves until the stage that the input's first line names, then says the input and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use abide_llm::{EnvVars, Redactor, ToolCall, Tools};
use abide_mcp::{
    Consent, Host, KillGroup, LaunchSpec, Launched, Launcher, Limits, Project, Rules, ServerConfig, Servers,
    parse_servers,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::Attack;

/// Small, so that inputs of a megabyte are over them.
const FRAME: usize = 64 << 10;
const RESULT: usize = 16 << 10;

struct Hostile(Arc<Vec<u8>>);

struct Process(tokio::task::AbortHandle);

impl KillGroup for Process {
    fn kill_group(&mut self) {
        self.0.abort();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Yes;

impl Consent for Yes {
    fn granted(&self, _server: &ServerConfig) -> bool {
        true
    }
}

impl Launcher for Hostile {
    fn launch(&self, _spec: LaunchSpec) -> std::io::Result<Launched> {
        let ((stdin, input), (output, stdout)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        let task = tokio::spawn(live(self.0.clone(), input, output));
        let (stdin, stdout, stderr) = (Box::new(stdin), Box::new(stdout), Box::new(tokio::io::empty()));
        Ok(Launched { stdin, stdout, stderr, kill: Box::new(Process(task.abort_handle())) })
    }
}

async fn live(script: Arc<Vec<u8>>, input: DuplexStream, mut output: DuplexStream) {
    let end = script.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (stage, words) = script.split_at(end);
    let stage = match stage {
        b"initialize" | b"tools/list" | b"tools/call" | b"server/discover" => {
            String::from_utf8_lossy(stage).into_owned()
        }
        _ => "tools/call".to_owned(),
    };
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else { continue };
        if method == stage {
            let text = String::from_utf8_lossy(words).contains("$ID");
            let id = id.to_string();
            let said = if text { replaced(words, b"$ID", id.as_bytes()) } else { words.to_vec() };
            let _ = output.write_all(&said).await;
            let _ = output.write_all(b"\n").await;
            return;
        }
        let answer = match method {
            "initialize" => {
                json!({"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "h", "version": "1"}}})
            }
            "tools/list" => json!({"result": {"tools": [{"name": "read", "inputSchema": {"type": "object"}}]}}),
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        };
        let mut answer = answer;
        (answer["jsonrpc"], answer["id"]) = (json!("2.0"), id.clone());
        if output.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

async fn talk(script: Vec<u8>) {
    let limits = Limits {
        start: Duration::from_secs(20),
        grace: Duration::ZERO,
        result_bytes: RESULT,
        frame_bytes: FRAME,
        tools: 50,
    };
    let redactor = Redactor::default();
    redactor.learn("KEY", "sk-0123456789");
    let host = Host {
        launcher: Arc::new(Hostile(Arc::new(script))),
        consent: Arc::new(Yes),
        redactor,
        vault: Arc::new(abide_mcp::MemoryVault::default()),
        limits,
    };
    let servers = parse_servers(r#"{"mcpServers": {"h": {"command": "h"}}}"#, ".mcp.json").unwrap();
    let (rules, trusted) = (Rules::default(), BTreeSet::from(["h".to_owned()]));
    let servers = Servers::new(
        host,
        Project { root: "root".into(), servers, rules, trusted, sampling: Default::default(), vars: Arc::new(EnvVars) },
    );
    if let Ok(tools) = servers.discover(vec!["h".to_owned()]).await {
        assert!(tools.len() <= 50, "more tools than the limit allows");
        for tool in &tools {
            assert!(
                (1..=64).contains(&tool.name.len())
                    && tool.name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
                "{}",
                tool.name
            );
        }
        let tool = tools.first().map_or("read", |tool| tool.tool.as_str()).to_owned();
        let call = ToolCall { server: "h".to_owned(), tool, arguments: json!({}) };
        if let Ok(result) = servers.call(call, BTreeMap::new()).await {
            let size = result.to_string().len();
            assert!(size <= RESULT + 1_000, "a result of {size} bytes, and the limit is {RESULT}");
            assert!(!result.to_string().contains("sk-0123456789"), "a known secret in a result");
        }
    }
    servers.shutdown().await;
}

/// Too large to keep as seeds.
fn giants() -> Vec<Vec<u8>> {
    let call = |words: String| format!("tools/call\n{words}").into_bytes();
    let tool = |n: usize| format!(r#"{{"name":"t{n}","inputSchema":{{}}}}"#);
    let tools = (0..5_000).map(tool).collect::<Vec<_>>().join(",");
    let few = (0..500).map(tool).collect::<Vec<_>>().join(",");
    vec![
        call(format!(
            r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
            "x".repeat(8 << 20)
        )),
        call("x".repeat(8 << 20)),
        call(format!(r#"{{"result":{}{},"id":$ID,"jsonrpc":"2.0"}}"#, "[".repeat(30_000), "]".repeat(30_000))),
        call(
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n"
                .repeat(20_000),
        ),
        call("{\"jsonrpc\":\"2.0\",\"id\":99,\"method\":\"sampling/createMessage\",\"params\":{}}\n".repeat(2_000)),
        call("{\"jsonrpc\":\"2.0\",\"id\":12345,\"result\":{}}\n".repeat(20_000)),
        format!("tools/list\n{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{{\"tools\":[{tools}]}}}}").into_bytes(),
        format!("tools/list\n{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{{\"tools\":[{few}]}}}}").into_bytes(),
    ]
}

pub fn attack() -> Attack {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut giants = giants();
    Box::new(move |input| {
        if let Some(giant) = giants.pop() {
            runtime.block_on(talk(giant));
        }
        runtime.block_on(talk(input.to_vec()));
    })
}

/// Whoever waits for an answer that is over the limit is told, with the limit, and does not wait for ever.
#[test]
fn an_answer_over_the_limit_is_not_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let script = format!(
            "tools/call\n{{\"id\":$ID,\"jsonrpc\":\"2.0\",\"result\":{{\"content\":[],\"x\":\"{}\"}}}}",
            "x".repeat(FRAME)
        );
        let launcher = Arc::new(Hostile(Arc::new(script.into_bytes())));
        let limits = Limits { frame_bytes: FRAME, ..Limits::default() };
        let host = Host {
            launcher,
            consent: Arc::new(Yes),
            redactor: Redactor::default(),
            vault: Arc::new(abide_mcp::MemoryVault::default()),
            limits,
        };
        let servers = parse_servers(r#"{"mcpServers": {"h": {"command": "h"}}}"#, ".mcp.json").unwrap();
        let project = Project {
            root: "root".into(),
            servers,
            rules: Rules::default(),
            trusted: BTreeSet::new(),
            sampling: Default::default(),
            vars: Arc::new(EnvVars),
        };
        let servers = Servers::new(host, project);
        let call = ToolCall { server: "h".to_owned(), tool: "read".to_owned(), arguments: json!({}) };
        let result = servers.call(call, BTreeMap::new()).await.unwrap();
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(result["isError"] == true && text.contains(&format!("limit of {FRAME} bytes")), "{text}");
    });
}
