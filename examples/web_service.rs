//! An axum service with durable work behind it: a POST begins the run of a ticket, once however often it is sent; kill the service at any
//! moment and start it again, and every ticket goes on where it was. `cargo run --example web_service`, and then
//!
//!     curl -X POST http://127.0.0.1:3000/tickets/7 -d 'I want my money back'
//!     curl -X POST http://127.0.0.1:3000/tickets/7/approval
//!     curl http://127.0.0.1:3000/tickets/7
//!
//! The first argument is another address; `ABIDE_MODEL` names a real model. It keeps nothing in memory that it could lose, and sends nothing.

#[path = "offline/mod.rs"]
mod offline;

use std::sync::Arc;

use abide::prelude::*;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use offline::Say;
use serde_json::{Value, json};

fn script(_: &str, said: &str) -> Say {
    Say::Text(format!("We are sorry. About \"{said}\": it is settled."))
}

/// Sends an answer to the customer: once, whatever happens.
async fn send(answer: String) -> Result<String> {
    let key = step_key().unwrap_or_default();
    println!("sending {answer:?} with key {key}");
    Ok(format!("sent: {answer}"))
}

async fn ticket(ctx: Ctx, clerk: Agent, ticket: String) -> Result<String> {
    let draft = clerk.run(&ctx, ticket).await?.text;
    ctx.status(&json!({ "draft": draft }));
    if !ctx.signal::<bool>("approval").await? {
        return Err(terminal("the answer was not approved"));
    }
    ctx.step("send", draft, send).once().await
}

/// What went wrong, as a status of HTTP.
struct Wrong(HostError);

impl From<HostError> for Wrong {
    fn from(error: HostError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            HostError::NoSuchRun { .. } => StatusCode::NOT_FOUND,
            HostError::IdTaken { .. } | HostError::Ended { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}

type Answer = std::result::Result<Json<Value>, Wrong>;

/// The same ticket twice is the same run, and other words under its number are refused.
async fn begin(State(abide): State<Arc<Abide>>, Path(id): Path<String>, words: String) -> Answer {
    let run = abide.run("ticket", &words).id(format!("ticket-{id}")).await?;
    Ok(Json(json!({ "run": run.id() })))
}

async fn approve(State(abide): State<Arc<Abide>>, Path(id): Path<String>) -> Answer {
    let run = abide.get(&format!("ticket-{id}"))?;
    // Kept until the run waits for it, and taken once however often the button is pressed.
    let first = run.signal_once("approval", &true, "the approval").await?;
    Ok(Json(json!({ "approved": true, "first": first })))
}

async fn look(State(abide): State<Arc<Abide>>, Path(id): Path<String>) -> Answer {
    let report = abide.get(&format!("ticket-{id}"))?.report()?.run;
    let (waits, said) = (report.waiting_for, report.progress);
    Ok(Json(json!({"status": report.status, "waiting_for": waits, "said": said, "output": report.output})))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let clerk = Agent::new("clerk").instructions("Answer this ticket kindly.").model(offline::model(script)?);
    let app = Abide::open("tickets-example.db")
        .agents()
        .workflow("ticket", move |ctx, words| ticket(ctx, clerk.clone(), words));
    // Whatever an earlier process has left is taken up here.
    let abide = Arc::new(app.start().await?);
    let routes = Routes::new()
        .route("/tickets/{id}", get(look).post(begin))
        .route("/tickets/{id}/approval", post(approve))
        .with_state(abide.clone());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
