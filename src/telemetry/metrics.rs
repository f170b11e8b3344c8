//! What the gateway counts: one typed handle for each series, made once at the start, so that counting is an addition and
//! nothing is looked up by name. Label values come from the configuration or from the lists in [`label`], never from a request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::clock::Timestamp;

mod label;
mod series;
#[cfg(test)]
mod tests;

pub use label::{
    Ending, KeysOutcome, Label, LoginOutcome, RevocationOutcome, RevocationSource,
    RevocationTarget, StoreOperation, StreamEnding, StreamKind, SwapOutcome, WaitedFor,
};
use series::{Count, Labels, Timing, timing};
pub use series::{Counters, Durations, Level};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    idps: BTreeMap<Arc<str>, Arc<IdpMetrics>>,
    store_seconds: Timings,
    store_errors: Family<Labels, Count>,
    certificates: Family<Labels, Level>,
    /// `tidegate_sessions_active`: sessions that have not ended, as the store last said. Sampled by housekeeping.
    pub sessions_active: Level,
    /// `tidegate_sessions_ended_total{reason}`.
    pub sessions_ended: Counters<Ending>,
    /// `tidegate_sessions_streaming`: sessions under which something is open. Sampled.
    pub sessions_streaming: Level,
    /// `tidegate_streams_ended_total{kind,reason}`: what was ended together with its session or token.
    pub streams_ended: Counters<(StreamKind, StreamEnding)>,
    /// `tidegate_session_waits_total{on}`: requests that had to wait. In steady state none does.
    pub session_waits: Counters<WaitedFor>,
    /// `tidegate_revocations_total{source,target,outcome}`.
    pub revocations: Counters<(RevocationSource, RevocationTarget, RevocationOutcome)>,
    /// `tidegate_revocation_queue`: revocations that are owed. Sampled by housekeeping.
    pub revocation_queue: Level,
}

/// What is counted for one identity provider.
#[derive(Debug)]
pub struct IdpMetrics {
    /// `tidegate_logins_total{idp,outcome}`.
    pub logins: Counters<LoginOutcome>,
    /// `tidegate_token_refresh_total{idp,outcome}`.
    pub swaps: Counters<SwapOutcome>,
    /// `tidegate_token_refresh_duration_seconds{idp}`: the call to the provider.
    pub swap_seconds: Timing,
    /// `tidegate_token_refresh_in_flight{idp}`.
    pub swaps_in_flight: Level,
    /// `tidegate_jwks_refresh_total{idp,outcome}`.
    pub keys: Counters<KeysOutcome>,
}

/// What is counted for the session store.
#[derive(Debug)]
pub struct StoreMetrics {
    /// `tidegate_store_operation_duration_seconds{store,op}`, failures included.
    pub seconds: Durations<StoreOperation>,
    /// `tidegate_store_errors_total{store,op}`.
    pub errors: Counters<StoreOperation>,
}

type Timings = Family<Labels, Timing, fn() -> Timing>;

