//! How abide is let in at servers behind an address that speak OAuth: found out, kept, renewed, and asked of a person. The
//! protocol's own steps are rmcp's; no token leaves this folder but in a request to its server.
//!
//! - [`OAuth`]: what a user may declare of it
//! - `admission`: one request at the door; `keeper` the token of one server, for all of them; `renew` another one without a person
//! - `login`: what only a person can begin, from an address to open until its answer
//! - `discovery`: which authorization server it is; `checks` what must be true of it, purely
//! - `record`: what is kept of a server between processes; `assertion` a client's signed word on who it is

mod admission;
mod assertion;
mod checks;
mod discovery;
mod keeper;
mod login;
mod record;
mod renew;

#[cfg(test)]
mod inside_tests;
#[cfg(test)]
mod oauth_tests;

use abide_llm::SecretRef;
use serde::{Deserialize, Serialize};

pub(crate) use admission::Admission;
pub(crate) use checks::is_safe;
pub(crate) use keeper::Keeper;
pub use login::{Login, Waiting};

/// `[servers.NAME.oauth]`: what a server's authorization server has been told of abide beforehand. Nothing of it is needed where a
/// client may register itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth {
    /// How a token is got.
    #[serde(default, skip_serializing_if = "Grant::is_default")]
    pub grant: Grant,
    /// The client's id, registered beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret. A literal is kept as its place in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretRef>,
    /// The key with which the client signs who it is instead: PKCS#8 in PEM, for ES256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretRef>,
    /// The signed word of whoever runs abide, for [`Grant::JwtBearer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<SecretRef>,
    /// The https address of a Client ID Metadata Document, for authorization servers that read such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_metadata_url: Option<String>,
    /// The one authorization server that may learn of all this; the first that the server names otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The scopes to ask for; what the server says otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The port of `http://127.0.0.1:PORT/callback`, where it was registered; a free one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_port: Option<u16>,
    /// Was `http://localhost:PORT/callback` registered instead, as by other programs?
    #[serde(default, skip_serializing_if = "is_false")]
    pub redirect_localhost: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How a token is got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grant {
    /// A person logs in.
    #[default]
    AuthorizationCode,
    /// The client alone, by its secret or its key.
    ClientCredentials,
    /// The client alone, by a signed word of whoever runs it (RFC 7523, workload identity).
    JwtBearer,
}

impl Grant {
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The same with every reference resolved. It has no `Debug`: secrets are in it.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) grant: Grant,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) private_key: Option<String>,
    pub(crate) assertion: Option<String>,
    pub(crate) client_metadata_url: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) redirect_port: Option<u16>,
    pub(crate) redirect_localhost: bool,
}
