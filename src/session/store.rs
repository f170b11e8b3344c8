//! What a store must do, whichever it is: keep sealed rows under the hash of the cookie, refuse late writers, and keep
//! what is owed to the providers.
//!
//! A store holds nothing that opens a session: its keys are hashes, its values are sealed. Times are readable, so that
//! what has expired can be found without opening it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use aws_lc_rs::digest::{Context, SHA256};

use super::StoreError;
use crate::clock::Timestamp;
use crate::token::SessionHash;

pub(super) mod disk;
pub(super) mod memory;

#[cfg(test)]
pub(super) mod tests;

/// What a store will answer.
pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A place where sessions outlive the request. What is asked for takes effect in the order of the calls, whether or not
/// the answers are waited for.
pub(super) trait Store: fmt::Debug + Send + Sync {
    /// The row under a key.
    fn load(&self, id: SessionHash) -> Answer<Option<Row>>;
    /// Makes a change; durable when it is answered.
    fn write(&self, change: Change) -> Answer<Written>;
    /// Rows whose deadline has passed, the oldest first.
    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>>;
    /// The sessions of a user or of a session at a provider.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "a logout that names a user or a sid, not a cookie, looks here"
        )
    )]
    fn find(&self, index: Index) -> Answer<Vec<SessionHash>>;
    /// All that is owed.
    fn debts(&self) -> Answer<Vec<Debt>>;
}

/// A session or its tombstone, as a store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The number that a later writer must not undercut.
    pub(super) fence: u64,
    /// Whether it is a tombstone.
    pub(super) ended: bool,
    /// The last activity known to the store.
    pub(super) seen: Timestamp,
    /// When it is due for the sweep.
    pub(super) deadline: Timestamp,
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
    pub(super) sealed: Vec<u8>,
}

/// A change to the store.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A session that was not there.
    Create(SessionHash, Row),
    /// A swap begins: refused unless its fence is newer than the stored one, so that one of two wins.
    Mark(SessionHash, Row),
    /// What a swap brought: refused when another has begun since.
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
    /// The session ends, whatever is under way; its tokens are owed in the same breath.
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
    /// No longer owed.
    Paid(Vec<DebtId>),
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

impl Writer {
    /// Whether a row with this fence may take the place of what is stored.
    pub(super) fn may_replace(self, stored: Option<(u64, bool)>, fence: u64) -> bool {
        let Some((stored, ended)) = stored else {
            return false;
        };
        let fenced = match self {
            Self::Marks => fence > stored,
            Self::Saves => fence >= stored,
            Self::Ends => true,
        };
        fenced && !ended
    }
}
