//! A workflow behind one type, whatever its input and output. It never runs one.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Json, json};
use crate::step::BoxFuture;
use crate::{Ctx, Error, Result, terminal};

/// A workflow: JSON in, JSON out.
pub type WorkflowFn = Arc<dyn Fn(Ctx, Json) -> BoxFuture<Result<Json>> + Send + Sync>;

/// Any `async fn(Ctx, I) -> Result<O>` with serde types as a [`WorkflowFn`].
pub fn workflow<I, O, E, F, Fut>(f: F) -> WorkflowFn
where
    I: DeserializeOwned + Send,
    O: Serialize,
    E: Into<Error>,
    F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    Arc::new(move |ctx, input| {
        let future = serde_json::from_str(input.get()).map(|input| f(ctx, input));
        Box::pin(async move {
            let future = future.map_err(|e| terminal(format!("the input does not fit this workflow: {e}")))?;
            let out = future.await.map_err(Into::into)?;
            json(&out).map_err(|e| terminal(format!("the result cannot be recorded as JSON: {e}")))
        })
    })
}
