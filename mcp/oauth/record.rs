//! What is kept of a server between processes: who abide is there, its tokens, and a login under way. It is written into a
//! vault and nowhere else, and has no `Debug`.

use oauth2::TokenResponse as _;
use rmcp::transport::auth::{StoredAuthorizationState, StoredCredentials};
use serde::{Deserialize, Serialize};

/// Everything about one server.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Who abide is at the server's authorization server.
    #[serde(default)]
    pub(super) client: Option<Client>,
    /// What it was given there.
    #[serde(default)]
    pub(super) tokens: Option<StoredCredentials>,
    /// The scopes that were asked for last.
    #[serde(default)]
    pub(super) requested: Vec<String>,
    /// What the server said when it last refused a request: where to go.
    #[serde(default)]
    pub(super) challenge: Option<String>,
    /// The scopes to ask for next, after a refusal for want of one.
    #[serde(default)]
    pub(super) wanted: Vec<String>,
    /// A login that a person has begun.
    #[serde(default)]
    pub(super) pending: Option<Pending>,
}

/// A client at one authorization server; it is never shown to another one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) issuer: String,
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) redirect_uri: String,
    /// True if abide has registered it by itself.
    pub(super) registered: bool,
}

/// A login under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) client: Client,
    pub(super) state: StoredAuthorizationState,
    /// What a person opens.
    pub(super) address: String,
    /// Seconds since 1970.
    pub(super) expires_s: u64,
}

impl Record {
    pub(super) fn access_token(&self) -> Option<&str> {
        let response = self.tokens.as_ref()?.token_response.as_ref()?;
        Some(response.access_token().secret())
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        let response = self.tokens.as_ref()?.token_response.as_ref()?;
        response.refresh_token().map(|token| token.secret().as_str())
    }

    /// When the access token ends, in seconds since 1970, if that is known.
    pub(super) fn ends_s(&self) -> Option<u64> {
        let tokens = self.tokens.as_ref()?;
        Some(tokens.token_received_at? + tokens.token_response.as_ref()?.expires_in()?.as_secs())
    }

    /// The login under way, unless its time is over.
    pub(super) fn pending(&self, now_s: u64) -> Option<&Pending> {
        self.pending.as_ref().filter(|pending| now_s < pending.expires_s)
    }

    /// Who abide is, and who it is in the login that was begun last.
    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.pending.iter().map(|pending| &pending.client).chain(&self.client)
    }

    /// Everything in it that nobody may read, with a word for what it is.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &str)> {
        let mut secrets: Vec<_> =
            self.clients().filter_map(|client| Some(("client_secret", client.secret.as_deref()?))).collect();
        secrets.extend(self.access_token().map(|token| ("access_token", token)));
        secrets.extend(self.refresh_token().map(|token| ("refresh_token", token)));
        secrets.extend(self.pending.iter().map(|pending| ("code_verifier", pending.state.pkce_verifier.as_str())));
        secrets
    }

    /// The scopes that were asked for or given so far.
    pub(super) fn scopes(&self) -> Vec<String> {
        let granted = self.tokens.as_ref().map(|tokens| tokens.granted_scopes.as_slice()).unwrap_or_default();
        super::checks::union(&self.requested, granted.iter().map(String::as_str))
    }
}
