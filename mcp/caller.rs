//! abide as its servers see it: what it can be asked, and where their notifications go. It knows calls, never runs.
#![expect(deprecated, reason = "2026-07-28 deprecates roots and sampling, and servers of today use them")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abide_llm::Redactor;
use rmcp::model::{
    ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
    ElicitResult, ElicitationAction, ElicitationCapability, ErrorCode, ErrorData, ExtensionCapabilities,
    FormElicitationCapability, Implementation, ListRootsResult, ProgressNotificationParam, RootsCapabilities,
    SamplingCapability, TASKS_EXTENSION_ID, UrlElicitationCapability,
};
use rmcp::service::{InboundStreamOrigin, NotificationContext, RequestContext};
use rmcp::{ClientHandler, RoleClient};

use crate::asked;
use crate::driver::Progress;
use crate::underway::{Call, Underway};

/// The code by which a client says that its user did not want to (the protocol's own).
const REFUSED: ErrorCode = ErrorCode(-1);

/// What answers the server of one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) server: String,
    /// The project's root, if it is told.
    pub(crate) root: Option<PathBuf>,
    pub(crate) underway: Arc<Underway>,
    pub(crate) redactor: Redactor,
    /// Set when the server says that what it lists has changed.
    pub(crate) stale: Arc<AtomicBool>,
}

impl Caller {
    fn concerned(&self, context: &RequestContext<RoleClient>) -> Option<Arc<Call>> {
        let request = match context.extensions.get::<InboundStreamOrigin>() {
            Some(InboundStreamOrigin::OutboundRequest(id)) => Some(id),
            _ => None,
        };
        let call = self.underway.concerned(request);
        if call.is_none() {
            tracing::info!(
                server = self.server,
                "declined a request of an MCP server: no one call is known to need it"
            );
        }
        call
    }

    fn listed_anew(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }
}

impl ClientHandler for Caller {
    fn get_info(&self) -> ClientConfig {
        let mut can = ClientCapabilities::default();
        can.roots = self.root.is_some().then(RootsCapabilities::default);
        can.sampling = Some(SamplingCapability::default());
        can.elicitation = Some(
            ElicitationCapability::new()
                .with_form(FormElicitationCapability::new().with_schema_validation(true))
                .with_url(UrlElicitationCapability::default()),
        );
        can.extensions = Some(ExtensionCapabilities::from([(TASKS_EXTENSION_ID.to_owned(), serde_json::Map::new())]));
        ClientConfig::new(can, Implementation::new("abide", env!("CARGO_PKG_VERSION")))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(asked::roots(self.root.as_deref()))
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        match self.concerned(&context) {
            Some(call) => Ok(asked::elicit(&call, params, &self.redactor).await),
            None => Ok(ElicitResult::new(ElicitationAction::Decline)),
        }
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let refuse = |why: String| ErrorData::new(REFUSED, format!("sampling was declined: {why}"), None);
        match self.concerned(&context) {
            Some(call) => asked::sample(&call, &params).await.map_err(refuse),
            None => Err(refuse("it is not known for which call it is".to_owned())),
        }
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        let Some(call) = self.underway.of_token(&params.progress_token) else { return };
        call.beat();
        let message = params.message.map(|message| self.redactor.mask(&message).into_owned());
        call.driver.watch.progress(&call.made, &Progress { done: params.progress, total: params.total, message });
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.listed_anew();
    }

    async fn on_resource_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.listed_anew();
    }
}
