//! A sign-in in flight: all of it is in the browser, sealed. Its secrets are in a cookie of its own; what is needed to
//! begin anew when that cookie is gone is in `state`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::credential::cookie;
use crate::refusal::Refusal;
use crate::seal::{Keyring, Purpose};

#[cfg(test)]
mod tests;

/// How long a person may take at the provider.
pub(super) const LIFETIME: Duration = Duration::from_mins(10);
/// How many sign-ins one browser may have in flight.
const MOST: usize = 5;
/// How long their cookies may be together: servers refuse requests with too many bytes of headers.
const MOST_BYTES: usize = 6 * 1024;
/// How long `rd` may be to travel in `state` as well: providers wrap `state` into addresses of their own, and the servers
/// of some take no more than 4 KiB (Quarkus, that Keycloak runs on).
const LONGEST_IN_STATE: usize = 1024;
/// Cleared in one answer at most, so that planted cookies can't make it grow.
const MOST_CLEARED: usize = 16;

/// 128 random bits that name a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlowId(String);

impl FlowId {
    pub(super) fn random() -> Result<Self, Refusal> {
        random::<16>().map(Self)
    }

    /// 22 characters of base64url.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 22
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The name of its cookie.
    pub(super) fn cookie(&self, session_cookie: &str) -> String {
        format!("{}{}", cookie_prefix(session_cookie), self.0)
    }
}

fn cookie_prefix(session_cookie: &str) -> String {
    format!("{session_cookie}-login-")
}

/// What a sign-in's cookie holds. No `Debug`: the code verifier and the nonce are secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    /// The `[idp.NAME]`.
    pub(super) idp: String,
    /// Binds the ID token to this browser.
    pub(super) nonce: String,
    /// RFC 7636 section 4.1.
    pub(super) verifier: String,
    /// Where to go afterwards, on the origin that this began on.
    pub(super) rd: String,
    pub(super) created: Timestamp,
    /// How often this sign-in was begun anew because its cookie did not come back.
    pub(super) attempt: u8,
    /// Whether the browser had a live session when this began.
    pub(super) signed_in: bool,
    /// Whether the provider was asked not to show anything (`prompt=none`).
    pub(super) silent: bool,
}

/// What `state` holds: enough to begin anew.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) idp: String,
    pub(super) rd: String,
    pub(super) created: Timestamp,
    pub(super) attempt: u8,
}

impl Flow {
    /// The cookie's value.
    pub(super) fn seal(&self, id: &FlowId, keys: &Keyring) -> String {
        seal(keys, Purpose::Login, id, self)
    }

    /// The sign-in whose cookie came back, if it is not too old.
    pub(super) fn of(
        headers: &HeaderMap,
        id: &FlowId,
        session_cookie: &str,
        keys: &Keyring,
        now: Timestamp,
    ) -> Option<Self> {
        let value = cookie::value(headers, &id.cookie(session_cookie))?;
        let flow: Self = open(keys, Purpose::Login, id, value)?;
        is_fresh(flow.created, now).then_some(flow)
    }

    /// The `state` parameter.
    pub(super) fn state(&self, id: &FlowId, keys: &Keyring) -> String {
        let rd = if self.rd.len() <= LONGEST_IN_STATE {
            self.rd.clone()
        } else {
            "/".to_owned()
        };
        let state = State {
            idp: self.idp.clone(),
            rd,
            created: self.created,
            attempt: self.attempt,
        };
        format!("{}.{}", id.0, seal(keys, Purpose::State, id, &state))
    }
}

impl State {
    /// Reads `state`: which sign-in it names, and what it holds if we made it.
    pub(super) fn read(state: &str, keys: &Keyring) -> (Option<FlowId>, Option<Self>) {
        let Some((id, sealed)) = state.split_once('.') else {
            return (None, None);
        };
        let Some(id) = FlowId::parse(id) else {
            return (None, None);
        };
        let state = open(keys, Purpose::State, &id, sealed);
        (Some(id), state)
    }
}

/// Whether something that was made at `created` still counts.
pub(super) fn is_fresh(created: Timestamp, now: Timestamp) -> bool {
    now.since(created) <= LIFETIME
}

/// Makes room for one more sign-in: clears the cookies of those that are over, were not made by us, or are the oldest
/// of too many.
pub(super) fn make_room(
    headers: &HeaderMap,
    session_cookie: &str,
    keys: &Keyring,
    now: Timestamp,
) -> Vec<Option<HeaderValue>> {
    let prefix = cookie_prefix(session_cookie);
    let mut cleared = Vec::new();
    let mut open_flows = Vec::new();
    for (name, value) in cookie::all(headers) {
        let Some(id) = named(name, &prefix) else {
            continue;
        };
        let flow = std::str::from_utf8(value)
            .ok()
            .and_then(|value| open::<Flow>(keys, Purpose::Login, &id, value));
        match flow {
            Some(flow) if is_fresh(flow.created, now) => {
                open_flows.push((flow.created, value.len(), id));
            }
            Some(_) | None => cleared.push(id),
        }
    }
    open_flows.sort_unstable_by_key(|(created, ..)| std::cmp::Reverse(*created));
    let mut bytes = 0;
    for (index, (_, len, id)) in open_flows.into_iter().enumerate() {
        bytes += len;
        if index + 1 >= MOST || bytes > MOST_BYTES {
            cleared.push(id);
        }
    }
    cleared
        .iter()
        .take(MOST_CLEARED)
        .map(|id| cookie::clear(&id.cookie(session_cookie)))
        .collect()
}

fn named(name: &[u8], prefix: &str) -> Option<FlowId> {
    let id = name.strip_prefix(prefix.as_bytes())?;
    FlowId::parse(std::str::from_utf8(id).ok()?)
}

/// `N` random bytes as base64url.
pub(super) fn random<const N: usize>() -> Result<String, Refusal> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Refusal::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn seal(keys: &Keyring, purpose: Purpose, id: &FlowId, value: &impl Serialize) -> String {
    let plain = serde_json::to_vec(value).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(keys.seal(purpose, id.0.as_bytes(), &plain))
}

fn open<T: DeserializeOwned>(
    keys: &Keyring,
    purpose: Purpose,
    id: &FlowId,
    sealed: &str,
) -> Option<T> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let plain = keys.open(purpose, id.0.as_bytes(), &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}
