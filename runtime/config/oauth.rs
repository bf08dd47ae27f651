//! `[servers.NAME.oauth]`: what an authorization server was told of abide beforehand. It keeps no secret: of a literal only the
//! place.

use std::path::Path;

use abide_mcp::{Grant, OAuth};

use super::abide_toml::word;
use super::error::{ConfigError, Place};
use super::keys;
use super::models::reference;
use super::node::{At, Reader, Value};

/// The table, as it stands in the files. It has no `Debug`: literal secrets are in it.
pub(super) struct OAuthEntry {
    grant: Option<At<Grant>>,
    client_id: Option<At<String>>,
    client_secret: Option<At<String>>,
    private_key: Option<At<String>>,
    assertion: Option<At<String>>,
    client_metadata_url: Option<At<String>>,
    issuer: Option<At<String>>,
    scopes: Option<At<Vec<String>>>,
    redirect_port: Option<At<u16>>,
}

impl OAuthEntry {
    /// Reads the table of a server, if it has one.
    pub(super) fn read(server: &Reader<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(node) = server.node("oauth") else { return Ok(None) };
        let path = server.path_of("oauth");
        let keys = Reader::new(&path, node.table(&path, &format!("[{path}]"))?, keys::OAUTH)?;
        let entry = Self {
            grant: word(&keys, "grant", "one of authorization_code, client_credentials, jwt_bearer")?,
            client_id: keys.text("client_id")?,
            client_secret: keys.text("client_secret")?,
            private_key: keys.text("private_key")?,
            assertion: keys.text("assertion")?,
            client_metadata_url: keys.text("client_metadata_url")?,
            issuer: keys.text("issuer")?,
            scopes: keys.texts("scopes")?,
            redirect_port: keys.get("redirect_port", "a port from 1 to 65535", |value| match value {
                Value::Int(n) => u16::try_from(*n).ok().filter(|port| *port > 0),
                _ => None,
            })?,
        };
        if let Some(grant) = entry.grant.as_ref().filter(|grant| grant.value == Grant::ClientCredentials)
            && (entry.client_id.is_none() || (entry.client_secret.is_none() && entry.private_key.is_none()))
        {
            let problem = format!("[{path}] has no `client_id` with a `client_secret` or a `private_key`");
            return Err(ConfigError::invalid(&grant.at, problem, "the grant client_credentials needs them: add them"));
        }
        if let Some(grant) = entry.grant.as_ref().filter(|grant| grant.value == Grant::JwtBearer)
            && entry.assertion.is_none()
        {
            let problem = format!("[{path}] has no `assertion`");
            return Err(ConfigError::invalid(&grant.at, problem, "the grant jwt_bearer needs it: add it"));
        }
        if let Some(secret) = entry.client_secret.as_ref().filter(|_| entry.client_id.is_none()) {
            let problem = format!("[{path}] has a `client_secret` and no `client_id`");
            return Err(ConfigError::invalid(&secret.at, problem, "add the id that it belongs to"));
        }
        Ok(Some(entry))
    }

    /// The same as the MCP client takes it.
    pub(super) fn declared(&self, server: &str, root: &Path) -> OAuth {
        let text = |at: &Option<At<String>>| at.as_ref().map(|text| text.value.clone());
        let secret = |at: &Option<At<String>>, key: &str| {
            at.as_ref().map(|secret| reference(secret, &format!("servers.{server}.oauth.{key}"), root))
        };
        OAuth {
            grant: self.grant.as_ref().map(|grant| grant.value).unwrap_or_default(),
            client_id: text(&self.client_id),
            client_secret: secret(&self.client_secret, "client_secret"),
            private_key: secret(&self.private_key, "private_key"),
            assertion: secret(&self.assertion, "assertion"),
            client_metadata_url: text(&self.client_metadata_url),
            issuer: text(&self.issuer),
            scopes: self.scopes.as_ref().map(|scopes| scopes.value.clone()).unwrap_or_default(),
            redirect_port: self.redirect_port.as_ref().map(|port| port.value),
            redirect_localhost: false,
        }
    }

    /// Where all of it was read.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let texts = [
            &self.client_id,
            &self.client_secret,
            &self.private_key,
            &self.assertion,
            &self.client_metadata_url,
            &self.issuer,
        ];
        let texts = texts.into_iter().flatten().map(|text| &text.at);
        let grant = self.grant.iter().map(|grant| &grant.at);
        let scopes = self.scopes.iter().map(|scopes| &scopes.at);
        texts.chain(grant).chain(scopes).chain(self.redirect_port.iter().map(|port| &port.at))
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
