//! What is owed to the providers: tokens that must be revoked, users of whom all must be ended. It is kept in the store
//! until that is confirmed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::store::{Change, Debt, DebtId};
use super::{Revocation, Sessions, StoreError, pace};
use crate::clock::Timestamp;
use crate::issuer::{self, Salvage};
use crate::telemetry::audit::Event;
use crate::telemetry::metrics::{RevocationOutcome, RevocationSource};

mod owed;
pub(super) mod queue;

pub(super) use owed::{Owed, Term};

/// A process that has not touched what it owes for so long after the next try was due is gone: another takes it up.
const HOLD: Duration = Duration::from_secs(12);
/// How many revocations of other processes are taken up at a time.
const CLAIMS: usize = 256;

/// All that is owed, in memory; the store has the same.
#[derive(Debug, Default)]
pub(super) struct Debts {
    open: Mutex<HashMap<DebtId, Slot>>,
    more: Notify,
}

#[derive(Debug)]
struct Slot {
    owed: Owed,
    /// Somebody is asking the provider.
    busy: bool,
    /// The store knows of it.
    saved: bool,
    /// What came of the last try.
    trouble: Option<String>,
}

impl Slot {
    fn of(owed: Owed) -> Self {
        Self {
            owed,
            busy: false,
            saved: false,
            trouble: None,
        }
    }
}

impl Debts {
    fn open(&self) -> MutexGuard<'_, HashMap<DebtId, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many revocations are owed.
    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.more.notify_one();
    }

    /// Waits until there may be something to do.
    pub(super) async fn wait(&self) {
        self.more.notified().await;
    }

    pub(super) fn take_up(&self, owed: impl IntoIterator<Item = Owed>) {
        let slots = owed.into_iter().map(|owed| (owed.id, Slot::of(owed)));
        self.open().extend(slots);
    }

    /// The same, where it is not owed already.
    pub(super) fn take_up_once(&self, owed: Owed) {
        let mut open = self.open();
        open.entry(owed.id).or_insert_with(|| Slot::of(owed));
    }

    pub(super) fn saved(&self, ids: &[DebtId]) {
        let mut open = self.open();
        for id in ids {
            if let Some(slot) = open.get_mut(id) {
                slot.saved = true;
            }
        }
    }

    fn unsaved(&self) -> Vec<Owed> {
        let open = self.open();
        let unsaved = open.values().filter(|slot| !slot.saved);
        unsaved.map(|slot| slot.owed.clone()).collect()
    }

    fn due(&self, now: Timestamp) -> Vec<DebtId> {
        let open = self.open();
        let due = open.iter().filter(|(_, s)| !s.busy && s.owed.next <= now);
        due.map(|(id, _)| *id).collect()
    }

    fn claim(&self, id: DebtId) -> Option<Owed> {
        let mut open = self.open();
        let slot = open.get_mut(&id).filter(|slot| !slot.busy)?;
        slot.busy = true;
        Some(slot.owed.clone())
    }

    /// Tells when the next try is due.
    fn put_off(&self, id: DebtId, now: Timestamp, asked: Option<Duration>) -> Timestamp {
        let mut open = self.open();
        let Some(slot) = open.get_mut(&id) else {
            return now;
        };
        slot.busy = false;
        slot.owed.tries = slot.owed.tries.saturating_add(1);
        let share = f64::from(id.0.first().copied().unwrap_or_default()) / 255.0;
        slot.owed.next = now + pace::backoff(slot.owed.tries, asked, share);
        slot.owed.next
    }

    fn held(&self) -> Vec<DebtId> {
        let open = self.open();
        let held = open.values().filter(|slot| slot.saved);
        held.map(|slot| slot.owed.id).collect()
    }

    fn strike(&self, id: DebtId) {
        self.open().remove(&id);
    }
}

impl Sessions {
    pub(super) fn term(&self, source: RevocationSource) -> Term {
        Term {
            from: self.clock.now(),
            retry_for: self.settings.revoke_retry_for,
            source,
        }
    }

