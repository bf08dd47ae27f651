//! Another token without a person: by a refresh token, the client's own credentials, or a word of whoever runs it. It changes the record it is given, and
//! leaves keeping that to its caller, who holds its lock.

use rmcp::transport::auth::{
    ClientCredentialsConfig, CredentialStore as _, InMemoryCredentialStore, OAuthClientConfig, StoredCredentials,
};

use super::checks;
use super::discovery::{Found, refusal};
use super::keeper::{Keeper, Refusal};
use super::record::{Client, Record};
use super::{Grant, Settings, assertion};

impl Keeper {
    /// Gets another token in whatever way there is.
    pub(super) async fn renew(&self, record: &mut Record) -> Result<String, Refusal> {
        match self.settings.grant {
            Grant::ClientCredentials | Grant::JwtBearer => self.by_client(record).await,
            Grant::AuthorizationCode if record.refresh_token().is_some() => self.refresh(record).await,
            Grant::AuthorizationCode => Err(Refusal::Login("HTTP 401".to_owned())),
        }
    }

    /// Spends the refresh token, and keeps the one that takes its place.
    async fn refresh(&self, record: &mut Record) -> Result<String, Refusal> {
        let Found { mut manager, issuer, .. } = self.discover(record.challenge.as_deref()).await?;
        let client = record.client.as_ref().filter(|client| client.issuer == issuer);
        let (Some(client), Some(tokens)) = (client, record.tokens.clone()) else {
            record.tokens = None;
            return Err(Refusal::Login("its authorization server is another one by now".to_owned()));
        };
        manager.configure_client(config(client)).map_err(|error| refusal(&error))?;
        let store = InMemoryCredentialStore::new();
        let kept = store.save(tokens).await;
        manager.set_credential_store(store.clone());
        let refreshed = match kept {
            Ok(()) => manager.refresh_token().await,
            Err(error) => Err(error),
        };
        match refreshed {
            Ok(_) => {
                record.tokens = store.load().await.map_err(|error| refusal(&error))?;
                given(record)
            }
            Err(error) => {
                let refusal = refusal(&error);
                if matches!(refusal, Refusal::Login(_)) {
                    record.tokens = None;
                }
                Err(refusal)
            }
        }
    }

    /// A token for the client itself.
    async fn by_client(&self, record: &mut Record) -> Result<String, Refusal> {
        let id = self.settings.client_id.clone().unwrap_or_default();
        let found = self.discover(record.challenge.as_deref()).await?;
        self.same_issuer(record, &found.issuer)?;
        let scopes = self.scopes_of_client(record, &found).await;
        let client = Client {
            issuer: found.issuer.clone(),
            id: id.clone(),
            secret: self.settings.client_secret.clone(),
            redirect_uri: String::new(),
            registered: false,
        };
        let Settings { grant, client_secret, private_key, assertion, .. } = &self.settings;
        let tokens = match (grant, assertion, private_key, client_secret) {
            (Grant::JwtBearer, Some(assertion), ..) => self.by_word(&found, &id, assertion, &scopes).await?,
            (Grant::ClientCredentials, _, Some(key), _) => self.by_key(&found, &id, key, &scopes).await?,
            (Grant::ClientCredentials, _, None, Some(secret)) => {
                self.by_secret(found, id, secret.clone(), scopes.clone()).await?
            }
            _ => {
                let why = "its grant needs a `client_id` with a `client_secret` or a `private_key`, or an `assertion`";
                return Err(Refusal::Never(why.to_owned()));
            }
        };
        (record.client, record.tokens) = (Some(client), Some(tokens));
        (record.requested, record.wanted) = (scopes, Vec::new());
        given(record)
    }

    /// A secret that the user has declared is told to the first authorization server that the server names, and to no other.
    pub(super) fn same_issuer(&self, record: &Record, issuer: &str) -> Result<(), Refusal> {
        match &record.client {
            Some(client) if self.is_declared() && !client.registered && client.issuer != issuer => {
                Err(Refusal::Never(format!(
                    "its authorization server was {} and is {issuer} by now, which is not told what you have declared for the \
                     first: if that is well, `abide logout {}`",
                    client.issuer, self.server
                )))
            }
            _ => Ok(()),
        }
    }

    /// Has the user declared anything of who abide is?
    fn is_declared(&self) -> bool {
        self.settings.client_id.is_some() || self.settings.assertion.is_some()
    }

    async fn scopes_of_client(&self, record: &Record, found: &Found) -> Vec<String> {
        let challenged = record.challenge.as_deref().map(|challenge| self.challenged_scope(challenge));
        let challenged = challenged.unwrap_or_default();
        match (record.wanted.is_empty(), self.settings.scopes.is_empty()) {
            (false, _) => record.wanted.clone(),
            (true, false) => checks::union(&self.settings.scopes, challenged.split_whitespace()),
            (true, true) => found.manager.select_initial_scopes(&[]).await,
        }
    }

    async fn by_secret(
        &self,
        found: Found,
        client_id: String,
        client_secret: String,
        scopes: Vec<String>,
    ) -> Result<StoredCredentials, Refusal> {
        let mut manager = found.manager;
        let store = InMemoryCredentialStore::new();
        manager.set_credential_store(store.clone());
        let resource = Some(self.url.clone());
        let config = ClientCredentialsConfig::ClientSecret { client_id, client_secret, scopes, resource };
        let exchanged = async {
            manager.validate_client_credentials_metadata(&config)?;
            manager.configure_client_credentials(&config)?;
            manager.exchange_client_credentials(&config).await?;
            store.load().await
        };
        let tokens = exchanged.await.map_err(|error| refusal(&error))?;
        tokens.ok_or_else(|| Refusal::Never("its authorization server gave no token".to_owned()))
    }

    async fn by_key(
        &self,
        found: &Found,
        id: &str,
        key: &str,
        scopes: &[String],
    ) -> Result<StoredCredentials, Refusal> {
        let signed = assertion::sign(key, id, &found.issuer, checks::now_s()).map_err(Refusal::Never)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &signed),
        ];
        self.by_form(found, id, &form, scopes).await
    }

    async fn by_word(
        &self,
        found: &Found,
        id: &str,
        word: &str,
        scopes: &[String],
    ) -> Result<StoredCredentials, Refusal> {
        let mut form = vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", word)];
        form.extend((!id.is_empty()).then_some(("client_id", id)));
        self.by_form(found, id, &form, scopes).await
    }

    async fn by_form(
        &self,
        found: &Found,
        id: &str,
        form: &[(&str, &str)],
        scopes: &[String],
    ) -> Result<StoredCredentials, Refusal> {
        let scope = scopes.join(" ");
        let mut form = form.to_vec();
        form.push(("resource", &self.url));
        form.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
        let response = assertion::exchange(&found.metadata.token_endpoint, &form).await?;
        let tokens = StoredCredentials::new(id.to_owned(), Some(response), scopes.to_vec(), Some(checks::now_s()));
        Ok(tokens.with_issuer(Some(found.issuer.clone())))
    }
}

/// The client as rmcp takes it.
pub(super) fn config(client: &Client) -> OAuthClientConfig {
    let config = OAuthClientConfig::new(client.id.clone(), client.redirect_uri.clone());
    match &client.secret {
        Some(secret) => config.with_client_secret(secret.clone()),
        None => config,
    }
}

fn given(record: &Record) -> Result<String, Refusal> {
    let token = record.access_token().map(str::to_owned);
    token.ok_or_else(|| Refusal::Never("its authorization server gave no token".to_owned()))
}
