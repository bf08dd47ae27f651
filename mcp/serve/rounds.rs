//! A call with the rounds it takes: in the version without sessions the client comes again with its answers, in the other one
//! it is asked on the stream of the call. Whoever answers sees the same call twice in either.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::message::Request;
use super::offer::{Asks, Call, Lasts, Reply, Task};
use super::session::Session;
use super::{Caller, Refusal, Server, TASKS, now_ms};
use crate::schema;

/// How long a state is good that nobody brings back, in milliseconds: a person may sleep over an answer.
const STATE_MS: i64 = 24 * 60 * 60 * 1000;

/// How often one call may ask.
const ROUNDS: usize = 32;

/// A call as the version without sessions makes it: one round.
pub(super) async fn once(server: &Server, request: &Request, caller: Caller) -> Result<Value, Refusal> {
    let mut call = request.call();
    let about = about(&call);
    if let Some(text) = request.params.get("requestState") {
        call.state = Some(brought_back(server, &about, text)?);
    }
    let mut result = match reply(server, call, caller.clone()).await? {
        Reply::Done(result) => return Ok(result),
        Reply::Task(task) => {
            let mut result = task.modern();
            result["resultType"] = "task".into();
            return Ok(result);
        }
        Reply::Asks(Asks { requests, state }) => {
            for request in requests.values() {
                can_answer(&caller, request)?;
            }
            let mut result = json!({ "inputRequests": requests });
            if let Some(state) = state {
                let nonce = super::session::random();
                result["requestState"] = server.seal.state(&about, &state, now_ms() + STATE_MS, nonce).into();
            }
            result
        }
    };
    result["resultType"] = "input_required".into();
    Ok(result)
}

/// A call as the version with sessions makes it: until it has a result or goes on by itself.
pub(super) async fn all(
    server: &Server,
    session: &Session,
    request: &Request,
    caller: Caller,
) -> Result<Result<Value, Task>, Refusal> {
    let mut call = request.call();
    for _ in 0..ROUNDS {
        match reply(server, call.clone(), caller.clone()).await? {
            Reply::Done(result) => return Ok(Ok(result)),
            Reply::Task(task) => return Ok(Err(task)),
            Reply::Asks(Asks { requests, state }) => {
                call.responses = ask_all(session, &requests, &caller).await?;
                call.state = state;
            }
        }
    }
    Err(Refusal::internal(format!("it asked {ROUNDS} times, and was given up")))
}

/// Puts questions to the client, one after the other.
pub(super) async fn ask_all(
    session: &Session,
    requests: &BTreeMap<String, Value>,
    caller: &Caller,
) -> Result<Map<String, Value>, Refusal> {
    for request in requests.values() {
        can_answer(caller, request)?;
    }
    let mut responses = Map::new();
    for (name, request) in requests {
        responses.insert(name.clone(), ask(session, request, &caller.out).await?);
    }
    Ok(responses)
}

async fn ask(session: &Session, request: &Value, out: &mpsc::Sender<Value>) -> Result<Value, Refusal> {
    let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
    let params = request.get("params").cloned().unwrap_or_else(|| json!({}));
    match session.ask(method, &params, out).await {
        Some(Ok(response)) => Ok(response),
        // A person who could not be asked has not decided anything.
        Some(Err(_)) if method == "elicitation/create" => Ok(json!({"action": "cancel"})),
        Some(Err(error)) => {
            let why = error.get("message").and_then(Value::as_str).unwrap_or("no reason was given");
            Err(Refusal::internal(format!("the client does not answer `{method}`: {why}")))
        }
        None => Err(Refusal::internal("the client is gone")),
    }
}

/// A client is asked only what it says it can answer.
fn can_answer(caller: &Caller, request: &Value) -> Result<(), Refusal> {
    let capability = match request.get("method").and_then(Value::as_str) {
        Some("elicitation/create") => "elicitation",
        Some("sampling/createMessage") => "sampling",
        Some("roots/list") => "roots",
        other => return Err(Refusal::internal(format!("no client can be asked {other:?}"))),
    };
    if caller.can(capability) { Ok(()) } else { Err(Refusal::needs(&json!({ capability: {} }))) }
}

async fn reply(server: &Server, call: Call, caller: Caller) -> Result<Reply, Refusal> {
    if call.method != "tools/call" {
        return server.offer.other(call, caller).await;
    }
    let Some(tool) = server.offer.tool(call.text("name")).await else {
        return Err(Refusal::invalid(format!("there is no tool `{}` here: see tools/list", call.text("name"))));
    };
    match tool.lasts {
        Lasts::Must if !caller.tasks && caller.is_modern() => {
            return Err(Refusal::needs(&json!({ "extensions": { TASKS: {} } })));
        }
        Lasts::Must if !caller.tasks => {
            return Err(Refusal::new(super::refusal::NO_METHOD, "this tool can only be called as a task"));
        }
        Lasts::No if caller.tasks && !caller.is_modern() => {
            return Err(Refusal::new(super::refusal::NO_METHOD, "this tool cannot be called as a task"));
        }
        _ => {}
    }
    let mut call = call;
    let arguments = call.params.entry("arguments").or_insert_with(|| json!({}));
    if arguments.is_null() {
        *arguments = json!({});
    }
    let fits = tool.definition.get("inputSchema").map_or(Ok(()), |wanted| schema::check(wanted, arguments));
    if let Err(why) = fits {
        // An answer that a model can learn from.
        let text = format!("the arguments do not fit the schema of `{}`: {why}", tool.name());
        return Ok(Reply::Done(json!({"content": [{"type": "text", "text": text}], "isError": true})));
    }
    server.offer.call(call, caller).await
}

fn brought_back(server: &Server, about: &[u8], text: &Value) -> Result<Value, Refusal> {
    let wrong = |why: &str| Refusal::invalid(format!("the requestState {why}: call again without it"));
    let opened = text.as_str().and_then(|text| server.seal.open(about, text));
    let opened = opened.ok_or_else(|| wrong("is not one that this server gave out for this request"))?;
    if opened.until_ms < now_ms() {
        return Err(wrong("is too old"));
    }
    if !server.is_first_use(opened.mark, opened.until_ms) {
        return Err(wrong("has been used before"));
    }
    Ok(opened.value)
}

/// What a state is good for: this method with these parameters.
fn about(call: &Call) -> Vec<u8> {
    let mut text = call.method.clone().into_bytes();
    text.push(0);
    write(&Value::Object(call.params.clone()), &mut text);
    text
}

/// JSON in an order of its own: a client may give the members of an object in another one the next time.
fn write(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            to.push(b'{');
            for (name, value) in members {
                to.extend(Value::from(name.as_str()).to_string().bytes());
                write(value, to);
            }
            to.push(b'}');
        }
        Value::Array(items) => {
            to.push(b'[');
            for item in items {
                write(item, to);
                to.push(b',');
            }
            to.push(b']');
        }
        plain => to.extend(plain.to_string().bytes()),
    }
}
