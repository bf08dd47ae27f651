//! The binary as its users call it: words in, exit codes and documents out, against a scripted model and a small MCP server.

mod abilities;
mod asked;
mod bad_input;
mod budgets;
mod checks;
mod doubt;
mod fallback;
mod life;
mod login;
mod people;
mod queues;
mod recovery;
mod replays;
mod schedules;
mod side_by_side;
mod workflows;
