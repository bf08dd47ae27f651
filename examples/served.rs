//! A workflow as a durable tool for MCP clients, in a program of its own with every verb of `abide`. `cargo run --example served -- serve
//! --stdio` serves it; `cargo run --example served -- show RUN` looks at what a client has started. It orders nothing.

use abide::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    item: String,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    item: String,
    key: String,
}

async fn place(order: Order) -> Result<Receipt> {
    // The same key on every attempt: a shop that knows it sells once.
    Ok(Receipt { item: order.item, key: step_key().unwrap_or_default().to_string() })
}

async fn order(ctx: Ctx, order: Order) -> Result<Receipt> {
    ctx.step("place", order, place).once().await
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let schema = json!({"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]});
    let app = Abide::open("served-example.db").workflow("order", order).describe("order", "Orders an item", schema);
    abide::cli(app).await
}
