//! The end of a session: here at once and for good, then in the store, then at the provider.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::Entry;
use super::keep::not_our_key;
use super::record::{Kept, Record};
use super::revoke::Owed;
use super::store::{Change, Row, Written};
use super::{EndReason, Ended, Error, Live, Revocation, Sessions, StoreError};
use crate::telemetry::audit::{EndedBy, Event};
use crate::token::IdToken;
use crate::verify::{Refusal, TooMany};

/// How long a sign-out waits for the provider's confirmation; what is not confirmed by then is owed.
pub(super) const REVOCATION_WAIT: Duration = Duration::from_secs(3);

/// Whether a session's tokens are to be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tokens {
    /// As the settings ask.
    #[default]
    Revoke,
    /// No: its successor has the same session at the provider, and a provider that revokes one token of that session
    /// (Keycloak) ends the other's too.
    Spare,
}

/// A session that has ended in memory, and what is still to be done about it.
pub(super) struct Burial {
    owed: Vec<Owed>,
    /// The access tokens that were given for it, and are good by their signature for a while yet.
    refusals: Vec<Refusal>,
    idp: Arc<str>,
    id_token: Option<IdToken>,
    sid: Option<Arc<str>>,
    claims: Arc<Map<String, Value>>,
}

impl Sessions {
    /// Ends a session in memory: no request that comes after this is served by it. `None`: it had ended already.
    pub(super) fn close(&self, entry: &Entry, reason: EndReason, tokens: Tokens) -> Option<Burial> {
        let now = self.clock.now();
        let mut state = entry.state();
        let record = state.record()?;
        let tombstone = record.tombstone(reason, tokens, now);
        let burial = Burial {
            owed: self.owed_by(record, &entry.current().live, reason, tokens),
            refusals: record.refusals(&entry.current().live, tokens, now),
            idp: Arc::clone(&record.idp),
            id_token: record.id_token.clone(),
            sid: record.sid.clone(),
            claims: Arc::clone(&record.claims),
        };
        state.kept = Kept::Over(tombstone);
        entry.close(reason);
        self.metrics.sessions_ended.count(reason.ending());
        self.audit.note(&Event::SessionEnded {
            idp: &burial.idp,
            user: &entry.current().live.subject,
            session: &entry.hash,
            reason: reason.ending().word(),
            by: reason.by(),
        });
        tracing::debug!(session = %entry.name(), ?reason, "ended");
        Some(burial)
    }

