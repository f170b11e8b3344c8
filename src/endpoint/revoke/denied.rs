//! Errors of an endpoint for clients, in the form of RFC 6749 section 5.2.

use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::endpoint::answer;
use crate::issuer;
use crate::refusal::Refusal;

/// How soon to ask again where nobody said.
const SOON: Duration = Duration::from_secs(2);

/// Why a client does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// `invalid_request`
    InvalidRequest(&'static str),
    /// The same, for a body that is too large.
    TooLarge,
    /// `invalid_client`
    InvalidClient,
    /// RFC 7009 section 2.2.1.
    UnsupportedTokenType,
    /// Not now (RFC 7009 section 2.2.1).
    Unavailable(Duration),
}

impl Denied {
    /// Not now, and nobody knows when.
    pub(super) const LATER: Self = Self::Unavailable(SOON);

    /// The provider said no: another client's token, mostly.
    pub(super) const REFUSED_THERE: Self =
        Self::InvalidRequest("The identity provider refused the request.");

    /// Section 2.1 of RFC 7009.
    pub(super) const NOT_ITS_OWN: Self =
        Self::InvalidRequest("The token was issued to another client.");

    /// The provider can't be asked now.
    pub(super) fn later(error: &issuer::Error) -> Self {
        match error {
            issuer::Error::Unavailable {
                retry_after: Some(time),
                ..
            } => Self::Unavailable(*time),
            issuer::Error::Unavailable {
                retry_after: None, ..
            }
            | issuer::Error::Refused { .. }
            | issuer::Error::Client { .. }
            | issuer::Error::Unknown { .. }
            | issuer::Error::Unusable { .. }
            | issuer::Error::NotOffered(_) => Self::LATER,
        }
    }

    /// Of a body that can't be read.
    pub(super) fn unreadable(refusal: &Refusal) -> Self {
        if matches!(refusal, Refusal::TooLarge) {
            return Self::TooLarge;
        }
        if let Refusal::Malformed(why) = refusal {
            return Self::InvalidRequest(why);
        }
        Self::InvalidRequest("The body can't be read.")
    }

    pub(super) fn answer(self) -> Response<String> {
        let (status, error, why) = match self {
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, "invalid_request", why),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request",
                "What was sent is too large.",
            ),
            Self::InvalidClient => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "The client is not known, or did not prove to be the one.",
            ),
            Self::UnsupportedTokenType => (
                StatusCode::BAD_REQUEST,
                "unsupported_token_type",
                "The identity provider does not revoke tokens of this kind.",
            ),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The identity provider could not be told. Ask again.",
            ),
        };
        let mut response = answer::json(&json!({ "error": error, "error_description": why }));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if self == Self::InvalidClient {
            let basic = HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, basic);
        }
        if let Self::Unavailable(time) = self {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
