//! A provider's key set: a snapshot to verify with, fetched in the background, kept through the provider's outages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::Error;
use super::compact::Compact;
use super::jwk::Key;
use crate::clock::{Clock, Timestamp};
use crate::issuer::{self, Issuer};
use crate::telemetry::metrics::{IdpMetrics, KeysOutcome};

/// How often a token with an unknown key may make us look again.
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(30);
/// How old a key set gets, plus up to as much again.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// While there are no keys at all nothing can be verified, so we try again soon, and heal soon.
const COLD_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// With keys in hand there is no hurry.
const WARM_RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// More keys than any provider has; what comes after them is not looked at.
const MAX_KEYS: usize = 100;

/// The keys of one provider.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: Arc<Issuer>,
    allowed: Vec<Algorithm>,
    clock: Clock,
    background: tokio::runtime::Handle,
    metrics: Arc<IdpMetrics>,
    current: ArcSwapOption<KeySet>,
    attempts: Mutex<Attempts>,
    finished: watch::Sender<()>,
}

/// What is known about fetching; one fetch runs at a time.
#[derive(Debug, Default)]
struct Attempts {
    running: bool,
    /// Since the last success.
    failures: u32,
    last: Option<Timestamp>,
    last_for_unknown_key: Option<Timestamp>,
    error: Option<Arc<issuer::Error>>,
}

/// Why the key set is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It is time.
    Schedule,
    /// A token waits and there never was a key set.
    NoKeys,
    /// A token names a key that is not in the set.
    UnknownKey,
}

impl Keys {
    pub(super) fn new(
        issuer: Arc<Issuer>,
        allowed: Vec<Algorithm>,
        clock: Clock,
        background: tokio::runtime::Handle,
        metrics: Arc<IdpMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            issuer,
            metrics,
            allowed,
            clock,
            background,
            current: ArcSwapOption::empty(),
            attempts: Mutex::default(),
            finished: watch::Sender::new(()),
        })
    }

    /// Verifies a token's signature and says with which key.
    pub(super) async fn verify(self: &Arc<Self>, token: &Compact<'_>) -> Result<Arc<Key>, Error> {
        let known = match self.current.load_full() {
            Some(known) => known,
            None => self.first().await?,
        };
        match known.verify(token) {
            Err(Mismatch::UnknownKey) => self.newer().await?.verify(token),
            decided => decided,
        }
        .map_err(|mismatch| Error::Invalid(mismatch.text()))
    }

    /// Waits for the first key set.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), Error> {
        if self.current.load().is_some() {
            return Ok(());
        }
        self.first().await.map(drop)
    }

    /// Fetches for as long as it is polled.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        loop {
            // Endpoints move too; should this fail, the fetch says so.
            let _ = self.issuer.rediscover().await;
            self.fetched(Cause::Schedule).await;
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// The first key set, where there is none yet.
    async fn first(self: &Arc<Self>) -> Result<Arc<KeySet>, Error> {
        self.fetched(Cause::NoKeys).await;
        self.current
            .load_full()
            .ok_or_else(|| Error::KeysUnavailable(self.last_error()))
    }

    /// A key set that is new enough to know a new key. If the provider can't be asked, we can't know.
    async fn newer(self: &Arc<Self>) -> Result<Arc<KeySet>, Error> {
        self.fetched(Cause::UnknownKey).await;
        let undecided = {
            let attempts = self.attempts();
            attempts.running || attempts.error.is_some()
        };
        self.current
            .load_full()
            .filter(|_| !undecided)
            .ok_or_else(|| Error::KeysUnavailable(self.last_error()))
    }

    /// Fetches if it is due, joins a fetch under way, and waits for its end, though not for ever.
    async fn fetched(self: &Arc<Self>, cause: Cause) {
        if let Some(mut finished) = self.begin(cause) {
            let patience = self.issuer.settings().call_timeout;
            // Either way the caller looks at what there is.
            let _ = tokio::time::timeout(patience, finished.changed()).await;
        }
    }

    fn begin(self: &Arc<Self>, cause: Cause) -> Option<watch::Receiver<()>> {
        let mut attempts = self.attempts();
        let finished = self.finished.subscribe();
        if attempts.running {
            return Some(finished);
        }
        let now = self.clock.now();
        if !attempts.due(cause, now) {
            return None;
        }
        attempts.begin(cause, now);
        drop(attempts);
        let attempt = Attempt(Arc::clone(self));
        self.background.spawn(attempt.run());
        Some(finished)
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.attempts().error.is_some()
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> Arc<issuer::Error> {
        let none_yet = || {
            Arc::new(issuer::Error::Unavailable {
                reason: "the keys are not fetched yet".to_owned(),
                retry_after: None,
            })
        };
        self.attempts().error.clone().unwrap_or_else(none_yet)
    }

    /// How long until the next scheduled fetch. The jitter keeps many gateways from asking at once.
    fn pause(&self) -> Duration {
        let failures = self.attempts().failures;
        let base = match (failures, self.current.load().is_some()) {
            (0, _) => return FRESH_FOR + FRESH_FOR.mul_f32(fraction()),
            (_, false) => backoff(COLD_RETRY, failures),
            (_, true) => backoff(WARM_RETRY, failures),
        };
        base + base.mul_f32(fraction() / 4.0)
    }

    /// Takes over a fetched set. One log line a change, none a fetch.
    fn take(&self, fetched: Result<Value, issuer::Error>) {
        let idp = &self.issuer.settings().name;
        let old = self.current.load_full();
        let new = fetched.and_then(|jwks| KeySet::read(&jwks, &self.allowed, old.as_deref()));
        let mut attempts = self.attempts();
        match new {
            Ok(new) => {
                let healed = std::mem::take(&mut attempts.failures) > 0;
                attempts.error = None;
                self.metrics.keys.count(KeysOutcome::Fetched);
                let retired = old.as_ref().map_or(0, |old| old.retire_all_but(&new));
                if healed || retired > 0 || old.is_none_or(|old| old.keys.len() != new.keys.len()) {
                    info!(%idp, keys = new.keys.len(), retired, "signing keys fetched");
                }
                self.current.store(Some(Arc::new(new)));
            }
            Err(error) => {
                self.metrics.keys.count(KeysOutcome::Failed);
                if attempts.failures == 0 {
                    warn!(%idp, %error, kept = old.is_some(), "signing keys can't be fetched");
                }
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.error = Some(Arc::new(error));
            }
        }
    }
}

