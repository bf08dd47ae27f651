//! Hears of changed lists from servers that send such news only to who asked for them (2026-07-28). It lists nothing anew.

use std::sync::atomic::Ordering;

use rmcp::RoleClient;
use rmcp::model::{ProtocolVersion, ServerNotification, SubscriptionFilter};
use rmcp::service::Peer;

use crate::caller::Caller;

/// Asks for the news that the server offers. Ends with the connection.
pub(crate) fn to_changes(peer: &Peer<RoleClient>, caller: &Caller) {
    let Some(info) = peer.peer_info().filter(|info| info.protocol_version >= ProtocolVersion::V_2026_07_28) else {
        return;
    };
    let tools = info.capabilities.tools.as_ref().is_some_and(|tools| tools.list_changed == Some(true));
    let resources = info.capabilities.resources.as_ref().is_some_and(|resources| resources.list_changed == Some(true));
    if !tools && !resources {
        return;
    }
    let mut filter = SubscriptionFilter::default();
    filter.tools_list_changed = tools.then_some(true);
    filter.resources_list_changed = resources.then_some(true);
    let (peer, stale) = (peer.clone(), caller.stale.clone());
    tokio::spawn(async move {
        let Ok(mut news) = peer.listen(filter).await else { return };
        while let Ok(Some(notification)) = news.next().await {
            if matches!(
                notification,
                ServerNotification::ToolListChangedNotification(_)
                    | ServerNotification::ResourceListChangedNotification(_)
            ) {
                stale.store(true, Ordering::SeqCst);
            }
        }
        // What was missed is not known.
        stale.store(true, Ordering::SeqCst);
    });
}
