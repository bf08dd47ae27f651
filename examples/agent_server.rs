//! An agent as an MCP server: its clients see one tool, `librarian`, and each call of it is a durable run that goes on when the client is
//! gone or the server is killed. `cargo run --example agent_server -- serve --stdio` serves it, and so says a client's configuration:
//!
//!     {"mcpServers": {"library": {"command": "cargo", "args": ["run", "-q", "--example", "agent_server", "--", "serve", "--stdio"]}}}
//!
//! `... -- ls` and `... -- show RUN` look at what clients have begun; `ABIDE_MODEL` names a real model. It lends no book.

#[path = "offline/mod.rs"]
mod offline;

use abide::llm::{ToolFunction, schemars};
use abide::prelude::*;
use offline::Say;
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[schemars(crate = "abide::llm::schemars")]
struct Search {
    /// What the book is about.
    about: String,
}

fn script(_: &str, said: &str) -> Say {
    if said.contains("shelf") {
        return Say::Text("There is \"The Life of the Bee\", on shelf 7.".to_owned());
    }
    Say::Call("find_book", json!({"about": said.split_whitespace().last().unwrap_or("books")}))
}

async fn find(search: Search) -> Result<String> {
    Ok(format!("\"The Life of the Bee\" is about {}: shelf 7", search.about))
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let model = match offline::model(script) {
        Ok(model) => model,
        Err(error) => {
            eprintln!("there is no model: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let librarian = Agent::new("librarian")
        .description("Finds a book about anything, and says where it stands")
        .instructions("You are a librarian.")
        .model(model)
        .function(ToolFunction::new("find_book", "Finds a book", find).pure());
    abide::cli(Abide::open("library-example.db").agent(librarian)).await
}
