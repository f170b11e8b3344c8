//! A provider as sessions see it: so many calls at once, and one log line when it goes and when it comes back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::breaker::Breaker;
use crate::clock::Timestamp;
use crate::issuer::{self, Issuer, Revocable};
use crate::telemetry::metrics::IdpMetrics;
use crate::token::{Grant, RefreshToken};

/// How many revocations are under way at a time, for each provider.
const REVOCATIONS_AT_ONCE: usize = 16;

/// How long what is known of a provider that is down counts, when nobody asks it.
const AWAY: Duration = Duration::from_secs(30);

/// A call to a provider under way.
pub(super) type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, issuer::Error>> + Send + 'a>>;

/// What swaps and revocations ask of a provider: the seam at which tests put one in process.
pub(super) trait Endpoint: fmt::Debug + Send + Sync {
    /// Exchanges a refresh token (RFC 6749 section 6).
    fn refresh<'a>(&'a self, token: &'a RefreshToken) -> Call<'a, Grant>;
    /// Revokes a token (RFC 7009).
    fn revoke<'a>(&'a self, token: &'a Revocable) -> Call<'a, ()>;
    /// Whether all that a user has there can be ended ([`Endpoint::end_user`]).
    fn ends_users(&self) -> bool;
    /// Ends all that a user has there through this gateway's client.
    fn end_user<'a>(&'a self, subject: &'a str) -> Call<'a, ()>;
}

impl Endpoint for Issuer {
    fn refresh<'a>(&'a self, token: &'a RefreshToken) -> Call<'a, Grant> {
        Box::pin(Self::refresh(self, token))
    }

    fn revoke<'a>(&'a self, token: &'a Revocable) -> Call<'a, ()> {
        Box::pin(Self::revoke(self, token))
    }

    fn ends_users(&self) -> bool {
        self.settings().management.is_some()
    }

    fn end_user<'a>(&'a self, subject: &'a str) -> Call<'a, ()> {
        Box::pin(Self::end_user(self, subject))
    }
}

/// A provider, and how many calls it gets at once.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) issuer: Arc<Issuer>,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) swaps: Semaphore,
    pub(super) revocations: Semaphore,
    pub(super) metrics: Arc<IdpMetrics>,
    /// That it is down was said in the log.
    down: AtomicBool,
    /// When a call to it last came to nothing, in milliseconds.
    failed_at: AtomicU64,
    /// The last that was asked of it had no outcome that is known.
    unsure: AtomicBool,
    /// It was seen to put a new refresh token in the place of one that was used.
    pub(super) rotates: AtomicBool,
    /// Whether swaps are to be asked for.
    pub(super) breaker: Breaker,
}

impl Provider {
    pub(super) fn new(issuer: Arc<Issuer>, swaps_at_once: usize, metrics: Arc<IdpMetrics>) -> Self {
        Self {
            endpoint: Arc::clone(&issuer) as Arc<dyn Endpoint>,
            issuer,
            swaps: Semaphore::new(swaps_at_once),
            revocations: Semaphore::new(REVOCATIONS_AT_ONCE),
            metrics,
            down: AtomicBool::new(false),
            failed_at: AtomicU64::new(0),
            unsure: AtomicBool::new(false),
            rotates: AtomicBool::new(false),
            breaker: Breaker::default(),
        }
    }

    /// Whether it did when it was asked last.
    pub(super) fn answers(&self) -> bool {
        !self.down.load(Ordering::Relaxed) && !self.unsure.load(Ordering::Relaxed)
    }

    /// It was asked, and hung or broke off.
    pub(super) fn is_unsure(&self) {
        self.unsure.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_up(&self) {
        self.breaker.answered();
        self.unsure.store(false, Ordering::Relaxed);
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(idp = %self.issuer.settings().name, "the identity provider answers again");
        }
    }

    /// Whether it was found to be down a moment ago: then a page load would not help either.
    pub(super) fn is_away(&self, now: Timestamp) -> bool {
        let failed = Timestamp::from_millis(self.failed_at.load(Ordering::Relaxed));
        let known = self.down.load(Ordering::Relaxed) || self.breaker.is_open();
        known && now < failed + AWAY
    }

    /// A call came to nothing; the provider may have asked for a rest.
    pub(super) fn failed(&self, now: Timestamp, asked: Option<Duration>) {
        self.failed_at.store(now.as_millis(), Ordering::Relaxed);
        self.breaker.failed(now, asked);
    }

    /// One line when it goes, not one for each session.
    pub(super) fn is_down(&self, reason: &str) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(idp = %self.issuer.settings().name, reason,
                "the identity provider is not available: sessions live until their access token ends");
        }
    }

    pub(super) fn alarm(&self, error: &str) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::error!(idp = %self.issuer.settings().name, error,
                "the identity provider refuses this gateway's client: check client_id, client_secret and client_auth");
        }
    }
}
