//! What only a person can begin: an address is made for them to open, and what it leads back to is exchanged for a token. What
//! lies between is kept, so that another process may finish it. It opens no browser and listens nowhere.

use std::sync::Arc;

use abide_engine::{Error, ErrorKind, Parked};
use rmcp::transport::auth::{
    AuthorizationCallback, AuthorizationManager, AuthorizationRequest, AuthorizationSession, CredentialStore as _,
    InMemoryCredentialStore, InMemoryStateStore, StateStore as _,
};

use super::checks;
use super::discovery::{Found, refusal};
use super::keeper::{Keeper, Refusal, unreadable, unwritable};
use super::record::{Client, Pending, Record};
use super::renew::config;
use crate::config::Transport;
use crate::environment::{self, Start};
use crate::servers::Servers;

/// How long a person has, in seconds.
const LIFE_S: u64 = 3_600;

/// By what name abide registers itself.
const NAME: &str = "abide";

/// Logging in to one server.
pub struct Login {
    keeper: Keeper,
}

/// A login that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What the person opens: an http or https address.
    pub address: String,
    /// Where that leads back to, on this machine.
    pub redirect_uri: String,
    /// Until when, in milliseconds since 1970.
    pub expires_ms: i64,
}

impl Servers {
    /// Logging in to this server.
    ///
    /// # Errors
    /// `Park(Trust)` without consent, `Park(Credentials)` for a missing variable, `Environment` where there is nothing to log in to.
    pub fn login(&self, server: &str) -> Result<Login, Error> {
        let useless = |why: &str| {
            Error::new(ErrorKind::Environment, format!("there is no logging in to the MCP server `{server}`: {why}"))
        };
        let host = &self.pool.host;
        let Some(config) = self.project.servers.iter().find(|config| config.name == server) else {
            return Err(useless("it is not declared"));
        };
        if !host.consent.granted(config) {
            let message = format!(
                "the MCP server `{server}` is declared in {} and may not be called without your consent: read it, then \
                 `abide trust`, or add --trust for this time",
                config.file
            );
            return Err(Error::new(ErrorKind::Park(Parked::Trust), message));
        }
        if !matches!(config.transport, Transport::Http { .. }) {
            return Err(useless("it has no `url`"));
        }
        match environment::start(config, &self.project.root, self.project.vars.as_ref(), &host.redactor)? {
            Start::Address(address) => match address.oauth {
                Some(settings) => {
                    let (vault, redactor) = (Arc::clone(&host.vault), host.redactor.clone());
                    Ok(Login { keeper: Keeper::new(server, &address.url, settings, vault, redactor) })
                }
                None => Err(useless("its `headers` say who you are, or its `url` is plain http to another machine")),
            },
            Start::Process(_) => Err(useless("it has no `url`")),
        }
    }
}

impl Login {
    /// The ports of this machine that it can lead back to without registering anew, the best first; and may it be another one?
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn ports(&self) -> Result<(Vec<u16>, bool), Error> {
        if let Some(port) = self.keeper.settings.redirect_port {
            return Ok((vec![port], false));
        }
        let record = self.keeper.load().map_err(|error| self.error(unreadable(error)))?;
        let port = |client: &Client| reqwest::Url::parse(&client.redirect_uri).ok()?.port();
        Ok((record.clients().filter_map(port).collect(), true))
    }

    /// The address of this machine that it leads back to, at this port.
    pub fn redirect_uri(&self, port: u16) -> String {
        let host = if self.keeper.settings.redirect_localhost { "localhost" } else { "127.0.0.1" };
        format!("http://{host}:{port}/callback")
    }

