//! The token endpoint (RFC 6749 sections 4.1.3, 5 and 6): what is sent, and what its answers mean for a session.

use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::{self, ErrorCode};
use super::client::{Answer, BodyError};
use super::{Error, Salvage};
use crate::clock::Timestamp;
use crate::token::{AccessToken, Grant, IdToken, RefreshToken};

/// Codes that say: this grant is dead, sign in again. The last four are Entra's and GitHub's for refresh tokens.
const REFUSED: [&str; 5] = [
    "invalid_grant",
    "interaction_required",
    "login_required",
    "consent_required",
    "bad_refresh_token",
];

/// Reads the answer to a request that was sent at `sent`.
pub(super) fn read(answer: &Answer, sent: Timestamp) -> Result<Grant, Error> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    let body = match &answer.body {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Err(Error::unusable("the answer is too large")),
        Err(error @ (BodyError::Broken | BodyError::TooSlow)) => {
            return Err(Error::Unknown {
                reason: error.to_string(),
            });
        }
    };
    let Ok(members) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Err(Error::unusable("the answer is not a JSON object"));
    };
    // Some providers refuse with a 200.
    if let (None, Some(code)) = (members.get("access_token"), ErrorCode::of(&members)) {
        return Err(classify(&code, &members));
    }
    grant(&members, sent).map_err(|reason| Error::Unusable {
        reason: reason.to_owned(),
        salvage: Box::new(salvage(&members)),
    })
}

fn grant(members: &Map<String, Value>, sent: Timestamp) -> Result<Grant, &'static str> {
    let token_type = members.get("token_type").map(Value::as_str);
    if token_type.is_some_and(|kind| kind.is_none_or(|kind| !kind.eq_ignore_ascii_case("bearer"))) {
        return Err("token_type is not Bearer");
    }
    let access_token = token(members, "access_token")?.ok_or("access_token is missing")?;
    let after = |seconds: Option<Duration>| seconds.map(|seconds| sent + seconds);
    let refresh_lifetime = lifetime(members, "refresh_expires_in")
        .or_else(|| lifetime(members, "refresh_token_expires_in"));
    Ok(Grant {
        access_token: AccessToken::new(access_token),
        access_expires: after(lifetime(members, "expires_in")),
        refresh_token: token(members, "refresh_token")?.map(RefreshToken::new),
        refresh_expires: after(refresh_lifetime),
        id_token: token(members, "id_token")?.map(IdToken::new),
    })
}

/// What can be read of an answer that can't be used, so that it can be revoked.
fn salvage(members: &Map<String, Value>) -> Salvage {
    let text = |name: &str| token(members, name).ok().flatten();
    Salvage {
        access_token: text("access_token").map(AccessToken::new),
        refresh_token: text("refresh_token").map(RefreshToken::new),
    }
}

/// A token, if it is there: visible ASCII without spaces, since it goes into headers and forms.
fn token<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    let text = match members.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str().ok_or("a token is not text")?,
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token has characters that no token has");
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Seconds as a number, or as text, which some providers send. Zero means *never* to Keycloak and nothing sensible to
/// anyone; that and everything that is no time to live counts as not said.
fn lifetime(members: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = members.get(name)?;
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|lifetime| !lifetime.is_zero())
}

/// What an answer that is no success means.
fn refusal(answer: &Answer) -> Error {
    let status = answer.status;
    if status.as_u16() == 429 || status.is_server_error() {
        return answer::unavailable(answer);
    }
    let members = answer::members(answer);
    match ErrorCode::of(&members) {
        Some(code) => classify(&code, &members),
        // flask-jwt-extended's way to say that a token is revoked or expired.
        None if status == 401 && members.get("msg").is_some_and(Value::is_string) => {
            Error::Refused {
                error: "msg".to_owned(),
            }
        }
        // A page of something in between: it says nothing about the grant.
        None => answer::unavailable(answer),
    }
}

fn classify(code: &ErrorCode, members: &Map<String, Value>) -> Error {
    let error = code.to_string();
    // Dex says of a dead refresh token that the request was invalid.
    let description = members.get("error_description").and_then(Value::as_str);
    let names_token =
        description.is_some_and(|text| text.to_ascii_lowercase().contains("refresh token"));
    if REFUSED.contains(&&*error) || (error == "invalid_request" && names_token) {
        return Error::Refused { error };
    }
    if ["temporarily_unavailable", "server_error", "slow_down"].contains(&&*error) {
        return Error::Unavailable {
            reason: error,
            retry_after: None,
        };
    }
    // invalid_client, unauthorized_client, invalid_scope and the like: our configuration, not this grant.
    Error::Client { error }
}
