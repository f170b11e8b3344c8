//! GET, POST `/callback`: the provider's answer to a sign-in. Either a session begins, or the tokens are given back; and
//! whoever comes here with a stale, foreign or repeated answer is led on, never into a dead end.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::json;

use super::Endpoints;
use super::answer::{see_other, with_cookies};
use super::ask::Ask;
use super::login_state::{Flow, FlowId, State, is_fresh};
use super::return_to::ReturnTo;
use super::start::Plan;
use crate::clock::Timestamp;
use crate::credential::cookie;
use crate::issuer::{self, Issuer, Salvage};
use crate::refusal::Refusal;
use crate::session::{self, Login, Unbegun};
use crate::telemetry::audit::Event;
use crate::telemetry::metrics::LoginOutcome;
use crate::token::{Grant, SessionCookie};
use crate::verify::{self, Expected, Held, IdClaims};

/// How often a sign-in is begun anew, in a row, because its cookie did not come back.
const RESTARTS: u8 = 1;

/// Why a sign-in came to nothing, as far as the person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// `error=access_denied` and its like: the person, or a rule there, said no.
    Declined,
    /// Any other error of the provider's.
    Provider,
    /// The answer is not the provider's that was asked (RFC 9207), or not to be understood.
    Answer,
    /// The code was refused: too old, or used before.
    Code,
    /// The ID token failed a check.
    Identity,
    /// The access token would be refused on every request.
    AccessToken,
    /// All of the person's sessions ended while this one was about to begin.
    Ended,
    /// The session does not fit into its cookie.
    TooLong,
}

impl Endpoints {
    pub(super) async fn callback(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let Some(state) = ask.query.value("state") else {
            return Ok(self.failed(ask, Failure::Answer, &ReturnTo::start_page(&ask.here)));
        };
        let (id, state) = State::read(state, &self.keys);
        let now = self.clock.now();
        let name = &self.settings.cookie;
        let flow = id.and_then(|id| {
            let flow = Flow::of(&ask.headers, &id, name, &self.keys, now)?;
            Some((id, flow))
        });
        let Some((id, flow)) = flow else {
            return self.stale(ask, state).await;
        };
        if !self.spent.spend(&id) {
            return self.stale(ask, state).await;
        }
        let rd = ReturnTo::read(Some(&flow.rd), &self.settings.site, &ask.here);
        let response = self.finish(ask, &id, &flow, &rd).await;
        if let Some(outcome) = outcome(&response) {
            self.metrics.login(&flow.idp, outcome);
            self.note_refused(ask, &flow.idp, outcome);
        }
        Ok(with_cookies(response?, [cookie::clear(&id.cookie(name))]))
    }

    fn note_refused(&self, ask: &Ask, idp: &str, outcome: LoginOutcome) {
        // A session that begins is noted by whoever knows it.
        let begun = [LoginOutcome::SignedIn, LoginOutcome::AlreadySignedIn];
        if !begun.contains(&outcome) {
            self.audit.note(&Event::SignInRefused {
                idp,
                why: outcome.word(),
                caller: ask.caller(),
            });
        }
    }

    /// A provider that answers by form has the browser POST from its own site, without our cookies (`SameSite=Lax`): the
    /// same by GET brings them. That is where the code would be by default, and no address of ours is ever logged or told on.
    pub(super) fn callback_by_form(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        const KEPT: [&str; 4] = ["code", "state", "iss", "error"];
        let kept: Vec<_> = KEPT
            .into_iter()
            .filter_map(|name| Some((name, ask.form.value(name)?)))
            .collect();
        if kept.is_empty() {
            return Err(Refusal::Malformed("This is no answer to a sign-in."));
        }
        let site = &self.settings.site;
        Ok(see_other(&site.endpoint(&ask.here, "/callback", &kept)))
    }

