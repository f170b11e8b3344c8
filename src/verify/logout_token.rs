//! Logout tokens: OpenID Connect Back-Channel Logout section 2.6 as pure functions of claims and time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::header::Header;
use super::{Criterion, Error, claims};
use crate::clock::Timestamp;

/// The member of `events` that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A provider sends one as soon as it has made it. What is older was kept by somebody.
const OLDEST: Duration = Duration::from_mins(5);

/// A verified logout token's contents.
#[derive(Clone, Debug)]
pub struct LogoutToken {
    /// The `[idp.NAME]` that sent it.
    pub idp: Arc<str>,
    /// Whose sessions are over.
    pub of: LoggedOut,
    /// `iat`.
    pub issued: Timestamp,
    /// What it is known by should it come again (`jti`).
    pub id: Criterion,
    /// From then on it would not be accepted anyway.
    pub until: Timestamp,
}

/// Whose sessions are over (section 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// Those of one session at the provider.
    Session {
        /// `sid`.
        sid: Arc<str>,
        /// `sub`, where it is there too.
        ///
        /// It is not compared: that is optional (section 2.6, step 9), and Keycloak names its internal user there where
        /// clients know another subject (pairwise ones until version 26.1, those of custom mappers still).
        subject: Option<Arc<str>>,
    },
    /// All of a user.
    User(Arc<str>),
}

/// Everything about a logout token that is neither its signature nor its issuer, which chose the key.
pub(super) fn check(
    idp: &Arc<str>,
    client_id: &str,
    header: &Header,
    claims: &Map<String, Value>,
    skew: Duration,
    now: Timestamp,
) -> Result<LogoutToken, Error> {
    kind(header, claims)?;
    if !claims::audience(claims)?.contains(&client_id) {
        return Err(Error::Invalid("aud does not name this client"));
    }
    let (expires, _) = claims::times(claims, skew, now.into())?;
    let issued = claims::date(claims, "iat")?.ok_or(Error::Invalid("iat is missing"))?;
    if issued + OLDEST + skew <= now {
        return Err(Error::Invalid("iat is too long ago"));
    }
    let id = claims::text(claims, "jti")?.ok_or(Error::Invalid("jti is missing"))?;
    Ok(LogoutToken {
        idp: Arc::clone(idp),
        of: logged_out(claims)?,
        issued,
        id: Criterion::logout_token(idp, &id),
        until: expires.min(issued + OLDEST) + skew,
    })
}

/// Steps 4 to 6, and no other kind of token passes as a logout token (RFC 8725 section 3.12).
fn kind(header: &Header, claims: &Map<String, Value>) -> Result<(), Error> {
    // `logout+jwt` is recommended and not required (section 2.4), and providers of before that say `JWT` or nothing. No
    // ID token and no access token passes for one of theirs: it would need the event, and none of what it has itself.
    let untyped = match header.typ.as_deref() {
        Some("logout+jwt") => false,
        None | Some("jwt") => true,
        Some(_) => return Err(Error::Invalid("typ is not that of a logout token")),
    };
    // Keycloak's name for the kind.
    if claims.get("typ").is_some_and(|kind| kind != "Logout") {
        return Err(Error::Invalid("typ claim is not Logout"));
    }
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(Error::Invalid("events has no back-channel logout"));
    }
    if claims.contains_key("nonce") {
        return Err(Error::Invalid("a logout token has no nonce"));
    }
    let others = ["at_hash", "c_hash", "s_hash", "scope", "scp", "token_use"];
    if untyped && others.iter().any(|claim| claims.contains_key(*claim)) {
        return Err(Error::Invalid("an ID token or an access token"));
    }
    Ok(())
}

/// Section 2.4: without `sid` all sessions of the user are meant.
fn logged_out(claims: &Map<String, Value>) -> Result<LoggedOut, Error> {
    let (sid, subject) = (claims::text(claims, "sid")?, claims::text(claims, "sub")?);
    match (sid, subject) {
        (Some(sid), subject) => Ok(LoggedOut::Session { sid, subject }),
        (None, Some(subject)) => Ok(LoggedOut::User(subject)),
        (None, None) => Err(Error::Invalid("neither sub nor sid")),
    }
}
