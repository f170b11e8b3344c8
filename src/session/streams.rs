//! What stays open under a session: a WebSocket, an event stream, a long answer. It has to end when the session does, though
//! no request comes that would notice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::end::Tokens;
use super::entry::Entry;
use super::store::news::Heard;
use super::{EndReason, Sessions};
use crate::ending::Ending;
use crate::token::SessionHash;

/// How long a deadline may have passed before what is open is ended.
const TICK: Duration = Duration::from_secs(1);

impl Sessions {
    /// The end to come of a session that this process learns of.
    pub(super) fn ending(&self, hash: SessionHash) -> Arc<Ending> {
        Ending::new(*hash.as_bytes(), &self.streaming)
    }

    /// Has this process look at the store as soon as it hears that a session in use was changed elsewhere.
    pub(super) fn listen(self: &Arc<Self>) {
        let Some(shared) = &self.shared else { return };
        let sessions = Arc::downgrade(self);
        shared.news.tell_all_to(move |heard| {
            if let Some(sessions) = sessions.upgrade() {
                sessions.heard(heard);
            }
        });
    }

    fn heard(self: &Arc<Self>, heard: Heard) {
        match heard {
            Heard::Changed(hash) => {
                let entry = self.hot.get(&hash).map(|entry| Arc::clone(&entry));
                if let Some(entry) = entry {
                    self.look_again(&entry);
                }
            }
            Heard::LinkUp => {
                let in_use = self.hot.iter().filter(|entry| entry.is_in_use());
                let in_use: Vec<_> = in_use.map(|entry| Arc::clone(&entry)).collect();
                for entry in in_use {
                    self.look_again(&entry);
                }
            }
        }
    }

    /// Where something is under way that no request asks about any more. All others are looked at by their next request.
    fn look_again(self: &Arc<Self>, entry: &Arc<Entry>) {
        if entry.is_over() || !entry.is_in_use() {
            return;
        }
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        self.background.spawn(async move {
            let _turn = sessions.loads.acquire().await;
            // Where the store can't be asked, it is asked when the link is back.
            let _ = sessions.confirm(&entry).await;
        });
    }

    /// Ends what has expired while something is open under it; runs until the process ends.
    pub(super) async fn watch_streams(self: &Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_after_streams();
        }
    }

    fn look_after_streams(self: &Arc<Self>) {
        let open = self.streaming.all();
        let number = u64::try_from(open.len()).unwrap_or(u64::MAX);
        self.metrics.sessions_streaming.set(number);
        let now = self.clock.now();
        for hash in open.into_iter().map(SessionHash::from_bytes) {
            let Some(entry) = self.hot.get(&hash).map(|entry| Arc::clone(&entry)) else {
                continue;
            };
            if entry.is_over() {
                continue;
            }
            if entry.expired(now, self.settings.idle_timeout).is_some() {
                let sessions = Arc::clone(self);
                self.work.spawn_on(
                    async move { sessions.expire_stream(&entry).await },
                    &self.background,
                );
            } else if self.has_missed_news_of(&entry) {
                self.look_again(&entry);
            }
        }
    }

    /// Another node may have seen activity here that this one has not heard of, or may have ended it.
    async fn expire_stream(self: &Arc<Self>, entry: &Arc<Entry>) {
        let known = match self.shared {
            Some(_) => self.reread(entry).await,
            None => Ok(()),
        };
        let expired = entry.expired(self.clock.now(), self.settings.idle_timeout);
        match (known, expired) {
            (Ok(()), Some(reason)) | (Err(_), Some(reason @ EndReason::Absolute)) => {
                self.finish(entry, reason, Tokens::Revoke).await;
            }
            // Idle, perhaps: it is asked again.
            (Err(_), Some(_)) | (_, None) => {}
        }
    }
}
