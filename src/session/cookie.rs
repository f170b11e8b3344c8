//! `session.store = "cookie"`: the cookie holds the session itself, sealed. While this process has the session, memory
//! knows better than any cookie; what a restart has lost is won back from the one that the browser shows.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::entry::Entry;
use super::record::Record;
use super::store::Change;
use super::{Error, Sessions, Unbegun, pace};
use crate::clock::Timestamp;
use crate::seal::{Keyring, Purpose};
use crate::token::{RefreshToken, SessionCookie, SessionHash};

/// The encoding of what is sealed: this byte, then JSON. A field more or less needs no new number.
const ENCODING: u8 = 1;

/// What a sealed cookie holds. The names are short, since browsers keep 4096 bytes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Ticket {
    #[serde(rename = "i")]
    id: Id,
    #[serde(rename = "p")]
    pub(super) idp: Arc<str>,
    #[serde(rename = "u")]
    pub(super) subject: Arc<str>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<Arc<str>>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<RefreshToken>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_expires: Option<Timestamp>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) authenticated: Option<Timestamp>,
    #[serde(rename = "c")]
    pub(super) created: Timestamp,
    #[serde(rename = "d")]
    pub(super) absolute_deadline: Timestamp,
    #[serde(rename = "l")]
    pub(super) seen: Timestamp,
    #[serde(rename = "g")]
    pub(super) generation: u64,
}

/// A session's key, as 43 letters rather than 32 numbers.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Id(SessionHash);

impl From<Id> for String {
    fn from(id: Id) -> Self {
        URL_SAFE_NO_PAD.encode(id.0.as_bytes())
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "not base64url")?;
        let bytes = bytes.try_into().map_err(|_| "not 32 bytes")?;
        Ok(Self(SessionHash::from_bytes(bytes)))
    }
}

/// What a request's cookie says.
pub(super) struct Shown {
    pub(super) hash: SessionHash,
    /// Where the cookie holds the session itself.
    ticket: Option<Box<Ticket>>,
}

impl Shown {
    /// Whether the cookie is of later tokens than these: this process has forgotten some, or another one made them.
    pub(super) fn is_ahead_of(&self, generation: u64) -> bool {
        let ticket = self.ticket.as_ref();
        ticket.is_some_and(|ticket| ticket.generation > generation)
    }
}

impl Ticket {
    fn of(hash: SessionHash, record: &Record, seen: Timestamp) -> Self {
        Self {
            id: Id(hash),
            idp: Arc::clone(&record.idp),
            subject: Arc::clone(&record.subject),
            sid: record.sid.clone(),
            refresh_token: record.refresh_token.clone(),
            refresh_expires: record.refresh_expires,
            authenticated: record.authenticated,
            created: record.created,
            absolute_deadline: record.absolute_deadline,
            seen,
            generation: record.generation,
        }
    }

    pub(super) const fn hash(&self) -> SessionHash {
        self.id.0
    }

    fn seal(&self, keys: &Keyring) -> SessionCookie {
        let mut plain = Zeroizing::new(vec![ENCODING]);
        // Writing JSON into memory fails for maps without text keys only, and there is none.
        let written = serde_json::to_writer(&mut *plain, self);
        debug_assert!(written.is_ok(), "a ticket is always JSON");
        let sealed = keys.seal(Purpose::Cookie, b"", &plain);
        SessionCookie::Sealed(URL_SAFE_NO_PAD.encode(sealed).into())
    }

    pub(super) fn open(sealed: &str, keys: &Keyring) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = Zeroizing::new(keys.open(Purpose::Cookie, b"", &sealed).ok()?);
        let (&version, json) = plain.split_first()?;
        (version == ENCODING).then(|| serde_json::from_slice(json).ok())?
    }
}

impl Sessions {
    /// The key that a session is known by, whatever its cookie looks like by now; none for a cookie that is not ours.
    pub fn hash(&self, cookie: &SessionCookie) -> Option<SessionHash> {
        self.shown(cookie).ok().map(|shown| shown.hash)
    }

    /// The value that the browser is to hold from now on, where the one that it shows is behind: by a swap, or by a tenth
    /// of the idle timeout. To be asked when the response is ready; it goes out with each until the browser shows it.
    pub fn newer_cookie(&self, cookie: &SessionCookie) -> Option<SessionCookie> {
        let room = self.settings.cookie_room?;
        let shown = self.shown(cookie).ok()?.ticket?;
        let entry = self.hot.get(&shown.hash())?;
        let state = entry.state();
        if self.ended(&entry, &state).is_some() {
            return None;
        }
        let newest = Ticket::of(entry.hash, state.record()?, entry.seen());
        drop(state);
        let newest = newest
            .is_due_after(&shown, self.settings.idle_timeout)
            .then(|| newest.seal(&self.keys))?;
        // That it is too long has been said when its tokens came.
        (newest.encode().len() <= room).then_some(newest)
    }

