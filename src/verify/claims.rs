//! RFC 9068 section 4 and RFC 7519 section 4.1 as pure functions of claims and time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value};

use super::header::Header;
use super::{Error, Settings, Verified, Witness};
use crate::clock::Timestamp;

/// The end of the year 9999. What ends later was meant in milliseconds or to last for ever.
const LATEST: Timestamp = Timestamp::from_secs(253_402_300_800);

/// When a token is good, with the leeway on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    /// RFC 7519 section 4.1.4: *on or after* `exp` it is over, unless a grace goes on for longer.
    pub(super) fn holds(self, now: Timestamp, grace: Option<Timestamp>) -> bool {
        self.from <= now && now < self.end(grace)
    }

    fn end(self, grace: Option<Timestamp>) -> Timestamp {
        grace.map_or(self.until, |grace| grace.max(self.until))
    }
}

/// When a token is judged, and how late it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// A token that has ended is good until then all the same.
    pub(super) grace: Option<Timestamp>,
    /// When this gateway got it for a session of its own.
    pub(super) obtained: Option<Timestamp>,
}

impl From<Timestamp> for Moment {
    fn from(now: Timestamp) -> Self {
        Self {
            now,
            grace: None,
            obtained: None,
        }
    }
}

/// Everything about an access token that is neither its signature nor its issuer, which chose the key.
pub(super) fn access_token(
    idp: &Arc<str>,
    settings: &Settings,
    header: &Header,
    claims: Map<String, Value>,
    moment: Moment,
) -> Result<(Verified, Window), Error> {
    kind(settings, header, &claims)?;
    if let Some(ours) = &settings.audience {
        let audience = audience(&claims)?;
        if !audience.iter().any(|aud| ours.iter().any(|our| our == aud)) {
            return Err(Error::Invalid("aud does not name us"));
        }
    }
    let (expires, window) = times(&claims, settings.clock_skew, moment)?;
    let verified = Verified {
        idp: Arc::clone(idp),
        subject: subject(&claims)?,
        expires,
        scopes: scopes(&claims),
        groups: groups(&claims, &settings.groups_claim),
        claims,
        rendered: OnceLock::new(),
        watch: None,
        _witness: Witness,
    };
    Ok((verified, window))
}

/// No other kind of token passes as an access token (RFC 8725 section 3.12, RFC 9068 section 5).
fn kind(settings: &Settings, header: &Header, claims: &Map<String, Value>) -> Result<(), Error> {
    // A token without `typ` is not of a listed kind; where a provider leaves it out, the list says so with "".
    let typ = header.typ.as_deref().unwrap_or_default();
    if !settings.typ.iter().any(|allowed| allowed == typ) {
        return Err(Error::Invalid("typ is not that of an access token"));
    }
    // Keycloak's name for the kind; its ID, refresh and logout tokens carry the same `typ` header or key.
    let bearer = match claims.get("typ") {
        None => false,
        Some(kind) if is_text(kind, "bearer") => true,
        Some(_) => return Err(Error::Invalid("typ claim is not Bearer")),
    };
    // Amazon Cognito's name for the kind.
    if claims
        .get("token_use")
        .is_some_and(|kind| !is_text(kind, "access"))
    {
        return Err(Error::Invalid("token_use is not access"));
    }
    if claims.contains_key("events") {
        return Err(Error::Invalid("a logout or security event token"));
    }
    // Older Keycloaks put the nonce into access tokens too, but those say what they are.
    let says_so = bearer || typ == "at+jwt";
    if claims.contains_key("at_hash")
        || claims.contains_key("c_hash")
        || (claims.contains_key("nonce") && !says_so)
    {
        return Err(Error::Invalid("an ID token"));
    }
    // Bound to a key of its holder (RFC 9449 section 7.2, RFC 8705 section 3): without the proof it is nobody's.
    if claims.contains_key("cnf") {
        return Err(Error::Invalid("bound to a key, shown without proof"));
    }
    Ok(())
}

fn is_text(value: &Value, text: &str) -> bool {
    value
        .as_str()
        .is_some_and(|value| value.eq_ignore_ascii_case(text))
}

/// `aud`: a string or a list of strings, of which there is at least one.
pub(super) fn audience(claims: &Map<String, Value>) -> Result<Vec<&str>, Error> {
    let wrong = Error::Invalid("aud is missing or of a wrong type");
    match claims.get("aud") {
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) if !many.is_empty() => many
            .iter()
            .map(|aud| aud.as_str().ok_or(Error::Invalid("aud is of a wrong type")))
            .collect(),
        _ => Err(wrong),
    }
}

/// `exp` (required), `nbf` and `iat`: the time that it ends, and its window if it is good now.
pub(super) fn times(
    claims: &Map<String, Value>,
    skew: Duration,
    Moment { now, grace, .. }: Moment,
) -> Result<(Timestamp, Window), Error> {
    let expires = date(claims, "exp")?.ok_or(Error::Invalid("exp is missing"))?;
    let not_before = date(claims, "nbf")?.unwrap_or_default();
    let issued = date(claims, "iat")?.unwrap_or_default();
    let window = Window {
        from: not_before.max(issued) - skew,
        until: expires + skew,
    };
    if window.end(grace) <= now {
        return Err(Error::Invalid("expired"));
    }
    if now < window.from {
        return Err(Error::Invalid("not valid yet"));
    }
    Ok((expires, window))
}

/// A `NumericDate` (RFC 7519 section 2): seconds, possibly with a fraction.
pub(super) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_u64().map(Timestamp::from_secs);
    let fraction = || Duration::try_from_secs_f64(value.as_f64()?).ok();
    whole
        .or_else(|| fraction().map(|since_epoch| Timestamp::default() + since_epoch))
        .filter(|date| *date < LATEST)
        .map(Some)
        .ok_or(Error::Invalid("a date is of a wrong type or out of range"))
}

/// `sub`, which ends in headers and logs.
pub(super) fn subject(claims: &Map<String, Value>) -> Result<Arc<str>, Error> {
    text(claims, "sub")?.ok_or(Error::Invalid("sub is missing"))
}

/// A claim that is text where it is there at all.
pub(super) fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<Arc<str>>, Error> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    value
        .as_str()
        .filter(|text| !text.is_empty() && !text.contains(char::is_control))
        .map(|text| Some(Arc::from(text)))
        .ok_or(Error::Invalid("a claim that must be text is not"))
}

/// `scope` (RFC 9068 section 2.2.3), or `scp` as Okta and Entra call it. What is of a wrong type gives no right.
fn scopes(claims: &Map<String, Value>) -> Vec<Arc<str>> {
    let claim = claims.get("scope").or_else(|| claims.get("scp"));
    texts(claim)
        .flat_map(|text| text.split(' '))
        .filter(|scope| !scope.is_empty())
        .map(Arc::from)
        .collect()
}

/// The groups claim: text or a list of texts. What is of a wrong type gives no right.
fn groups(claims: &Map<String, Value>, name: &str) -> Vec<Arc<str>> {
    texts(find(claims, name))
        .filter(|group| !group.is_empty())
        .map(Arc::from)
        .collect()
}

/// The claim of just this name first, since names may be URLs; else a path with dots (`realm_access.roles`).
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter()
        .chain(many.into_iter().flatten().filter_map(Value::as_str))
}
