//! The identity provider (IdP) as a client sees it: discovery, keys, token, revocation and logout endpoints
//! (OpenID Connect Discovery and RP-Initiated Logout, RFC 6749, 7009, 7636, 8414, 9207).
//!
//! It says nothing of sessions and routes, and verifies no token: that is `verify`'s.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::token::{AccessToken, Grant, IdToken, RefreshToken, Secret};

/// How the client authenticates at the token and revocation endpoints (RFC 6749 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// HTTP Basic with form-encoded parts (RFC 6749 section 2.3.1).
    SecretBasic,
    /// In the body.
    SecretPost,
    /// A public client: `client_id` in the body and nothing more.
    None,
}

/// What `[idp.NAME]` says about reaching the provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The section's name.
    pub name: Arc<str>,
    /// What people read on the sign-in page.
    pub label: Arc<str>,
    /// The issuer identifier, compared exactly.
    pub issuer: Arc<str>,
    /// Where discovery is read when the gateway reaches the provider under another name than browsers do.
    /// Back-channel endpoints that discovery names under the issuer's origin are then called at this URL's origin.
    pub discovery_url: Option<Url>,
    /// The client's identifier.
    pub client_id: Arc<str>,
    /// The client's secret; none for a public client.
    pub client_secret: Option<Secret>,
    /// How the client authenticates.
    pub client_auth: ClientAuth,
    /// Scopes to ask for; contains `openid`.
    pub scopes: Vec<String>,
    /// Extra parameters of the authorization request.
    pub authorize_params: Vec<(String, String)>,
    /// Where the provider's answer comes back to by default.
    pub max_answer_bytes: usize,
    /// How long one call may take in all.
    pub call_timeout: Duration,
}

/// What discovery said (OpenID Connect Discovery section 3), reduced to what the gateway uses.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Where browsers are sent to sign in.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are exchanged, as the gateway reaches it.
    pub token_endpoint: Url,
    /// Where the signing keys are, as the gateway reaches it.
    pub jwks_uri: Url,
    /// Where claims are (OpenID Connect Core section 5.3), as the gateway reaches it.
    pub userinfo_endpoint: Option<Url>,
    /// RFC 7009, as the gateway reaches it.
    pub revocation_endpoint: Option<Url>,
    /// RP-Initiated Logout, as browsers reach it.
    pub end_session_endpoint: Option<Url>,
    /// RFC 9207 section 3: whether every authorization response carries `iss`.
    pub response_iss: bool,
}

/// Why a call to the provider brought nothing. The difference between *gone* and *not now* is what sessions live by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The grant is dead for good (`invalid_grant`, or what this provider says in its place).
    #[error("the identity provider refused the grant: {error}")]
    Refused {
        /// The error code, printable and bounded.
        error: String,
    },
    /// The provider refuses the gateway itself (`invalid_client`, `unauthorized_client`): its configuration is wrong.
    #[error("the identity provider refused this client: {error}")]
    Client {
        /// The error code, printable and bounded.
        error: String,
    },
    /// Not now: refused connection, reset before anything was sent, DNS, TLS, 429, 5xx. May be tried again.
    #[error("the identity provider is not available: {reason}")]
    Unavailable {
        /// What happened, without any token.
        reason: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// Sent, and no usable answer: time-out or reset after the request went out. What the provider did is unknown.
    #[error("the outcome at the identity provider is unknown: {reason}")]
    Unknown {
        /// What happened, without any token.
        reason: String,
    },
    /// A success that can't be used: not JSON, missing fields, a wrong type, too large.
    #[error("the identity provider's answer can't be used: {reason}")]
    Unusable {
        /// What is wrong with it, without any token.
        reason: String,
        /// What could be read of the tokens in it, so that they can be revoked.
        salvage: Box<Salvage>,
    },
    /// The provider does not offer this (no such endpoint in its metadata).
    #[error("the identity provider does not offer {0}")]
    NotOffered(&'static str),
}

/// Tokens out of an answer that could not be used as a whole.
#[derive(Clone, Debug, Default)]
pub struct Salvage {
    /// The access token, if there was one.
    pub access_token: Option<AccessToken>,
    /// The refresh token, if there was one.
    pub refresh_token: Option<RefreshToken>,
}

/// A token to be revoked, with its `token_type_hint` (RFC 7009 section 2.1).
#[derive(Clone, Debug)]
pub enum Revocable {
    /// `token_type_hint=refresh_token`
    Refresh(RefreshToken),
    /// `token_type_hint=access_token`
    Access(AccessToken),
}

/// What the provider did with a logout request that the gateway made from server to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSession {
    /// It sent us back to where we asked to be sent: the session there is over.
    Ended,
    /// It wants to talk to the person (a confirmation page): the browser must go there.
    AskPerson,
}