    pub(super) fn shown(&self, cookie: &SessionCookie) -> Result<Shown, Error> {
        match (cookie, self.settings.cookie_room) {
            (SessionCookie::Id(id), None) => Ok(Shown {
                hash: id.hash(),
                ticket: None,
            }),
            (SessionCookie::Sealed(text), Some(_)) => {
                let ticket = Ticket::open(text, &self.keys).ok_or(Error::Unknown)?;
                Ok(Shown {
                    hash: ticket.hash(),
                    ticket: Some(Box::new(ticket)),
                })
            }
            // Of a time when the configuration said otherwise.
            (SessionCookie::Id(_), Some(_)) | (SessionCookie::Sealed(_), None) => {
                Err(Error::Unknown)
            }
        }
    }

    /// The session that a cookie shows: in memory, in the store, or won back. One that should have ended with others and was
    /// not found then ends now.
    pub(super) async fn entry(self: &Arc<Self>, shown: Shown) -> Result<Arc<Entry>, Error> {
        let entry = self.entry_of(shown).await?;
        match self.end_by_refusal(&entry).await {
            Some(reason) => Err(Error::Ended(reason)),
            None => Ok(entry),
        }
    }

    async fn entry_of(self: &Arc<Self>, shown: Shown) -> Result<Arc<Entry>, Error> {
        let found = self.find(shown.hash).await;
        let Some(ticket) = shown.ticket else {
            return found;
        };
        match found {
            Err(Error::Unknown) => self.win_back(*ticket).await,
            Ok(entry) => {
                self.catch_up(&entry, *ticket);
                Ok(entry)
            }
            Err(error) => Err(error),
        }
    }

    /// One at a time, so that there are never two of a session, and none that has ended meanwhile comes back.
    async fn win_back(self: &Arc<Self>, ticket: Ticket) -> Result<Arc<Entry>, Error> {
        let _one = self.winning_back.lock().await;
        let (hash, seen, now) = (ticket.hash(), ticket.seen, self.clock.now());
        match self.find(hash).await {
            Err(Error::Unknown) => {}
            found => return found,
        }
        if !self.idps.contains_key(&ticket.idp) {
            return Err(Error::Unknown);
        }
        let record = Record::won_back(ticket);
        let row = record.row(&hash, &self.keys, seen, self.settings.idle_timeout);
        let created = self.store.write(Change::Create(hash, row)).await;
        created.map_err(Error::Store)?;
        let entry = Entry::new(
            self.ending(hash),
            Box::new(record),
            false,
            seen,
            now,
            &self.settings,
        );
        let entry = Arc::clone(&self.hot.entry(hash).or_insert_with(|| Arc::new(entry)));
        tracing::debug!(session = %entry.name(), "won back from its cookie");
        Ok(entry)
    }

    /// The browser shows later tokens than memory has: another node has swapped the session since, and the refresh token
    /// here is spent.
    fn catch_up(&self, entry: &Entry, ticket: Ticket) {
        let mut state = entry.state();
        let behind = |record: &&Record| record.generation < ticket.generation;
        let Some(ours) = state.record().filter(behind) else {
            return;
        };
        if state.flight.is_some() {
            return;
        }
        let (fence, seen) = (ours.fence.max(ticket.generation), ticket.seen);
        let mut record = Record::won_back(ticket);
        record.fence = fence;
        entry.saw(seen);
        state.take_over(Box::new(record), false);
        entry.publish(&state, &self.settings);
        tracing::debug!(session = %entry.name(), "its cookie is ahead of memory");
    }

    /// The cookie of a session that begins.
    pub(super) fn first_cookie(
        &self,
        hash: SessionHash,
        record: &Record,
        room: usize,
    ) -> Result<SessionCookie, Unbegun> {
        let cookie = Ticket::of(hash, record, record.created).seal(&self.keys);
        let bytes = cookie.encode().len();
        if bytes > room {
            return Err(Unbegun::TooLong { bytes, room });
        }
        Ok(cookie)
    }

    /// Says that a swap's answer no longer fits into the cookie.
    pub(super) fn warn_if_too_long(&self, entry: &Entry) {
        let Some(room) = self.settings.cookie_room else {
            return;
        };
        let state = entry.state();
        let Some(record) = state.record() else { return };
        if let Err(Unbegun::TooLong { bytes, room }) = self.first_cookie(entry.hash, record, room) {
            tracing::error!(session = %entry.name(), bytes, room,
                "the provider's new refresh token makes the session too long for a cookie: the session goes on in memory and \
                 is lost when this process ends; choose another session.store");
        }
    }
}

impl Ticket {
    fn is_due_after(&self, shown: &Self, idle: std::time::Duration) -> bool {
        if self.generation != shown.generation {
            return self.generation > shown.generation;
        }
        self.seen >= shown.seen + pace::seen_step(idle)
    }
}
