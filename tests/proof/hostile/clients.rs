//! Messages of MCP clients over a pipe in memory: the input is all that a client says before it closes its end. The server must end then,
//! having said nothing but messages.

use std::sync::Arc;

use abide_llm::BoxFuture;
use abide_mcp::serve::{About, Asks, Call, Caller, Lasts, Offer, Refusal, Reply, Seal, Server, Tool, serve_lines};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, split};

use super::Attack;

/// Small, so that inputs of a megabyte are over it.
const LINE: usize = 64 << 10;

/// One tool, which asks first.
struct Asking;

impl Asking {
    fn tool() -> Tool {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}});
        Tool { definition: json!({"name": "ask", "inputSchema": schema}), lasts: Lasts::May }
    }
}

impl Offer for Asking {
    fn about(&self) -> About {
        About { name: "asking".to_owned(), tasks: true, ..About::default() }
    }

    fn tools(&self) -> BoxFuture<Vec<Tool>> {
        Box::pin(async { vec![Self::tool()] })
    }

    fn tool(&self, name: &str) -> BoxFuture<Option<Tool>> {
        let found = (name == "ask").then(Self::tool);
        Box::pin(async { found })
    }

    fn call(&self, call: Call, caller: Caller) -> BoxFuture<Result<Reply, Refusal>> {
        caller.happened("asked");
        let done = call.state.is_some() || !call.responses.is_empty();
        let request = json!({"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}});
        let asks = Asks { requests: [("q".to_owned(), request)].into(), state: Some(json!(1)) };
        Box::pin(async move { Ok(if done { Reply::Done(json!({"content": []})) } else { Reply::Asks(asks) }) })
    }
}

pub fn attack() -> Attack {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |input| runtime.block_on(talk(input)))
}

async fn talk(input: &[u8]) {
    let server = Server::new(Arc::new(Asking), Arc::new(Seal::new([3; 32])));
    let (ours, theirs) = tokio::io::duplex(1 << 12);
    let (reader, writer) = split(theirs);
    let serving = tokio::spawn(serve_lines(server, BufReader::new(reader), writer, LINE));
    let (reader, mut writer) = split(ours);
    let hearing = tokio::spawn(async move {
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let message: Value = serde_json::from_str(&line).expect("a message a line");
            assert_eq!(message["jsonrpc"], "2.0", "{message}");
        }
    });
    writer.write_all(input).await.unwrap();
    writer.shutdown().await.unwrap();
    serving.await.unwrap().unwrap();
    drop(writer);
    hearing.await.unwrap();
}
