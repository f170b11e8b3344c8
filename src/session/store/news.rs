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
    reader: Mutex<Option<Reader>>,
}

/// Who is told at once.
type Reader = Box<dyn Fn(Heard) + Send + Sync>;

/// What there is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Heard {
    /// Another process has changed this session.
    Changed(SessionHash),
    /// Changes are heard again: any session may have been changed while they were not.
    LinkUp,
}

/// A state of the news about one session. Never 0 once the link has been up.
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
            reader: Mutex::default(),
        }
    }
}

impl News {
    /// The edition of a session; while the link is down, the last one that was heard. To be read before the store is.
    pub(in crate::session) fn edition(&self, id: &SessionHash) -> Edition {
        let link = self.link.load(Ordering::SeqCst) & !1;
        let changes = self.group(id).load(Ordering::SeqCst);
        Edition((link << CHANGES) | (changes & ((1 << CHANGES) - 1)))
    }

    /// Whether changes are heard.
    pub(in crate::session) fn link_is_up(&self) -> bool {
        self.link.load(Ordering::SeqCst).is_multiple_of(2)
    }

    /// Changes are heard from now on. What was read before is not current.
    pub(in crate::session) fn link_up(&self) {
        self.turn(|link| !link.is_multiple_of(2));
        self.wake_all();
        self.tell(Heard::LinkUp);
    }

    /// Changes may go unheard from now on.
    pub(in crate::session) fn link_down(&self) {
        self.turn(|link| link.is_multiple_of(2));
    }

    fn turn(&self, from: impl Fn(u64) -> bool) {
        let next = |link| from(link).then_some(link + 1);
        // It is there already: nothing to do.
        let _ = self
            .link
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }

    /// Another process has changed a session.
    pub(in crate::session) fn changed(&self, id: &SessionHash) {
        self.group(id).fetch_add(1, Ordering::SeqCst);
        if let Some(waiting) = self.waiting().get(id) {
            waiting.notify_waiters();
        }
        self.tell(Heard::Changed(*id));
    }

    /// Who is told of every change as it is heard, and must not take long over it.
    pub(in crate::session) fn tell_all_to(&self, reader: impl Fn(Heard) + Send + Sync + 'static) {
        *self.reader() = Some(Box::new(reader));
    }

    fn tell(&self, heard: Heard) {
        if let Some(reader) = &*self.reader() {
            reader(heard);
        }
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group(&self, id: &SessionHash) -> &AtomicU64 {
        let [.., high, low] = *id.as_bytes();
        #[expect(
            clippy::indexing_slicing,
            reason = "there are as many groups as 16 bits tell apart"
        )]
        &self.groups[usize::from(u16::from_be_bytes([high, low]))]
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
