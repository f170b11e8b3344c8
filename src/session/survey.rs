//! All sessions there are, as an administrator looks through them: page by page, by a piece of an id, and ended at once.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::list::{Summary, newest_first};
use super::record::{Kept, Record};
use super::store::Index;
use super::{EndReason, Error, Revocation, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::token::SessionHash;
use crate::verify::{Criterion, Refusal};

/// So many sessions are looked at, or ended, at a time.
const TOGETHER: usize = 32;
/// How many are looked through in one go where not all are wanted.
const BATCH: usize = 512;
/// How many are looked through for one page: whoever wants more asks again.
const MOST: usize = 8 * BATCH;
/// Fewer letters name too many sessions.
const FEWEST_LETTERS: usize = 8;

/// What sessions are looked for by; nothing: all of them.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The `[idp.NAME]`.
    pub idp: Option<Arc<str>>,
    /// The subject; where no session has that one, a user name or an e-mail address.
    pub user: Option<String>,
}

/// Some of the sessions, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// They.
    pub sessions: Vec<Summary>,
    /// Where the next page begins, if there may be one. A page may be short, or empty, and have a next one.
    pub next: Option<SessionHash>,
}

/// A session's id, or the beginning of one: 8 to 64 hexadecimal letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// What is no id and no beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session's id is 64 hexadecimal letters, or the first 8 or more of them")]
pub struct NoPrefix;

/// What the end of all sessions came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Everything {
    /// How many have ended.
    pub ended: usize,
    /// How many live on at the nodes that have the encryption key that they are sealed with: it is not here.
    pub unreadable: usize,
}

impl Everything {
    fn add(&mut self, more: Self) {
        self.ended += more.ended;
        self.unreadable += more.unreadable;
    }
}