impl Attempts {
    fn due(&self, cause: Cause, now: Timestamp) -> bool {
        // A clock that went back is no reason to wait for it.
        let passed = |since: Option<Timestamp>, pause: Duration| {
            since.is_none_or(|since| now < since || now.since(since) >= pause)
        };
        match cause {
            Cause::Schedule => true,
            Cause::NoKeys => passed(self.last, backoff(COLD_RETRY, self.failures)),
            Cause::UnknownKey => passed(self.last_for_unknown_key, UNKNOWN_KEY_EVERY),
        }
    }

    fn begin(&mut self, cause: Cause, now: Timestamp) {
        self.running = true;
        self.last = Some(now);
        if cause == Cause::UnknownKey {
            self.last_for_unknown_key = Some(now);
        }
    }
}

/// A fetch under way; when it ends, however it ends, the waiting are told.
struct Attempt(Arc<Keys>);

impl Attempt {
    async fn run(self) {
        let fetched = self.0.issuer.jwks().await;
        self.0.take(fetched);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.attempts().running = false;
        self.0.finished.send_replace(());
    }
}

/// A key set as it was fetched (RFC 7517 section 5).
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// Why no key of the set verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The set has no such key: a newer one may.
    UnknownKey,
    /// The key that the token names is for something else.
    WrongAlgorithm,
    /// The token names no key and several could be meant.
    Ambiguous,
    /// The key is here and did not sign this.
    Signature,
}

impl Mismatch {
    const fn text(self) -> &'static str {
        match self {
            Self::UnknownKey => "signed with an unknown key",
            Self::WrongAlgorithm => "alg does not fit its key",
            Self::Ambiguous => "kid is missing and several keys fit",
            Self::Signature => "the signature is wrong",
        }
    }
}

impl KeySet {
    /// Reads each key by itself: an odd one spoils nothing. Keys that were in the old set are carried over, so that what
    /// they verified stays verified.
    pub(super) fn read(
        jwks: &Value,
        allowed: &[Algorithm],
        old: Option<&Self>,
    ) -> Result<Self, issuer::Error> {
        let members = jwks.get("keys").and_then(Value::as_array);
        let members =
            members.ok_or_else(|| issuer::Error::unusable("the key set has no list of keys"))?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for jwk in members.iter().take(MAX_KEYS) {
            match Key::read(jwk, allowed) {
                Ok(key) if keys.iter().any(|other| other.same(&key)) => {}
                Ok(key) => keys.push(Self::carried(old, key)),
                Err(reason) => debug!(reason, "a key of the set is not used"),
            }
        }
        Ok(Self { keys })
    }

    /// The old set's key if this is the same.
    fn carried(old: Option<&Self>, key: Key) -> Arc<Key> {
        old.and_then(|old| old.keys.iter().find(|known| known.same(&key)))
            .map_or_else(|| Arc::new(key), Arc::clone)
    }

    /// Marks the keys that the provider took away; says how many.
    fn retire_all_but(&self, new: &Self) -> usize {
        let gone = |key: &&Arc<Key>| !new.keys.iter().any(|kept| Arc::ptr_eq(kept, key));
        self.keys
            .iter()
            .filter(gone)
            .map(|key| key.retire())
            .count()
    }

    /// The key that the token names. Where a set has one `kid` twice, each that fits the algorithm is tried.
    pub(super) fn verify(&self, token: &Compact<'_>) -> Result<Arc<Key>, Mismatch> {
        let algorithm = token.header.algorithm;
        let fitting = |key: &&Arc<Key>| key.fits(algorithm);
        let candidates: Vec<_> = match token.header.kid.as_deref() {
            Some(kid) => {
                let named = || self.keys.iter().filter(|key| key.kid() == Some(kid));
                if named().next().is_none() {
                    return Err(Mismatch::UnknownKey);
                }
                named().filter(fitting).collect()
            }
            None => match self.keys.iter().filter(fitting).collect::<Vec<_>>() {
                none if none.is_empty() => return Err(Mismatch::UnknownKey),
                one if one.len() == 1 => one,
                _ => return Err(Mismatch::Ambiguous),
            },
        };
        if candidates.is_empty() {
            return Err(Mismatch::WrongAlgorithm);
        }
        candidates
            .into_iter()
            .find(|key| key.verifies(algorithm, token.message, &token.signature))
            .map(Arc::clone)
            .ok_or(Mismatch::Signature)
    }
}

/// Doubles from the first pause to the longest.
fn backoff((first, longest): (Duration, Duration), failures: u32) -> Duration {
    let doubled = 1 << failures.saturating_sub(1).min(16);
    first.saturating_mul(doubled).min(longest)
}

/// A random number from 0 to 1.
fn fraction() -> f32 {
    let mut byte = [0];
    // Without randomness there is no jitter, and nothing worse.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    f32::from(byte) / 255.0
}
