//! The end of what a request was let through for: its session, or its bearer token. A flag for whoever looks, and a word to
//! whoever waits with something still open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[cfg(test)]
mod tests;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The person signed out.
    SignedOut,
    /// The person signed in anew in the same browser.
    Replaced,
    /// The person has signed in elsewhere, and this was the oldest of more sessions than one may have.
    Displaced,
    /// The person ended it from another of their sessions.
    Dismissed,
    /// An administrator of the gateway ended it.
    Administrator,
    /// The provider said that its own session is over, from server to server (OpenID Connect Back-Channel Logout).
    BackChannel,
    /// The provider said so through the browser (OpenID Connect Front-Channel Logout).
    FrontChannel,
    /// Idle for too long.
    Idle,
    /// The absolute deadline.
    Absolute,
    /// The provider refused the refresh token.
    Refused,
    /// The refresh token was lost in flight: the provider may have rotated it, and the answer never came.
    LostInFlight,
    /// The provider's answer to a swap could not be accepted (other subject, failed ID token checks, unusable).
    BadAnswer,
    /// The access token ended, and the provider gave nothing to renew it with.
    Expired,
    /// The store no longer has it.
    Forgotten,
}

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The session.
    Session(EndReason),
    /// The bearer token: it is refused, though it has not expired.
    Token,
}

/// What an [`Ending`] is of: a session's hash, or a token's digest.
pub type Key = [u8; 32];

/// The end of one session or token, which comes once or never.
pub struct Ending {
    came: OnceLock<(Cause, Instant)>,
    told: Notify,
    key: Key,
    roll: Arc<Roll>,
}

impl Ending {
    /// Of something that goes on. Whoever waits for its end is on the `roll`.
    pub fn new(key: Key, roll: &Arc<Roll>) -> Arc<Self> {
        Arc::new(Self {
            came: OnceLock::new(),
            told: Notify::new(),
            key,
            roll: Arc::clone(roll),
        })
    }

    /// What it is of.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// It ends now; the first cause counts.
    pub fn come(&self, cause: Cause) {
        if self.came.set((cause, Instant::now())).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// Whether it has ended.
    pub fn has_come(&self) -> bool {
        self.came.get().is_some()
    }

    /// What ended, if that is so long ago.
    pub fn came(&self, grace: Duration) -> Option<Cause> {
        let (cause, at) = self.came.get()?;
        (grace.is_zero() || at.elapsed() >= grace).then_some(*cause)
    }

    /// Waits until it has ended and so much time has passed.
    pub async fn over(self: Arc<Self>, grace: Duration) -> Cause {
        let _waiting = Waiting::on(&self);
        let (cause, at) = loop {
            // What comes after this line is heard, also before it is waited for.
            let told = self.told.notified();
            match self.came.get() {
                Some(came) => break *came,
                None => told.await,
            }
        };
        if !grace.is_zero() {
            sleep_until(at + grace).await;
        }
        cause
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ending").field(&self.came.get()).finish()
    }
}

/// Which endings are waited for.
#[derive(Default)]
pub struct Roll {
    waited_for: Mutex<HashMap<Key, usize>>,
}

impl Roll {
    /// All of them.
    pub fn all(&self) -> Vec<Key> {
        self.lock().keys().copied().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.waited_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roll").field(&self.len()).finish()
    }
}

/// On the roll, until dropped.
struct Waiting<'a>(&'a Ending);

impl<'a> Waiting<'a> {
    fn on(ending: &'a Ending) -> Self {
        *ending.roll.lock().entry(ending.key).or_default() += 1;
        Self(ending)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waited_for = self.0.roll.lock();
        let left = waited_for.get_mut(&self.0.key).map(|waiting| {
            *waiting -= 1;
            *waiting
        });
        if left == Some(0) {
            waited_for.remove(&self.0.key);
        }
    }
}
