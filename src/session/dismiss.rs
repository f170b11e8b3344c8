//! A person ends sessions of theirs from another one of them. What goes on there must not end at the provider with what
//! ends here.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::end::Tokens;
use super::store::Index;
use super::{EndReason, Ended, Error, Sessions, StoreError, Summary};
use crate::token::{SessionCookie, SessionHash};

/// So many sessions are ended at a time.
const TOGETHER: usize = 32;

/// A session that its person has ended from another one.
#[derive(Debug)]
pub struct Dismissed {
    /// As it was.
    pub session: Summary,
    /// What became of its tokens.
    pub tokens: Fate,
}

/// What became of a session's tokens.
#[derive(Debug)]
pub enum Fate {
    /// They are revoked, or owed to the provider.
    Revoked(Ended),
    /// Nobody has them any more, and the provider was not told: they are of the same session there as those of a session
    /// that goes on, which a provider (Keycloak) would end with them.
    Spared,
}

impl Sessions {
    /// Ends the session of this id, if it is one of the person's whose cookie this is: here first and durably, then at the
    /// provider, for which this waits a bounded time. `None` for any other id.
    ///
    /// # Errors
    /// See [`Error`], of the session that asks; [`Error::Store`] also when the end can't be saved.
    pub async fn dismiss(
        self: &Arc<Self>,
        cookie: &SessionCookie,
        id: SessionHash,
    ) -> Result<Option<Dismissed>, Error> {
        let (go, stay): (Vec<_>, Vec<_>) = {
            let own = self.own(cookie).await?.into_iter();
            own.partition(|session| session.id == id)
        };
        let ended = self.dismiss_all(go, &stay).await;
        Ok(ended.map_err(Error::Store)?.pop())
    }

    /// Ends all sessions of the person whose cookie this is, but this one.
    ///
    /// # Errors
    /// As [`Sessions::dismiss`], when any of them can't be ended; the others have ended all the same.
    pub async fn dismiss_others(
        self: &Arc<Self>,
        cookie: &SessionCookie,
    ) -> Result<Vec<Dismissed>, Error> {
        let this = self.standing(cookie).await?.live;
        let index = Index::subject(&this.idp, &this.subject);
        let ids = self.store.find(index).await.map_err(Error::Store)?;
        let own = self.summaries(ids.clone()).await.map_err(Error::Store)?;
        let this = self.hash(cookie);
        let (stay, go): (Vec<_>, Vec<_>) = {
            let own = own.into_iter();
            own.partition(|session| Some(session.id) == this)
        };
        let told = |id: &SessionHash| go.iter().chain(&stay).any(|session| session.id == *id);
        let untold: Vec<_> = ids.into_iter().filter(|id| !told(id)).collect();
        let ended = self.dismiss_all(go, &stay).await.map_err(Error::Store)?;
        for id in untold {
            // Those that live on where their key is are not to be passed over in silence.
            self.to_end(id).await.map_err(Error::Store)?;
        }
        Ok(ended)
    }

    async fn dismiss_all(
        self: &Arc<Self>,
        go: Vec<Summary>,
        stay: &[Summary],
    ) -> Result<Vec<Dismissed>, StoreError> {
        let go = go.into_iter().map(|session| {
            let tokens = tokens_of(&session, stay);
            (session, tokens)
        });
        let (go, sessions): (Vec<_>, _) = (go.collect(), Arc::clone(self));
        let ending = async move {
            let ending = go.into_iter().map(|(session, tokens)| {
                let sessions = Arc::clone(&sessions);
                async move { sessions.dismiss_one(session, tokens).await }
            });
            let ended: Vec<_> = stream::iter(ending).buffered(TOGETHER).collect().await;
            let ended: Result<Vec<_>, _> = ended.into_iter().collect();
            Ok(ended?.into_iter().flatten().collect())
        };
        self.uninterrupted("end sessions", ending).await
    }

    async fn dismiss_one(
        self: &Arc<Self>,
        session: Summary,
        tokens: Tokens,
    ) -> Result<Option<Dismissed>, StoreError> {
        let Some(entry) = self.to_end(session.id).await? else {
            return Ok(None);
        };
        let reason = EndReason::Dismissed;
        let Some(ended) = self.end_with(Arc::clone(&entry), reason, tokens).await? else {
            // Somebody else's end may still be on its way to the store: this answer must not come before.
            self.tell_end_again(&entry).await?;
            return Ok(None);
        };
        let tokens = match tokens {
            Tokens::Revoke => Fate::Revoked(ended),
            Tokens::Spare => Fate::Spared,
        };
        Ok(Some(Dismissed { session, tokens }))
    }
}

fn tokens_of(session: &Summary, stay: &[Summary]) -> Tokens {
    let shared = session.sid.is_some() && stay.iter().any(|other| other.sid == session.sid);
    if shared {
        Tokens::Spare
    } else {
        Tokens::Revoke
    }
}
