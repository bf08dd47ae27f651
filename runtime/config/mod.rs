//! Reads what a user writes: `abide.toml`, agents' files, INPUT, and the record of what the user trusts. It starts nothing and asks nobody.

mod discover;
mod error;
mod node;
mod parse;

pub use discover::{Database, DatabaseSource, Env};
pub use error::{ConfigError, Origin, Place};
pub use node::{At, KeyDoc};
