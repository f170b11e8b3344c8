//! What a swap brought: saved first, then checked, then seen by requests; or an error, and what it means for the session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::end::Tokens;
use super::entry::{Entry, Progress, Trouble};
use super::provider::Provider;
use super::record::{Kept, Phase, Record};
use super::refresh::Ask;
use super::revoke::Owed;
use super::{EndReason, Sessions, pace};
use crate::clock::Timestamp;
use crate::issuer;
use crate::telemetry::metrics::{RevocationSource, SwapOutcome};
use crate::token::Grant;
use crate::verify::{self, Expected, IdClaims};

/// The pause before a swap that could not be noted in the store is tried again.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// The pause between two looks for the keys that an ID token needs.
const KEYS_PAUSE: Duration = Duration::from_secs(1);

impl Sessions {
    /// The answer is saved before anything else is done with it.
    pub(super) async fn answered(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        ask: &Ask,
        grant: Grant,
    ) -> Progress {
        match self.absorb(entry, ask, grant) {
            Absorbed::Yes => {
                self.warn_if_too_long(entry);
                self.save(entry).await;
                self.check(entry).await
            }
            Absorbed::Overtaken => {
                self.count_swap(entry, SwapOutcome::Elsewhere);
                Progress::Swapped
            }
            Absorbed::TooLate(grant) => {
                self.count_swap(entry, SwapOutcome::TooLate);
                self.came_too_late(entry, grant);
                Progress::Failed
            }
        }
    }

    fn absorb(&self, entry: &Entry, ask: &Ask, grant: Grant) -> Absorbed {
        let now = self.clock.now();
        let mut state = entry.state();
        match state.record_mut() {
            Some(record) if record.generation == ask.generation => {
                record.absorb(grant, now, self.settings.refresh_every);
                if !record.kept_token
                    && let Some(provider) = self.idps.get(&record.idp)
                {
                    provider.rotates.store(true, Ordering::Relaxed);
                }
                state.recover();
                Absorbed::Yes
            }
            Some(_) => {
                tracing::warn!(session = %entry.name(), "another node has swapped this session while this one waited for the provider");
                Absorbed::Overtaken
            }
            None => Absorbed::TooLate(grant),
        }
    }

    /// The session ended while the provider was asked: the end stands, and what came is given back.
    fn came_too_late(self: &Arc<Self>, entry: &Entry, grant: Grant) {
        let (idp, tokens) = match &entry.state().kept {
            Kept::Over(tombstone) => (Arc::clone(tombstone.idp()), tombstone.tokens),
            Kept::Alive(record) => (Arc::clone(&record.idp), Tokens::Revoke),
        };
        if tokens == Tokens::Spare {
            return;
        }
        let owed = Owed::all_of(&idp, grant, &self.term(RevocationSource::Swap)).into_iter();
        self.owe(owed.filter(|o| o.is_asked_for(&self.settings)).collect());
    }

    /// Checks the answer that was saved, and lets requests see it.
    pub(super) async fn check(self: &Arc<Self>, entry: &Arc<Entry>) -> Progress {
        let mut said = false;
        while !self.stopping.is_cancelled() {
            let Some(record) = entry.state().record().cloned() else {
                return Progress::Failed;
            };
            match self.judge(&record).await {
                Ok(claims) => return self.accept(entry, claims),
                Err(verify::Error::Invalid(why)) => {
                    return self.bad_answer(entry, why).await;
                }
                Err(verify::Error::KeysUnavailable(error)) if !said => {
                    said = true;
                    tracing::warn!(session = %entry.name(), error = &*error as &dyn std::error::Error,
                        "a swap's answer is saved and waits for the provider's keys to be checked");
                }
                // Neither of the last two is ever said of an ID token.
                Err(
                    verify::Error::KeysUnavailable(_)
                    | verify::Error::Revoked
                    | verify::Error::RevocationsUnknown,
                ) => {}
            }
            tokio::select! {
                () = sleep(KEYS_PAUSE) => {}
                () = self.stopping.cancelled() => {}
            }
        }
        Progress::Failed
    }

