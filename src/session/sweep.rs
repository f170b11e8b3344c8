//! The sweep: ends what has expired, forgets what is over, and lets memory go of what nobody asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::end::Tokens;
use super::entry::Entry;
use super::store::{Answer, Change, Due, Written};
use super::{Error, Sessions, StoreError, pace};
use crate::token::SessionHash;

/// How many expired sessions are taken at a time.
const BATCH: usize = 256;
/// How long a session stays in memory after its last activity, where the store has it.
const QUIET: Duration = Duration::from_mins(10);

impl Sessions {
    /// Ends what has expired and forgets what is over, where that is for this process to do.
    ///
    /// # Errors
    /// When the store can't be asked: the next sweep finds the same.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.store.keeps_house().await? {
            return Ok(());
        }
        loop {
            let due = self.store.due(self.clock.now(), BATCH).await?;
            let full = due.len() == BATCH;
            if !self.sweep_batch(due).await || !full {
                return Ok(());
            }
        }
    }

    /// Whether all of the batch was dealt with; if not, going on would meet the same again.
    async fn sweep_batch(self: &Arc<Self>, due: Vec<Due>) -> bool {
        let (over, alive): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.ended);
        let mut ending = JoinSet::new();
        for due in alive {
            let sessions = Arc::clone(self);
            ending.spawn_on(
                async move { sessions.sweep_one(due.id).await },
                &self.background,
            );
        }
        let mut done = true;
        let mut forget: Vec<SessionHash> = over.into_iter().map(|due| due.id).collect();
        while let Some(swept) = ending.join_next().await {
            match swept {
                Ok(Swept::Done) => {}
                Ok(Swept::Unreadable(id)) => forget.push(id),
                Ok(Swept::Failed) | Err(_) => done = false,
            }
        }
        self.debts.wake();
        if forget.is_empty() {
            return done;
        }
        for id in &forget {
            self.hot.remove(id);
        }
        done && self.store.write(Change::Forget(forget)).await.is_ok()
    }

    async fn sweep_one(self: &Arc<Self>, id: SessionHash) -> Swept {
        let entry = match self.find(id).await {
            Ok(entry) => entry,
            // Sealed with a key that is gone, say: nobody can be served by it, and its tokens can't be read.
            Err(Error::Unknown | Error::Unreadable) => return Swept::Unreadable(id),
            Err(Error::Ended(_)) => return Swept::Done,
            Err(Error::NotNow { .. } | Error::InDoubt { .. } | Error::Store(_)) => {
                return Swept::Failed;
            }
        };
        let now = self.clock.now();
        let Some(reason) = entry.expired(now, self.settings.idle_timeout) else {
            return self.touch(&entry).await;
        };
        let Some(burial) = self.close(&entry, reason, Tokens::Revoke) else {
            return Swept::Done;
        };
        match self.bury(&entry, &burial).await {
            Ok(()) => Swept::Done,
            Err(_) => Swept::Failed,
        }
    }

    /// Tells the store of activity that it has not heard of.
    async fn touch(&self, entry: &Entry) -> Swept {
        let Some(answer) = self.touching(entry) else {
            return Swept::Done;
        };
        if answer.await.is_err() {
            entry.seen_is_unsaved();
            return Swept::Failed;
        }
        Swept::Done
    }

    fn touching(&self, entry: &Entry) -> Option<Answer<Written>> {
        let (id, seen) = (entry.hash, entry.seen());
        let deadline = entry
            .state()
            .record()?
            .deadline(seen, self.settings.idle_timeout);
        Some(self.store.write(Change::Touch { id, seen, deadline }))
    }

    /// Tells the store of all activity before `quiet` that it has not heard of, in one go.
    pub(super) async fn save_activity(&self, quiet: Duration) {
        let now = self.clock.now();
        let touching: Vec<_> = self
            .hot
            .iter()
            .filter(|entry| now >= entry.seen() + quiet && entry.unsaved_seen().is_some())
            .filter_map(|entry| Some((Arc::clone(&entry), self.touching(&entry)?)))
            .collect();
        for (entry, answer) in touching {
            if answer.await.is_err() {
                entry.seen_is_unsaved();
            }
        }
    }

    /// Lets memory go of sessions that the store knows all about. One that somebody holds stays: there must never be
    /// two of the same.
    pub(super) async fn tidy_memory(&self) {
        self.save_activity(pace::seen_step(self.settings.idle_timeout))
            .await;
        let now = self.clock.now();
        self.hot
            .retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.may_leave(now, QUIET));
    }

    /// Tells the store of a session's activity, without keeping the request waiting.
    pub(super) fn note_seen(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        self.background
            .spawn(async move { sessions.touch(&entry).await });
    }
}

enum Swept {
    Done,
    Unreadable(SessionHash),
    Failed,
}
