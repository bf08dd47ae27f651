//! Tests of the SQLite host through its public API.

mod basics;
mod boundaries;