    async fn judge(&self, record: &Record) -> Result<Option<IdClaims>, verify::Error> {
        let Some(unchecked) = &record.unchecked else {
            return Ok(None);
        };
        if !Record::same_person(unchecked, &record.access_token) {
            return Err(verify::Error::Invalid(
                "the access token is of another subject or session",
            ));
        }
        let Some(id_token) = &unchecked.id_token else {
            return Ok(None);
        };
        if record.ended_unchecked(id_token, self.clock.now()) {
            return Ok(None);
        }
        let expected = Expected {
            idp: &record.idp,
            nonce: None,
            subject: Some(&record.subject),
            access_token: &record.access_token,
        };
        let claims = match self.verifier.verify_id_token(id_token, &expected).await {
            // It ended while its keys were fetched.
            Err(_) if record.ended_unchecked(id_token, self.clock.now()) => return Ok(None),
            checked => checked?,
        };
        if !record.same_session(&claims) {
            return Err(verify::Error::Invalid(
                "the ID token is of another subject or session",
            ));
        }
        Ok(Some(claims))
    }

    fn accept(&self, entry: &Entry, claims: Option<IdClaims>) -> Progress {
        let mut state = entry.state();
        let Some(record) = state.record_mut() else {
            return Progress::Failed;
        };
        record.accept(claims);
        let generation = record.generation;
        entry.publish(&state, &self.settings);
        drop(state);
        self.count_swap(entry, SwapOutcome::Swapped);
        tracing::debug!(session = %entry.name(), generation, "swapped");
        Progress::Swapped
    }

    async fn bad_answer(self: &Arc<Self>, entry: &Arc<Entry>, why: &'static str) -> Progress {
        tracing::error!(session = %entry.name(), why,
            "the provider answered a swap with tokens that can't be accepted: the session ends");
        self.count_swap(entry, SwapOutcome::BadAnswer);
        self.finish(entry, EndReason::BadAnswer, Tokens::Revoke)
            .await;
        Progress::Failed
    }

    pub(super) async fn failed(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        provider: &Provider,
        ask: &Ask,
        error: issuer::Error,
    ) -> Progress {
        let name = entry.name();
        let outcome = ask.outcome(&error);
        if !matches!(error, issuer::Error::Refused { .. }) {
            self.count_swap(entry, outcome);
        }
        match error {
            issuer::Error::Refused { error } => {
                let reason = if ask.may_be_spent() {
                    EndReason::LostInFlight
                } else {
                    EndReason::Refused
                };
                provider.is_up();
                // Not if another node, which took this one for dead, has swapped it.
                self.learn(entry).await;
                if entry
                    .state()
                    .record()
                    .is_some_and(|r| r.generation > ask.generation)
                {
                    self.count_swap(entry, SwapOutcome::Elsewhere);
                    return Progress::Swapped;
                }
                self.count_swap(entry, outcome);
                tracing::info!(session = %name, error, ?reason, "the provider refused the refresh token");
                self.finish(entry, reason, Tokens::Revoke).await;
                Progress::Failed
            }
            issuer::Error::Unusable { reason, salvage } if holds_a_token(&salvage) => {
                tracing::error!(session = %name, reason, "the provider's answer to a swap can't be used: the session ends");
                let idp = &provider.issuer.settings().name;
                self.discard_of(RevocationSource::Swap, idp, &salvage);
                self.finish(entry, EndReason::BadAnswer, Tokens::Revoke)
                    .await;
                Progress::Failed
            }
            // A success without a single token in it, such as a page of HTML: what the provider did is unknown.
            issuer::Error::Unusable { reason, .. } | issuer::Error::Unknown { reason } => {
                tracing::warn!(session = %name, reason, "the outcome of a swap is unknown");
                provider.is_unsure();
                provider.failed(self.clock.now(), None);
                self.doubt(entry, ask).await
            }
            issuer::Error::Client { error } => {
                provider.alarm(&error);
                self.unavailable(entry, ask, None, Trouble::Refusal).await
            }
            issuer::Error::NotOffered(what) => {
                provider.alarm(what);
                self.unavailable(entry, ask, None, Trouble::Refusal).await
            }
            issuer::Error::Unavailable {
                reason,
                retry_after,
            } => {
                provider.is_down(&reason);
                provider.failed(self.clock.now(), retry_after);
                self.unavailable(entry, ask, retry_after, Trouble::Outage)
                    .await
            }
        }
    }

