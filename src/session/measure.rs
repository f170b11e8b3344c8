//! What sessions show of themselves: levels for the metrics, and whether they can be served.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::answer::holds_a_token;
use super::entry::Entry;
use super::record::Kept;
use super::refresh::{Ask, Wish};
use super::{EndReason, Sessions, StoreError};
use crate::issuer;
use crate::telemetry::metrics::{Ending, RevocationSource, SwapOutcome, WaitedFor};
use crate::token::{SessionHash, SessionId};

/// How long the store may take to show that it is there.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

impl Sessions {
    /// Sets what is sampled rather than counted: the one place that does. Where the store does not answer, what it said
    /// last stays.
    pub(super) async fn sample(&self) -> Result<(), StoreError> {
        let census = self.store.census().await?;
        self.metrics.sessions_active.set(census.alive);
        self.metrics.revocation_queue.set(census.owed);
        Ok(())
    }

    /// Whether the store answers, within a second.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let asked = self.store.load(SessionId::random().hash());
        let answered = timeout(STORE_PATIENCE, asked).await;
        let late = |_| StoreError {
            what: "the session store does not answer in time",
            source: None,
        };
        answered.map_err(late)?.map(|_| ())
    }

    /// The providers, and whether each renewed tokens when it was asked last.
    pub fn providers(&self) -> impl Iterator<Item = (Arc<str>, bool)> {
        let providers = self.idps.iter();
        providers.map(|(name, provider)| (Arc::clone(name), provider.answers()))
    }

    /// A request is about to look for its session: counted when it has to wait for the store.
    pub(super) fn count_load(&self, hash: &SessionHash) {
        let now = self.clock.now();
        let known = self.hot.get(hash);
        if !known.is_some_and(|entry| self.vouches_for(&entry, now)) {
            self.metrics.session_waits.count(WaitedFor::Store);
        }
    }

    /// A request waits for a swap. One that asked for just that is not counted.
    pub(super) fn count_wait(&self, wish: Wish) {
        match wish {
            Wish::Fresh(_) => self.metrics.session_waits.count(WaitedFor::Swap),
            Wish::Next => {}
        }
    }

    /// A swap has come to an end. Not to be called under the session's lock.
    pub(super) fn count_swap(&self, entry: &Entry, outcome: SwapOutcome) {
        let provider = match &entry.state().kept {
            Kept::Alive(record) => self.idps.get(&record.idp),
            Kept::Over(tombstone) => self.idps.get(tombstone.idp()),
        };
        if let Some(provider) = provider {
            provider.metrics.swaps.count(outcome);
        }
    }
}

impl EndReason {
    /// What the revocations that follow from it are counted as.
    pub(super) fn source(self) -> RevocationSource {
        match self {
            Self::SignedOut => RevocationSource::SignOut,
            Self::Replaced | Self::Displaced => RevocationSource::SignIn,
            Self::Idle | Self::Absolute | Self::Expired | Self::Forgotten => {
                RevocationSource::Expiry
            }
            Self::Refused | Self::LostInFlight | Self::BadAnswer => RevocationSource::Swap,
            Self::Dismissed => RevocationSource::MySessions,
            Self::Administrator => RevocationSource::Administrator,
            Self::BackChannel | Self::FrontChannel => RevocationSource::ProviderLogout,
        }
    }

    /// What it is counted as.
    pub fn ending(self) -> Ending {
        match self {
            Self::SignedOut => Ending::SignedOut,
            Self::Replaced => Ending::Replaced,
            Self::Displaced => Ending::Displaced,
            Self::Dismissed => Ending::Dismissed,
            Self::Administrator => Ending::Administrator,
            Self::BackChannel => Ending::BackChannel,
            Self::FrontChannel => Ending::FrontChannel,
            Self::Idle => Ending::Idle,
            Self::Absolute => Ending::Absolute,
            Self::Refused => Ending::Refused,
            Self::LostInFlight => Ending::LostInFlight,
            Self::BadAnswer => Ending::BadAnswer,
            Self::Expired => Ending::Expired,
            Self::Forgotten => Ending::Forgotten,
        }
    }
}

impl Ask {
    /// What it is counted as when it brought this.
    pub(super) fn outcome(&self, error: &issuer::Error) -> SwapOutcome {
        match error {
            issuer::Error::Refused { .. } if self.may_be_spent() => SwapOutcome::LostInFlight,
            issuer::Error::Refused { .. } => SwapOutcome::Refused,
            issuer::Error::Unusable { salvage, .. } if holds_a_token(salvage) => {
                SwapOutcome::BadAnswer
            }
            issuer::Error::Unusable { .. } | issuer::Error::Unknown { .. } => {
                SwapOutcome::UnknownOutcome
            }
            issuer::Error::Client { .. } | issuer::Error::NotOffered(_) => {
                SwapOutcome::ClientRefused
            }
            issuer::Error::Unavailable { .. } => SwapOutcome::Unavailable,
        }
    }
}
