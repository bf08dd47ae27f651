//! The token of one server, for each request, and another one once the server refuses it. It repeats no request, asks no person,
//! and lets no two processes renew the same token.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use abide_llm::Redactor;
use rmcp::transport::auth::WWWAuthenticateParams;

use super::record::Record;
use super::{Grant, Settings, checks};
use crate::vault::{Held, Vault};

/// How long another process may take to renew a token.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether that is done.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A person has to log in.
    Login(String),
    /// Only the user's files could change that.
    Never(String),
    /// It may be had later.
    Later(String),
}

/// Knows how abide is let in at one server. It has no `Debug`: secrets are in it.
pub(crate) struct Keeper {
    pub(super) server: String,
    pub(super) url: String,
    pub(super) settings: Settings,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) redactor: Redactor,
    name: String,
}

impl Keeper {
    pub(crate) fn new(server: &str, url: &str, settings: Settings, vault: Arc<dyn Vault>, redactor: Redactor) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("abide 2026 what is kept of a server with OAuth");
        for part in [url, settings.client_id.as_deref().unwrap_or_default(), settings.grant.word()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let name = hasher.finalize().to_hex().chars().take(32).collect();
        Self { server: server.to_owned(), url: url.to_owned(), settings, vault, redactor, name }
    }

    /// The token to send along, if there is one; one that is about to end is renewed first.
    pub(crate) async fn token(&self) -> Option<String> {
        let record = self.load().ok()?;
        let token = record.access_token()?.to_owned();
        let renewable = record.refresh_token().is_some() || self.settings.grant != Grant::AuthorizationCode;
        if !renewable || !checks::is_ending(record.ends_s(), checks::now_s()) {
            return Some(token);
        }
        // If it cannot be renewed now, its server says what that means.
        Some(self.another(Some(&token), None).await.unwrap_or(token))
    }

    /// Another token than `used`, which the server has refused with this challenge, or which is about to end.
    pub(crate) async fn another(&self, used: Option<&str>, challenge: Option<&str>) -> Result<String, Refusal> {
        let _held = self.hold().await?;
        let mut record = self.load().map_err(unreadable)?;
        if let Some(token) = renewed(&record, used) {
            return Ok(token);
        }
        if let Some(challenge) = challenge.filter(|challenge| !challenge.is_empty()) {
            record.challenge = Some(challenge.to_owned());
        }
        let renewed = self.renew(&mut record).await;
        if challenge.is_some() && matches!(renewed, Err(Refusal::Login(_))) {
            record.tokens = None;
        }
        self.save(&record).map_err(unwritable)?;
        renewed
    }

    /// Another token than `used`, which the server has refused because it allows too little.
    pub(crate) async fn wider(&self, used: Option<&str>, challenge: &str) -> Result<String, Refusal> {
        let _held = self.hold().await?;
        let mut record = self.load().map_err(unreadable)?;
        if let Some(token) = renewed(&record, used) {
            return Ok(token);
        }
        let scope = self.challenged_scope(challenge);
        if scope.trim().is_empty() {
            return Err(Refusal::Never("HTTP 403".to_owned()));
        }
        let known = record.scopes();
        let wanted = checks::union(&known, scope.split_whitespace());
        if wanted == known {
            // Whoever logs in again gets the same again.
            return Err(Refusal::Never(format!(
                "HTTP 403: it wants the scope \"{scope}\", which was asked for already; log in as somebody who has it"
            )));
        }
        record.challenge = Some(challenge.to_owned());
        record.wanted = wanted;
        let got = match self.settings.grant {
            Grant::ClientCredentials | Grant::JwtBearer => self.renew(&mut record).await,
            Grant::AuthorizationCode => {
                Err(Refusal::Login(format!("HTTP 403: it wants the scope \"{scope}\" besides")))
            }
        };
        self.save(&record).map_err(unwritable)?;
        got
    }

    pub(super) fn challenged_scope(&self, challenge: &str) -> String {
        let Ok(base) = reqwest::Url::parse(&self.url) else { return String::new() };
        WWWAuthenticateParams::parse(challenge, &base).scope.unwrap_or_default()
    }

    /// The right to change what is kept of this server.
    pub(super) async fn hold(&self) -> Result<Held, Refusal> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.vault.try_lock(&self.name) {
                Ok(Some(held)) => return Ok(held),
                Ok(None) if tokio::time::Instant::now() >= until => {
                    return Err(Refusal::Later("another process has been renewing its token for a minute".to_owned()));
                }
                Ok(None) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(unreadable(error)),
            }
        }
    }

    /// What is kept; every secret in it is known to the redactor from here on.
    pub(super) fn load(&self) -> io::Result<Record> {
        let Some(kept) = self.vault.load(&self.name)? else { return Ok(Record::default()) };
        let record = serde_json::from_slice(&kept).map_err(io::Error::other)?;
        self.teach(&record);
        Ok(record)
    }

    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        self.teach(record);
        self.vault.save(&self.name, &serde_json::to_vec(record).map_err(io::Error::other)?)
    }

    /// Forgets everything. False if nothing was kept.
    pub(super) fn forget(&self) -> io::Result<bool> {
        // What cannot be read is there, and can be forgotten.
        let kept = self.vault.load(&self.name).map_or(true, |kept| kept.is_some());
        self.vault.remove(&self.name)?;
        Ok(kept)
    }

    fn teach(&self, record: &Record) {
        for (what, secret) in record.secrets() {
            self.teach_one(what, secret);
        }
    }

    pub(super) fn teach_one(&self, what: &str, secret: &str) {
        self.redactor.learn(&format!("{}.{what}", self.server), secret);
    }
}

impl Grant {
    fn word(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer => "jwt_bearer",
        }
    }
}

/// The token that somebody else has got meanwhile.
fn renewed(record: &Record, used: Option<&str>) -> Option<String> {
    let token = record.access_token()?;
    let ends = checks::is_ending(record.ends_s(), checks::now_s());
    (used != Some(token) && !ends).then(|| token.to_owned())
}

#[allow(clippy::needless_pass_by_value)]
pub(super) fn unreadable(error: io::Error) -> Refusal {
    Refusal::Never(format!("what abide keeps of it cannot be read ({error}): `abide logout` forgets it"))
}

#[allow(clippy::needless_pass_by_value)]
pub(super) fn unwritable(error: io::Error) -> Refusal {
    Refusal::Never(format!("its token cannot be kept: {error}"))
}
