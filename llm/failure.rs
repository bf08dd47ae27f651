//! What a call comes to that brought no whole answer: what certainly never left, what nobody knows, and in which words. It never
//! judges what a provider said: `errors` does.

use abide_engine::{Error, ErrorKind, in_doubt};

/// A request that could not be sent, or whose answer did not begin.
///
/// Without a connection nothing can have been billed: [`ErrorKind::Plain`]. Of anything later nobody knows.
pub(crate) fn unsent_or_lost(error: reqwest::Error, host: &str, timeout_s: u64) -> Error {
    let error = error.without_url();
    if error.is_connect() {
        return Error::new(ErrorKind::Plain, format!("cannot connect to {host}: {}", causes(&error)));
    }
    if error.is_builder() {
        return environment(format!("the request to {host} cannot be made: {}", causes(&error)));
    }
    lost(&error, host, timeout_s)
}

/// An answer that began and broke off.
pub(crate) fn lost(error: &reqwest::Error, host: &str, timeout_s: u64) -> Error {
    if error.is_timeout() {
        return in_doubt(format!("{host} gave no whole answer within {timeout_s} s (`timeout_s` of the model)"));
    }
    in_doubt(format!("the connection to {host} broke before the answer was complete: {}", causes(error)))
}

/// The causes below reqwest's own words, which only say that something failed.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let first = std::error::Error::source(error);
    let chain = std::iter::successors(first, |cause| cause.source());
    let mut texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.dedup();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

pub(crate) fn environment(message: String) -> Error {
    Error::new(ErrorKind::Environment, message)
}
