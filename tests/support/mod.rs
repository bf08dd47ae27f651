//! What integration tests stand on: a scripted model over HTTP, a small MCP server, one that asks who comes, and a project in a temporary folder. All
//! on this machine, without node or python.

pub mod agent;
pub mod asking;
pub mod auth;
pub mod client;
pub mod mcp;
pub mod model;
pub mod project;
