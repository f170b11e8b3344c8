//! The revocation endpoint (RFC 7009).

use super::answer::{self, ErrorCode};
use super::client::{Answer, Failure};
use super::{Error, Revocable};

impl Revocable {
    /// The token and its `token_type_hint`.
    pub(super) fn parameters(&self) -> [(&'static str, &str); 2] {
        let (token, hint) = match self {
            Self::Refresh(token) => (token.expose(), "refresh_token"),
            Self::Access(token) => (token.expose(), "access_token"),
        };
        [("token", token), ("token_type_hint", hint)]
    }
}

/// A token that is revoked twice is revoked, so whatever went wrong on the way may be tried again.
pub(super) fn read(answer: Result<Answer, Failure>) -> Result<(), Error> {
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
