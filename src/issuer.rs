//! The identity provider (IdP) as a client sees it: discovery, keys, token, revocation and logout endpoints
//! (OpenID Connect Discovery and RP-Initiated Logout, RFC 6749, 7009, 7636, 8414, 9207).
//!
//! It says nothing of sessions and routes, and verifies no token: that is `verify`'s.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use url::{Url, form_urlencoded};

use crate::clock::{Clock, Timestamp};
use crate::token::{AccessToken, Grant, RefreshToken, Secret};
use client::{Client, Content};

mod answer;
mod auth0;
mod client;
mod discovery;
mod logout;
mod management;
mod revoke;
#[cfg(test)]
pub(crate) mod tests;
mod token;

pub use logout::LogoutHints;
pub use management::{EndUser, Management};
pub use revoke::{OtherClient, Shows, TokenKind};

/// How long a failed discovery is not tried again, whoever asks.
const DISCOVERY_COOL_DOWN: Duration = Duration::from_secs(1);

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

/// What a revocation looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationFormat {
    /// RFC 7009: a form with `token` and `token_type_hint`.
    Form,
    /// Auth0's: JSON with `client_id`, `client_secret` and `token`, for refresh tokens only.
    Json,
}

/// A provider whose documentation stands in for what its discovery leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Auth0.
    Auth0,
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
    /// How many bytes of an answer are read at most.
    pub max_answer_bytes: usize,
    /// How long one call may take in all.
    pub call_timeout: Duration,
    /// How long after its first use a refresh token may be sent once more without being taken for stolen.
    pub reuse_leeway: Duration,
    /// Whose documented endpoints are used where discovery names none.
    pub preset: Option<Preset>,
    /// What a revocation looks like.
    pub revocation: RevocationFormat,
    /// Where revocations are sent, whatever discovery says.
    pub revocation_endpoint: Option<Url>,
    /// How all that a user has at the provider can be ended.
    pub management: Option<Management>,
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
    /// RP-Initiated Logout, as the gateway reaches it.
    pub end_session_here: Option<Url>,
    /// A logout of the provider's own for browsers, where there is no RP-Initiated Logout.
    pub browser_logout: Option<Url>,
    /// RFC 9207 section 3: whether every authorization response carries `iss`.
    pub response_iss: bool,
}

/// Why a call to the provider brought nothing. The difference between *gone* and *not now* is what sessions live by.
#[derive(Clone, Debug, thiserror::Error)]
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

impl Error {
    /// An answer without any token in it that can't be used.
    pub(crate) fn unusable(reason: &str) -> Self {
        Self::Unusable {
            reason: reason.to_owned(),
            salvage: Box::default(),
        }
    }
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
    /// It wants to talk to the person (a confirmation page), or to the browser itself: that must go there.
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
pub struct Issuer {
    settings: Settings,
    clock: Clock,
    client: Client,
    metadata: ArcSwapOption<Metadata>,
    management: management::Session,
    /// See [`Issuer::revoke_as`].
    for_others: Semaphore,
    /// Held while discovery is read, so that one call at a time is.
    discovery: Mutex<Option<FailedDiscovery>>,
}

/// The last discovery, if it failed.
#[derive(Debug)]
struct FailedDiscovery {
    at: Timestamp,
    error: Error,
}

impl Issuer {
    /// A provider that nothing was asked of yet. `tls` verifies its certificate.
    pub fn new(settings: Settings, tls: Arc<rustls::ClientConfig>, clock: Clock) -> Self {
        let client = Client::new(tls, settings.call_timeout, settings.max_answer_bytes);
        Self {
            settings,
            clock,
            client,
            metadata: ArcSwapOption::empty(),
            management: management::Session::default(),
            for_others: Semaphore::new(revoke::FOR_OTHERS_AT_ONCE),
            discovery: Mutex::default(),
        }
    }

    /// What the configuration says about it.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What discovery said. Fetched once and kept (refreshed in the background by [`Issuer::rediscover`]); while it is
    /// missing it is fetched with a cool-down after a failure, one call at a time.
    ///
    /// # Errors
    /// When there never was a good answer.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, Error> {
        if let Some(known) = self.metadata.load_full() {
            return Ok(known);
        }
        let mut failed = self.discovery.lock().await;
        // Somebody else may have been faster.
        if let Some(known) = self.metadata.load_full() {
            return Ok(known);
        }
        match &*failed {
            Some(failed) if self.is_recent(failed) => Err(failed.error.clone()),
            Some(_) | None => self.discover(&mut failed).await,
        }
    }