    /// The login that was begun and not finished, here or in another process.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn waiting(&self) -> Result<Option<Waiting>, Error> {
        let record = self.keeper.load().map_err(|error| self.error(unreadable(error)))?;
        Ok(record.pending(checks::now_s()).map(waiting))
    }

    /// Begins anew: what waits is forgotten, what was granted stays.
    ///
    /// # Errors
    /// `Environment`: no authorization server was found, or it is not one that can be used.
    pub async fn begin(&self, redirect_uri: &str) -> Result<Waiting, Error> {
        self.begun(redirect_uri).await.map_err(|refusal| self.error(refusal))
    }

    /// Finishes with the address that the person was led back to; the scopes that were granted.
    ///
    /// # Errors
    /// `Environment`: it is not the answer to what waits, it says no, or the code was not taken.
    pub async fn finish(&self, redirected: &str) -> Result<Vec<String>, Error> {
        self.finished(redirected).await.map_err(|refusal| self.error(refusal))
    }

    /// Is this the answer to what waits?
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn is_answer(&self, redirected: &str) -> Result<bool, Error> {
        let record = self.keeper.load().map_err(|error| self.error(unreadable(error)))?;
        let state = checks::parameter(redirected, "state");
        Ok(record.pending(checks::now_s()).is_some_and(|pending| state.as_ref() == Some(&pending.state.csrf_token)))
    }

    /// Forgets every token and what waits. False if there was nothing.
    ///
    /// # Errors
    /// Something of it is still there.
    pub async fn forget(&self) -> Result<bool, Error> {
        let _held = self.keeper.hold().await.map_err(|refusal| self.error(refusal))?;
        self.keeper.forget().map_err(|error| self.error(unwritable(error)))
    }

    async fn begun(&self, redirect_uri: &str) -> Result<Waiting, Refusal> {
        let keeper = &self.keeper;
        let _held = keeper.hold().await?;
        let mut record = keeper.load().map_err(unreadable)?;
        let mut found = keeper.discover(record.challenge.as_deref()).await?;
        checks::proves_codes(&found.metadata).map_err(Refusal::Never)?;
        let scopes = self.scopes(&record);
        let client = self.client(&mut found, &record, redirect_uri, &scopes).await?;
        let states = InMemoryStateStore::new();
        found.manager.set_state_store(states.clone());
        let address = authorize(found.manager, &client, scopes).await?;
        let state = checks::parameter(&address, "state").unwrap_or_default();
        let state = states.load(&state).await.map_err(|error| refusal(&error))?;
        let state = state.ok_or_else(|| Refusal::Never("the login could not be begun".to_owned()))?;
        let pending = Pending { client, state, address, expires_s: checks::now_s() + LIFE_S };
        let waiting = waiting(&pending);
        record.pending = Some(pending);
        keeper.save(&record).map_err(unwritable)?;
        Ok(waiting)
    }

    /// The scopes to ask for, where the user or a refusal says so.
    fn scopes(&self, record: &Record) -> Vec<String> {
        if !record.wanted.is_empty() {
            return record.wanted.clone();
        }
        let settings = &self.keeper.settings;
        if settings.scopes.is_empty() {
            return Vec::new();
        }
        let challenged = record.challenge.as_deref().map(|challenge| self.keeper.challenged_scope(challenge));
        checks::union(&settings.scopes, challenged.unwrap_or_default().split_whitespace())
    }

    /// Who abide is there: as the user has declared, by a document's address, as it has registered before, or now.
    async fn client(
        &self,
        found: &mut Found,
        record: &Record,
        redirect_uri: &str,
        scopes: &[String],
    ) -> Result<Client, Refusal> {
        let settings = &self.keeper.settings;
        let client = |id: &str, secret: Option<String>, registered| Client {
            issuer: found.issuer.clone(),
            id: id.to_owned(),
            secret,
            redirect_uri: redirect_uri.to_owned(),
            registered,
        };
        if let Some(id) = &settings.client_id {
            self.keeper.same_issuer(record, &found.issuer)?;
            return Ok(client(id, settings.client_secret.clone(), false));
        }
        if let Some(document) =
            settings.client_metadata_url.as_ref().filter(|_| checks::takes_documents(&found.metadata))
        {
            return Ok(client(document, None, false));
        }
        let fits =
            |known: &&Client| known.registered && known.issuer == found.issuer && known.redirect_uri == redirect_uri;
        if let Some(known) = record.clients().find(fits) {
            return Ok(known.clone());
        }
        if found.metadata.registration_endpoint.is_none() {
            let why = "its authorization server registers nobody by itself: register abide there, with the redirect address \
                       http://127.0.0.1:PORT/callback, and declare `client_id` and `redirect_port` in [servers.NAME.oauth]";
            return Err(Refusal::Never(why.replace("NAME", &self.keeper.server)));
        }
        let selected = if scopes.is_empty() { found.manager.select_initial_scopes(&[]).await } else { scopes.to_vec() };
        let selected: Vec<&str> = selected.iter().map(String::as_str).collect();
        let registered = found.manager.register_client(NAME, redirect_uri, &selected).await;
        let registered = registered.map_err(|error| refusal(&error))?;
        Ok(client(&registered.client_id, registered.client_secret, true))
    }

    async fn finished(&self, redirected: &str) -> Result<Vec<String>, Refusal> {
        let keeper = &self.keeper;
        checks::parameter(redirected, "code").inspect(|code| keeper.teach_one("code", code));
        let _held = keeper.hold().await?;
        let mut record = keeper.load().map_err(unreadable)?;
        let Some(pending) = record.pending(checks::now_s()).cloned() else {
            return Err(Refusal::Login("no login waits, or its hour is over".to_owned()));
        };
        if checks::parameter(redirected, "state").as_ref() != Some(&pending.state.csrf_token) {
            return Err(Refusal::Never("this address is not the answer to the login that waits".to_owned()));
        }
        if let Some(error) = checks::parameter(redirected, "error") {
            let more = checks::parameter(redirected, "error_description").unwrap_or_default();
            record.pending = None;
            keeper.save(&record).map_err(unwritable)?;
            return Err(Refusal::Never(
                format!("its authorization server said no ({error}) {more}").trim_end().to_owned(),
            ));
        }
        let callback = AuthorizationCallback::from_redirect_url(redirected).map_err(|error| refusal(&error))?;
        let Found { mut manager, issuer, .. } = keeper.discover(record.challenge.as_deref()).await?;
        if issuer != pending.client.issuer {
            return Err(Refusal::Never("its authorization server is another one than when the login began".to_owned()));
        }
        let (tokens, states) = (InMemoryCredentialStore::new(), InMemoryStateStore::new());
        manager.set_credential_store(tokens.clone());
        manager.set_state_store(states.clone());
        manager.configure_client(config(&pending.client)).map_err(|error| refusal(&error))?;
        let state = pending.state.csrf_token.clone();
        states.save(&state, pending.state.clone()).await.map_err(|error| refusal(&error))?;
        let exchanged =
            manager.exchange_code_for_token_with_issuer(&callback.code, &state, callback.issuer.as_deref()).await;
        // An answer of somebody else's does not spend what waits.
        let spent = states.load(&state).await.map_err(|error| refusal(&error))?.is_none();
        if spent {
            record.pending = None;
        }
        if let Err(error) = exchanged {
            keeper.save(&record).map_err(unwritable)?;
            return Err(refusal(&error));
        }
        let tokens = tokens.load().await.map_err(|error| refusal(&error))?;
        let granted = tokens.as_ref().map(|tokens| tokens.granted_scopes.clone()).unwrap_or_default();
        (record.client, record.tokens) = (Some(pending.client), tokens);
        (record.requested, record.wanted) = (pending.state.requested_scopes, Vec::new());
        keeper.save(&record).map_err(unwritable)?;
        Ok(granted)
    }

    fn error(&self, refusal: Refusal) -> Error {
        let (Refusal::Login(why) | Refusal::Never(why) | Refusal::Later(why)) = refusal;
        let message = format!("there is no logging in to the MCP server `{}`: {why}", self.keeper.server);
        Error::new(ErrorKind::Environment, self.keeper.redactor.mask(&message))
    }
}

/// The address for a person to open.
async fn authorize(manager: AuthorizationManager, client: &Client, scopes: Vec<String>) -> Result<String, Refusal> {
    let request = AuthorizationRequest::new(client.redirect_uri.clone())
        .with_preregistered_client(client.id.clone())
        .with_scopes(scopes)
        .with_initial_scope_selection();
    let request = match &client.secret {
        Some(secret) => request.with_client_secret(secret.clone()),
        None => request,
    };
    let session = AuthorizationSession::new(manager, request).await.map_err(|(_, error)| refusal(&error))?;
    Ok(session.auth_url)
}

fn waiting(pending: &Pending) -> Waiting {
    Waiting {
        address: pending.address.clone(),
        redirect_uri: pending.client.redirect_uri.clone(),
        expires_ms: i64::try_from(pending.expires_s.saturating_mul(1_000)).unwrap_or(i64::MAX),
    }
}
