//! The token endpoint (RFC 6749 sections 3.2, 4.1.3, 6; RFC 7636 section 4.6; RFC 8628 section 3.4).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::client::{self, Client};
use super::faults::Fault;
use super::grants::{Authorized, CodeError, FamilyId, RefreshError, Swap};
use super::journal::{Event, Kind};
use super::keys::random_text;
use super::ledger::Step;
use super::mint::Occasion;
use super::people::Person;
use super::{Provider, lock};
use crate::demo::http::{Answer, Body, Params, json, reply};

/// Why there are no tokens (RFC 6749 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidGrant(&'static str),
    UnsupportedGrant,
    Device(&'static str),
    Server,
}

/// The error as an answer.
pub(super) fn denied(error: TokenError) -> Response<Body> {
    let (status, code, why) = match error {
        TokenError::InvalidRequest(why) => (StatusCode::BAD_REQUEST, "invalid_request", why),
        TokenError::InvalidClient => (
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "unknown client or wrong secret",
        ),
        TokenError::InvalidGrant(why) => (StatusCode::BAD_REQUEST, "invalid_grant", why),
        TokenError::UnsupportedGrant => (
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            "grant_type",
        ),
        TokenError::Device(code) => (StatusCode::BAD_REQUEST, code, "device code"),
        TokenError::Server => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "something is broken here",
        ),
    };
    let mut response = json(status, &json!({ "error": code, "error_description": why }));
    if status == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"development\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

/// An answer on its way: one that never leaves is noted too, also when the client hangs up first.
struct Sending<'a> {
    provider: &'a Provider,
    family: Option<FamilyId>,
    left: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Some(family) = self.family else { return };
        let step = if self.left {
            Step::Answered
        } else {
            Step::AnswerLost
        };
        let now = self.provider.options.clock.now();
        lock(&self.provider.grants).write_down(family, step, now);
    }
}

fn slow_answer(fault: &Fault) -> Option<Duration> {
    if let Fault::SlowAnswer(by) = fault {
        Some(*by)
    } else {
        None
    }
}

impl Provider {
    /// POST `/token`.
    pub(super) async fn token(&self, request: Request<Incoming>) -> Answer {
        let headers = request.headers().clone();
        let Ok(form) = Params::form(request).await else {
            return Some(denied(TokenError::InvalidRequest(
                "not a form, or a parameter twice",
            )));
        };
        if self.faults.shows(&Fault::Reset) {
            return None;
        }
        if let Some(response) = self.spoiled_answer() {
            return Some(response);
        }
        let refresh = form.find("grant_type") == Some("refresh_token");
        let _under_way = refresh.then(|| self.refreshes.begin());
        let clients = self.clients();
        let granted = client::authenticate(&clients, &headers, &form)
            .ok_or(TokenError::InvalidClient)
            .and_then(|client| self.grant(client, &form));
        let (family, answer) = match granted {
            Ok((family, tokens)) => (Some(family), json(StatusCode::OK, &tokens)),
            Err(error) => (None, denied(error)),
        };
        let mut sending = Sending {
            provider: self,
            family,
            left: false,
        };
        if let Some(by) = self.faults.find(slow_answer) {
            tokio::time::sleep(by).await;
        }
        if self.faults.shows(&Fault::LostAnswer) {
            return None;
        }
        sending.left = true;
        Some(answer)
    }

    /// What the faults answer in place of the endpoint, with nothing done.
    fn spoiled_answer(&self) -> Option<Response<Body>> {
        let after = self.faults.find(|fault| {
            if let Fault::TooMany(after) = fault {
                Some(*after)
            } else {
                None
            }
        });
        if let Some(after) = after {
            return Some(too_many(after));
        }
        let shows = |fault| self.faults.shows(&fault);
        if shows(Fault::TokenError) {
            Some(denied(TokenError::Server))
        } else if shows(Fault::Garbage) {
            Some(reply(StatusCode::OK, "text/html", "<p>It works!</p>"))
        } else if shows(Fault::InvalidGrant) {
            let why = "Token is not active";
            Some(denied(TokenError::InvalidGrant(why)))
        } else if shows(Fault::InvalidClient) {
            Some(denied(TokenError::InvalidClient))
        } else {
            None
        }
    }

    fn grant(&self, client: &Client, form: &Params) -> Result<(FamilyId, Value), TokenError> {
        match form.find("grant_type") {
            Some("authorization_code") => self.exchange(client, form),
            Some("refresh_token") => self.refresh(client, form),
            Some("urn:ietf:params:oauth:grant-type:device_code") => self.poll(client, form),
            Some(_) => Err(TokenError::UnsupportedGrant),
            None => Err(TokenError::InvalidRequest("Missing parameter: grant_type")),
        }
    }

