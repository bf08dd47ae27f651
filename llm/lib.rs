//! Models, agents and patterns of abide. It never opens a database and never speaks MCP: it states as small traits what it needs of those who do.

mod tools;

pub use tools::{BoxFuture, Policy, ToolCall, ToolSpec, Tools};