impl Metrics {
    /// Everything at zero, for these `[idp.NAME]`s.
    pub fn new<'a>(idps: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let mut r = Registry::with_prefix("tidegate");
        about_the_build(&mut r);
        let of_idps = OfIdps::register(&mut r);
        let idps = idps
            .into_iter()
            .map(|idp| (Arc::clone(idp), Arc::new(of_idps.one(idp))));
        let idps = idps.collect();
        Self {
            idps,
            store_seconds: timings(
                &mut r,
                "store_operation_duration_seconds",
                "How long the session store took",
            ),
            store_errors: counts(
                &mut r,
                "store_errors_total",
                "What the session store could not do",
            ),
            certificates: levels(
                &mut r,
                "certificate_expiry_timestamp_seconds",
                "Until when the certificate that a host's clients are shown is good",
            ),
            sessions_active: level(
                &mut r,
                "sessions_active",
                "Sessions that have not ended, as the store last said",
            ),
            sessions_ended: counters(&mut r, "sessions_ended_total", "Sessions that ended here"),
            sessions_streaming: level(
                &mut r,
                "sessions_streaming",
                "Sessions under which a WebSocket, an event stream or a long answer is open",
            ),
            streams_ended: counters(
                &mut r,
                "streams_ended_total",
                "What was ended together with its session or token",
            ),
            session_waits: counters(
                &mut r,
                "session_waits_total",
                "Requests that had to wait for a swap or for the session store",
            ),
            revocations: counters(
                &mut r,
                "revocations_total",
                "What identity providers said to revocations",
            ),
            revocation_queue: level(
                &mut r,
                "revocation_queue",
                "Revocations that are owed to identity providers",
            ),
            registry: r,
        }
    }

    /// The handles of one provider; of one that is not configured, such as are shown nowhere.
    pub fn idp(&self, name: &str) -> Arc<IdpMetrics> {
        match self.idps.get(name) {
            Some(known) => Arc::clone(known),
            None => Arc::new(OfIdps::default().one(name)),
        }
    }

    /// A sign-in with this provider has come to its end.
    pub fn login(&self, idp: &str, outcome: LoginOutcome) {
        if let Some(known) = self.idps.get(idp) {
            known.logins.count(outcome);
        }
    }

    /// Until when the certificate of each host is good; of two for one host the first counts, as it is the one that is shown.
    pub fn certificates<'a>(&self, all: impl IntoIterator<Item = (&'a str, Timestamp)>) {
        self.certificates.clear();
        for (host, ends) in all {
            let host = vec![("host", host.to_owned())];
            if self.certificates.get(&host).is_none() {
                let level = self.certificates.get_or_create_owned(&host);
                level.set(ends.as_secs());
            }
        }
    }

    /// The handles of a store of this kind.
    pub fn store(&self, kind: &'static str) -> StoreMetrics {
        let labels = vec![("store", kind.to_owned())];
        StoreMetrics {
            seconds: Durations::of(&self.store_seconds, &labels),
            errors: Counters::of(&self.store_errors, &labels),
        }
    }

    /// All of it in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let encoded = encode_registry(&mut text, &self.registry);
        debug_assert!(encoded.is_ok(), "writing to a String can't fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What is counted for each provider.
struct OfIdps {
    logins: Family<Labels, Count>,
    swaps: Family<Labels, Count>,
    swap_seconds: Timings,
    swaps_in_flight: Family<Labels, Level>,
    keys: Family<Labels, Count>,
}

impl Default for OfIdps {
    /// Registered nowhere.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl OfIdps {
    fn register(r: &mut Registry) -> Self {
        Self {
            logins: counts(r, "logins_total", "Sign-ins that came to an end"),
            swaps: counts(
                r,
                "token_refresh_total",
                "Exchanges of a refresh token that came to an end",
            ),
            swap_seconds: timings(
                r,
                "token_refresh_duration_seconds",
                "How long the identity provider took to exchange a refresh token",
            ),
            swaps_in_flight: levels(
                r,
                "token_refresh_in_flight",
                "Exchanges of a refresh token under way",
            ),
            keys: counts(r, "jwks_refresh_total", "Fetches of the signing keys"),
        }
    }

    fn one(&self, idp: &str) -> IdpMetrics {
        let labels = vec![("idp", idp.to_owned())];
        IdpMetrics {
            logins: Counters::of(&self.logins, &labels),
            swaps: Counters::of(&self.swaps, &labels),
            swap_seconds: self.swap_seconds.get_or_create_owned(&labels),
            swaps_in_flight: self.swaps_in_flight.get_or_create_owned(&labels),
            keys: Counters::of(&self.keys, &labels),
        }
    }
}

impl IdpMetrics {
    /// The provider is asked: under way, and timed, until what this returns is dropped.
    pub fn swap_begins(&self) -> InFlight {
        self.swaps_in_flight.add(1);
        InFlight {
            level: self.swaps_in_flight.clone(),
            timing: self.swap_seconds.clone(),
            begun: Instant::now(),
        }
    }
}

/// Something that is under way, and counted as such.
#[derive(Debug)]
pub struct InFlight {
    level: Level,
    timing: Timing,
    begun: Instant,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.level.add(-1);
        self.timing.observe(self.begun.elapsed());
    }
}

impl StoreMetrics {
    /// Notes an operation that has ended.
    pub fn ended<T, E>(&self, operation: StoreOperation, time: Duration, answer: &Result<T, E>) {
        self.seconds.observe(operation, time);
        if answer.is_err() {
            self.errors.count(operation);
        }
    }
}

fn about_the_build(r: &mut Registry) {
    let family = Family::<Labels, Level>::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    family.get_or_create(&version).set(1);
    r.register("build_info", "Which version of Tidegate this is", family);
}

fn counts(r: &mut Registry, name: &str, help: &str) -> Family<Labels, Count> {
    let family = Family::default();
    r.register(name, help, family.clone());
    family
}

fn counters<L: Label>(r: &mut Registry, name: &str, help: &str) -> Counters<L> {
    Counters::of(&counts(r, name, help), &Vec::new())
}

fn timings(r: &mut Registry, name: &str, help: &str) -> Timings {
    let family = Timings::new_with_constructor(timing);
    r.register(name, help, family.clone());
    family
}

fn levels(r: &mut Registry, name: &str, help: &str) -> Family<Labels, Level> {
    let family = Family::default();
    r.register(name, help, family.clone());
    family
}

fn level(r: &mut Registry, name: &str, help: &str) -> Level {
    let level = Level::default();
    r.register(name, help, level.clone());
    level
}
