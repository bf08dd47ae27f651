//! Keeps agents' conversations in the database of their runs. It never writes past the writer thread.

use std::sync::Arc;

use abide_engine::{Error, Resources, Result, terminal};
use abide_llm::{BoxFuture, Exchange, Memories, Memory};

use crate::store::{Writer, recall, remember};

struct Kept {
    writer: Writer,
}

/// The handles, and the memory of the database that this writer writes, unless a program lends one of its own.
pub(crate) fn lend(resources: Resources, writer: Writer) -> Resources {
    if resources.get::<Memories>().is_some() {
        return resources;
    }
    resources.with(Arc::new(Memories(Arc::new(Kept { writer }))))
}

impl Memory for Kept {
    fn recall(&self, name: String, most: u32) -> BoxFuture<Result<Vec<Exchange>>> {
        let writer = self.writer.clone();
        Box::pin(async move {
            // By the writer too: what this process was told is kept is there.
            let bodies = writer.call(move |tx| recall(tx, &name, most)).await?;
            let read = |body: &String| serde_json::from_str(body).map_err(|error| unreadable(&error));
            bodies.iter().map(read).collect()
        })
    }

    fn remember(&self, name: String, key: Arc<str>, exchange: Exchange) -> BoxFuture<Result<()>> {
        let writer = self.writer.clone();
        Box::pin(async move {
            let body = serde_json::to_string(&exchange)?;
            Ok(writer.call(move |tx| remember(tx, &name, &key, &body)).await?)
        })
    }
}

fn unreadable(error: &serde_json::Error) -> Error {
    terminal(format!("what was kept of the conversation cannot be read ({error}): a newer abide may have written it"))
}
