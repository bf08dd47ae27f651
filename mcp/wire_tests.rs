//! Tests of `wire`: what counts as a message, and what is known about a request that was not answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rmcp::model::{GetExtensions as _, ListToolsRequest, NumberOrString, PingRequest};
use tokio::io::AsyncBufReadExt as _;

use super::*;

fn request(ticket: &Ticket, id: i64) -> ClientJsonRpcMessage {
    let mut request = ClientRequest::ListToolsRequest(ListToolsRequest::default());
    request.extensions_mut().insert(ticket.clone());
    JsonRpcMessage::request(request, NumberOrString::Number(id))
}

fn wire(stdin: impl AsyncWrite + Send + Unpin + 'static) -> (Wire, watch::Receiver<bool>) {
    Wire::new(Box::new(stdin), tokio::io::empty(), 1 << 20)
}

#[test]
fn only_json_rpc_messages_are_messages() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        "\u{FEFF}  {\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":\"a\"} ",
        r#"{"id":1,"error":{"code":-1,"message":"m"},"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/of/its/own","params":{"a":1}}"#,
    ] {
        assert!(message(line.as_bytes()).is_some(), "{line}");
    }
    for line in
        ["", "ready", "42", "[]", "{}", r#"{"level":"info"}"#, r#"{"id":1,"result":{}}"#, "{\"jsonrpc\":\"2.0\""]
    {
        assert!(message(line.as_bytes()).is_none(), "{line}");
    }
    assert!(message(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xFF\"}").is_none());
}

#[tokio::test]
async fn a_request_given_up_before_its_turn_is_never_written() {
    let (stdin, other) = tokio::io::duplex(1 << 16);
    let (mut wire, _end) = wire(stdin);
    let (gone, kept) = (Ticket::default(), Ticket::default());
    assert!(gone.give_up());
    assert!(matches!(wire.send(request(&gone, 1)).await, Err(WireError::GivenUp)));
    wire.send(request(&kept, 2)).await.unwrap();
    assert!(!kept.give_up(), "it was written: nobody can know any more");
    wire.close().await.unwrap();
    let mut lines = BufReader::new(other).lines();
    let line: serde_json::Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["id"], lines.next_line().await.unwrap()), (&2.into(), None));
}

#[tokio::test]
async fn a_refused_byte_is_certain_and_a_torn_request_is_not() {
    let (stdin, other) = tokio::io::duplex(1 << 16);
    drop(other);
    let (mut broken, end) = wire(stdin);
    let ticket = Ticket::default();
    assert!(matches!(broken.send(request(&ticket, 1)).await, Err(WireError::Io(_))));
    assert!(ticket.give_up(), "not a byte left");
    assert!(*end.borrow());
    assert!(matches!(broken.send(request(&Ticket::default(), 2)).await, Err(WireError::Closed)));

    let (stdin, other) = tokio::io::duplex(10);
    let (mut torn, _end) = wire(stdin);
    let ticket = Ticket::default();
    let sending = tokio::spawn(torn.send(request(&ticket, 1)));
    let mut reader = BufReader::with_capacity(5, other);
    assert!(!reader.fill_buf().await.unwrap().is_empty());
    drop(reader);
    assert!(matches!(sending.await.unwrap(), Err(WireError::Io(_))));
    assert!(!ticket.give_up(), "some of it left");
}

#[tokio::test]
async fn an_answer_to_a_probe_that_was_given_up_does_not_disturb_the_opening() {
    let mut opening = Opening::default();
    let response = |id: i64, result| message(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).as_bytes());
    let discover = r#"{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{}}"#;
    opening.sends(&serde_json::from_str(discover).unwrap());
    let JsonRpcMessage::Error(error) = opening.receives(response(0, "{}").unwrap()).unwrap() else { panic!() };
    assert_eq!(error.error.code, ErrorCode::METHOD_NOT_FOUND);
    assert!(opening.receives(response(7, "{}").unwrap()).is_some(), "another request's answer");

    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#;
    opening.sends(&serde_json::from_str(initialize).unwrap());
    assert!(opening.receives(response(0, "{}").unwrap()).is_none());
    assert!(opening.receives(response(1, "{}").unwrap()).is_some());
}

#[tokio::test]
async fn the_end_of_the_output_is_the_end() {
    let (mut wire, mut end) = wire(tokio::io::sink());
    end.wait_for(|ended| *ended).await.unwrap();
    assert!(wire.receive().await.is_none());
    let ping = ClientRequest::PingRequest(PingRequest::default());
    assert!(wire.send(JsonRpcMessage::request(ping, NumberOrString::Number(1))).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_an_error_for_whoever_waits() {
    let long = format!(r#"{{"result":{{"a":"{}"}},"id":1,"jsonrpc":"2.0"}}"#, "x".repeat(9_000));
    let deep = format!(r#"{{"result":{{"a":{}{}}},"id":2,"jsonrpc":"2.0"}}"#, "[".repeat(300), "]".repeat(300));
    let mut text = format!("noise\n{long}\n{deep}\n").into_bytes();
    text.extend(b"{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":\"\xFF\"}\n{\"level\":\"info\"}\n");
    let (mut wire, _end) = Wire::new(Box::new(tokio::io::sink()), std::io::Cursor::new(text), 4_000);
    for (id, why) in [(1, "limit of 4000 bytes"), (2, "deeper than 127"), (3, "UTF-8")] {
        let Some(JsonRpcMessage::Error(error)) = wire.receive().await else { panic!("no error for {id}") };
        assert_eq!(error.id, Some(NumberOrString::Number(id)));
        assert!(error.error.message.contains(why), "{}", error.error.message);
    }
    assert!(wire.receive().await.is_none());
}
