//! Reconcile probes (DESIGN rule 16): what tells whether a step in doubt has happened. A probe is only described here: the host asks it.

use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::{Json, json};
use crate::step::{Attempt, BoxFuture};
use crate::{Error, Result};

/// How long a probe may take when nothing else was said, in milliseconds.
pub(crate) const LIMIT_MS: u64 = 60_000;

/// What a reconcile probe found out about a step in doubt.
///
/// As JSON: `{"status":"landed","result":..}`, `{"status":"did_not_happen"}`, `{"status":"unknown"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", content = "result", rename_all = "snake_case")]
pub enum Reconciled<T> {
    /// It happened, and this was its result: the step completes with it.
    Landed(T),
    /// It certainly did not happen: the step is tried again.
    DidNotHappen,
    /// The probe cannot tell: a person is asked.
    Unknown,
}

/// A probe's closure behind one type: the attempt it is asked about goes in.
pub type ProbeFn = Arc<dyn Fn(Attempt) -> BoxFuture<Result<Reconciled<Json>>> + Send + Sync>;

/// A step's reconcile probe.
#[derive(Clone)]
pub struct Probe {
    /// Asks it.
    pub ask: ProbeFn,
    /// The time it may take, in milliseconds; after it the answer is taken to be [`Reconciled::Unknown`].
    pub limit_ms: u64,
}

/// Boxes a typed probe of a step with this recorded input.
pub(crate) fn erase<I, O, F, Fut, E>(input: Json, probe: F) -> ProbeFn
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(I, Arc<str>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reconciled<O>, E>> + Send + 'static,
    E: Into<Error>,
{
    Arc::new(move |attempt| {
        let asked = serde_json::from_str(input.get()).map(|input| probe(input, attempt.key));
        Box::pin(async move {
            let unreadable = |e| crate::terminal(format!("the probe cannot read the step's recorded input: {e}"));
            Ok(match asked.map_err(unreadable)?.await.map_err(Into::into)? {
                Reconciled::Landed(result) => Reconciled::Landed(json(&result)?),
                Reconciled::DidNotHappen => Reconciled::DidNotHappen,
                Reconciled::Unknown => Reconciled::Unknown,
            })
        })
    })
}

/// Can the code read this as the step's result?
pub(crate) fn fits<O: DeserializeOwned>(result: &str) -> Result<(), String> {
    serde_json::from_str::<O>(result).map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_answer_is_one_object_with_a_status() {
        let texts = [
            (Reconciled::Landed(7), r#"{"status":"landed","result":7}"#),
            (Reconciled::DidNotHappen, r#"{"status":"did_not_happen"}"#),
            (Reconciled::Unknown, r#"{"status":"unknown"}"#),
        ];
        for (answer, text) in texts {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reconciled<i32>>(text).unwrap(), answer);
        }
        assert!(serde_json::from_str::<Reconciled<i32>>(r#"{"status":"landed"}"#).is_err(), "landed needs its result");
    }
}