    /// An answer whose sign-in this browser knows nothing of: repeated, too late, begun in another browser, or by somebody
    /// else. It is worth nothing; but the person wants to go somewhere.
    async fn stale(&self, ask: &Ask, state: Option<State>) -> Result<Response<String>, Refusal> {
        let site = &self.settings.site;
        let rd = state.as_ref().map(|state| state.rd.as_str());
        let rd = ReturnTo::read(rd, site, &ask.here);
        if self.is_signed_in(ask).await {
            return Ok(see_other(&rd.location()));
        }
        let Some(state) = state.filter(|_| ask.query.value("error").is_none()) else {
            return Ok(self.failed(ask, Failure::Answer, &rd));
        };
        // One that lay about for longer says nothing of this browser's cookies.
        let fresh = is_fresh(state.created, self.clock.now());
        let attempt = if fresh { state.attempt } else { 0 };
        if attempt >= RESTARTS {
            let again = site.endpoint(rd.origin(), "/start", &[("rd", rd.path())]);
            return Ok(self.pages.render(
                StatusCode::BAD_REQUEST,
                "cookies_blocked.html",
                json!({ "again": again }),
            ));
        }
        let Some(idp) = self.idp(&state.idp) else {
            return Ok(self.failed(ask, Failure::Answer, &rd));
        };
        let plan = Plan {
            idp,
            rd: &rd,
            attempt: attempt + 1,
            wishes: Vec::new(),
        };
        self.begin(ask, &plan).await
    }

    async fn finish(
        &self,
        ask: &Ask,
        id: &FlowId,
        flow: &Flow,
        rd: &ReturnTo,
    ) -> Result<Response<String>, Refusal> {
        let Some(idp) = self.idp(&flow.idp) else {
            return Ok(self.failed(ask, Failure::Answer, rd));
        };
        if !self.is_from(ask, idp, id).await? {
            tracing::warn!(idp = %flow.idp, check = "iss", "a sign-in was refused: its answer is not this provider's");
            return Ok(self.failed(ask, Failure::Answer, rd));
        }
        let code = match (ask.query.value("code"), ask.query.value("error")) {
            (Some(code), None) => code,
            (None, Some(error)) => return self.unwilling(ask, flow, rd, error).await,
            (None, None) | (Some(_), Some(_)) => {
                return Ok(self.failed(ask, Failure::Answer, rd));
            }
        };
        // Tokens that can't be checked would have to be revoked, and with the first of them some providers (Keycloak) end the
        // person's session there.
        if let Err(error) = self.verifier.ready(&flow.idp).await {
            self.spent.give_back(id);
            return Err(Refusal::SessionToken(error));
        }
        if !self.sessions.can_begin() {
            self.spent.give_back(id);
            return Err(Refusal::Session(session::Error::Store(
                session::StoreError {
                    what: "a session can't be begun now",
                    source: None,
                },
            )));
        }
        let requested = self.clock.now();
        let grant = idp
            .exchange(code, &flow.verifier, &self.redirect_uri(&ask.here))
            .await;
        match grant {
            Ok(grant) => self.admit(ask, idp, flow, rd, (grant, requested)).await,
            Err(error) => self.no_grant(ask, idp, id, rd, error),
        }
    }

    /// RFC 9207 section 2.4: the answer of another provider than the one that was asked is a mix-up attack.
    async fn is_from(&self, ask: &Ask, idp: &Issuer, id: &FlowId) -> Result<bool, Refusal> {
        if let Some(iss) = ask.query.value("iss") {
            return Ok(iss == &*idp.settings().issuer);
        }
        match idp.metadata().await {
            Ok(metadata) => Ok(!metadata.response_iss),
            Err(error) => {
                self.spent.give_back(id);
                Err(Refusal::Provider(error))
            }
        }
    }

    /// `error=…`. Its text is the provider's, or an attacker's: it is neither shown nor logged, only known codes count.
    async fn unwilling(
        &self,
        ask: &Ask,
        flow: &Flow,
        rd: &ReturnTo,
        error: &str,
    ) -> Result<Response<String>, Refusal> {
        let wants_person = matches!(
            error,
            "login_required"
                | "interaction_required"
                | "consent_required"
                | "account_selection_required"
        );
        if let (true, true, Some(idp)) = (flow.silent, wants_person, self.idp(&flow.idp)) {
            let plan = Plan {
                idp,
                rd,
                attempt: flow.attempt,
                wishes: Vec::new(),
            };
            return self.begin(ask, &plan).await;
        }
        let failure = if error == "access_denied" {
            Failure::Declined
        } else {
            Failure::Provider
        };
        Ok(self.failed(ask, failure, rd))
    }

