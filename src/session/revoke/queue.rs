//! What is owed to the providers, as an administrator sees it: no token is in it.

use std::collections::HashSet;
use std::sync::Arc;

use super::owed::What;
use super::{Debts, Owed, Slot};
use crate::clock::Timestamp;
use crate::issuer;
use crate::session::store::{Debt, DebtId};
use crate::session::{Sessions, StoreError};

/// What kind of thing is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwedKind {
    /// The revocation of a refresh token.
    RefreshToken,
    /// The revocation of an access token.
    AccessToken,
    /// The end of all that a user has there through this gateway's client.
    User,
}

impl OwedKind {
    /// As metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
            Self::User => "user",
        }
    }
}

/// Something that is owed to a provider.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// The `[idp.NAME]`.
    pub idp: Arc<str>,
    /// What.
    pub kind: OwedKind,
    /// Since when.
    pub since: Timestamp,
    /// When it is given up.
    pub until: Timestamp,
    /// How it goes; nothing where another node is at work on it.
    pub tries: Option<Tries>,
}

/// How it goes with something that is owed.
#[derive(Clone, Debug)]
pub struct Tries {
    /// How often it was tried.
    pub count: u32,
    /// When it is tried next.
    pub next: Timestamp,
    /// What came of the last try, in words.
    pub trouble: Option<String>,
}

/// What is owed, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// What could be read, up to as many as were asked for.
    pub awaited: Vec<Awaited>,
    /// How many are sealed with a key that this node does not have.
    pub unreadable: usize,
}

impl Debts {
    /// Remembers what came of a try. The provider's words are not in it.
    pub(super) fn blame(&self, id: DebtId, error: &issuer::Error) {
        if let Some(slot) = self.open().get_mut(&id) {
            slot.trouble = Some(error.to_string());
        }
    }

    fn awaited(&self) -> (HashSet<DebtId>, Vec<Awaited>) {
        let open = self.open();
        let ids = open.keys().copied().collect();
        (ids, open.values().map(Slot::awaited).collect())
    }
}

impl Slot {
    fn awaited(&self) -> Awaited {
        let tries = Tries {
            count: self.owed.tries,
            next: self.owed.next,
            trouble: self.trouble.clone(),
        };
        Awaited {
            tries: Some(tries),
            ..self.owed.awaited()
        }
    }
}

impl Owed {
    fn awaited(&self) -> Awaited {
        Awaited {
            idp: Arc::clone(&self.idp),
            kind: match self.what {
                What::Refresh(_) => OwedKind::RefreshToken,
                What::Access(_) => OwedKind::AccessToken,
                What::User(_) => OwedKind::User,
            },
            since: self.since,
            until: self.until,
            tries: None,
        }
    }
}

impl Sessions {
    /// What is owed to the providers, by this node and the others.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn owed(&self, limit: usize) -> Result<Queue, StoreError> {
        let (ours, awaited) = self.debts.awaited();
        let stored = self.store.debts(limit).await?;
        let mut queue = Queue {
            awaited,
            unreadable: 0,
        };
        let theirs = |debt: &&Debt| !ours.contains(&debt.id);
        for debt in stored.iter().filter(theirs) {
            match Owed::open(debt, &self.keys) {
                Some(owed) => queue.awaited.push(owed.awaited()),
                None => queue.unreadable += 1,
            }
        }
        queue.awaited.sort_by_key(|awaited| awaited.since);
        queue.awaited.truncate(limit);
        Ok(queue)
    }
}
