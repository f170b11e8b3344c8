//! What the other processes that share a store have changed: whether what this one has in memory is still so.
//!
//! A counter for each of many groups of sessions, moved by every change to one of them, and a count of how often the
//! link on which changes are heard was lost. What was read under one [`Edition`] is current as long as that has not
//! changed: a change to a neighbour makes for a look at the store too many, never for one too few.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::token::SessionHash;

#[cfg(test)]
mod tests;

/// So many groups: with a million sessions that each change every five minutes, a group moves every twenty seconds.
const GROUPS: usize = 1 << 16;
/// The part of an edition that counts changes; the rest counts losses of the link.
const CHANGES: u32 = 40;

/// See the file's first line.
pub(in crate::session) struct News {
    groups: Box<[AtomicU64]>,
    /// Odd while the link is down.
    link: AtomicU64,
    waiting: Mutex<HashMap<SessionHash, Arc<Notify>>>,
}

/// A state of the news about one session. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Edition(u64);

impl Edition {
    pub(in crate::session) const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News")
            .field("link_is_up", &self.link_is_up())
            .finish_non_exhaustive()
    }
}

impl Default for News {
    /// Nothing is heard yet: the link is down.
    fn default() -> Self {
        Self {
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
            link: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }
}

impl News {
    /// What is current of a session; `None` while nothing can be heard. To be read before the store is.
    pub(in crate::session) fn edition(&self, id: &SessionHash) -> Option<Edition> {
        let link = self.link.load(Ordering::SeqCst);
        let changes = self.group(id)?.load(Ordering::SeqCst);
        let edition = (link << CHANGES) | (changes & ((1 << CHANGES) - 1));
        (link % 2 == 0).then_some(Edition(edition))
    }

    /// Whether changes are heard.
    pub(in crate::session) fn link_is_up(&self) -> bool {
        self.link.load(Ordering::SeqCst) % 2 == 0
    }

    /// Changes are heard from now on. What was read before is not current.
    pub(in crate::session) fn link_up(&self) {
        self.link.fetch_add(1, Ordering::SeqCst).rem_euclid(2);
        debug_assert!(self.link_is_up(), "up follows down");
        self.wake_all();
    }

    /// Changes may go unheard from now on.
    pub(in crate::session) fn link_down(&self) {
        self.link.fetch_add(1, Ordering::SeqCst);
        debug_assert!(!self.link_is_up(), "down follows up");
    }

    /// Another process has changed a session.
    pub(in crate::session) fn changed(&self, id: &SessionHash) {
        if let Some(group) = self.group(id) {
            group.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(waiting) = self.waiting().get(id) {
            waiting.notify_waiters();
        }
    }

    fn group(&self, id: &SessionHash) -> Option<&AtomicU64> {
        let [.., high, low] = *id.as_bytes();
        self.groups
            .get(usize::from(u16::from_be_bytes([high, low])))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SessionHash, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        for waiting in self.waiting().values() {
            waiting.notify_waiters();
        }
    }

    /// Listens for changes to one session, until dropped.
    pub(in crate::session) fn listen(self: &Arc<Self>, id: SessionHash) -> Listener {
        let notify = Arc::clone(self.waiting().entry(id).or_default());
        Listener {
            news: Arc::clone(self),
            id,
            notify,
        }
    }
}

/// See [`News::listen`].
pub(in crate::session) struct Listener {
    news: Arc<News>,
    id: SessionHash,
    notify: Arc<Notify>,
}

impl Listener {
    /// Resolves at the first change after this call (not after the first poll).
    pub(in crate::session) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiting = self.news.waiting();
        // Two are left: the map's and this one's.
        if Arc::strong_count(&self.notify) <= 2 {
            waiting.remove(&self.id);
        }
    }
}
