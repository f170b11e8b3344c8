//! What a sign-out achieved, carried in a sealed cookie to the page that says it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::seal::{Keyring, Purpose};
use crate::session::Revocation;

/// How long a person may take at the provider before the page forgets.
pub(super) const LIFETIME_SECS: u64 = 600;

/// What became of the session at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AtProvider {
    /// It is over.
    Ended,
    /// The browser was there, and came back; the person may have been asked.
    Asked,
    /// The provider could not be reached, or did not say.
    Unknown,
    /// It did not accept the request.
    Refused,
    /// It offers no sign-out, or the configuration does not ask for it.
    Untouched,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Of the logout request (OpenID Connect RP-Initiated Logout section 2).
    pub(super) state: String,
    pub(super) at: Timestamp,
    /// What people call the provider.
    pub(super) label: String,
    pub(super) refresh_token: Revocation,
    pub(super) access_token: Revocation,
    pub(super) provider: AtProvider,
    /// Where to go on to, checked.
    pub(super) onward: Option<String>,
}

impl Outcome {
    pub(super) fn cookie(session_cookie: &str) -> String {
        format!("{session_cookie}-signed-out")
    }

    pub(super) fn seal(&self, keys: &Keyring) -> String {
        let plain = serde_json::to_vec(self).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(keys.seal(Purpose::SignedOut, b"outcome", &plain))
    }

    pub(super) fn open(sealed: &str, keys: &Keyring, now: Timestamp) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = keys.open(Purpose::SignedOut, b"outcome", &sealed).ok()?;
        let outcome: Self = serde_json::from_slice(&plain).ok()?;
        (now.since(outcome.at).as_secs() <= LIFETIME_SECS).then_some(outcome)
    }
}