    fn no_grant(
        &self,
        ask: &Ask,
        idp: &Arc<Issuer>,
        id: &FlowId,
        rd: &ReturnTo,
        error: issuer::Error,
    ) -> Result<Response<String>, Refusal> {
        let name = &idp.settings().name;
        match error {
            issuer::Error::Refused { .. } => {
                tracing::info!(idp = %name, %error, "a sign-in's code was refused");
                Ok(self.failed(ask, Failure::Code, rd))
            }
            issuer::Error::Client { .. } => {
                tracing::error!(idp = %name, %error, "sign-in is impossible: check client_id, client_secret and client_auth");
                Ok(self.failed(ask, Failure::Provider, rd))
            }
            issuer::Error::Unusable {
                ref salvage,
                ref reason,
            } => {
                tracing::error!(idp = %name, %reason, "a sign-in's tokens can't be used");
                self.sessions.discard(name, salvage);
                Ok(self.failed(ask, Failure::Provider, rd))
            }
            issuer::Error::Unavailable { .. } => {
                self.spent.give_back(id);
                Err(Refusal::Provider(error))
            }
            issuer::Error::Unknown { .. } | issuer::Error::NotOffered(_) => {
                Err(Refusal::Provider(error))
            }
        }
    }

    /// Verifies all that came since it was requested; then, and only then, a session begins.
    async fn admit(
        &self,
        ask: &Ask,
        idp: &Arc<Issuer>,
        flow: &Flow,
        rd: &ReturnTo,
        (grant, requested): (Grant, Timestamp),
    ) -> Result<Response<String>, Refusal> {
        let name = &idp.settings().name;
        let claims = match self.identity(flow, &grant).await {
            Ok(claims) => claims,
            Err(error) => return self.not_admitted(ask, idp, rd, &grant, error),
        };
        // What was revoked before it was asked for is not meant.
        let fresh = Held {
            obtained: Some(requested),
            grace: None,
        };
        let token = &grant.access_token;
        if let Err(error) = self.verifier.verify_held(token, fresh).await {
            let error = Unfit::Access(error);
            return self.not_admitted(ask, idp, rd, &grant, error);
        }
        let held = cookie::session(&ask.headers, &self.settings.cookie);
        if let (Some(id), false) = (&held, flow.signed_in) {
            // Another tab of this browser was faster: its pages are loading with the session that it got.
            if let Some(same) = self.same_person(id, name, &claims).await {
                if same == SameSession::No {
                    self.discard(name, &grant);
                }
                let response = see_other(&rd.location());
                return Ok(ended_as(LoginOutcome::AlreadySignedIn, response));
            }
        }
        let login = Login {
            idp: Arc::clone(name),
            grant,
            id_claims: claims,
            user_agent: ask.user_agent(),
            address: ask.address,
            requested,
            replaces: held,
        };
        let subject = Arc::clone(&login.id_claims.subject);
        let begun = match self.sessions.begin(login).await {
            Ok(begun) => begun,
            Err(Unbegun::Store(error)) => {
                return Err(Refusal::Session(session::Error::Store(error)));
            }
            Err(error @ Unbegun::TooLong { .. }) => {
                tracing::error!(idp = %name, %error,
                    "a sign-in was refused: the provider's refresh token does not fit into a cookie; choose another session.store");
                return Ok(self.failed(ask, Failure::TooLong, rd));
            }
        };
        tracing::info!(idp = %name, %subject, "signed in");
        self.audit.note(&Event::SignIn {
            idp: name,
            user: &subject,
            session: self.sessions.hash(&begun).as_ref(),
            caller: ask.caller(),
        });
        let session = cookie::set(&self.settings.cookie, &begun.encode());
        let response = with_cookies(see_other(&rd.location()), [session]);
        Ok(ended_as(LoginOutcome::SignedIn, response))
    }

    /// OpenID Connect Core section 3.1.3.7, with the nonce of this very browser.
    async fn identity(&self, flow: &Flow, grant: &Grant) -> Result<IdClaims, Unfit> {
        let token = grant.id_token.as_ref().ok_or(Unfit::Anonymous)?;
        let expected = Expected {
            idp: &flow.idp,
            nonce: Some(&flow.nonce),
            subject: None,
            access_token: &grant.access_token,
        };
        let claims = self.verifier.verify_id_token(token, &expected).await;
        claims.map_err(Unfit::Identity)
    }

    fn not_admitted(
        &self,
        ask: &Ask,
        idp: &Arc<Issuer>,
        rd: &ReturnTo,
        grant: &Grant,
        error: Unfit,
    ) -> Result<Response<String>, Refusal> {
        let idp = &idp.settings().name;
        self.discard(idp, grant);
        match error {
            Unfit::Anonymous => {
                tracing::error!(%idp, "a sign-in brought no ID token: is `openid` among the scopes?");
                Ok(self.failed(ask, Failure::Identity, rd))
            }
            Unfit::Identity(verify::Error::Invalid(check)) => {
                tracing::warn!(%idp, check, "a sign-in was refused: its ID token is not valid");
                Ok(self.failed(ask, Failure::Identity, rd))
            }
            Unfit::Access(verify::Error::Invalid(check)) => {
                tracing::error!(%idp, check,
                    "a sign-in was refused: [idp.access_token] does not accept this provider's access tokens");
                Ok(self.failed(ask, Failure::AccessToken, rd))
            }
            Unfit::Access(verify::Error::Revoked) => {
                tracing::warn!(%idp, "a sign-in was refused: what it brought has been revoked meanwhile");
                Ok(self.failed(ask, Failure::Ended, rd))
            }
            Unfit::Identity(error) | Unfit::Access(error) => Err(Refusal::SessionToken(error)),
        }
    }

