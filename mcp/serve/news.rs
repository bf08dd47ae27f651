//! News for clients that want them: that the tools are others than they were. It lists nothing, and keeps no news for a client
//! that is away.

use abide_llm::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::message::{Request, notification};
use super::{Refusal, Server};

/// How the version without sessions asks for news.
pub(super) const LISTEN: &str = "subscriptions/listen";

/// Where a piece of news names the request that asked for it.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Says what will be told, and tells it for as long as the client listens: only what cannot be answered has an answer.
pub(super) async fn modern(server: &Server, request: &Request, out: &mpsc::Sender<Value>) -> Refusal {
    if !server.offer.about().tools_change {
        return Refusal::no_method(LISTEN);
    }
    let changed = server.offer.changed();
    let wanted = request.params.get("notifications").and_then(|all| all.get("toolsListChanged"));
    let wanted = wanted == Some(&Value::Bool(true));
    let told = if wanted { json!({"toolsListChanged": true}) } else { json!({}) };
    let meta = json!({ SUBSCRIPTION: request.id });
    let params = json!({"notifications": told, "_meta": meta});
    if out.send(notification("notifications/subscriptions/acknowledged", &params)).await.is_ok() {
        if wanted {
            tell(server, changed, &json!({ "_meta": meta }), out).await;
        } else {
            out.closed().await;
        }
    }
    Refusal::invalid("news are told on a stream: accept text/event-stream")
}

/// Tells that the tools have changed, from `changed` on and for as long as somebody listens.
pub(super) async fn tell(server: &Server, mut changed: BoxFuture<()>, params: &Value, out: &mpsc::Sender<Value>) {
    loop {
        tokio::select! {
            () = &mut changed => {}
            () = out.closed() => return,
        }
        changed = server.offer.changed();
        if out.send(notification("notifications/tools/list_changed", params)).await.is_err() {
            return;
        }
    }
}
