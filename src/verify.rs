//! Verification of tokens: the only place where an [`Verified`] identity can come from.
//!
//! The signature is checked with jsonwebtoken, every claim and header by us (RFC 7515, 7519, 8725, 9068).

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::issuer::{self, Issuer};
use crate::token::{AccessToken, IdToken};

/// What makes an access token acceptable: `[idp.NAME.access_token]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `aud` must contain one of these; `None` is the written-out "unchecked".
    pub audience: Option<Vec<String>>,
    /// The allowed signature algorithms (RFC 8725 section 3.1).
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// The allowed `typ` headers, in lower case, without `application/`.
    pub typ: Vec<String>,
    /// Leeway for `exp`, `nbf` and `iat`.
    pub clock_skew: Duration,
    /// Where the groups are: a claim's name, or a path with dots.
    pub groups_claim: String,
}

/// A verified access token's contents. It can't be made elsewhere: whoever holds one knows that it was checked.
#[derive(Debug)]
pub struct Verified {
    /// The `[idp.NAME]` that issued it.
    pub idp: Arc<str>,
    /// `sub`.
    pub subject: Arc<str>,
    /// When it ends: `exp`, without leeway.
    pub expires: Timestamp,
    /// `scope` (split) or `scp`.
    pub scopes: Vec<Arc<str>>,
    /// The configured groups claim.
    pub groups: Vec<Arc<str>>,
    /// All claims.
    pub claims: Map<String, Value>,
    /// What `forward` made of it for the upstream, so that it is rendered once per token.
    pub rendered: OnceLock<Rendered>,
    _verified: (),
}

#[cfg(test)]
impl Verified {
    /// What the verification of a token with these claims would have given: for the unit tests of other rooms.
    pub(crate) fn for_tests(
        subject: &str,
        expires: Timestamp,
        scopes: &[&str],
        groups: &[&str],
        claims: Map<String, Value>,
    ) -> Arc<Self> {
        let texts = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect();
        Arc::new(Self {
            idp: "main".into(),
            subject: subject.into(),
            expires,
            scopes: texts(scopes),
            groups: texts(groups),
            claims,
            rendered: OnceLock::new(),
            _verified: (),
        })
    }
}

/// Identity headers, ready to be sent upstream.
pub type Rendered = Box<[(HeaderName, HeaderValue)]>;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not good and never will be: malformed, forged, expired, not for us. The text says which check, for the log.
    #[error("the access token is not valid: {0}")]
    Invalid(&'static str),
    /// It can't be judged now: its keys can't be had.
    #[error("the keys to verify the token are not available")]
    KeysUnavailable(#[source] Arc<issuer::Error>),
}

/// What a verified ID token must match (OpenID Connect Core section 3.1.3.7).
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The `[idp.NAME]` whose token endpoint gave it.
    pub idp: &'a str,
    /// The nonce of the login; none for an ID token out of a refresh (there it need not be present).
    pub nonce: Option<&'a str>,
    /// The subject of the session, when the token comes out of a refresh (section 12.2).
    pub subject: Option<&'a str>,
    /// The access token that came with it, for `at_hash`.
    pub access_token: &'a AccessToken,
}

/// The claims of a verified ID token.
#[derive(Clone, Debug)]
pub struct IdClaims {
    /// `sub`.
    pub subject: Arc<str>,
    /// `sid`, the provider's session.
    pub sid: Option<Arc<str>>,
    /// `auth_time`.
    pub auth_time: Option<Timestamp>,
    /// All claims.
    pub claims: Map<String, Value>,
}

/// Verifies the tokens of all configured providers.
#[derive(Debug)]
pub struct Verifier {}

impl Verifier {
    /// A verifier over `idps`, whose keys are fetched on `background` and kept fresh there.
    pub fn new(
        _idps: Vec<(Arc<Issuer>, Settings)>,
        _clock: Clock,
        _background: tokio::runtime::Handle,
    ) -> Self {
        todo!()
    }

    /// Verifies an access token: signature, `iss`, `aud`, `exp`, `nbf`, `iat`, `typ`, `crit`, on every call; the costly
    /// part is remembered per token until its `exp`, or until its key leaves the provider's key set.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, _token: &AccessToken) -> Result<Arc<Verified>, Error> {
        todo!()
    }

    /// Verifies an ID token as OpenID Connect Core section 3.1.3.7 and 12.2 ask.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify_id_token(
        &self,
        _token: &IdToken,
        _expected: &Expected<'_>,
    ) -> Result<IdClaims, Error> {
        todo!()
    }

    /// Keeps the key sets fresh; runs until the process ends.
    pub async fn keep_fresh(self: Arc<Self>) {
        todo!()
    }
}