    /// Whether the session behind `cookie` is live and this person's; and if so, whether it is of the same session at the
    /// provider, whose tokens must then not be revoked: some (Keycloak) would end the other's too.
    async fn same_person(
        &self,
        cookie: &SessionCookie,
        idp: &str,
        claims: &IdClaims,
    ) -> Option<SameSession> {
        let live = self.sessions.standing(cookie).await.ok()?.live;
        if *live.idp != *idp || live.subject != claims.subject {
            return None;
        }
        let sid = live.claims.get("sid").and_then(|sid| sid.as_str());
        let same = sid.is_some() && sid == claims.sid.as_deref();
        Some(if same {
            SameSession::Yes
        } else {
            SameSession::No
        })
    }

    fn discard(&self, idp: &Arc<str>, grant: &Grant) {
        let salvage = Salvage {
            access_token: Some(grant.access_token.clone()),
            refresh_token: grant.refresh_token.clone(),
        };
        self.sessions.discard(idp, &salvage);
    }

    fn failed(&self, ask: &Ask, failure: Failure, rd: &ReturnTo) -> Response<String> {
        let again = self
            .settings
            .site
            .endpoint(&ask.here, "/start", &[("rd", rd.path())]);
        let context = json!({
            "title": "You could not be signed in",
            "text": failure.text(),
            "action": { "url": again, "label": "Try again" },
        });
        let page = self.pages.render(failure.status(), "problem.html", context);
        ended_as(failure.outcome(), page)
    }
}

/// Notes on an answer what the sign-in came to: to be counted in one place.
fn ended_as(outcome: LoginOutcome, mut response: Response<String>) -> Response<String> {
    response.extensions_mut().insert(outcome);
    response
}

/// What a sign-in came to; nothing when it goes on.
fn outcome(response: &Result<Response<String>, Refusal>) -> Option<LoginOutcome> {
    match response {
        Ok(response) => response.extensions().get().copied(),
        Err(Refusal::Session(_)) => Some(LoginOutcome::StoreFailed),
        Err(_) => Some(LoginOutcome::Unavailable),
    }
}

/// What is wrong with a grant.
enum Unfit {
    /// It has no ID token.
    Anonymous,
    Identity(verify::Error),
    Access(verify::Error),
}

/// Whether two sessions here belong to one at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SameSession {
    Yes,
    No,
}

impl Failure {
    fn outcome(self) -> LoginOutcome {
        match self {
            Self::Declined => LoginOutcome::Declined,
            Self::Provider => LoginOutcome::ProviderError,
            Self::Answer => LoginOutcome::BadAnswer,
            Self::Code => LoginOutcome::CodeRefused,
            Self::Identity => LoginOutcome::BadIdToken,
            Self::AccessToken => LoginOutcome::BadAccessToken,
            Self::Ended => LoginOutcome::Ended,
            Self::TooLong => LoginOutcome::StoreFailed,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Declined | Self::Ended => StatusCode::FORBIDDEN,
            Self::Answer | Self::Code => StatusCode::BAD_REQUEST,
            Self::Provider | Self::Identity | Self::AccessToken | Self::TooLong => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Declined => "The sign-in was declined.",
            Self::Provider => "The sign-in service reported an error.",
            Self::Answer => {
                "This sign-in was not begun in this browser, or its answer can't be understood."
            }
            Self::Ended => "You were signed out everywhere while you signed in here.",
            Self::Code => "The sign-in took too long, or was used already.",
            Self::Identity => "What the sign-in service said about you could not be verified.",
            Self::TooLong => {
                "You are signed in at the sign-in service, but what it issues does not fit into a cookie, where this gateway \
                 is configured to keep sessions. Whoever runs it finds the reason in its log."
            }
            Self::AccessToken => {
                "You are signed in at the sign-in service, but the gateway is not configured to accept what it \
                 issues. Whoever runs this gateway finds the reason in its log."
            }
        }
    }
}
