//! One session on many nodes: whether memory is still right, and what another node has made of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::end::Tokens;
use super::entry::{Entry, Progress};
use super::keep::not_our_key;
use super::record::{Kept, Phase, Record, Tombstone};
use super::store::news::Edition;
use super::store::{Change, Found, Written};
use super::{EndReason, OnStoreError, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::token::SessionHash;

/// How often, and how many times, it is looked after a mark of which nobody knows whether it was made.
const MARK_PAUSE: Duration = Duration::from_millis(200);
const MARK_LOOKS: u32 = 600;
/// How often the store is looked at while another node swaps, when it says nothing: a lease ends without a word.
const LOOK: Duration = Duration::from_secs(1);

impl Sessions {
    /// Whether what memory has of a session may be believed without asking the store.
    pub(super) fn vouches_for(&self, entry: &Entry, now: Timestamp) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let edition = shared.news.edition(&entry.hash);
        let heard =
            shared.news.link_is_up() || self.settings.on_store_error == OnStoreError::ServeCached;
        heard && entry.is_confirmed(edition, now, self.settings.cache_ttl)
    }

    /// Whether another node has changed something about it, or a neighbour, that this one has not looked at; how long ago it
    /// looked does not matter.
    pub(super) fn has_missed_news_of(&self, entry: &Entry) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| {
            shared.news.link_is_up() && !entry.is_confirmed_under(shared.news.edition(&entry.hash))
        })
    }

    /// Looks at the store again in good time, so that no request of a session in use waits for it.
    pub(super) fn look_ahead(self: &Arc<Self>, entry: &Arc<Entry>, now: Timestamp) {
        if self.shared.is_some() && entry.confirmation_is_due(now) {
            let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
            // Where that fails, a request finds out.
            self.background
                .spawn(async move { sessions.learn(&entry).await });
        }
    }

    /// What is current of a session; to be asked before the store is.
    pub(super) fn edition(&self, hash: &SessionHash) -> Option<Edition> {
        let shared = self.shared.as_ref()?;
        Some(shared.news.edition(hash))
    }

    /// The store has said that what memory has is so.
    pub(super) fn confirmed(&self, entry: &Entry, edition: Option<Edition>, at: Timestamp) {
        if let Some(edition) = edition {
            entry.confirm(edition, at, self.settings.cache_ttl);
        }
    }

    /// Asks the store whether memory is still right, once for all who want to know.
    pub(super) async fn confirm(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), StoreError> {
        let _asking = entry.confirming.lock().await;
        if self.vouches_for(entry, self.clock.now()) {
            return Ok(());
        }
        self.reread(entry).await
    }

    /// The store may know better: what it says counts. Where it can't be asked, a later request finds out.
    pub(super) async fn learn(self: &Arc<Self>, entry: &Arc<Entry>) {
        if self.shared.is_some() {
            let _asking = entry.confirming.lock().await;
            let _ = self.reread(entry).await;
        }
    }

    /// A mark could not be made, or was made and nobody was told: finds out as soon as the store is back, so that it does
    /// not stand there as that of a swap whose outcome is unknown.
    pub(super) fn look_after_mark(self: &Arc<Self>, entry: &Arc<Entry>) {
        if self.shared.is_none() {
            return;
        }
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        self.background.spawn(async move {
            for _ in 0..MARK_LOOKS {
                sleep(MARK_PAUSE).await;
                let _asking = entry.confirming.lock().await;
                if sessions.reread(&entry).await.is_ok() {
                    return;
                }
            }
        });
    }

    pub(super) async fn reread(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), StoreError> {
        let (edition, now) = (self.edition(&entry.hash), self.clock.now());
        let found = self.store.load(entry.hash).await?;
        match found {
            Some(found) => self.merge(entry, &found)?,
            None => self.forget(entry).await,
        }
        self.confirmed(entry, edition, now);
        Ok(())
    }

    fn merge(self: &Arc<Self>, entry: &Arc<Entry>, found: &Found) -> Result<(), StoreError> {
        entry.saw(found.row.seen);
        match self.unseal(&entry.hash, &found.row) {
            Some(Kept::Alive(record)) => self.adopt(entry, record, found.held),
            Some(Kept::Over(tombstone)) => self.ended_elsewhere(entry, tombstone),
            None => return Err(not_our_key()),
        }
        Ok(())
    }

    /// Takes over what another node has written since, and tells the store again what it has lost.
    fn adopt(self: &Arc<Self>, entry: &Arc<Entry>, mut stored: Box<Record>, held: bool) {
        let mut state = entry.state();
        let busy = state.flight.is_some() && !state.elsewhere || state.saving;
        if matches!(stored.phase, Phase::Swapping { owner, .. } if owner == self.owner) {
            // Our own mark: under way, or left by a swap that was not begun after all.
            if busy {
                return;
            }
            if !state.in_doubt() && state.record().is_some() {
                // Nothing was sent under it: the others must not take it for a doubt.
                stored.phase = Phase::Active;
                state.take_over(stored, false);
                drop(state);
                self.keep_saving(entry);
                return;
            }
        }
        let Some(ours) = state.record() else {
            return;
        };
        if ours.generation > stored.generation && stored.fence > ours.fence {
            // Another node, which took this one for dead, has begun anew with the tokens before, which are spent: what
            // the provider gave to this one must not be lost over that. It is saved under the newer number.
            let fence = stored.fence;
            if let Some(ours) = state.record_mut() {
                ours.fence = fence;
            }
            drop(state);
            self.keep_saving(entry);
            return;
        }
        let (here, there) = (version(ours), version(&stored));
        if there > here || (there == here && !busy) {
            let checked = stored.unchecked.is_none();
            state.take_over(stored, held);
            // Until its answer is checked, the tokens before go on.
            if checked {
                entry.publish(&state, &self.settings);
            }
        } else if there < here && !busy {
            drop(state);
            self.keep_saving(entry);
        } else {
            state.elsewhere = held;
        }
    }

    /// Another node has ended it. What this one has that is newer, the other did not know of: it is owed from here.
    fn ended_elsewhere(self: &Arc<Self>, entry: &Entry, tombstone: Tombstone) {
        let (reason, tokens) = (tombstone.reason, tombstone.tokens);
        let late = {
            let mut state = entry.state();
            let Some(record) = state.record() else {
                return;
            };
            let newer = record.generation > tombstone.generation();
            let late = newer.then(|| {
                let live = record.live(&entry.ending);
                let refusals = record.refusals(&live, tokens, self.clock.now());
                (self.owed_by(record, &live, reason, tokens), refusals)
            });
            state.kept = Kept::Over(tombstone);
            entry.close(reason);
            late
        };
        if let Some((owed, refusals)) = late {
            self.owe(owed);
            self.refuse_late(refusals);
        }
    }

    /// The store no longer has it: emptied by hand, or deleted there when it had long expired.
    async fn forget(self: &Arc<Self>, entry: &Arc<Entry>) {
        let reason = entry.expired(self.clock.now(), self.settings.idle_timeout);
        let reason = reason.unwrap_or(EndReason::Forgotten);
        self.finish(entry, reason, Tokens::Revoke).await;
    }

    /// Another node is at work on the next tokens: waits until it has them, has failed, or has died over it.
    pub(super) async fn follow(self: &Arc<Self>, entry: &Arc<Entry>) -> Progress {
        let before = entry.current().live.generation;
        let Some(shared) = &self.shared else {
            // Nobody else is there: the row was tampered with, and what the store says counts.
            let _ = self.reread(entry).await;
            return Progress::Failed;
        };
        let listener = shared.news.listen(entry.hash);
        while !self.stopping.is_cancelled() {
            let changed = listener.changed();
            self.learn(entry).await;
            if entry.current().live.generation > before {
                return Progress::Swapped;
            }
            let pending = {
                let state = entry.state();
                let unchecked = |record: &Record| record.unchecked.is_some();
                let over = state.record().is_none();
                if over || !state.elsewhere && !state.record().is_some_and(unchecked) {
                    return Progress::Failed;
                }
                !state.elsewhere
            };
            if pending {
                return self.check(entry).await;
            }
            // Heard or not: it is looked at in any case.
            let _ = timeout(LOOK, changed).await;
        }
        Progress::Failed
    }

    /// Whether a mark still holds that was asked for then. Where its answer was long in coming its lease may be over, and
    /// another node at work: it is renewed until there is time enough for the call.
    pub(super) async fn still_holds(
        &self,
        entry: &Entry,
        fence: u64,
        mut asked: Instant,
    ) -> Result<Written, StoreError> {
        let Some(shared) = &self.shared else {
            return Ok(Written::Done);
        };
        while asked.elapsed() >= shared.lease / 2 {
            asked = Instant::now();
            let renewal = Change::Renew(entry.hash, fence);
            if self.store.write(renewal).await? == Written::Refused {
                return Ok(Written::Refused);
            }
        }
        Ok(Written::Done)
    }

    /// Keeps the lease of a swap alive while its call to the provider runs.
    pub(super) async fn holding<T>(
        &self,
        entry: &Entry,
        fence: u64,
        call: impl Future<Output = T>,
    ) -> T {
        let Some(shared) = &self.shared else {
            return call.await;
        };
        tokio::select! {
            answer = call => answer,
            never = self.renew(entry.hash, fence, shared.lease / 4) => match never {},
        }
    }

    async fn renew(&self, id: SessionHash, fence: u64, every: Duration) -> Infallible {
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            beat.tick().await;
            // Should it be lost, the store refuses what the call brings, and that is looked at then.
            let _ = self.store.write(Change::Renew(id, fence)).await;
        }
    }
}

fn version(record: &Record) -> (u64, u64) {
    (record.fence, record.generation)
}
