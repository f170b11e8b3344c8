//! One thing that a provider must be told: what it is, for how long, and as the store keeps it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::HOLD;
use crate::clock::Timestamp;
use crate::issuer::{self, Revocable, Salvage};
use crate::seal::{Keyring, Purpose};
use crate::session::Settings;
use crate::session::provider::Endpoint;
use crate::session::store::{Debt, DebtId};
use crate::telemetry::metrics::{RevocationOutcome, RevocationSource, RevocationTarget};
use crate::token::{AccessToken, Grant, RefreshToken};

/// Something that a provider must be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::session) struct Owed {
    #[serde(skip, default = "random_id")]
    pub(in crate::session) id: DebtId,
    pub(super) idp: Arc<str>,
    #[serde(rename = "token")]
    pub(super) what: What,
    pub(super) since: Timestamp,
    /// After this it is dropped: it has expired by itself, or was retried for long enough.
    pub(super) until: Timestamp,
    #[serde(default)]
    pub(super) source: RevocationSource,
    #[serde(skip)]
    pub(super) tries: u32,
    #[serde(skip)]
    pub(super) next: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A token is to be revoked (RFC 7009).
    Refresh(RefreshToken),
    /// See [`What::Refresh`].
    Access(AccessToken),
    /// All that a user has there through this gateway's client is to be ended.
    User(Arc<str>),
}

impl Owed {
    /// A refresh token, until it expires where that is known.
    pub(in crate::session) fn refresh(
        idp: &Arc<str>,
        token: RefreshToken,
        expires: Option<Timestamp>,
        term: &Term,
    ) -> Self {
        let expires = expires.unwrap_or(Timestamp::MAX);
        Self::new(idp, What::Refresh(token), expires, term)
    }

    /// An access token, until it expires where that is known.
    pub(in crate::session) fn access(
        idp: &Arc<str>,
        token: AccessToken,
        expires: Option<Timestamp>,
        term: &Term,
    ) -> Self {
        let expires = expires.unwrap_or(Timestamp::MAX);
        Self::new(idp, What::Access(token), expires, term)
    }

    /// A token that a client brought: owed once, however often it does.
    pub(in crate::session) fn once(
        idp: &Arc<str>,
        token: Revocable,
        expires: Option<Timestamp>,
        term: &Term,
    ) -> Self {
        let owed = match token {
            Revocable::Refresh(token) => Self::refresh(idp, token, expires, term),
            Revocable::Access(token) => Self::access(idp, token, expires, term),
        };
        Self {
            id: owed.lasting_id(),
            ..owed
        }
    }

    /// Of a token: the same whenever it is owed.
    fn lasting_id(&self) -> DebtId {
        let text = match &self.what {
            What::Refresh(token) => token.expose(),
            What::Access(token) => token.expose(),
            What::User(subject) => subject,
        };
        let digest = digest(&SHA256, format!("owed {}\0{text}", self.idp).as_bytes());
        digest
            .as_ref()
            .first_chunk()
            .copied()
            .map_or_else(random_id, DebtId)
    }

    /// All that a user has at a provider.
    pub(super) fn user(idp: &Arc<str>, subject: Arc<str>, term: &Term) -> Self {
        Self::new(idp, What::User(subject), Timestamp::MAX, term)
    }

    /// Both tokens of an answer that nobody may use.
    pub(in crate::session) fn all_of(idp: &Arc<str>, grant: Grant, term: &Term) -> Vec<Self> {
        let refresh = grant
            .refresh_token
            .map(|token| Self::refresh(idp, token, grant.refresh_expires, term));
        let access = Self::access(idp, grant.access_token, grant.access_expires, term);
        refresh.into_iter().chain([access]).collect()
    }

    /// What could be read of an answer that can't be used.
    pub(super) fn salvaged(idp: &Arc<str>, salvage: &Salvage, term: &Term) -> Vec<Self> {
        let refresh = salvage.refresh_token.clone();
        let access = salvage.access_token.clone();
        let refresh = refresh.map(|token| Self::refresh(idp, token, None, term));
        let access = access.map(|token| Self::access(idp, token, None, term));
        refresh.into_iter().chain(access).collect()
    }

