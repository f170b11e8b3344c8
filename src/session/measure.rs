//! What sessions show of themselves: levels for the metrics, and whether they can be served.

use super::answer::holds_a_token;
use super::entry::Entry;
use super::record::Kept;
use super::refresh::{Ask, Wish};
use super::{EndReason, Sessions, StoreError};
use crate::issuer;
use crate::telemetry::metrics::{Ending, SwapOutcome, WaitedFor};
use crate::token::SessionHash;

impl Sessions {
    /// Sets what is sampled rather than counted: the one place that does. Where the store does not answer, what it said
    /// last stays.
    pub(super) async fn sample(&self) -> Result<(), StoreError> {
        let census = self.store.census().await?;
        self.metrics.sessions_active.set(census.alive);
        self.metrics.revocation_queue.set(census.owed);
        Ok(())
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

impl Ask {
    /// What it is counted as when it brought this.
    pub(super) fn outcome(&self, error: &issuer::Error) -> SwapOutcome {
        match error {
            issuer::Error::Refused { .. } if self.doubt => SwapOutcome::LostInFlight,
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

impl EndReason {
    /// What it is counted as.
    pub(super) fn ending(self) -> Ending {
        match self {
            Self::SignedOut => Ending::SignedOut,
            Self::Replaced => Ending::Replaced,
            Self::Displaced => Ending::Displaced,
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
