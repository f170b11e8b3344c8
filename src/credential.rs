//! What a request shows to be let in: nothing, a bearer token or a session cookie; never two of them.

use http::HeaderMap;

use crate::token::{AccessToken, SessionId};

/// What was shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    Nothing,
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer(AccessToken),
    /// The session cookie.
    Session(SessionId),
}

/// Why what was shown can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// 400 `invalid_request`: two credentials in one request (RFC 6750 section 2).
    #[error("more than one credential")]
    Ambiguous,
    /// 400 `invalid_request`: a malformed bearer header.
    #[error("malformed credential")]
    Malformed,
}

impl Credential {
    /// Reads `Authorization` and the cookie named `cookie`. A cookie that can't be ours counts as nothing. An
    /// `Authorization` of another scheme than Bearer counts as nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(_headers: &HeaderMap, _cookie: &str) -> Result<Self, Error> {
        todo!()
    }
}
