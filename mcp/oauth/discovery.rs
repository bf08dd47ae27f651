//! Which authorization server lets abide in at a server: from the server's challenge or its well-known documents, then from the
//! authorization server's own. It sends no secret anywhere.

use rmcp::transport::auth::{AuthError, AuthorizationManager, AuthorizationMetadata};

use super::checks;
use super::keeper::{Keeper, Refusal};

/// An authorization server, found and found usable.
pub(super) struct Found {
    pub(super) manager: AuthorizationManager,
    pub(super) metadata: AuthorizationMetadata,
    pub(super) issuer: String,
}

impl Keeper {
    /// Finds the server's authorization server, beginning with what the server said when it refused a request.
    pub(super) async fn discover(&self, challenge: Option<&str>) -> Result<Found, Refusal> {
        // rmcp makes clients of its own: the provider of TLS that this installs is the one they use.
        abide_llm::http_client(|builder| builder).map_err(|error| Refusal::Later(error.to_string()))?;
        // It refuses private and link-local addresses, also those that a name resolves to or a redirect leads to.
        let mut manager = AuthorizationManager::new(&self.url).await.map_err(|error| refusal(&error))?;
        let found = manager.resolve_metadata_from_challenge(challenge).await.map_err(|error| refusal(&error))?;
        if !found.source.is_discovered() {
            let why = "it publishes no authorization server: set the `headers` by which it knows you";
            return Err(Refusal::Never(why.to_owned()));
        }
        let metadata = found.metadata;
        checks::usable(&metadata).map_err(Refusal::Never)?;
        let Some(issuer) = metadata.issuer.clone() else {
            return Err(Refusal::Never("its authorization server does not say who it is (`issuer`)".to_owned()));
        };
        if let Some(expected) = self.settings.issuer.as_ref().filter(|expected| **expected != issuer) {
            return Err(Refusal::Never(format!(
                "it sends to the authorization server {issuer}, and {expected} is declared"
            )));
        }
        manager.set_metadata(metadata.clone());
        Ok(Found { manager, metadata, issuer })
    }
}

/// What an error of rmcp means for whoever wants a token.
pub(super) fn refusal(error: &AuthError) -> Refusal {
    let why = said(error);
    match error {
        AuthError::AuthorizationRequired | AuthError::TokenRefreshRejected(_) | AuthError::TokenExpired => {
            Refusal::Login(why)
        }
        AuthError::DiscoveryRequestFailed { .. } | AuthError::HttpError(_) => Refusal::Later(why),
        // rmcp keeps what the authorization server said in its text alone.
        AuthError::TokenRefreshFailed(_) | AuthError::ClientCredentialsError(_) if !why.contains(ANSWERED) => {
            Refusal::Later(why)
        }
        AuthError::TokenRefreshFailed(_) => Refusal::Login(why),
        _ => Refusal::Never(why),
    }
}

/// How the crate `oauth2` begins when an authorization server has refused with an error of the protocol.
const ANSWERED: &str = "Server returned error response";

/// The error with its causes, on one line.
fn said(error: &AuthError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}
