//! Ends that reach further than one session: tokens that are refused before their end, and all sessions of a user or of
//! a session at the provider.

use std::sync::{Arc, MutexGuard, PoisonError};
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
        /// The user whose sessions may be of that one too where the provider never said of which they are.
        subject: Option<Arc<str>>,
    },
}

impl Whose {
    /// Under what they are found, and under what more.
    fn indices(&self) -> (Index, Option<Index>) {
        match self {
            Self::User { idp, subject } => (Index::subject(idp, subject), None),
            Self::ProviderSession { idp, sid, subject } => {
                let user = subject.as_deref();
                let user = user.map(|subject| Index::subject(idp, subject));
                (Index::sid(idp, sid), user)
            }
        }
    }

    /// Of access tokens.
    fn criterion(&self) -> Criterion {
        match self {
            Self::User { idp, subject } => Criterion::subject(idp, subject),
            Self::ProviderSession { idp, sid, .. } => Criterion::sid(idp, sid),
        }
    }

    fn includes(&self, record: &Record) -> bool {
        match self {
            Self::User { idp, subject } => record.idp == *idp && record.subject == *subject,
            Self::ProviderSession { idp, sid, subject } => {
                let is = match &record.sid {
                    Some(known) => known == sid,
                    None => subject.as_ref() == Some(&record.subject),
                };
                is && record.idp == *idp
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
        let taken = taken.map_err(|source| StoreError {
            what: "a token can't be refused",
            source: Some(Box::new(source)),
        });
        if let Err(error) = &taken {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                "revoked access tokens are accepted until they end by themselves"
            );
        }
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
            self.unsaved().extend(refusals);
            self.keep_refusing();
        })?;
        taken
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<Refusal>> {
        let unsaved = self.unsaved_refusals.lock();
        unsaved.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what is refused and could not be saved at once. When this returns well, nothing is left of what there
    /// was before, whoever has saved it.
    pub(super) async fn save_refusals(&self) -> Result<(), StoreError> {
        let _saving = self.saving_refusals.lock().await;
        let refusals = std::mem::take(&mut *self.unsaved());
        if refusals.is_empty() {
            return Ok(());
        }
        let change = Change::Refuse {
            refusals: refusals.clone(),
            now: self.clock.now(),
        };
        let written = self.store.write(change).await;
        written
            .map(|_| ())
            .inspect_err(|_| self.unsaved().extend(refusals))
    }

    /// Refuses what turned out to be good still after its session had ended; nobody waits for it.
    pub(super) fn refuse_late(self: &Arc<Self>, refusals: Vec<Refusal>) {
        if refusals.is_empty() {
            return;
        }
        let sessions = Arc::clone(self);
        let refusing = async move {
            // A failure has been said, and is retried by itself.
            let _ = sessions.refuse(refusals).await;
        };
        self.work.spawn_on(refusing, &self.background);
    }

    /// Retries until the store has it; shutdown waits for it.
    fn keep_refusing(self: &Arc<Self>) {
        let sessions = Arc::clone(self);
        let saving = async move {
            let mut pause = FIRST_PAUSE;
            sleep(pause).await;
            while sessions.save_refusals().await.is_err() {
                sleep(pause).await;
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
            let now = sessions.clock.now();
            let until = now + sessions.settings.refuse_for;
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
            let ended = sessions.end_found(&whose, reason, Timestamp::MAX).await;
            if ended.is_err() {
                sessions
                    .end_known(|record| whose.includes(record), reason)
                    .await;
                sessions.keep_ending(whose, reason, now + NEWS);
            }
            refused.and(ended)
        };
        self.uninterrupted("end sessions", ending).await
    }

    /// Ends the sessions that the provider says are over, in the browser's words only: nothing is revoked or refused for
    /// that. Tells how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_unproven(self: &Arc<Self>, whose: Whose) -> Result<usize, StoreError> {
        let sessions = Arc::clone(self);
        let ending = async move {
            let reason = EndReason::FrontChannel;
            sessions.end_found(&whose, reason, Timestamp::MAX).await
        };
        self.uninterrupted("end sessions", ending).await
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
        let Some(entry) = self.to_end(id).await? else {
            return Ok(None);
        };
        self.end_wholly(entry, reason).await
    }

    /// Ends a session as [`Sessions::sign_out_whole`] does, whoever hangs up meanwhile.
    pub(super) async fn end_wholly(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        let sessions = Arc::clone(self);
        let ending = async move { sessions.sign_out_whole(entry, reason).await };
        self.uninterrupted("end a session", ending).await
    }

    /// A session that is to end; `None` where there is none any more.
    pub(super) async fn to_end(
        self: &Arc<Self>,
        id: SessionHash,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        let found = self.find(id).await;
        self.to_end_of(id, found)
    }

    /// The same of what was found.
    pub(super) fn to_end_of(
        &self,
        id: SessionHash,
        found: Result<Arc<Entry>, Error>,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        match found {
            Ok(entry) => Ok(Some(entry)),
            // What is in memory ends at once, and the store is told when it can be.
            Err(Error::Store(error)) => {
                let known = self.hot.get(&id).map(|entry| Arc::clone(&entry));
                known.map(Some).ok_or(error)
            }
            // It lives on at the nodes that have the key.
            Err(Error::Unreadable) => Err(super::keep::not_our_key()),
            Err(
                Error::Unknown | Error::Ended(_) | Error::NotNow { .. } | Error::InDoubt { .. },
            ) => Ok(None),
        }
    }

    /// Ends those that had begun by then.
    async fn end_found(
        self: &Arc<Self>,
        whose: &Whose,
        reason: EndReason,
        begun_by: Timestamp,
    ) -> Result<usize, StoreError> {
        let (index, more) = whose.indices();
        let mut found = self.store.find(index).await?;
        if let Some(more) = more {
            found.extend(self.store.find(more).await?);
            found.sort_unstable();
            found.dedup();
        }
        let meant = |record: &Record| whose.includes(record) && record.created <= begun_by;
        let ending = found
            .into_iter()
            .map(|id| self.end_if_found(id, reason, meant));
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

    pub(super) async fn end_if_found(
        self: &Arc<Self>,
        id: SessionHash,
        reason: EndReason,
        meant: impl Fn(&Record) -> bool,
    ) -> Result<bool, StoreError> {
        let entry = match self.find(id).await {
            Ok(entry) => entry,
            Err(Error::Store(error)) => return Err(error),
            // Another node was faster: the refusal reached it.
            Err(Error::Ended(ended)) => return Ok(ended == reason),
            // Nobody can be served by it here; the nodes that have the key are told by the refusal, and end it when it is
            // shown to them.
            Err(
                Error::Unreadable | Error::Unknown | Error::NotNow { .. } | Error::InDoubt { .. },
            ) => return Ok(false),
        };
        if entry.state().record().is_some_and(|record| !meant(record)) {
            return Ok(false);
        }
        self.end_durably(&entry, reason).await
    }

    /// What is in memory ends though the store can't be asked what else there is.
    pub(super) async fn end_known(
        self: &Arc<Self>,
        includes: impl Fn(&Record) -> bool,
        reason: EndReason,
    ) {
        let entries = self.hot.iter().map(|entry| Arc::clone(entry.value()));
        let is = |entry: &Arc<Entry>| entry.state().record().is_some_and(&includes);
        // Collected, so that no lock of the map is held while they end.
        let known: Vec<_> = entries.filter(is).collect();
        // All at once; a store that is slow holds up none of them.
        let closed = known.into_iter().filter_map(|entry| {
            let burial = self.close(&entry, reason, reason.tokens())?;
            Some((entry, burial))
        });
        let closed: Vec<_> = closed.collect();
        let burying = closed.into_iter().map(async |(entry, burial)| {
            // A failure has been said, and is retried by itself.
            let _ = self.bury(&entry, &burial).await;
        });
        let mut burying = stream::iter(burying).buffer_unordered(TOGETHER);
        while burying.next().await.is_some() {}
        self.debts.wake();
    }

    /// Who asked may not ask again (a provider's logout comes once): tried until the store has answered. Whoever has signed in
    /// meanwhile is not meant.
    fn keep_ending(self: &Arc<Self>, whose: Whose, reason: EndReason, begun_by: Timestamp) {
        let sessions = Arc::clone(self);
        self.background.spawn(async move {
            let mut pause = FIRST_PAUSE;
            while !sessions.stopping.is_cancelled() {
                sleep(pause).await;
                let ended = sessions.end_found(&whose, reason, begun_by).await;
                if ended.is_ok() {
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

    /// Ends a session that should have ended together with others and was not found then: it was not there yet, or this
    /// process has won it back, or who ended them lacks its key. `None`: it goes on.
    pub(super) async fn end_by_refusal(self: &Arc<Self>, entry: &Arc<Entry>) -> Option<EndReason> {
        let reason = self.end_that_was_missed(entry)?;
        self.finish(entry, reason, Tokens::Revoke).await;
        Some(reason)
    }

    fn end_that_was_missed(&self, entry: &Entry) -> Option<EndReason> {
        let (refused, now) = (self.verifier.refused(), self.clock.now());
        if refused.is_empty() {
            return None;
        }
        let state = entry.state();
        let record = state.record()?;
        let subject = Criterion::subject(&record.idp, &record.subject);
        let by_administrator = [Criterion::all_sessions(), subject];
        if by_administrator
            .iter()
            .any(|criterion| refused.refuses(criterion, record.created, now))
        {
            return Some(EndReason::Administrator);
        }
        let sid = Criterion::sid(&record.idp, record.sid.as_deref()?);
        let over = refused.refuses(&sid, record.created, now);
        over.then_some(EndReason::BackChannel)
    }
}
