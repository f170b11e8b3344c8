//! The revocation endpoint: RFC 7009's form, or Auth0's JSON. Both are answered alike.

use serde_json::json;

use super::answer::{self, ErrorCode};
use super::client::{Answer, Content, Failure};
use super::{Error, Issuer, Revocable, RevocationFormat};
use crate::token::{RefreshToken, Secret};

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
