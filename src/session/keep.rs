//! Between memory and the store: what is missing is loaded, what has changed is saved, and saved again until it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::entry::Entry;
use super::record::{Kept, Record};
use super::store::{Change, Found, Row, Written};
use super::{Error, Sessions, StoreError};
use crate::token::SessionHash;

/// The longest pause between two tries to save what could not be saved.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Another node has sealed a session with a newer key: it is that one's session as well, and not for this one to end.
pub(super) fn not_our_key() -> StoreError {
    StoreError {
        what: "a session is sealed with an encryption key that this node does not have",
        source: None,
    }
}

impl Sessions {
    /// The session in memory, as the store has it.
    pub(super) async fn find(self: &Arc<Self>, hash: SessionHash) -> Result<Arc<Entry>, Error> {
        let entry = match self.known(&hash) {
            Some(entry) => entry,
            None => self.load(hash).await?,
        };
        if !entry.is_over() && !self.vouches_for(&entry, self.clock.now()) {
            self.confirm(&entry).await.map_err(Error::Store)?;
        }
        Ok(entry)
    }

    fn known(&self, hash: &SessionHash) -> Option<Arc<Entry>> {
        self.hot.get(hash).map(|entry| Arc::clone(entry.value()))
    }

    async fn load(&self, hash: SessionHash) -> Result<Arc<Entry>, Error> {
        let permit = self.loads.acquire().await;
        // Another request was faster.
        if let Some(entry) = self.known(&hash) {
            return Ok(entry);
        }
        let (edition, now) = (self.edition(&hash), self.clock.now());
        let found = self.store.load(hash).await.map_err(Error::Store)?;
        drop(permit);
        let Found { row, held } = found.ok_or(Error::Unknown)?;
        let record = match self.unseal(&hash, &row).ok_or(Error::Unreadable)? {
            Kept::Alive(record) => record,
            Kept::Over(tombstone) => return Err(Error::Ended(tombstone.reason)),
        };
        let entry = Entry::new(
            self.ending(hash),
            record,
            held,
            row.seen,
            now,
            &self.settings,
        );
        self.confirmed(&entry, edition, now);
        // Of two that looked at once, the first one's is everybody's.
        let entry = self.hot.entry(hash).or_insert_with(|| Arc::new(entry));
        Ok(Arc::clone(entry.value()))
    }

    pub(super) fn unseal(&self, hash: &SessionHash, row: &Row) -> Option<Kept> {
        let kept = Kept::open(row, hash, &self.keys);
        if kept.is_none() {
            tracing::warn!(session = %hash.name(), "a session in the store does not open: sealed with a key that is gone, or tampered with");
        }
        kept
    }

    pub(super) fn row(&self, entry: &Entry, record: &Record) -> Row {
        let idle = self.settings.idle_timeout;
        record.row(&entry.hash, &self.keys, entry.seen(), idle)
    }

    /// Makes durable what memory holds; where the store can't, goes on trying in the background.
    pub(super) async fn save(self: &Arc<Self>, entry: &Arc<Entry>) {
        match self.save_once(entry).await {
            Ok(Written::Done) => {}
            // It has ended, or a later swap has begun, here (which has saved all this with its mark) or elsewhere.
            Ok(Written::Refused) => self.learn(entry).await,
            Err(error) => {
                tracing::error!(session = %entry.name(), error = &error as &dyn std::error::Error,
                    "a session can't be saved: it goes on in memory, and saving is retried");
                self.keep_saving(entry);
            }
        }
    }

    async fn save_once(self: &Arc<Self>, entry: &Entry) -> Result<Written, StoreError> {
        let row = {
            let state = entry.state();
            state.record().map(|record| self.row(entry, record))
        };
        let Some(row) = row else {
            self.tell_end_again(entry).await?;
            return Ok(Written::Done);
        };
        self.store.write(Change::Save(entry.hash, row)).await
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
            let written = loop {
                match sessions.save_once(&entry).await {
                    Ok(written) => break written,
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 2).min(SAVE_PAUSE);
            };
            entry.state().saving = false;
            tracing::info!(session = %entry.name(), "saved after all");
            if written == Written::Refused {
                sessions.learn(&entry).await;
            }
        };
        self.work.spawn_on(saving, &self.background);
    }
}