    /// The refresh token was not used: the session goes on with what it has, and a later request tries again.
    async fn unavailable(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        ask: &Ask,
        retry_after: Option<Duration>,
        trouble: Trouble,
    ) -> Progress {
        let next = self.stumbled(entry, retry_after);
        if ask.doubt {
            self.let_others_try(entry, ask).await;
            return Progress::Failed;
        }
        entry.state().trouble = trouble;
        self.release(entry, ask, |record| {
            (record.phase, record.trouble, record.retry_at) = (Phase::Active, trouble, next);
        })
        .await;
        Progress::Failed
    }

    /// The refresh token may have been used. It is not sent again while the access token lives.
    async fn doubt(self: &Arc<Self>, entry: &Arc<Entry>, ask: &Ask) -> Progress {
        entry.state().trouble = Trouble::Doubt;
        self.stumbled(entry, None);
        self.let_others_try(entry, ask).await;
        Progress::Failed
    }

    /// The mark stays, and its lease ends: the other nodes need not wait for what does not come.
    async fn let_others_try(self: &Arc<Self>, entry: &Arc<Entry>, ask: &Ask) {
        if self.shared.is_some() {
            self.release(entry, ask, |_| ()).await;
        }
    }

    /// Ends a swap that brought nothing, unless another node has taken it over.
    async fn release(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        ask: &Ask,
        note: impl FnOnce(&mut Record),
    ) {
        let ours = {
            let mut state = entry.state();
            let ours = state.record_mut().filter(|r| r.fence == ask.fence);
            ours.map(note).is_some()
        };
        if ours {
            self.save(entry).await;
        }
    }

    /// The store can't be asked: that is no failure of the provider's, and soon tried again.
    pub(super) fn wait_for_store(&self, entry: &Entry) -> Progress {
        let next = self.clock.now() + STORE_PAUSE;
        entry.state().not_before = next;
        entry.swap_not_before(next);
        Progress::Failed
    }

    /// The provider is left alone for now: this session was not sent to it.
    pub(super) fn spare_provider(&self, entry: &Entry, rest: Duration) -> Progress {
        let next = self.clock.now() + rest;
        let mut state = entry.state();
        state.not_before = next;
        if state.in_doubt() {
            entry.swap_not_before(Timestamp::MAX);
        } else {
            state.trouble = Trouble::Outage;
            entry.swap_not_before(next);
        }
        Progress::Failed
    }

    /// Tells when the next try is due.
    pub(super) fn stumbled(&self, entry: &Entry, asked: Option<Duration>) -> Timestamp {
        let now = self.clock.now();
        let mut state = entry.state();
        state.failures = state.failures.saturating_add(1);
        let share = pace::share(&entry.hash, u64::from(state.failures));
        let pause = pace::backoff(state.failures, asked, share);
        state.not_before = now + pause;
        let next = if state.in_doubt() {
            Timestamp::MAX
        } else {
            state.not_before
        };
        entry.swap_not_before(next);
        state.not_before
    }
}

/// What became of a provider's answer.
enum Absorbed {
    Yes,
    /// Another node, which took this one for dead, was faster.
    Overtaken,
    /// The session has ended.
    TooLate(Grant),
}

/// Whether nobody knows what the provider did with the refresh token. A success without a single token in it, such as a page
/// of HTML, tells nothing either.
pub(super) fn is_unknown(error: &issuer::Error) -> bool {
    match error {
        issuer::Error::Unknown { .. } => true,
        issuer::Error::Unusable { salvage, .. } => !holds_a_token(salvage),
        issuer::Error::Refused { .. }
        | issuer::Error::Client { .. }
        | issuer::Error::Unavailable { .. }
        | issuer::Error::NotOffered(_) => false,
    }
}

pub(super) fn holds_a_token(salvage: &issuer::Salvage) -> bool {
    salvage.access_token.is_some() || salvage.refresh_token.is_some()
}