    /// Makes an end durable, together with what is owed for it.
    pub(super) async fn bury(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        burial: &Burial,
    ) -> Result<(), StoreError> {
        self.debts.take_up(burial.owed.iter().cloned());
        // The refusals first: a crash between the two must not leave tokens good without their session.
        let refused = self.refuse(burial.refusals.clone()).await;
        let told = match refused.or_else(unless_full) {
            Ok(()) => self.tell_end(entry, burial.owed.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &told {
            tracing::error!(session = %entry.name(), error = error as &dyn std::error::Error,
                "a session's end can't be saved: it has ended in memory, and saving is retried");
            self.keep_saving(entry);
        }
        told
    }

    /// Ends a session and waits until that is durable; its tokens are revoked in the background. Tells whether there was
    /// anything to end.
    pub(super) async fn finish(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        reason: EndReason,
        tokens: Tokens,
    ) -> bool {
        let Some(burial) = self.close(entry, reason, tokens) else {
            return false;
        };
        // A failure has been said, and is retried by itself.
        let _ = self.bury(entry, &burial).await;
        self.debts.wake();
        true
    }

    /// Ends a session for good: when this returns that is durable, whoever ended it. Tells whether it has ended for that reason.
    ///
    /// # Errors
    /// When the store can't keep it: it has ended in memory, and the store is tried again.
    pub(super) async fn end_durably(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        let Some(burial) = self.close(entry, reason, reason.tokens()) else {
            // Somebody else's end may still be on its way to the store. For the same reason, it is the same end.
            self.tell_end_again(entry).await?;
            return Ok(entry.end() == Some(reason));
        };
        let buried = self.bury(entry, &burial).await;
        self.debts.wake();
        buried.map(|()| true)
    }

    /// Tells the store of an end and of what is owed for it, and of what another node's swap brought in the meantime.
    async fn tell_end(
        self: &Arc<Self>,
        entry: &Entry,
        mut owed: Vec<Owed>,
    ) -> Result<(), StoreError> {
        loop {
            let Some(tombstone) = self.tombstone(entry) else {
                return Ok(());
            };
            let change = Change::End {
                id: entry.hash,
                tombstone,
                owed: owed.iter().map(|o| o.debt(&self.keys)).collect(),
            };
            let written = self.store.write(change).await?;
            let ids: Vec<_> = owed.iter().map(|owed| owed.id).collect();
            self.debts.saved(&ids);
            if written == Written::Done || self.shared.is_none() {
                return Ok(());
            }
            match self.newer_tokens(entry).await? {
                Some(newer) => owed = newer,
                None => return Ok(()),
            }
            self.debts.take_up(owed.iter().cloned());
        }
    }

    /// Tells the store of an end that it may not have heard of, after what is owed and refused for it: a process that dies in
    /// between must not leave the one without the other.
    pub(super) async fn tell_end_again(self: &Arc<Self>, entry: &Entry) -> Result<(), StoreError> {
        self.save_debts().await?;
        self.save_refusals().await?;
        self.tell_end(entry, Vec::new()).await
    }

    fn tombstone(&self, entry: &Entry) -> Option<Row> {
        match &entry.state().kept {
            Kept::Over(tombstone) => Some(tombstone.row(&entry.hash, &self.keys)),
            Kept::Alive(_) => None,
        }
    }

    /// A session that has ended here lives on in the store with the tokens of another node's swap: they end with it.
    async fn newer_tokens(
        self: &Arc<Self>,
        entry: &Entry,
    ) -> Result<Option<Vec<Owed>>, StoreError> {
        let Some(found) = self.store.load(entry.hash).await? else {
            return Ok(None);
        };
        let kept = self.unseal(&entry.hash, &found.row);
        let Kept::Alive(record) = kept.ok_or_else(not_our_key)? else {
            return Ok(None);
        };
        let mut state = entry.state();
        let Kept::Over(tombstone) = &mut state.kept else {
            return Ok(None);
        };
        let (reason, tokens) = (tombstone.reason, tombstone.tokens);
        let newer = record.generation > tombstone.generation();
        if newer && !reason.holds_for_newer_tokens() {
            drop(state);
            tracing::info!(session = %entry.name(), ?reason, "it goes on with what another node's swap has brought");
            self.hot.remove(&entry.hash);
            return Ok(None);
        }
        if !tombstone.supersede(&record) {
            // Somebody else here has taken them over, and is about to tell the store.
            return Ok(Some(Vec::new()));
        }
        drop(state);
        let live = record.live(&entry.ending);
        self.refuse_late(record.refusals(&live, tokens, self.clock.now()));
        Ok(Some(self.owed_by(&record, &live, reason, tokens)))
    }

    /// A deadline has passed: ends the session as a sign-out does. The request waits for the provider, for a bounded time:
    /// whoever signs in anew may get the same session there, and a revocation that comes after that would end the new one too.
    pub(super) async fn expire(self: &Arc<Self>, entry: &Arc<Entry>, reason: EndReason) -> Error {
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        let ending = async move { sessions.sign_out(entry, reason).await };
        // What can't be saved or paid has been said, and is retried by itself.
        let _ = self.work.spawn_on(ending, &self.background).await;
        Error::Ended(reason)
    }

    /// The same as [`Sessions::sign_out`], also where it has ended already: the answer must not come before that is durable.
    pub(super) async fn sign_out_whole(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        let ended = self.sign_out(Arc::clone(&entry), reason).await?;
        if ended.is_none() {
            self.tell_end_again(&entry).await?;
        }
        Ok(ended)
    }

    /// Ends a session and waits a bounded time for what the provider says.
    pub(super) async fn sign_out(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        self.end_with(entry, reason, Tokens::Revoke).await
    }

    /// The same, where the tokens may have to be spared.
    pub(super) async fn end_with(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        reason: EndReason,
        tokens: Tokens,
    ) -> Result<Option<Ended>, StoreError> {
        let Some(burial) = self.close(&entry, reason, tokens) else {
            return Ok(None);
        };
        let buried = self.bury(&entry, &burial).await;
        let sessions = Arc::clone(self);
        let owed = burial.owed.iter().map(|o| (o.id, o.is_refresh()));
        let owed: Vec<_> = owed.collect();
        let promised = promise(&burial.owed);
        let paying = self.background.spawn(async move {
            let mut done = (Revocation::NothingToDo, Revocation::NothingToDo);
            for (id, is_refresh) in owed {
                let said = sessions.pay(id).await;
                let slot = if is_refresh { &mut done.0 } else { &mut done.1 };
                *slot = worse(*slot, said);
            }
            done
        });
        let paid = tokio::time::timeout(REVOCATION_WAIT, paying).await;
        let (refresh_token, access_token) = paid.ok().and_then(Result::ok).unwrap_or(promised);
        buried?;
        Ok(Some(Ended {
            idp: burial.idp,
            id_token: burial.id_token,
            sid: burial.sid,
            claims: burial.claims,
            refresh_token,
            access_token,
        }))
    }

    /// Which of its tokens are to be revoked, the refresh token first.
    pub(super) fn owed_by(
        &self,
        record: &Record,
        live: &Live,
        reason: EndReason,
        tokens: Tokens,
    ) -> Vec<Owed> {
        if tokens == Tokens::Spare {
            return Vec::new();
        }
        let term = self.term(reason.source());
        let idp = &record.idp;
        let refresh = record
            .refresh_token
            .clone()
            .filter(|_| reason.leaves_refresh_token());
        let refresh = refresh.map(|token| Owed::refresh(idp, token, record.refresh_expires, &term));
        let mut access = vec![(&record.access_token, record.access_expires)];
        if live.access_token != record.access_token {
            access.push((&live.access_token, live.access_expires));
        }
        let access = access
            .into_iter()
            .filter(|(_, expires)| term.from < *expires)
            .map(|(token, expires)| Owed::access(idp, token.clone(), Some(expires), &term));
        let owed = refresh.into_iter().chain(access);
        owed.filter(|owed| reason == EndReason::BadAnswer || owed.is_asked_for(&self.settings))
            .collect()
    }
}

impl EndReason {
    /// What becomes of the tokens of sessions that end together.
    pub(super) fn tokens(self) -> Tokens {
        match self {
            // The provider has ended its session by itself, and nobody has proven that it was the provider who says so.
            Self::FrontChannel => Tokens::Spare,
            Self::SignedOut
            | Self::Replaced
            | Self::Displaced
            | Self::Dismissed
            | Self::Administrator
            | Self::BackChannel
            | Self::Idle
            | Self::Absolute
            | Self::Refused
            | Self::LostInFlight
            | Self::BadAnswer
            | Self::Expired
            | Self::Forgotten => Tokens::Revoke,
        }
    }

    /// Whether, where it is all of a user's sessions that end, it means what the user has elsewhere through our client too.
    pub(super) fn ends_the_user_there(self) -> bool {
        match self {
            Self::SignedOut | Self::Administrator => true,
            // One session of theirs goes on, or the provider itself has said what is over.
            Self::Dismissed
            | Self::BackChannel
            | Self::FrontChannel
            | Self::Replaced
            | Self::Displaced
            | Self::Idle
            | Self::Absolute
            | Self::Refused
            | Self::LostInFlight
            | Self::BadAnswer
            | Self::Expired
            | Self::Forgotten => false,
        }
    }

    /// Whose doing it is.
    fn by(self) -> EndedBy {
        match self {
            Self::SignedOut | Self::Replaced | Self::Dismissed => EndedBy::User,
            Self::Administrator => EndedBy::Administrator,
            Self::BackChannel | Self::FrontChannel | Self::Refused => EndedBy::Provider,
            Self::Displaced
            | Self::Idle
            | Self::Absolute
            | Self::LostInFlight
            | Self::BadAnswer
            | Self::Expired
            | Self::Forgotten => EndedBy::Gateway,
        }
    }

    /// Whether it ends the session, and not only the tokens that it was found on.
    fn holds_for_newer_tokens(self) -> bool {
        match self {
            Self::SignedOut
            | Self::Replaced
            | Self::Displaced
            | Self::Dismissed
            | Self::Administrator
            | Self::BackChannel
            | Self::FrontChannel
            | Self::Absolute => true,
            Self::Idle
            | Self::Refused
            | Self::LostInFlight
            | Self::BadAnswer
            | Self::Expired
            | Self::Forgotten => false,
        }
    }

    /// Whether the refresh token may still be good. Where it is not, revoking it would only end the person's session at
    /// the provider, through which they are signed in again unseen.
    fn leaves_refresh_token(self) -> bool {
        match self {
            Self::SignedOut
            | Self::Replaced
            | Self::Displaced
            | Self::Dismissed
            | Self::Administrator
            | Self::BackChannel
            | Self::FrontChannel
            | Self::Idle
            | Self::Absolute
            | Self::BadAnswer
            | Self::Forgotten => true,
            Self::Refused | Self::LostInFlight | Self::Expired => false,
        }
    }
}

/// That the register is full has been said, and can't be helped by trying again: the session has ended all the same.
fn unless_full(error: StoreError) -> Result<(), StoreError> {
    let source = error.source.as_ref();
    if source.is_some_and(|source| source.is::<TooMany>()) {
        return Ok(());
    }
    Err(error)
}

/// What can be said before the provider has said anything.
fn promise(owed: &[Owed]) -> (Revocation, Revocation) {
    let of = |any| {
        if any {
            Revocation::Owed
        } else {
            Revocation::NothingToDo
        }
    };
    (
        of(owed.iter().any(Owed::is_refresh)),
        of(owed.iter().any(|owed| !owed.is_refresh())),
    )
}

fn worse(before: Revocation, said: Revocation) -> Revocation {
    if before == Revocation::Owed {
        before
    } else {
        said
    }
}
