//! Ends that reach further than one session: tokens that are refused before their end, and all sessions of a user or of
//! a session at the provider.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::sleep;

use super::end::Tokens;
use super::entry::Entry;
use super::record::Record;
use super::store::{Change, Index};
use super::{EndReason, Ended, Error, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::token::SessionHash;
use crate::verify::{Criterion, Refusal};

/// So many sessions are ended at a time.
const TOGETHER: usize = 32;
/// The pauses between two tries to tell a store what it could not be told.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long another node's refusal may take to get here, and a good while more.
const NEWS: Duration = Duration::from_secs(2);

/// Sessions that end together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of a user at a provider.
    User {
        /// The `[idp.NAME]`.
        idp: Arc<str>,
        /// `sub`.
        subject: Arc<str>,
    },
    /// All that came out of one session at a provider.
    ProviderSession {
        /// The `[idp.NAME]`.
        idp: Arc<str>,
        /// `sid`.
        sid: Arc<str>,
    },
}

impl Whose {
    fn index(&self) -> Index {
        match self {
            Self::User { idp, subject } => Index::subject(idp, subject),
            Self::ProviderSession { idp, sid } => Index::sid(idp, sid),
        }
    }

    /// Of access tokens.
    fn criterion(&self) -> Criterion {
        match self {
            Self::User { idp, subject } => Criterion::subject(idp, subject),
            Self::ProviderSession { idp, sid } => Criterion::sid(idp, sid),
        }
    }

    fn includes(&self, record: &Record) -> bool {
        match self {
            Self::User { idp, subject } => record.idp == *idp && record.subject == *subject,
            Self::ProviderSession { idp, sid } => {
                record.idp == *idp && record.sid.as_ref() == Some(sid)
            }
        }
    }
}

