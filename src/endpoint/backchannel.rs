//! POST `/backchannel_logout`: the provider says, from server to server, that its session is over (OpenID Connect
//! Back-Channel Logout). What proves it is the logout token alone: no cookie is looked at, and any host of ours will do.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::Endpoints;
use super::answer::json;
use super::ask::Ask;
use crate::clock::Timestamp;
use crate::refusal::Refusal;
use crate::session::{EndReason, StoreError, Whose};
use crate::telemetry::audit::Event;
use crate::verify::{self, Criterion, LoggedOut, LogoutToken};

/// A refresh that races the logout still succeeds at Keycloak, while it waits for our answer.
const STILL_ISSUES: Duration = Duration::from_secs(5);
/// Providers wait two and a half seconds (oidc-provider) or five (Keycloak), one user's sessions after another.
const PATIENCE: Duration = Duration::from_secs(2);

/// Logout tokens that are being acted on: of one that comes twice at once, one is too many.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashSet<Criterion>>);

/// Held by who acts on a token.
struct Turn<'a>(&'a UnderWay, Criterion);

impl UnderWay {
    fn take(&self, id: Criterion) -> Option<Turn<'_>> {
        self.set().insert(id).then_some(Turn(self, id))
    }

    fn set(&self) -> MutexGuard<'_, HashSet<Criterion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set().remove(&self.1);
    }
}

impl Endpoints {
    pub(super) async fn backchannel_logout(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let Some(token) = ask.form.value("logout_token") else {
            return Ok(self.refused("there is no logout_token", ask));
        };
        let token = match self.verifier.verify_logout_token(token).await {
            Ok(token) => token,
            Err(verify::Error::Invalid(why)) => return Ok(self.refused(why, ask)),
            Err(
                error @ (verify::Error::KeysUnavailable(_)
                | verify::Error::Revoked
                | verify::Error::RevocationsUnknown),
            ) => {
                tracing::error!(%error, "a logout at the identity provider is not heeded");
                return Err(error.into());
            }
        };
        let turn = self.logouts.take(token.id);
        if turn.is_none() || self.has_come_before(&token) {
            return Ok(self.refused("the logout token was used before", ask));
        }
        match self.log_out(&token).await {
            Ok(()) => Ok(Response::new(String::new())),
            Err(error) => Ok(unsaved(&error)),
        }
    }

    fn has_come_before(&self, token: &LogoutToken) -> bool {
        let refused = self.verifier.refused();
        // Whenever that one was issued.
        refused.refuses(&token.id, Timestamp::default(), self.clock.now())
    }

    /// Durable when this returns, the token's being used too. A failure leaves the token unused, so that a provider that tries
    /// again is heard; the sessions' end is tried again in any case.
    async fn log_out(&self, token: &LogoutToken) -> Result<(), StoreError> {
        let idp = token.idp.clone();
        let now = self.clock.now();
        let (whose, issued_by) = match &token.of {
            LoggedOut::Session { sid, subject } => {
                let (sid, subject) = (sid.clone(), subject.clone());
                let whose = Whose::ProviderSession { idp, sid, subject };
                (whose, now + STILL_ISSUES)
            }
            LoggedOut::User(subject) => {
                let subject = subject.clone();
                (Whose::User { idp, subject }, now)
            }
        };
        let ending = self
            .sessions
            .end_all(whose, EndReason::BackChannel, issued_by);
        let ended = timeout(PATIENCE, ending).await.map_err(slow)??;
        let spent = verify::Refusal {
            criterion: token.id,
            issued_by: token.issued,
            until: token.until,
        };
        self.sessions.refuse(vec![spent]).await?;
        tracing::info!(idp = %token.idp, sessions = ended, "the identity provider has signed somebody out");
        let (user, session_there) = match &token.of {
            LoggedOut::Session { sid, .. } => (None, Some(&**sid)),
            LoggedOut::User(subject) => (Some(&**subject), None),
        };
        self.audit.note(&Event::BackchannelLogout {
            idp: &token.idp,
            user,
            session_there,
            ended,
        });
        Ok(())
    }

    fn refused(&self, why: &'static str, ask: &Ask) -> Response<String> {
        let caller = ask.caller();
        self.audit
            .note(&Event::BackchannelLogoutRefused { why, caller });
        invalid(why)
    }
}

/// What can't be read is no logout request (section 2.8).
pub(super) fn unreadable(refusal: Refusal) -> Result<Response<String>, Refusal> {
    if let Refusal::Malformed(why) = refusal {
        return Ok(invalid(why));
    }
    if matches!(refusal, Refusal::TooLarge) {
        return Ok(invalid("it is too large"));
    }
    Err(refusal)
}

/// Section 2.8. The text says which check failed, and nothing of the token.
fn invalid(why: &'static str) -> Response<String> {
    tracing::debug!(why, "a logout token is refused");
    let mut response = json(&json!({ "error": "invalid_request", "error_description": why }));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// What is in this process' memory has ended, and the rest is tried again whether or not the provider is.
fn unsaved(error: &StoreError) -> Response<String> {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a logout at the identity provider can't be saved: it is tried again"
    );
    let mut response = json(&json!({
        "error": "temporarily_unavailable",
        "error_description": "the logout could not be saved yet",
    }));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let soon = HeaderValue::from_static("2");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

fn slow(source: tokio::time::error::Elapsed) -> StoreError {
    StoreError {
        what: "sessions did not end in time",
        source: Some(Box::new(source)),
    }
}