    /// Revokes the tokens of a login that came to nothing (its ID token failed a check, say).
    pub fn discard(self: &Arc<Self>, idp: &Arc<str>, grant: &Salvage) {
        self.discard_of(RevocationSource::SignIn, idp, grant);
    }

    pub(super) fn discard_of(
        self: &Arc<Self>,
        source: RevocationSource,
        idp: &Arc<str>,
        grant: &Salvage,
    ) {
        self.owe(Owed::salvaged(idp, grant, &self.term(source)));
    }

    /// Has all that a user has at a provider through this gateway's client ended there too, where `management` says how.
    /// It takes what the user signs in to until it is paid as well: there is no telling what came before and what after.
    pub(super) async fn owe_user(
        &self,
        source: RevocationSource,
        idp: &Arc<str>,
        subject: &Arc<str>,
    ) {
        let provider = self.idps.get(idp);
        if provider.is_some_and(|provider| provider.endpoint.ends_users()) {
            let user = Owed::user(idp, Arc::clone(subject), &self.term(source));
            self.debts.take_up([user]);
            self.note_debts().await;
        }
    }

    /// Notes what is owed, and has it paid in the background.
    pub(super) fn owe(self: &Arc<Self>, owed: Vec<Owed>) {
        if owed.is_empty() {
            return;
        }
        self.debts.take_up(owed);
        let sessions = Arc::clone(self);
        let noting = async move { sessions.note_debts().await };
        self.work.spawn_on(noting, &self.background);
    }

