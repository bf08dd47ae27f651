//! Which version of the protocol a connection begins in, and what went wrong when none could be agreed on. It sends nothing.

use rmcp::model::{ErrorCode, ProtocolVersion};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode};
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::config::Protocol;
use crate::wire::WireError;

/// Which openings are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// `server/discover`, then `initialize` if the server does not know it.
    Both,
    /// `initialize` only: some older servers end at the sight of anything else.
    Legacy,
    /// `server/discover` only.
    Modern,
}

impl Era {
    /// What a declaration says.
    pub(crate) fn of(protocol: Option<Protocol>) -> Self {
        match protocol {
            None => Self::Both,
            Some(Protocol::V2025_11_25) => Self::Legacy,
            Some(Protocol::V2026_07_28) => Self::Modern,
        }
    }

    pub(crate) fn lifecycle(self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        match self {
            Self::Legacy => ClientLifecycleMode::Initialize,
            Self::Modern => ClientLifecycleMode::Discover { preferred_versions },
            Self::Both => ClientLifecycleMode::Auto {
                preferred_versions,
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
        }
    }
}

const ENDED: &str = "it ended before it had answered";

/// The cause behind all others: those before it name the parts of this program.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

/// What went wrong, and the opening that may do where both were tried.
pub(crate) fn explain(error: &ClientInitializeError) -> (String, Option<Era>) {
    match error {
        ClientInitializeError::ConnectionClosed(_) => (ENDED.to_owned(), Some(Era::Legacy)),
        // A pipe that is broken.
        ClientInitializeError::TransportError { error, .. } if error.error.is::<WireError>() => {
            (ENDED.to_owned(), Some(Era::Legacy))
        }
        ClientInitializeError::TransportError { error, .. } => {
            let cause = match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
                Some(StreamableHttpError::Client(error)) => innermost(error),
                _ => innermost(error.error.as_ref()),
            };
            (format!("it could not be spoken to: {cause}"), Some(Era::Legacy))
        }
        ClientInitializeError::JsonRpcError(error) => {
            // One that was slow to start has heard both openings, and holds to the first.
            let is_modern = error.code == ErrorCode::UNSUPPORTED_PROTOCOL_VERSION;
            (format!("it refused the connection: {error}"), is_modern.then_some(Era::Modern))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explain(fallback),
        other => (format!("it does not speak MCP as abide knows it: {other}"), None),
    }
}