impl Sessions {
    /// Refuses access tokens before their end: here at once, on the other nodes as soon as they hear of it, and durably
    /// when this returns.
    ///
    /// # Errors
    /// When the store can't keep it. It is refused here all the same, and the store is tried again.
    pub async fn refuse(self: &Arc<Self>, refusals: Vec<Refusal>) -> Result<(), StoreError> {
        if refusals.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let taken = self.verifier.refused().add(&refusals, now);
        taken.map_err(|source| StoreError {
            what: "a token can't be refused",
            source: Some(Box::new(source)),
        })?;
        let change = Change::Refuse {
            refusals: refusals.clone(),
            now,
        };
        let written = self.store.write(change).await;
        written.map(|_| ()).inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "refused tokens can't be saved: they are refused here, and saving is retried"
            );
            self.keep_refusing(refusals);
        })
    }

    /// Retries until the store has it; shutdown waits for it.
    fn keep_refusing(self: &Arc<Self>, refusals: Vec<Refusal>) {
        let sessions = Arc::clone(self);
        let saving = async move {
            let mut pause = FIRST_PAUSE;
            loop {
                sleep(pause).await;
                let change = Change::Refuse {
                    refusals: refusals.clone(),
                    now: sessions.clock.now(),
                };
                if sessions.store.write(change).await.is_ok() {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        self.work.spawn_on(saving, &self.background);
    }

    /// Ends all of these sessions and refuses their access tokens, those that no session here holds too: whatever was
    /// issued until `issued_by`. Durable when this returns; the sessions' tokens are revoked in the background. Tells how
    /// many sessions there were.
    ///
    /// # Errors
    /// When the store fails. What this process knows of has ended all the same, and the rest is tried again.
    pub async fn end_all(
        self: &Arc<Self>,
        whose: Whose,
        reason: EndReason,
        issued_by: Timestamp,
    ) -> Result<usize, StoreError> {
        let sessions = Arc::clone(self);
        let ending = async move {
            let until = sessions.clock.now() + sessions.settings.refuse_for;
            let refusal = Refusal {
                criterion: whose.criterion(),
                issued_by,
                until,
            };
            // Before they are looked for: a session that begins meanwhile finds it.
            let refused = sessions.refuse(vec![refusal]).await;
            if let (Whose::User { idp, subject }, true) = (&whose, reason.ends_the_user_there()) {
                sessions.owe_user(reason.source(), idp, subject).await;
            }
            let ended = sessions.end_found(&whose, reason).await;
            if ended.is_err() {
                sessions.end_known(&whose, reason).await;
                sessions.keep_ending(whose, reason);
            }
            refused.and(ended)
        };
        let ended = self.work.spawn_on(ending, &self.background).await;
        ended.map_err(|source| super::interrupted("end sessions", source))?
    }

    /// Ends the sessions that the provider says are over, in the browser's words only: nothing is revoked or refused for
    /// that. Tells how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_unproven(self: &Arc<Self>, whose: Whose) -> Result<usize, StoreError> {
        let sessions = Arc::clone(self);
        let ending = async move { sessions.end_found(&whose, EndReason::FrontChannel).await };
        let ended = self.work.spawn_on(ending, &self.background).await;
        ended.map_err(|source| super::interrupted("end sessions", source))?
    }

    /// Ends one session, known by its hash. `None` when there was nothing to end.
    ///
    /// # Errors
    /// As [`Sessions::end`].
    pub async fn end_one(
        self: &Arc<Self>,
        id: SessionHash,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        let entry = match self.find(id).await {
            Ok(entry) => entry,
            Err(Error::Store(error)) => return Err(error),
            Err(Error::Unreadable) => return Err(super::keep::not_our_key()),
            Err(
                Error::Unknown | Error::Ended(_) | Error::NotNow { .. } | Error::InDoubt { .. },
            ) => return Ok(None),
        };
        let sessions = Arc::clone(self);
        let ending = async move { sessions.sign_out(entry, reason).await };
        let ended = self.work.spawn_on(ending, &self.background).await;
        ended.map_err(|source| super::interrupted("end a session", source))?
    }

    async fn end_found(
        self: &Arc<Self>,
        whose: &Whose,
        reason: EndReason,
    ) -> Result<usize, StoreError> {
        let found = self.store.find(whose.index()).await?;
        let ending = found.into_iter().map(|id| self.end_if_found(id, reason));
        let mut ending = stream::iter(ending).buffer_unordered(TOGETHER);
        let (mut count, mut failed) = (0, None);
        while let Some(ended) = ending.next().await {
            match ended {
                Ok(ended) => count += usize::from(ended),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(count), Err)
    }

    async fn end_if_found(
        self: &Arc<Self>,
        id: SessionHash,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        match self.find(id).await {
            Ok(entry) => {
                let tokens = reason.tokens();
                Ok(self.finish(&entry, reason, tokens).await)
            }
            Err(Error::Store(error)) => Err(error),
            // Nobody can be served by it here, and the nodes that have the key are told by the refusal.
            Err(Error::Unreadable) => Err(super::keep::not_our_key()),
            Err(
                Error::Unknown | Error::Ended(_) | Error::NotNow { .. } | Error::InDoubt { .. },
            ) => Ok(false),
        }
    }

    /// What is in memory ends though the store can't be asked what else there is.
    async fn end_known(self: &Arc<Self>, whose: &Whose, reason: EndReason) {
        let entries = self.hot.iter().map(|entry| Arc::clone(entry.value()));
        let is = |entry: &Arc<Entry>| entry.state().record().is_some_and(|r| whose.includes(r));
        // Collected, so that no lock of the map is held while they end.
        let known: Vec<_> = entries.filter(is).collect();
        for entry in known {
            self.finish(&entry, reason, reason.tokens()).await;
        }
    }

    /// Who asked may not ask again (a provider's logout comes once): tried until the store has answered.
    fn keep_ending(self: &Arc<Self>, whose: Whose, reason: EndReason) {
        let sessions = Arc::clone(self);
        self.background.spawn(async move {
            let mut pause = FIRST_PAUSE;
            while !sessions.stopping.is_cancelled() {
                sleep(pause).await;
                if sessions.end_found(&whose, reason).await.is_ok() {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// Ends a session that has just begun if its user's, or the provider's, sessions were ended meanwhile; where other
    /// nodes may have done that, looks again when it must have been heard of.
    pub(super) async fn end_if_refused(self: &Arc<Self>, entry: &Arc<Entry>) {
        self.end_by_refusal(entry).await;
        if self.shared.is_some() {
            let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
            self.background.spawn(async move {
                sleep(NEWS).await;
                sessions.end_by_refusal(&entry).await;
            });
        }
    }

    async fn end_by_refusal(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (groups, created) = {
            let state = entry.state();
            let Some(record) = state.record() else { return };
            let sid = record.sid.as_deref();
            let sid = sid.map(|sid| Criterion::sid(&record.idp, sid));
            let subject = Criterion::subject(&record.idp, &record.subject);
            ([Some(subject), sid], record.created)
        };
        let (refused, now) = (self.verifier.refused(), self.clock.now());
        let mut groups = groups.iter().flatten();
        if groups.any(|group| refused.refuses(group, created, now)) {
            let reason = EndReason::Administrator;
            self.finish(entry, reason, Tokens::Revoke).await;
        }
    }
}
