//! Looks now and then whether the tools have changed, while somebody wants to know. It reads what lists them, and nothing else.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use abide_llm::BoxFuture;
use tokio::sync::watch::Sender;

use super::Shared;

/// How often.
const PAUSE: Duration = Duration::from_secs(2);

/// What was seen last.
#[derive(Default)]
pub(super) struct Glance {
    seen: Mutex<Option<blake3::Hash>>,
    news: Sender<()>,
}

impl Shared {
    /// Ends once the tools are others than now.
    pub(super) fn changed(&self) -> BoxFuture<()> {
        let mut news = self.glance.news.subscribe();
        self.glance.seen.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.tools_now());
        Box::pin(async move {
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn tools_now(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for entry in self.catalog().0 {
            hasher.update(entry.tool.definition.to_string().as_bytes()).update(b"\n");
        }
        hasher.finalize()
    }

    fn glance(&self) {
        let mut seen = self.glance.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.glance.news.receiver_count() == 0 {
            *seen = None;
        } else {
            let now = self.tools_now();
            if seen.replace(now).is_some_and(|before| before != now) {
                self.glance.news.send_replace(());
            }
        }
    }
}

/// Looks until there is nobody to look for.
pub(super) async fn watch(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.glance();
    }
}