    pub(super) async fn note_debts(&self) {
        if let Err(error) = self.save_debts().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a revocation can't be saved: it stays owed in memory"
            );
        }
        self.debts.wake();
    }

    /// Makes durable what is owed and could not be saved at once.
    pub(super) async fn save_debts(&self) -> Result<(), StoreError> {
        let unsaved = self.debts.unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        let debts: Vec<_> = unsaved.iter().map(|owed| owed.debt(&self.keys)).collect();
        self.store.write(Change::Owe(debts)).await?;
        let ids: Vec<_> = unsaved.iter().map(|owed| owed.id).collect();
        self.debts.saved(&ids);
        Ok(())
    }

    /// Takes up what a process that is gone still owed.
    pub(super) async fn claim_debts(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let debts = self.store.claim_debts(now, now + HOLD, CLAIMS).await?;
        let mut owed = Vec::with_capacity(debts.len());
        let mut lost = Vec::new();
        for debt in &debts {
            match Owed::open(debt, &self.keys) {
                Some(open) => owed.push(Owed { next: now, ..open }),
                None => lost.push(debt),
            }
        }
        self.drop_lost(&lost, now).await?;
        // What an older key has sealed is saved anew, so that it outlives that key.
        let current = debts.iter().filter(|d| self.keys.is_current(&d.sealed));
        let ids: Vec<_> = current.map(|debt| debt.id).collect();
        self.debts.take_up(owed);
        self.debts.saved(&ids);
        Ok(())
    }

    /// What is sealed with a key that is gone can't be paid. It stays while it might be with the key put back.
    async fn drop_lost(&self, lost: &[&Debt], now: Timestamp) -> Result<(), StoreError> {
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            lost = lost.len(),
            "owed revocations were sealed with a key that this gateway does not have"
        );
        let over = lost.iter().filter(|debt| debt.expires <= now);
        let over: Vec<_> = over.map(|debt| debt.id).collect();
        if !over.is_empty() {
            self.store.write(Change::Paid(over)).await?;
        }
        Ok(())
    }

    /// Leaves what is owed to whoever comes next.
    pub(super) async fn let_debts_go(&self) {
        let held = self.debts.held();
        if held.is_empty() {
            return;
        }
        let change = Change::Hold(held, Timestamp::default());
        if let Err(error) = self.store.write(change).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "owed revocations can't be handed on now: they will be taken up a little later"
            );
        }
    }

    /// Tries what is due, each by itself: a provider that hangs holds up no other.
    pub(super) fn pay_debts(self: &Arc<Self>) {
        for id in self.debts.due(self.clock.now()) {
            let sessions = Arc::clone(self);
            self.background.spawn(async move { sessions.pay(id).await });
        }
    }

    /// Tells the provider of one thing that is owed.
    pub(super) async fn pay(&self, id: DebtId) -> Revocation {
        let Some(owed) = self.debts.claim(id) else {
            return Revocation::Owed;
        };
        let provider = self.idps.get(&owed.idp);
        // Once, however short the time for it.
        let worth_it = self.clock.now() < owed.until || owed.tries == 0;
        let (Some(provider), true) = (provider, worth_it) else {
            self.give_up(&owed).await;
            return Revocation::Owed;
        };
        let permit = provider.revocations.acquire().await;
        let answer = owed.pay_to(&*provider.endpoint).await;
        drop(permit);
        self.tell(&owed, outcome(&answer));
        match answer {
            Ok(()) => {
                tracing::debug!(idp = %owed.idp, kind = ?owed.target(), "revoked");
                self.struck(id).await;
                Revocation::Confirmed
            }
            Err(issuer::Error::NotOffered(_)) => {
                self.struck(id).await;
                Revocation::NotOffered
            }
            Err(error) => {
                owed.complain(&error);
                self.debts.blame(id, &error);
                self.put_off(id, asked_to_wait(&error)).await;
                Revocation::Owed
            }
        }
    }

    /// Counts what came of a try, and notes it; of failures the first.
    fn tell(&self, owed: &Owed, outcome: RevocationOutcome) {
        self.metrics.revocations.count(owed.counted(outcome));
        let (failed, tried) = match outcome {
            RevocationOutcome::Failed => (true, 1),
            RevocationOutcome::Confirmed | RevocationOutcome::NotOffered => (false, 1),
            RevocationOutcome::Dropped => (false, 0),
        };
        if failed && owed.tries > 0 {
            return;
        }
        self.audit.note(&Event::Revocation {
            idp: &owed.idp,
            target: owed.target(),
            source: owed.source,
            outcome,
            tries: owed.tries.saturating_add(tried),
        });
    }

    async fn put_off(&self, id: DebtId, asked: Option<Duration>) {
        let next = self.debts.put_off(id, self.clock.now(), asked);
        // If that fails, another process may try too, which does no harm.
        let _ = self.store.write(Change::Hold(vec![id], next + HOLD)).await;
    }

    async fn give_up(&self, owed: &Owed) {
        self.tell(owed, RevocationOutcome::Dropped);
        tracing::warn!(idp = %owed.idp, kind = ?owed.target(), tries = owed.tries,
            owed_for = ?self.clock.now().since(owed.since),
            "a revocation is dropped: it has expired, or was retried for long enough");
        self.struck(owed.id).await;
    }

    async fn struck(&self, id: DebtId) {
        self.debts.strike(id);
        // If the store can't forget it, it is revoked once more after a restart, which does no harm.
        if let Err(error) = self.store.write(Change::Paid(vec![id])).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a revocation that is done can't be struck off in the store"
            );
        }
    }
}

pub(super) fn outcome(answer: &Result<(), issuer::Error>) -> RevocationOutcome {
    match answer {
        Ok(()) => RevocationOutcome::Confirmed,
        Err(issuer::Error::NotOffered(_)) => RevocationOutcome::NotOffered,
        Err(_) => RevocationOutcome::Failed,
    }
}

fn asked_to_wait(error: &issuer::Error) -> Option<Duration> {
    match error {
        issuer::Error::Unavailable { retry_after, .. } => *retry_after,
        issuer::Error::Refused { .. }
        | issuer::Error::Client { .. }
        | issuer::Error::Unknown { .. }
        | issuer::Error::Unusable { .. }
        | issuer::Error::NotOffered(_) => None,
    }
}
