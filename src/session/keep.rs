//! Between memory and the store: what is missing is loaded, what has changed is saved, and saved again until it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::entry::{Entry, Name};
use super::record::{Kept, Record};
use super::store::{Change, Row};
use super::{EndReason, Error, Sessions, StoreError};
use crate::token::SessionHash;

/// The longest pause between two tries to save what could not be saved.
const SAVE_PAUSE: Duration = Duration::from_secs(5);

impl Sessions {
    /// The session in memory, out of the store if need be.
    pub(super) async fn find(&self, hash: SessionHash) -> Result<Arc<Entry>, Error> {
        if let Some(entry) = self.hot.get(&hash) {
            return Ok(Arc::clone(entry.value()));
        }
        let permit = self.loads.acquire().await;
        let row = self.store.load(hash).await.map_err(Error::Store)?;
        drop(permit);
        let row = row.ok_or(Error::Unknown)?.row;
        let kept = self.unseal(&hash, &row).ok_or(Error::Unknown)?;
        if let Kept::Over(tombstone) = &kept {
            return Err(Error::Ended(tombstone.reason));
        }
        let now = self.clock.now();
        let entry = Entry::new(hash, kept, row.seen, now, &self.settings).ok_or(Error::Unknown)?;
        // Of two that looked at once, the first one's is everybody's.
        let entry = self.hot.entry(hash).or_insert_with(|| Arc::new(entry));
        Ok(Arc::clone(entry.value()))
    }

    fn unseal(&self, hash: &SessionHash, row: &Row) -> Option<Kept> {
        let kept = Kept::open(row, hash, &self.keys);
        if kept.is_none() {
            tracing::warn!(session = %Name(hash), "a session in the store does not open: sealed with a key that is gone, or tampered with");
        }
        kept
    }

    /// The store has a newer writer, or the session has ended there: what it says counts.
    pub(super) async fn reread(self: &Arc<Self>, entry: &Arc<Entry>) {
        let Ok(row) = self.store.load(entry.hash).await else {
            return;
        };
        let kept = row.and_then(|found| self.unseal(&entry.hash, &found.row));
        match kept {
            Some(Kept::Alive(record)) => {
                let mut state = entry.state();
                if state.record().is_some_and(|r| r.fence <= record.fence) {
                    state.kept = Kept::Alive(record);
                    entry.publish(&state, &self.settings);
                }
            }
            Some(Kept::Over(tombstone)) => {
                entry.state().kept = Kept::Over(tombstone);
                entry.close();
            }
            None => {
                self.expire(entry, EndReason::SignedOut).await;
            }
        }
    }

    pub(super) fn row(&self, entry: &Entry, record: &Record) -> Row {
        let idle = self.settings.idle_timeout;
        record.row(&entry.hash, &self.keys, entry.seen(), idle)
    }

    /// Makes durable what memory holds; where the store can't, goes on trying in the background.
    pub(super) async fn save(self: &Arc<Self>, entry: &Arc<Entry>) {
        if let Err(error) = self.save_once(entry).await {
            tracing::error!(session = %entry.name(), error = &error as &dyn std::error::Error,
                "a session can't be saved: it goes on in memory, and saving is retried");
            self.keep_saving(entry);
        }
    }

    async fn save_once(&self, entry: &Entry) -> Result<(), StoreError> {
        let change = {
            let state = entry.state();
            match &state.kept {
                Kept::Alive(record) => Change::Save(entry.hash, self.row(entry, record)),
                Kept::Over(tombstone) => Change::End {
                    id: entry.hash,
                    tombstone: tombstone.row(&entry.hash, &self.keys),
                    owed: Vec::new(),
                },
            }
        };
        // Refused: it has ended, or a later swap has begun and has saved all this with its mark.
        self.store.write(change).await.map(|_| ())
    }

    /// Retries until the store has it; shutdown waits for it.
    pub(super) fn keep_saving(self: &Arc<Self>, entry: &Arc<Entry>) {
        if std::mem::replace(&mut entry.state().saving, true) {
            return;
        }
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        let saving = async move {
            let mut pause = Duration::from_millis(100);
            sleep(pause).await;
            while sessions.save_once(&entry).await.is_err() {
                sleep(pause).await;
                pause = (pause * 2).min(SAVE_PAUSE);
            }
            entry.state().saving = false;
            tracing::info!(session = %entry.name(), "saved after all");
        };
        self.work.spawn_on(saving, &self.background);
    }
}
