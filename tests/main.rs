//! All integration tests, one binary: each module drives abide through its public API or its binary. No test here needs a network or python.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::pedantic)]

mod cli;
mod demo;
mod host;
mod parity;
mod proof;
mod serve;
mod support;
mod tidy;
