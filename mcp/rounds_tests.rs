//! Tests of calls that are set aside while somebody finds the answer: taken up again, called off, told of progress, and found to be over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide_engine::{Attempt, AttemptFuture, ErrorKind, Telling};
use abide_llm::{Left, Onward, Tools as _};

use super::*;
use crate::fixture_talk::{Talker, next, result, servers, text, tool};

fn call() -> ToolCall {
    ToolCall { server: "fix".into(), tool: "greet".into(), arguments: json!({}) }
}

/// Asks for a name in the middle of its call, and greets with progress once it is told.
fn greeter() -> Arc<Talker> {
    let open = Mutex::new(Value::Null);
    Talker::new(false, json!([tool("greet")]), move |message| {
        if message["method"] == "tools/call" {
            *open.lock().unwrap() = message.clone();
            let form = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
            let params = json!({"message": "who?", "requestedSchema": form});
            return vec![json!({"jsonrpc": "2.0", "id": 900, "method": "elicitation/create", "params": params})];
        }
        if message["id"] != 900 {
            return Vec::new();
        }
        let call = open.lock().unwrap().clone();
        let token = &call["params"]["_meta"]["progressToken"];
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1, "total": 2, "message": "greeting"}});
        vec![progress, text(&call, &message["result"].to_string())]
    })
}

/// A round within a step's attempt, and what that was told.
async fn round(servers: &Servers, onward: Onward) -> (Result<Came, Error>, Vec<Telling>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = told.clone();
    let teller = Teller::new(move |telling| hears.lock().unwrap().push(telling));
    let attempt = Attempt { teller, ..Attempt::new("k".into(), 1) };
    let servers = servers.clone();
    let came = AttemptFuture::start(|| servers.round(call(), onward, BTreeMap::new()), attempt).await;
    let told = told.lock().unwrap().clone();
    (came, told)
}

fn asks(came: Result<Came, Error>) -> Arc<Asks> {
    match came.unwrap() {
        Came::Asks(asks) => Arc::new(asks),
        other => panic!("{other:?}"),
    }
}

fn said(action: Value) -> Answers {
    [("1".to_owned(), Given::Result(action))].into()
}

#[tokio::test]
async fn an_open_call_is_set_aside_and_goes_on_with_the_answer() {
    let servers = servers(&greeter(), None);
    let asks = asks(round(&servers, Onward::Begin).await.0);
    assert!(asks.open && servers.is_open(&asks));
    assert_eq!(asks.people["1"]["message"], "who?");
    let answer = said(json!({"action": "accept", "content": {"name": "Ada"}}));
    let (came, told) = round(&servers, Onward::Answer(asks.clone(), answer.clone())).await;
    let Came::Done(done) = came.unwrap() else { panic!("not done") };
    assert!(done["content"][0]["text"].as_str().unwrap().contains("Ada"), "{done}");
    let progress = Telling::Progress { done: 1.0, of: Some(2.0), message: Some("greeting".into()) };
    assert_eq!(told, [progress], "the attempt of now is told");
    assert!(!servers.is_open(&asks));
    let error = round(&servers, Onward::Answer(asks, answer)).await.0.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::InDoubt, "{error}");
}

#[tokio::test]
async fn an_open_call_that_nobody_wants_is_called_off_at_its_server() {
    let talker = greeter();
    let servers = servers(&talker, None);
    let mut heard = talker.heard();
    let asks = asks(round(&servers, Onward::Begin).await.0);
    let request = next(&mut heard, "tools/call").await;
    servers.call_off(call(), Left::Open(asks.clone())).await.unwrap();
    assert_eq!(next(&mut heard, "notifications/cancelled").await["params"]["requestId"], request["id"]);
    assert!(!servers.is_open(&asks));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_person_is_not_the_servers() {
    let rule = crate::ToolRule {
        pattern: "fix_*".into(),
        policy: None,
        effect: None,
        timeout_s: Some(5),
        max_timeout_s: Some(9),
        attempts: None,
        reconcile: None,
    };
    let servers = servers(&greeter(), Some(rule));
    let asks = asks(round(&servers, Onward::Begin).await.0);
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(servers.is_open(&asks));
    }
    let came = round(&servers, Onward::Answer(asks, said(json!({"action": "decline"})))).await.0;
    let Came::Done(done) = came.unwrap() else { panic!("not done") };
    assert!(done["content"][0]["text"].as_str().unwrap().contains("decline"), "{done}");
}

#[tokio::test]
async fn a_call_that_ends_by_itself_is_over_and_keeps_its_result() {
    let talker = greeter();
    let servers = servers(&talker, None);
    let mut heard = talker.heard();
    let asks = asks(round(&servers, Onward::Begin).await.0);
    let request = next(&mut heard, "tools/call").await;
    talker.say(result(&request, &json!({"content": [{"type": "text", "text": "never mind"}]})));
    let until = async {
        while servers.is_open(&asks) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until).await.unwrap();
    let (came, _) = round(&servers, Onward::Answer(asks, Answers::new())).await;
    let Came::Done(done) = came.unwrap() else { panic!("not done") };
    assert_eq!(done["content"][0]["text"], "never mind");
}