/// What goes into an authorization request (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section 3.1.2.1).
#[derive(Clone, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where the answer is to come.
    pub redirect_uri: &'a str,
    /// RFC 6749 section 10.12.
    pub state: &'a str,
    /// Binds the ID token to this browser.
    pub nonce: &'a str,
    /// The S256 challenge of RFC 7636 section 4.2.
    pub code_challenge: &'a str,
    /// Further parameters such as `prompt`, `login_hint`, `max_age`, `acr_values`.
    pub extra: &'a [(&'a str, &'a str)],
}

/// One identity provider.
#[derive(Debug)]
pub struct Issuer {}

impl Issuer {
    /// A provider that nothing was asked of yet. `tls` verifies its certificate.
    pub fn new(_settings: Settings, _tls: Arc<rustls::ClientConfig>, _clock: Clock) -> Self {
        todo!()
    }

    /// What the configuration says about it.
    pub fn settings(&self) -> &Settings {
        todo!()
    }

    /// What discovery said. Fetched once and kept (refreshed in the background by [`Issuer::rediscover`]); while it is
    /// missing it is fetched with a cool-down after a failure, one call at a time.
    ///
    /// # Errors
    /// When there never was a good answer.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, Error> {
        todo!()
    }

    /// Reads discovery anew; a failure keeps what is known.
    ///
    /// # Errors
    /// When the answer can't be had or used.
    pub async fn rediscover(&self) -> Result<Arc<Metadata>, Error> {
        todo!()
    }

    /// The key set, as JSON.
    ///
    /// # Errors
    /// When the answer can't be had or used.
    pub async fn jwks(&self) -> Result<Value, Error> {
        todo!()
    }

    /// Where to send the browser to sign in.
    ///
    /// # Errors
    /// When discovery never succeeded.
    pub async fn authorization_url(
        &self,
        _request: &AuthorizationRequest<'_>,
    ) -> Result<Url, Error> {
        todo!()
    }

    /// Exchanges a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exchange(
        &self,
        _code: &str,
        _verifier: &str,
        _redirect_uri: &str,
    ) -> Result<Grant, Error> {
        todo!()
    }

    /// Exchanges a refresh token, exactly once: it is never sent twice by one call (RFC 6749 section 6).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refresh(&self, _token: &RefreshToken) -> Result<Grant, Error> {
        todo!()
    }

    /// Revokes a token (RFC 7009). Success is the provider's 200, also for a token that it does not know.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke(&self, _token: &Revocable) -> Result<(), Error> {
        todo!()
    }

    /// Ends the session at the provider from server to server with `id_token_hint`, so that no token passes through the
    /// browser (OpenID Connect RP-Initiated Logout section 2).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_session(
        &self,
        _hint: &IdToken,
        _back_to: &str,
        _state: &str,
    ) -> Result<EndSession, Error> {
        todo!()
    }

    /// Where to send the browser when the provider wants to ask the person: `client_id`, `post_logout_redirect_uri` and
    /// `state`, but no token.
    ///
    /// # Errors
    /// When the provider has no such endpoint.
    pub async fn end_session_url(&self, _back_to: &str, _state: &str) -> Result<Url, Error> {
        todo!()
    }
}
