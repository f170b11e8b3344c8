//! What the revocation endpoint has done for its clients: a token is refused here, and the provider is told.

use std::sync::Arc;

use super::end::REVOCATION_WAIT;
use super::record::LATE;
use super::revoke::{Owed, outcome};
use super::{Revocation, Sessions, StoreError};
use crate::clock::Timestamp;
use crate::issuer::{self, Revocable};
use crate::telemetry::metrics::{RevocationOutcome, RevocationSource, RevocationTarget};
use crate::token::AccessToken;
use crate::verify::{Criterion, Refusal, Verified};

/// So much may be owed in all before clients are asked to come again: a provider that is down must not fill the memory with
/// whatever a client sends.
pub(super) const MOST_OWED: usize = 50_000;

/// Why a client's token is neither revoked nor going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrevoked {
    /// The provider said no to this very request: asking again would not help.
    #[error("the identity provider refused the request")]
    Refused,
    /// It can't be asked now, and so much is owed to it already that the client has to come again.
    #[error("more than {MOST_OWED} revocations are owed")]
    TooMuchOwed,
}

impl Sessions {
    /// Refuses one access token until it has ended by itself: here at once, on the other nodes as soon as they hear of it,
    /// and durably when this returns.
    ///
    /// # Errors
    /// As [`Sessions::refuse`].
    pub async fn refuse_token(
        self: &Arc<Self>,
        token: &AccessToken,
        verified: &Verified,
    ) -> Result<(), StoreError> {
        let refusal = Refusal {
            criterion: Criterion::token(token.expose()),
            issued_by: Timestamp::MAX,
            until: verified.expires + LATE,
        };
        self.refuse(vec![refusal]).await
    }

    /// Has a token revoked at its provider that a client of this gateway's own brought, for which this waits a bounded time;
    /// what has no answer by then is owed. The same token twice is owed once. `expires`: where that is known.
    ///
    /// # Errors
    /// See [`Unrevoked`].
    pub async fn revoke_for_client(
        self: &Arc<Self>,
        idp: &Arc<str>,
        token: Revocable,
        expires: Option<Timestamp>,
    ) -> Result<Revocation, Unrevoked> {
        let Some(provider) = self.idps.get(idp) else {
            return Ok(Revocation::NotOffered);
        };
        let asking = async {
            let _permit = provider.revocations.acquire().await;
            provider.endpoint.revoke(&token).await
        };
        let said = tokio::time::timeout(REVOCATION_WAIT, asking).await;
        let outcome = said.as_ref().map_or(RevocationOutcome::Failed, outcome);
        let answer = match said {
            Ok(Ok(())) => Ok(Revocation::Confirmed),
            Ok(Err(issuer::Error::NotOffered(_))) => Ok(Revocation::NotOffered),
            Ok(Err(issuer::Error::Refused { .. })) => Err(Unrevoked::Refused),
            Ok(Err(_)) | Err(_) => Ok(Revocation::Owed),
        };
        let target = match &token {
            Revocable::Refresh(_) => RevocationTarget::RefreshToken,
            Revocable::Access(_) => RevocationTarget::AccessToken,
        };
        let counted = (RevocationSource::Client, target, outcome);
        self.metrics.revocations.count(counted);
        if answer == Ok(Revocation::Owed) {
            self.owe_once(idp, token, expires).await?;
        }
        answer
    }

    async fn owe_once(
        &self,
        idp: &Arc<str>,
        token: Revocable,
        expires: Option<Timestamp>,
    ) -> Result<(), Unrevoked> {
        if self.debts.len() >= MOST_OWED {
            return Err(Unrevoked::TooMuchOwed);
        }
        let term = self.term(RevocationSource::Client);
        self.debts
            .take_up_once(Owed::once(idp, token, expires, &term));
        self.note_debts().await;
        Ok(())
    }
}
