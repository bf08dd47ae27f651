//! abide: durable agents in one file. This crate hosts the engine on SQLite; it never re-implements one of its rules.

#[cfg(feature = "agents")]
pub mod config;

pub use abide_engine::{Effect, Error, Result};
