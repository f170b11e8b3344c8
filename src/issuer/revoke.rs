//! The revocation endpoint: RFC 7009's form, or Auth0's JSON. Both are answered alike.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::answer::{self, ErrorCode};
use super::client::{Answer, Content, Failure};
use super::{Error, Issuer, Revocable, RevocationFormat};
use crate::token::{RefreshToken, Secret};

/// How many revocations for clients other than the gateway's own are under way at a time.
pub(super) const FOR_OTHERS_AT_ONCE: usize = 16;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(1);

impl Issuer {
    /// Revokes a token. Success is the provider's 200, also for a token that it does not know.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke(&self, token: &Revocable) -> Result<(), Error> {
        let content = match (self.settings.revocation, token) {
            (RevocationFormat::Form, _) => self.authenticated(&token.parameters()),
            (RevocationFormat::Json, Revocable::Refresh(token)) => self.in_json(token),
            (RevocationFormat::Json, Revocable::Access(_)) => {
                return Err(Error::NotOffered("revocation of access tokens"));
            }
        };
        let metadata = self.metadata().await?;
        let endpoint = metadata.revocation_endpoint.as_ref();
        let endpoint = endpoint.ok_or(Error::NotOffered("revocation"))?;
        read(self.client.post(endpoint, content).await)
    }

    /// Revokes a token for a client that is not this gateway's own, with what that client shows of itself: whether it is
    /// enough is the provider's to judge. So many at a time, so that no flood of them reaches the provider.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Client`] where the provider does not believe the client.
    pub async fn revoke_as(
        &self,
        client: &OtherClient,
        token: &Secret,
        kind: TokenKind,
    ) -> Result<(), Error> {
        let content = match (self.settings.revocation, kind) {
            (RevocationFormat::Form, _) => client.form(token, kind),
            (RevocationFormat::Json, TokenKind::Hinted(_) | TokenKind::Unknown) => {
                client.json(token)
            }
            (RevocationFormat::Json, TokenKind::Access) => {
                return Err(Error::NotOffered("revocation of access tokens"));
            }
        };
        let metadata = self.metadata().await?;
        let endpoint = metadata.revocation_endpoint.as_ref();
        let endpoint = endpoint.ok_or(Error::NotOffered("revocation"))?;
        let permit = timeout(TURN, self.for_others.acquire()).await;
        let _permit = permit.map_err(|_| Error::Unavailable {
            reason: "too many revocations are under way".to_owned(),
            retry_after: Some(TURN),
        })?;
        read(self.client.post(endpoint, content).await)
    }

    /// Auth0 takes the client's secret in the body, however the client authenticates elsewhere.
    fn in_json(&self, token: &RefreshToken) -> Content {
        let mut body = json!({ "client_id": *self.settings.client_id, "token": token.expose() });
        let secret = self.settings.client_secret.as_ref().map(Secret::expose);
        if let (Some(secret), Some(body)) = (secret, body.as_object_mut()) {
            body.insert("client_secret".to_owned(), json!(secret));
        }
        Content::json(&body)
    }
}

/// A client of the provider's other than this gateway's own.
#[derive(Clone, Debug)]
pub struct OtherClient {
    /// `client_id`
    pub id: String,
    /// How it shows that it is the one.
    pub shows: Shows,
}

/// How a client shows who it is (RFC 6749 section 2.3).
#[derive(Clone, Debug)]
pub enum Shows {
    /// HTTP Basic.
    Basic {
        /// `Authorization` as it came: what is in it may not be encoded as section 2.3.1 says.
        authorization: Secret,
        /// The secret in it.
        secret: Secret,
    },
    /// `client_secret` in the body.
    Post(Secret),
    /// Not at all: a public client.
    Nothing,
}

/// What is known of a token that a client brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An access token: it was verified.
    Access,
    /// The client gave this `token_type_hint`.
    Hinted(&'static str),
    /// Nothing.
    Unknown,
}

impl OtherClient {
    fn form(&self, token: &Secret, kind: TokenKind) -> Content {
        let mut form = vec![("token", token.expose())];
        match kind {
            TokenKind::Access => form.push(("token_type_hint", "access_token")),
            TokenKind::Hinted(hint) => form.push(("token_type_hint", hint)),
            TokenKind::Unknown => {}
        }
        match &self.shows {
            Shows::Basic { authorization, .. } => {
                Content::form(&form).authorized(authorization.expose())
            }
            Shows::Post(secret) => {
                form.extend([("client_id", &*self.id), ("client_secret", secret.expose())]);
                Content::form(&form)
            }
            Shows::Nothing => {
                form.push(("client_id", &self.id));
                Content::form(&form)
            }
        }
    }

    fn json(&self, token: &Secret) -> Content {
        let mut body = json!({ "client_id": self.id, "token": token.expose() });
        let secret = match &self.shows {
            Shows::Basic { secret, .. } | Shows::Post(secret) => Some(secret),
            Shows::Nothing => None,
        };
        if let (Some(secret), Some(body)) = (secret, body.as_object_mut()) {
            body.insert("client_secret".to_owned(), json!(secret.expose()));
        }
        Content::json(&body)
    }
}

impl Revocable {
    /// The token and its `token_type_hint`.
    fn parameters(&self) -> [(&'static str, &str); 2] {
        let (token, hint) = match self {
            Self::Refresh(token) => (token.expose(), "refresh_token"),
            Self::Access(token) => (token.expose(), "access_token"),
        };
        [("token", token), ("token_type_hint", hint)]
    }
}

/// A token that is revoked twice is revoked, so whatever went wrong on the way may be tried again.
fn read(answer: Result<Answer, Failure>) -> Result<(), Error> {
    let answer = answer.map_err(|failure| answer::not_now(failure.reason))?;
    // Section 2.2: 200 also for a token that is not known. Keycloak then adds an error, which changes nothing.
    if answer.status.is_success() {
        return Ok(());
    }
    if answer.status.as_u16() == 429 || answer.status.is_server_error() {
        return Err(answer::unavailable(&answer));
    }
    let Some(code) = ErrorCode::of(&answer::members(&answer)) else {
        return Err(answer::unavailable(&answer));
    };
    let error = code.to_string();
    match &*error {
        "invalid_token" | "invalid_grant" => Ok(()),
        "unsupported_token_type" => Err(Error::NotOffered("revocation of this kind of token")),
        "invalid_client" | "unauthorized_client" | "access_denied" => Err(Error::Client { error }),
        _ if answer.status == 401 => Err(Error::Client { error }),
        _ => Err(Error::Refused { error }),
    }
}
