//! What a store must do, whichever it is: keep sealed rows under the hash of the cookie, refuse late writers, and keep
//! what is owed to the providers.
//!
//! A store holds nothing that opens a session: its keys are hashes, its values are sealed. Times are readable, so that
//! what has expired can be found without opening it. A store that several processes share also says what the others
//! change ([`news`]), and lets one of them at a time swap a session or keep house.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::StoreError;
use crate::clock::Timestamp;
use crate::token::SessionHash;
use crate::verify::Refusal;

pub(super) mod disk;
pub(super) mod memory;
pub(super) mod news;
pub(super) mod redis;
pub(super) mod timed;

#[cfg(test)]
pub(super) mod tests;

use news::News;

/// What a store will answer.
pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// What was tried, and what came back.
fn failed(
    what: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError {
        what,
        source: Some(Box::new(source)),
    }
}

/// A place where sessions outlive the request. What is asked for takes effect in the order of the calls, whether or not
/// the answers are waited for. ([`timed`] has to pass on those with a default too.)
pub(super) trait Store: fmt::Debug + Send + Sync {
    /// The row under a key.
    fn load(&self, id: SessionHash) -> Answer<Option<Found>>;
    /// Makes a change; durable when it is answered.
    fn write(&self, change: Change) -> Answer<Written>;
    /// Rows whose deadline has passed, the oldest first. A store that forgets tombstones by itself does not name them.
    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>>;
    /// The sessions of a user or of a session at a provider.
    fn find(&self, index: Index) -> Answer<Vec<SessionHash>>;
    /// Sessions that have not ended, from one on and in the order of their keys. Some may have expired since.
    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>>;
    /// What is owed and no living process works on: it is the caller's from now on, held until `until`.
    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>>;
    /// What is owed, whoever works on it: the soonest that comes free first.
    fn debts(&self, limit: usize) -> Answer<Vec<Debt>>;
    /// How much there is.
    fn census(&self) -> Answer<Census>;
    /// What the other processes do, where there are others; nothing where the store is this process's own.
    fn shared(&self) -> Option<Shared> {
        None
    }
    /// Whether it is for this process to sweep what has expired: of the processes that share a store, one at a time does.
    fn keeps_house(&self) -> Answer<bool> {
        Box::pin(std::future::ready(Ok(true)))
    }
}

/// What a process knows of the others that share its store.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// What they change.
    pub(super) news: Arc<News>,
    /// How long the lease of a swap lives unless it is renewed ([`Change::Renew`]).
    pub(super) lease: Duration,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Sessions that have not ended.
    pub(super) alive: u64,
    /// Revocations that are owed.
    pub(super) owed: u64,
}

/// A row as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) row: Row,
    /// Another process holds the lease of a swap that is under way.
    pub(super) held: bool,
}

/// A session or its tombstone, as a store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The number that a later writer must not undercut.
    pub(super) fence: u64,
    /// Which tokens it holds: up by one at every swap.
    pub(super) generation: u64,
    /// Whether it is a tombstone.
    pub(super) ended: bool,
    /// The last activity known to the store.
    pub(super) seen: Timestamp,
    /// When it is due for the sweep.
    pub(super) deadline: Timestamp,
    /// When nobody will ask for it any more: a store may forget it by itself then.
    pub(super) expires: Timestamp,
    /// Under which user it is found.
    pub(super) subject: Option<Index>,
    /// Under which session of the provider it is found.
    pub(super) sid: Option<Index>,
    /// The rest.
    pub(super) sealed: Vec<u8>,
}

/// A key of the many-valued indices: a digest, so that the store shows no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Index([u8; 32]);

impl Index {
    /// A user of a provider.
    pub(super) fn subject(idp: &str, subject: &str) -> Self {
        Self::of(b"sub", idp, subject)
    }

    /// A session of a provider.
    pub(super) fn sid(idp: &str, sid: &str) -> Self {
        Self::of(b"sid", idp, sid)
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(kind: &[u8], idp: &str, value: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [kind, idp.as_bytes(), value.as_bytes()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// A row whose deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) id: SessionHash,
    /// Whether it is a tombstone: nothing is left to be done but to forget it.
    pub(super) ended: bool,
}

/// The name of something owed: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DebtId(pub(super) [u8; 16]);

/// A token owed to a provider's revocation endpoint, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Debt {
    pub(super) id: DebtId,
    /// Until then the process that wrote or claimed it works on it.
    pub(super) held_until: Timestamp,
    /// When it is no longer worth paying: a store may forget it by itself then.
    pub(super) expires: Timestamp,
    pub(super) sealed: Vec<u8>,
}

/// A change to the store.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A session that was not there.
    Create(SessionHash, Row),
    /// A swap begins, and its lease with it. Refused unless its fence is newer than the stored one, the tokens are not
    /// older than those that are stored, and nobody else holds the lease: one of two wins.
    Mark(SessionHash, Row),
    /// The swap goes on: its lease lives longer. Refused when it was lost.
    Renew(SessionHash, u64),
    /// What a swap brought, and the end of its lease: refused when another has begun since.
    Save(SessionHash, Row),
    /// Activity.
    Touch {
        /// Whose.
        id: SessionHash,
        /// When.
        seen: Timestamp,
        /// The deadline that follows from it.
        deadline: Timestamp,
    },
    /// The session ends, whatever is under way; its tokens are owed in the same breath. Refused where another process has
    /// swapped them since: those must be owed too.
    End {
        /// Which.
        id: SessionHash,
        /// What stays.
        tombstone: Row,
        /// What is owed.
        owed: Vec<Debt>,
    },
    /// Rows that nobody will ask for any more.
    Forget(Vec<SessionHash>),
    /// More is owed.
    Owe(Vec<Debt>),
    /// Who works on what is owed goes on until then.
    Hold(Vec<DebtId>, Timestamp),
    /// No longer owed.
    Paid(Vec<DebtId>),
    /// Tokens that are refused before their end. A store that others share tells them; each has them all in its register
    /// before it serves anybody.
    Refuse {
        /// Which.
        refusals: Vec<Refusal>,
        /// What is over by then may be forgotten.
        now: Timestamp,
    },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is durable.
    Done,
    /// The row is gone, has ended, or has a newer writer. Nothing was changed, but for what is owed.
    Refused,
}

/// Which writer may replace a row: the one rule that all stores share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// See [`Change::Mark`].
    Marks,
    /// See [`Change::Save`].
    Saves,
    /// See [`Change::End`].
    Ends,
}

/// What the rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) fence: u64,
    pub(super) generation: u64,
    pub(super) ended: bool,
}

impl Row {
    pub(super) const fn stamp(&self) -> Stamp {
        Stamp {
            fence: self.fence,
            generation: self.generation,
            ended: self.ended,
        }
    }
}

impl Writer {
    /// Whether a row may take the place of what is stored.
    pub(super) fn may_replace(self, stored: Option<Stamp>, new: Stamp) -> bool {
        let Some(stored) = stored else {
            return false;
        };
        let fenced = match self {
            Self::Marks => new.fence > stored.fence && new.generation >= stored.generation,
            Self::Saves => (new.fence, new.generation) >= (stored.fence, stored.generation),
            Self::Ends => new.generation >= stored.generation,
        };
        fenced && !stored.ended
    }
}
