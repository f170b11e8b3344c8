//! Sessions as people and administrators see them: where, since when, until when. No token and no cookie is in it.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::entry::Entry;
use super::record::Record;
use super::store::Index;
use super::{Error, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::token::{SessionCookie, SessionHash};

/// So many sessions are looked for at a time.
const TOGETHER: usize = 32;

/// A session that has not ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What it is known by; no way to its cookie.
    pub id: SessionHash,
    /// The `[idp.NAME]`.
    pub idp: Arc<str>,
    /// The ID token's `sub`.
    pub subject: Arc<str>,
    /// The ID token's `preferred_username`.
    pub user: Option<Arc<str>>,
    /// The ID token's `email`.
    pub email: Option<Arc<str>>,
    /// `sid`, the provider's session.
    pub sid: Option<Arc<str>>,
    /// When it began.
    pub created: Timestamp,
    /// When the person was last seen.
    pub seen: Timestamp,
    /// When it ends without activity.
    pub idle_deadline: Timestamp,
    /// When it ends in any case.
    pub absolute_deadline: Timestamp,
    /// When the access token ends.
    pub access_expires: Timestamp,
    /// How often its tokens were swapped.
    pub generation: u64,
    /// The `User-Agent` that signed in.
    pub user_agent: String,
    /// Where that came from.
    pub address: IpAddr,
}

impl Sessions {
    /// All sessions of the person whose cookie this is, this one too; the newest first.
    ///
    /// # Errors
    /// See [`Error`]: they are told to a session that has not ended only.
    pub async fn own(self: &Arc<Self>, cookie: &SessionCookie) -> Result<Vec<Summary>, Error> {
        let standing = self.standing(cookie).await?;
        let live = standing.live;
        let own = self.of_user(&live.idp, &live.subject).await;
        own.map_err(Error::Store)
    }

    /// All sessions of a user at a provider, the newest first.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn of_user(
        self: &Arc<Self>,
        idp: &str,
        subject: &str,
    ) -> Result<Vec<Summary>, StoreError> {
        let found = self.store.find(Index::subject(idp, subject)).await?;
        self.summaries(found).await
    }

    /// One session; `None` where there is none, or it has ended.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn summary(self: &Arc<Self>, id: SessionHash) -> Result<Option<Summary>, StoreError> {
        match self.find(id).await {
            Ok(entry) => Ok(self.summarized(&entry)),
            Err(Error::Store(error)) => Err(error),
            // One whose key this node lacks can't be told of here.
            Err(
                Error::Unreadable
                | Error::Unknown
                | Error::Ended(_)
                | Error::NotNow { .. }
                | Error::InDoubt { .. },
            ) => Ok(None),
        }
    }

    /// Those of these that have not ended, the newest first.
    pub(super) async fn summaries(
        self: &Arc<Self>,
        ids: Vec<SessionHash>,
    ) -> Result<Vec<Summary>, StoreError> {
        let looking = ids.into_iter().map(|id| self.summary(id));
        let mut looking = stream::iter(looking).buffered(TOGETHER);
        let mut found = Vec::new();
        while let Some(summary) = looking.next().await {
            found.extend(summary?);
        }
        newest_first(&mut found);
        Ok(found)
    }

    pub(super) fn summarized(&self, entry: &Entry) -> Option<Summary> {
        let state = entry.state();
        self.summary_of(entry.hash, state.record()?, entry.seen())
    }

    /// `None` where a deadline has passed.
    pub(super) fn summary_of(
        &self,
        id: SessionHash,
        record: &Record,
        seen: Timestamp,
    ) -> Option<Summary> {
        let (now, idle_deadline) = (self.clock.now(), seen + self.settings.idle_timeout);
        if now >= idle_deadline || now >= record.absolute_deadline {
            return None;
        }
        let claim = |name| record.claims.get(name).and_then(Value::as_str);
        Some(Summary {
            id,
            idp: Arc::clone(&record.idp),
            subject: Arc::clone(&record.subject),
            user: claim("preferred_username").map(Into::into),
            email: claim("email").map(Into::into),
            sid: record.sid.clone(),
            created: record.created,
            seen,
            idle_deadline,
            absolute_deadline: record.absolute_deadline,
            access_expires: record.access_expires,
            generation: record.generation,
            user_agent: record.user_agent.clone(),
            address: record.address,
        })
    }
}

/// The order in which sessions are shown.
pub(super) fn newest_first(sessions: &mut [Summary]) {
    sessions.sort_by_key(|summary| (Reverse(summary.created), summary.id));
}