/// Whom an id, or a piece of one, names.
#[derive(Clone, Debug)]
pub enum Named {
    /// No session that has not ended.
    Nobody,
    /// Exactly this one.
    One(Box<Summary>),
    /// More than one.
    Several,
}

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let longest = SessionHash::LETTERS;
        let fits = (FEWEST_LETTERS..=longest).contains(&text.len());
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !fits || !hex {
            return Err(NoPrefix);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// The first key that begins so.
    fn first(&self) -> SessionHash {
        let padded = format!("{:0<1$}", self.0, SessionHash::LETTERS);
        SessionHash::parse(&padded).unwrap_or_default()
    }

    fn begins(&self, id: SessionHash) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl Search {
    fn is_for_all(&self) -> bool {
        self.idp.is_none() && self.user.is_none()
    }

    fn finds(&self, summary: &Summary) -> bool {
        let at = self.idp.as_ref().is_none_or(|idp| summary.idp == *idp);
        at && self.user.as_ref().is_none_or(|user| summary.is_of(user))
    }
}

impl Summary {
    fn is_of(&self, user: &str) -> bool {
        let mut names = [&self.user, &self.email].into_iter().flatten();
        *self.subject == *user || names.any(|name| name.eq_ignore_ascii_case(user))
    }
}

impl Sessions {
    /// Whether all sessions can be seen from here: those that browsers hold themselves are known to this process only once
    /// they have been here.
    pub fn sees_all(&self) -> bool {
        self.settings.cookie_room.is_none()
    }

    /// What can be said of the refresh tokens and the access tokens of so many sessions that have ended together.
    pub fn promises(&self, ended: usize) -> (Revocation, Revocation) {
        let promise = |asked: bool| {
            if asked && ended > 0 {
                Revocation::Owed
            } else {
                Revocation::NothingToDo
            }
        };
        let settings = &self.settings;
        (
            promise(settings.revoke_refresh_token),
            promise(settings.revoke_access_token),
        )
    }

    /// How many sessions there are, and how many revocations are owed.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn counts(&self) -> Result<(u64, u64), StoreError> {
        let census = self.store.census().await?;
        Ok((census.alive, census.owed))
    }

    /// Sessions from one on, in the order of their ids. Looking at them brings none of them into memory.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn page(
        &self,
        search: &Search,
        from: SessionHash,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let known = self.of_subject(search).await?;
        let found = if known.is_empty() {
            self.look_through(search, from, limit).await?
        } else {
            let later = known.into_iter().filter(|id| *id >= from);
            (self.glances(later.collect()).await?, None)
        };
        Ok(Page::of(found, limit))
    }

    /// The session that an id, or the beginning of one, names.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn named(&self, prefix: &Prefix) -> Result<Named, StoreError> {
        let listed = self.store.list(prefix.first(), 8).await?;
        let same = listed.into_iter().filter(|id| prefix.begins(*id));
        let mut found = self.glances(same.collect()).await?;
        let first = found.pop();
        Ok(match first {
            None => Named::Nobody,
            Some(_) if !found.is_empty() => Named::Several,
            Some(one) => Named::One(Box::new(one)),
        })
    }

    /// Ends all sessions that there are. Durable when this returns; their tokens are revoked in the background.
    ///
    /// # Errors
    /// When the store fails. What this process has in memory has ended all the same; the rest has to be ended once more.
    pub async fn end_everything(
        self: &Arc<Self>,
        reason: EndReason,
    ) -> Result<Everything, StoreError> {
        let sessions = Arc::clone(self);
        let ending = async move {
            let now = sessions.clock.now();
            let refusal = Refusal {
                criterion: Criterion::all_sessions(),
                issued_by: now,
                until: now + sessions.settings.refuse_for,
            };
            // Before they are looked for: one that begins meanwhile finds it.
            let refused = sessions.refuse(vec![refusal]).await;
            let ended = sessions.end_listed(reason).await;
            if ended.is_err() {
                sessions.end_known(|_| true, reason).await;
            }
            refused.and(ended)
        };
        self.uninterrupted("end all sessions", ending).await
    }

    async fn end_listed(self: &Arc<Self>, reason: EndReason) -> Result<Everything, StoreError> {
        let begun_by = self.clock.now();
        let (mut from, mut all, mut failed) = (SessionHash::default(), Everything::default(), None);
        loop {
            let mut ids = self.store.list(from, BATCH + 1).await?;
            let next = split_next(&mut ids, BATCH);
            let ending = ids
                .into_iter()
                .map(|id| self.end_listed_one(id, reason, begun_by));
            let mut ending = stream::iter(ending).buffer_unordered(TOGETHER);
            while let Some(one) = ending.next().await {
                match one {
                    Ok(one) => all.add(one),
                    Err(error) => failed = Some(error),
                }
            }
            match next {
                Some(next) => from = next,
                None => return failed.map_or(Ok(all), Err),
            }
        }
    }

    async fn end_listed_one(
        self: &Arc<Self>,
        id: SessionHash,
        reason: EndReason,
        begun_by: Timestamp,
    ) -> Result<Everything, StoreError> {
        if let Err(Error::Unreadable) = self.find(id).await {
            return Ok(Everything {
                ended: 0,
                unreadable: 1,
            });
        }
        let meant = |record: &Record| record.created <= begun_by;
        let ended = self.end_if_found(id, reason, meant).await?;
        Ok(Everything {
            ended: usize::from(ended),
            unreadable: 0,
        })
    }

    /// The sessions of the subject that is looked for, in order.
    async fn of_subject(&self, search: &Search) -> Result<Vec<SessionHash>, StoreError> {
        let Some(user) = &search.user else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let wanted = |idp: &&Arc<str>| search.idp.as_ref().is_none_or(|wanted| wanted == *idp);
        for idp in self.idps.keys().filter(wanted) {
            found.extend(self.store.find(Index::subject(idp, user)).await?);
        }
        found.sort_unstable();
        Ok(found)
    }

    async fn look_through(
        &self,
        search: &Search,
        mut from: SessionHash,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let batch = if search.is_for_all() { limit } else { BATCH };
        let (mut found, mut looked) = (Vec::new(), 0);
        loop {
            let mut ids = self.store.list(from, batch + 1).await?;
            let next = split_next(&mut ids, batch);
            looked += ids.len();
            let glances = self.glances(ids).await?;
            found.extend(glances.into_iter().filter(|summary| search.finds(summary)));
            match next {
                Some(next) if found.len() < limit && looked < MOST => from = next,
                next => return Ok((found, next)),
            }
        }
    }

    async fn glances(&self, ids: Vec<SessionHash>) -> Result<Vec<Summary>, StoreError> {
        let looking = ids.into_iter().map(|id| self.glance(id));
        let mut looking = stream::iter(looking).buffered(TOGETHER);
        let mut found = Vec::new();
        while let Some(summary) = looking.next().await {
            found.extend(summary?);
        }
        Ok(found)
    }

    /// What memory or the store has of a session, without taking it up. `None`: it has ended, or can't be read here.
    async fn glance(&self, id: SessionHash) -> Result<Option<Summary>, StoreError> {
        let now = self.clock.now();
        let known = self.hot.get(&id).map(|entry| Arc::clone(entry.value()));
        if let Some(entry) = known.filter(|e| e.is_over() || self.vouches_for(e, now)) {
            return Ok(self.summarized(&entry));
        }
        let Some(found) = self.store.load(id).await? else {
            return Ok(None);
        };
        match Kept::open(&found.row, &id, &self.keys) {
            Some(Kept::Alive(record)) => Ok(self.summary_of(id, &record, found.row.seen)),
            Some(Kept::Over(_)) | None => Ok(None),
        }
    }
}

/// Sessions in the order of their ids, and where it goes on.
type Found = (Vec<Summary>, Option<SessionHash>);

impl Page {
    fn of((found, mut next): Found, limit: usize) -> Self {
        let mut found = VecDeque::from(found);
        if let Some(over) = found.get(limit) {
            next = Some(over.id);
        }
        found.truncate(limit);
        let mut sessions = Vec::from(found);
        newest_first(&mut sessions);
        Self { sessions, next }
    }
}

/// One more was asked for than is wanted: that is where it goes on.
fn split_next(ids: &mut Vec<SessionHash>, wanted: usize) -> Option<SessionHash> {
    if ids.len() > wanted { ids.pop() } else { None }
}