    fn new(idp: &Arc<str>, what: What, expires: Timestamp, term: &Term) -> Self {
        Self {
            id: random_id(),
            idp: Arc::clone(idp),
            what,
            since: term.from,
            until: expires.min(term.from + term.retry_for),
            source: term.source,
            tries: 0,
            next: term.from,
        }
    }

    /// Whether the configuration asks for it: `[logout] revoke` for tokens, a provider's `management` for users.
    pub(in crate::session) fn is_asked_for(&self, settings: &Settings) -> bool {
        match self.what {
            What::Refresh(_) => settings.revoke_refresh_token,
            What::Access(_) => settings.revoke_access_token,
            What::User(_) => true,
        }
    }

    /// Whether it is a refresh token.
    pub(in crate::session) fn is_refresh(&self) -> bool {
        matches!(self.what, What::Refresh(_))
    }

    /// What one try at it is counted as.
    pub(super) fn counted(
        &self,
        outcome: RevocationOutcome,
    ) -> (RevocationSource, RevocationTarget, RevocationOutcome) {
        (self.source, self.target(), outcome)
    }

    pub(super) fn target(&self) -> RevocationTarget {
        match self.what {
            What::Refresh(_) => RevocationTarget::RefreshToken,
            What::Access(_) => RevocationTarget::AccessToken,
            What::User(_) => RevocationTarget::User,
        }
    }

    /// Tells the provider.
    pub(super) async fn pay_to(&self, provider: &dyn Endpoint) -> Result<(), issuer::Error> {
        match &self.what {
            What::Refresh(token) => provider.revoke(&Revocable::Refresh(token.clone())).await,
            What::Access(token) => provider.revoke(&Revocable::Access(token.clone())).await,
            What::User(subject) => provider.end_user(subject).await,
        }
    }

    /// It was tried in vain. That the provider refuses the gateway itself does not mend by waiting.
    pub(super) fn complain(&self, error: &issuer::Error) {
        let (idp, kind, tries) = (&self.idp, self.target(), self.tries + 1);
        let error_chain = error as &dyn std::error::Error;
        if matches!(error, issuer::Error::Client { .. }) {
            tracing::error!(%idp, ?kind, tries, error = error_chain,
                "a revocation stays owed: the identity provider refuses this gateway's client, so check its configuration");
        } else {
            tracing::warn!(%idp, ?kind, tries, error = error_chain, "a revocation stays owed");
        }
    }

    /// As the store keeps it, held by this process.
    pub(in crate::session) fn debt(&self, keys: &Keyring) -> Debt {
        let mut plain = Zeroizing::new(Vec::new());
        let written = serde_json::to_writer(&mut *plain, self);
        debug_assert!(written.is_ok(), "what is owed is always JSON");
        Debt {
            id: self.id,
            held_until: self.next + HOLD,
            expires: self.until,
            sealed: keys.seal(Purpose::Owed, &self.id.0, &plain),
        }
    }

    pub(super) fn open(debt: &Debt, keys: &Keyring) -> Option<Self> {
        let plain = keys.open(Purpose::Owed, &debt.id.0, &debt.sealed);
        let plain = Zeroizing::new(plain.ok()?);
        let owed: Self = serde_json::from_slice(&plain).ok()?;
        Some(Self {
            id: debt.id,
            ..owed
        })
    }
}

/// From when on, for how long, and why a revocation is tried.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Term {
    pub(in crate::session) from: Timestamp,
    pub(in crate::session) retry_for: Duration,
    pub(in crate::session) source: RevocationSource,
}

fn random_id() -> DebtId {
    let mut bytes = [0; 16];
    // aws-lc ends the process rather than fail; were it ever to, a debt would at worst take another's place.
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    debug_assert!(filled.is_ok(), "there are random bytes");
    DebtId(bytes)
}
