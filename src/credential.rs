//! What a request shows to be let in: nothing, a bearer token or a session cookie; never two of them.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::token::{AccessToken, SessionCookie};

pub mod cookie;
#[cfg(test)]
mod tests;

/// What was shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    Nothing,
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer(AccessToken),
    /// The session cookie.
    Session(SessionCookie),
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
    pub fn read(headers: &HeaderMap, cookie: &str) -> Result<Self, Error> {
        match (bearer(headers)?, cookie::session(headers, cookie)) {
            (None, None) => Ok(Self::Nothing),
            (Some(token), None) => Ok(Self::Bearer(AccessToken::new(token))),
            (None, Some(cookie)) => Ok(Self::Session(cookie)),
            (Some(_), Some(_)) => Err(Error::Ambiguous),
        }
    }
}

/// The token of the only `Authorization` header. Several are refused whatever they hold: an upstream or a proxy behind
/// us might read another one than we did (RFC 9110 section 5.3 allows one).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Error::Malformed);
    }
    let value = value.as_bytes();
    let scheme = value
        .iter()
        .position(|byte| !is_tchar(*byte))
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(scheme).ok_or(Error::Malformed)?;
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return token(rest).map(Some).ok_or(Error::Malformed);
    }
    if hides_bearer(rest) {
        return Err(Error::Malformed);
    }
    Ok(None)
}

/// `1*SP b64token` (RFC 6750 section 2.1, RFC 9110 section 11.4): a tab is no space.
fn token(rest: &[u8]) -> Option<&str> {
    let token = rest.trim_ascii_start();
    let (spaces, _) = rest.split_at_checked(rest.len() - token.len())?;
    if spaces.is_empty() || spaces.iter().any(|byte| *byte != b' ') {
        return None;
    }
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let (bare, _) = token.split_at_checked(token.len() - padding)?;
    if bare.is_empty() || !bare.iter().all(|byte| is_b64token(*byte)) {
        return None;
    }
    std::str::from_utf8(token).ok()
}

/// `Basic eA==, Bearer ey...`: two credentials joined by a comma, as a proxy in front might join two headers.
fn hides_bearer(rest: &[u8]) -> bool {
    rest.split(|byte| *byte == b',')
        .skip(1)
        .filter_map(|part| part.trim_ascii_start().get(..7))
        .any(|start| {
            start.eq_ignore_ascii_case(b"bearer ") || start.eq_ignore_ascii_case(b"bearer\t")
        })
}

fn is_b64token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
