//! Sessions: an opaque cookie in the browser, tokens here. Opening one slides it and, when its access token is about to
//! end, swaps the refresh token; ending one is final.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::issuer::{self, Issuer};
use crate::seal::Keyring;
use crate::token::{AccessToken, Grant, IdToken, SessionId};
use crate::verify::{IdClaims, Rendered, Verifier};

/// What `[session]` and `[logout]` say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session lives without activity.
    pub idle_timeout: Duration,
    /// How long it lives at most.
    pub absolute_timeout: Duration,
    /// How long before the access token's end it is swapped in the background.
    pub refresh_before: Duration,
    /// The swap by age where the provider states no lifetime.
    pub refresh_every: Duration,
    /// How long past the access token's end a request is still served while the provider is unreachable.
    pub outage_grace: Duration,
    /// Swaps at once per provider.
    pub swaps_at_once: usize,
    /// How long a request waits for a swap that it needs.
    pub swap_wait: Duration,
    /// Which tokens are revoked at the provider when a session ends.
    pub revoke_refresh_token: bool,
    /// See [`Settings::revoke_refresh_token`].
    pub revoke_access_token: bool,
    /// How long an owed revocation is retried.
    pub revoke_retry_for: Duration,
}

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In memory only: gone with the process.
    Memory,
    /// In one file (redb) that survives kill -9.
    Disk {
        /// The file.
        path: std::path::PathBuf,
    },
}

/// Whether a request counts as the person's activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Pushes the idle deadline forward and may set off a swap.
    Slides,
    /// Does neither (`slide = false`, the session endpoint).
    Watches,
}

impl Activity {
    /// As the route's `slide` says.
    pub fn of(slide: bool) -> Self {
        if slide { Self::Slides } else { Self::Watches }
    }
}

/// A session as a request sees it: one generation of its tokens. Immutable; the next swap makes the next one.
#[derive(Debug)]
pub struct Live {
    /// The `[idp.NAME]` that it belongs to.
    pub idp: Arc<str>,
    /// The ID token's `sub`.
    pub subject: Arc<str>,
    /// The access token: to be verified before anything is believed of it.
    pub access_token: AccessToken,
    /// When the access token ends.
    pub access_expires: Timestamp,
    /// Claims of the verified ID token, for identity headers where the access token lacks them.
    pub claims: Arc<Map<String, Value>>,
    /// Up by one at every swap.
    pub generation: u64,
    /// What `forward` made of it for the upstream, rendered once per generation.
    pub rendered: OnceLock<Rendered>,
}

/// Where a session stands (GET `/oauth2/session`).
#[derive(Clone, Debug)]
pub struct Standing {
    /// The session as a request sees it.
    pub live: Arc<Live>,
    /// When it ends without activity.
    pub idle_deadline: Timestamp,
    /// When it ends in any case.
    pub absolute_deadline: Timestamp,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Login {
    /// The `[idp.NAME]`.
    pub idp: Arc<str>,
    /// The tokens.
    pub grant: Grant,
    /// The verified ID token's claims.
    pub id_claims: IdClaims,
    /// `User-Agent`, cut to a sensible length.
    pub user_agent: String,
    /// The client's address.
    pub address: IpAddr,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum EndReason {
    /// The person signed out.
    SignedOut,
    /// The person signed in anew in the same browser.
    Replaced,
    /// Idle for too long.
    Idle,
    /// The absolute deadline.
    Absolute,
    /// The provider refused the refresh token.
    Refused,
    /// The refresh token was lost in flight: the provider may have rotated it, and the answer never came.
    LostInFlight,
    /// The provider's answer to a swap could not be accepted (other subject, failed ID token checks, unusable).
    BadAnswer,
}

/// Why there is no live session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such session: never was, or forgotten.
    #[error("no such session")]
    Unknown,
    /// It ended.
    #[error("the session has ended: {0:?}")]
    Ended(EndReason),
    /// Its access token has ended and the provider can't be asked for a new one now. The session stays.
    #[error("the session's access token can't be renewed now")]
    NotNow {
        /// When to try again.
        retry_after: Duration,
    },
    /// Its access token has ended, and whether the refresh token still works is unknown (design: lost in flight). A page
    /// load signs in silently; anything else may try again.
    #[error("the outcome of the session's last swap is unknown")]
    InDoubt {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed. The session stays.
    #[error("the session store failed")]
    Store(#[source] StoreError),
}

/// The store can't read or write.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What was tried.
    pub what: &'static str,
    /// What came back.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What the provider said of one revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Revocation {
    /// The provider confirmed it.
    Confirmed,
    /// It is owed: queued and retried.
    Owed,
    /// The provider offers no revocation.
    NotOffered,
    /// There was no such token, or the configuration does not ask for it.
    NothingToDo,
}

/// What ending a session left to do, and what of it is done.
#[derive(Debug)]
pub struct Ended {
    /// The provider.
    pub idp: Arc<str>,
    /// The hint for RP-initiated logout.
    pub id_token: Option<IdToken>,
    /// The refresh token's revocation.
    pub refresh_token: Revocation,
    /// The access token's revocation.
    pub access_token: Revocation,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {}

impl Sessions {
    /// Opens the store. Swaps, revocations and sweeps run on `background`.
    ///
    /// # Errors
    /// When the store can't be opened: the text says which file and why.
    pub fn open_store(
        _store: &StoreSettings,
        _settings: Settings,
        _keys: Keyring,
        _idps: Vec<Arc<Issuer>>,
        _verifier: Arc<Verifier>,
        _clock: Clock,
        _background: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, StoreError> {
        todo!()
    }

    /// The live session behind a cookie, its access token fresh enough to be forwarded. Waits for a swap only when the
    /// access token has ended, and then at most [`Settings::swap_wait`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(
        self: &Arc<Self>,
        _id: &SessionId,
        _activity: Activity,
    ) -> Result<Arc<Live>, Error> {
        todo!()
    }

    /// Where the session stands; never slides it, never swaps.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn standing(&self, _id: &SessionId) -> Result<Standing, Error> {
        todo!()
    }

    /// Swaps now, whatever the access token's age (POST `/oauth2/refresh`).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn swap_now(self: &Arc<Self>, _id: &SessionId) -> Result<Arc<Live>, Error> {
        todo!()
    }

    /// Begins a session under a fresh id; durable when this returns.
    ///
    /// # Errors
    /// When the store can't keep it; the tokens are then owed to the provider's revocation endpoint.
    pub async fn begin(self: &Arc<Self>, _login: Login) -> Result<SessionId, StoreError> {
        todo!()
    }

    /// Ends a session: here first and durably, then its tokens are revoked at the provider, for which this waits a
    /// bounded time; what is not confirmed by then is owed. `None` when there was nothing to end.
    ///
    /// # Errors
    /// When the store can't keep the tombstone.
    pub async fn end(
        self: &Arc<Self>,
        _id: &SessionId,
        _reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        todo!()
    }

    /// Revokes the tokens of a login that came to nothing (its ID token failed a check, say).
    pub fn discard(self: &Arc<Self>, _idp: &Arc<str>, _grant: &issuer::Salvage) {
        todo!()
    }

    /// Retries owed revocations and sweeps what has expired; runs until the process ends.
    pub async fn keep_house(self: Arc<Self>) {
        todo!()
    }

    /// Waits until swaps under way are done and saved. To be called once no more requests come.
    pub async fn settle(&self) {
        todo!()
    }
}