    fn exchange(&self, client: &Client, form: &Params) -> Result<(FamilyId, Value), TokenError> {
        let code = form
            .find("code")
            .ok_or(TokenError::InvalidRequest("code"))?;
        let verifier = form.find("code_verifier").unwrap_or_default();
        let redeemed = lock(&self.grants).redeem(
            code,
            &client.id,
            form.find("redirect_uri"),
            &URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())),
            self.options.clock.now(),
        );
        match redeemed {
            Ok((family, authorized)) => {
                self.note(Event::Exchanged(authorized.sso.person.name));
                let tokens = self.tokens(family, &authorized, Occasion::Login)?;
                Ok((family, tokens))
            }
            Err(error) => {
                if error == CodeError::Replayed {
                    self.note(Event::CodeReplayed);
                }
                Err(TokenError::InvalidGrant(code_objection(error)))
            }
        }
    }

    fn refresh(&self, client: &Client, form: &Params) -> Result<(FamilyId, Value), TokenError> {
        let token = form
            .find("refresh_token")
            .ok_or(TokenError::InvalidRequest("No refresh token"))?;
        let Swap {
            family,
            authorized,
            count,
        } = self.swap(token, &client.id)?;
        self.note(Event::Refreshed {
            person: authorized.sso.person.name,
            count,
        });
        let tokens = self.tokens(family, &authorized, Occasion::Refresh)?;
        Ok((family, tokens))
    }

    /// Spends a refresh token, or says what is wrong with it.
    pub(super) fn swap(&self, token: &str, client: &str) -> Result<Swap, TokenError> {
        let keep = self.faults_keep_refresh_token();
        let now = self.options.clock.now();
        let swapped = lock(&self.grants).swap(token, client, keep, now);
        swapped.map_err(|error| {
            let why = refresh_objection(error);
            self.note(match error {
                RefreshError::Reused(person) => Event::Reused(person.name),
                RefreshError::Unknown
                | RefreshError::Expired
                | RefreshError::Dead
                | RefreshError::OtherClient => Event::RefreshRefused(why),
            });
            TokenError::InvalidGrant(why)
        })
    }

    fn faults_keep_refresh_token(&self) -> bool {
        !self.options.rotates || self.faults.peeks(&Fault::NoRefreshToken)
    }

    /// A successful answer (RFC 6749 section 5.1) with Keycloak's additions.
    pub(super) fn tokens(
        &self,
        family: FamilyId,
        authorized: &Authorized,
        occasion: Occasion,
    ) -> Result<Value, TokenError> {
        self.answer_with_tokens(family, authorized, occasion)
            .map_err(|_| TokenError::Server)
    }

    fn answer_with_tokens(
        &self,
        family: FamilyId,
        authorized: &Authorized,
        occasion: Occasion,
    ) -> Result<Value, aws_lc_rs::error::Unspecified> {
        let person = self.person_for(authorized, occasion);
        let access_token = self.access_token(person, authorized, Some(family))?;
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self.access_token_life().as_secs(),
            "scope": authorized.scopes.join(" "),
            "session_state": authorized.sso.sid,
        });
        let refreshing = occasion == Occasion::Refresh;
        let mut put = |name: &str, value: Value| {
            if let Some(answer) = answer.as_object_mut() {
                answer.insert(name.to_owned(), value);
            }
        };
        if !(refreshing && self.keeps_refresh_token_to_itself()) {
            put(
                "refresh_token",
                json!(self.refresh_token(family, occasion)?),
            );
            let lifetime = self.options.refresh_token_ttl.as_secs();
            put("refresh_expires_in", json!(lifetime));
        }
        let asked = authorized.scopes.iter().any(|scope| scope == "openid");
        if asked && !(refreshing && self.faults.shows(&Fault::NoIdToken)) {
            let id_token = self.id_token(person, authorized, &access_token, occasion)?;
            put("id_token", json!(id_token));
        }
        if self.faults.shows(&Fault::NoExpiresIn)
            && let Some(answer) = answer.as_object_mut()
        {
            answer.remove("expires_in");
        }
        Ok(answer)
    }

    fn keeps_refresh_token_to_itself(&self) -> bool {
        !self.options.rotates || self.faults.shows(&Fault::NoRefreshToken)
    }

    fn person_for(&self, authorized: &Authorized, occasion: Occasion) -> &'static Person {
        let person = authorized.sso.person;
        if occasion == Occasion::Refresh && self.faults.shows(&Fault::WrongSubject) {
            let other = super::people::PEOPLE.iter().find(|p| p.name != person.name);
            return other.unwrap_or(person);
        }
        person
    }

    fn refresh_token(
        &self,
        family: FamilyId,
        occasion: Occasion,
    ) -> Result<String, aws_lc_rs::error::Unspecified> {
        let token = random_text(48)?;
        let expires = self.options.clock.now() + self.options.refresh_token_ttl;
        let mut grants = lock(&self.grants);
        grants.add_refresh(token.clone(), family, expires);
        if occasion == Occasion::Refresh && self.faults.shows(&Fault::RotatesTwice) {
            grants.spend(&token);
        }
        drop(grants);
        self.issue(Kind::Refresh, &token);
        Ok(token)
    }
}

fn too_many(after: Duration) -> Response<Body> {
    let error = json!({ "error": "slow_down", "error_description": "too many requests" });
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, &error);
    let after = HeaderValue::from(after.as_secs());
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}

fn code_objection(error: CodeError) -> &'static str {
    match error {
        CodeError::Unknown | CodeError::Replayed => "Code not valid",
        CodeError::Expired => "Code has expired",
        CodeError::OtherClient => "Auth error: the code was given to another client",
        CodeError::RedirectUri => "Incorrect redirect_uri",
        CodeError::Verifier => "PKCE verification failed",
    }
}

fn refresh_objection(error: RefreshError) -> &'static str {
    match error {
        RefreshError::Unknown => "Invalid refresh token",
        RefreshError::Expired => "Token is not active",
        RefreshError::Dead => "Session doesn't have required client",
        RefreshError::Reused(_) => "Maximum allowed refresh token reuse exceeded",
        RefreshError::OtherClient => {
            "Invalid refresh token. Token client and authorized client don't match"
        }
    }
}
