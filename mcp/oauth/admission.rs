//! One request at a server's door: with which token it is sent, and whether it is sent again with another one after it was turned
//! away there. A request that may have been looked at is never sent again.

use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::keeper::{Keeper, Refusal};
use crate::ticket::Rejection;

/// How often a request is sent again.
const MOST: u32 = 2;

/// The way of one request past the door.
pub(crate) struct Admission<'k> {
    keeper: Option<&'k Keeper>,
    token: Option<String>,
    tries: u32,
    refusal: Option<Refusal>,
}

/// How a server has turned a request away.
enum Turned<'e> {
    /// It wants to know who asks.
    Unknown(&'e str),
    /// Whoever asks may do too little.
    Narrow(&'e str),
}

impl<'k> Admission<'k> {
    pub(crate) async fn new(keeper: Option<&'k Keeper>) -> Self {
        let token = match keeper {
            Some(keeper) => keeper.token().await,
            None => None,
        };
        Self { keeper, token, tries: 0, refusal: None }
    }

    /// What to send along.
    pub(crate) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// True if there is another token with which to send the request again.
    pub(crate) async fn again<E>(&mut self, error: &StreamableHttpError<E>) -> bool
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let (Some(keeper), Some(turned)) = (self.keeper, turned(error)) else { return false };
        if self.tries >= MOST {
            self.refusal = Some(Refusal::Login("it turns away new tokens, too".to_owned()));
            return false;
        }
        self.tries += 1;
        let used = self.token.as_deref();
        let got = match turned {
            Turned::Unknown(challenge) => keeper.another(used, Some(challenge)).await,
            Turned::Narrow(challenge) => keeper.wider(used, challenge).await,
        };
        match got {
            Ok(token) => {
                self.token = Some(token);
                true
            }
            Err(refusal) => {
                self.refusal = Some(refusal);
                false
            }
        }
    }

    /// What it comes to that there is no other token; `None` if that was not asked.
    pub(crate) fn rejection(self) -> Option<Rejection> {
        self.refusal.map(|refusal| match refusal {
            Refusal::Login(why) => Rejection::Login(why),
            Refusal::Never(why) => Rejection::Credentials(why),
            Refusal::Later(why) => Rejection::Busy(why),
        })
    }
}

fn turned<E>(error: &StreamableHttpError<E>) -> Option<Turned<'_>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match error {
        StreamableHttpError::AuthRequired(error) => Some(Turned::Unknown(&error.www_authenticate_header)),
        StreamableHttpError::InsufficientScope(error) => Some(Turned::Narrow(&error.www_authenticate_header)),
        // rmcp keeps the status of an answer without a challenge in its text alone.
        StreamableHttpError::UnexpectedServerResponse(text) if text.starts_with("HTTP 401") => {
            Some(Turned::Unknown(""))
        }
        _ => None,
    }
}