    /// Reads discovery anew; a failure keeps what is known.
    ///
    /// # Errors
    /// When the answer can't be had or used.
    pub async fn rediscover(&self) -> Result<Arc<Metadata>, Error> {
        self.discover(&mut *self.discovery.lock().await).await
    }

    /// The key set, as JSON.
    ///
    /// # Errors
    /// When the answer can't be had or used.
    pub async fn jwks(&self) -> Result<Value, Error> {
        let metadata = self.metadata().await?;
        answer::document(self.client.fetch(&metadata.jwks_uri).await)
    }

    /// Where to send the browser to sign in.
    ///
    /// # Errors
    /// When discovery never succeeded.
    pub async fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
    ) -> Result<Url, Error> {
        let metadata = self.metadata().await?;
        let scope = self.settings.scopes.join(" ");
        let ours = [
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", request.redirect_uri),
            ("scope", &scope),
            ("state", request.state),
            ("nonce", request.nonce),
            ("code_challenge", request.code_challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut url = metadata.authorization_endpoint.clone();
        append(&mut url, &ours);
        append(&mut url, request.extra);
        // What this one request asks for goes before what the configuration asks of all, and neither before ours.
        let taken = |name: &str| {
            ours.iter()
                .chain(request.extra)
                .any(|(other, _)| *other == name)
        };
        for (name, value) in &self.settings.authorize_params {
            if !taken(name) {
                append(&mut url, &[(name, value)]);
            }
        }
        Ok(url)
    }

    /// Exchanges a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Grant, Error> {
        self.grant(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
        ])
        .await
    }

    /// Exchanges a refresh token, exactly once: it is never sent twice by one call (RFC 6749 section 6).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn refresh(&self, token: &RefreshToken) -> Result<Grant, Error> {
        self.grant(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose()),
        ])
        .await
    }

    async fn discover(&self, failed: &mut Option<FailedDiscovery>) -> Result<Arc<Metadata>, Error> {
        match self.described().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                self.metadata.store(Some(Arc::clone(&metadata)));
                *failed = None;
                Ok(metadata)
            }
            Err(error) => {
                *failed = Some(FailedDiscovery {
                    at: self.clock.now(),
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    async fn described(&self) -> Result<Metadata, Error> {
        let location = discovery::location(&self.settings)?;
        let document = answer::document(self.client.fetch(&location).await)?;
        discovery::read(&document, &self.settings)
    }

    fn is_recent(&self, failed: &FailedDiscovery) -> bool {
        let now = self.clock.now();
        // A clock that went back is no reason to wait for it.
        now >= failed.at && now.since(failed.at) < DISCOVERY_COOL_DOWN
    }

    /// One call to the token endpoint. A grant is spent by being sent, so what may have been sent is not *not now*.
    async fn grant(&self, parameters: &[(&str, &str)]) -> Result<Grant, Error> {
        let metadata = self.metadata().await?;
        let content = self.authenticated(parameters);
        let sent = self.clock.now();
        match self.client.post(&metadata.token_endpoint, content).await {
            Ok(answer) => token::read(&answer, sent),
            Err(failure) if failure.maybe_sent => Err(Error::Unknown {
                reason: failure.reason,
            }),
            Err(failure) => Err(answer::not_now(failure.reason)),
        }
    }

    /// A form with the client's authentication (RFC 6749 section 2.3).
    fn authenticated(&self, parameters: &[(&str, &str)]) -> Content {
        let Settings {
            client_id,
            client_secret,
            client_auth,
            ..
        } = &self.settings;
        let secret = client_secret.as_ref().map(Secret::expose);
        match (client_auth, secret) {
            (ClientAuth::SecretBasic, Some(secret)) => {
                Content::form(parameters).authorized(&basic(client_id, secret))
            }
            (ClientAuth::SecretPost, Some(secret)) => {
                let ours = [("client_id", &**client_id), ("client_secret", secret)];
                Content::form(&[parameters, &ours].concat())
            }
            (ClientAuth::None, _) | (_, None) => {
                Content::form(&[parameters, &[("client_id", &**client_id)]].concat())
            }
        }
    }
}

/// RFC 6749 section 2.3.1: both parts form-encoded before they are joined.
fn basic(client_id: &str, secret: &str) -> String {
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", part(client_id), part(secret));
    format!("Basic {}", STANDARD.encode(pair))
}

fn append(url: &mut Url, parameters: &[(&str, &str)]) {
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
}
