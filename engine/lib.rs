//! The replay machine of abide: journal in, journal out. It never touches a clock, a file, a socket or randomness.

mod effect;
mod error;

pub use effect::{Effect, StepKind};
pub use error::{Error, ErrorKind, Parked, Result, did_not_happen, in_doubt, retry_after, terminal};
