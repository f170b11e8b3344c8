//! Verification of tokens: the only place where an [`Verified`] identity can come from.
//!
//! The signature is checked with a key that is parsed once, every header and claim by rules of our own
//! (RFC 7515, 7519, 8725, 9068). jsonwebtoken lends the algorithms' names only: it checks too little (`crit`, `typ`, a
//! missing `iss`), reads the clock itself and parses the key anew for each token.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::ending::Ending;
use crate::issuer::{self, Issuer};
use crate::telemetry::Metrics;
use crate::token::{AccessToken, IdToken};
use cache::{Cache, Entry, Remembered};
use claims::{Moment, Window};
use compact::Compact;
use keys::Keys;
use refused::{Cleared, Finding, Marks, Watch};

pub use logout_token::{LoggedOut, LogoutToken};
pub use refused::{Criterion, Refusal, Refused, TooMany};

mod cache;
mod claims;
mod compact;
mod header;
mod id_token;
mod json;
mod jwk;
mod keys;
mod logout_token;
mod refused;
#[cfg(test)]
mod tests;

/// What makes an access token acceptable: `[idp.NAME.access_token]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `aud` must contain one of these; `None` is the written-out "unchecked".
    pub audience: Option<Vec<String>>,
    /// The allowed signature algorithms (RFC 8725 section 3.1).
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// The allowed `typ` headers, in lower case, without `application/`. A token without one is refused, unless the
    /// list has an empty text: some providers leave it out, and then only the audience tells their ID tokens apart.
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
    watch: Option<Watch>,
    _witness: Witness,
}

impl Verified {
    /// Whether the token has come to be refused since ([`Refused`]); for a bearer.
    pub fn is_refused(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::finds_refusal)
    }

    /// The end to come of something that is open under it, a bearer; to be held as long as that is open.
    pub fn ending(&self) -> Option<Arc<Ending>> {
        self.watch.as_ref().map(Watch::ending)
    }
}

/// Only this room makes one, so only this room makes a [`Verified`].
#[derive(Debug)]
struct Witness;

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
            watch: None,
            _witness: Witness,
        })
    }
}

/// Identity headers, ready to be sent upstream.
pub type Rendered = Box<[(HeaderName, HeaderValue)]>;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not good and never will be: malformed, forged, expired, not for us. The text says which check, for the log.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    /// It was good until it was refused before its end ([`Refused`]).
    #[error("the token was revoked")]
    Revoked,
    /// It can't be judged now: what other nodes refuse can't be heard of.
    #[error("whether the token was revoked can't be known now")]
    RevocationsUnknown,
    /// It can't be judged now: its keys can't be had.
    #[error("the keys to verify the token are not available")]
    KeysUnavailable(#[source] Arc<issuer::Error>),
}

/// What a session says of its own access token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// When it came, by this gateway's clock.
    pub obtained: Option<Timestamp>,
    /// Past its end it is good until then all the same.
    pub grace: Option<Timestamp>,
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
pub struct Verifier {
    providers: Vec<Provider>,
    cache: Cache,
    refused: Arc<Refused>,
    clock: Clock,
    background: tokio::runtime::Handle,
}

#[derive(Debug)]
struct Provider {
    issuer: Arc<Issuer>,
    settings: Settings,
    keys: Arc<Keys>,
}

/// A token that is good, revoked or not.
struct Checked {
    verified: Verified,
    window: Window,
    key: Arc<jwk::Key>,
    /// When it was looked at.
    moment: Moment,
    skew: Duration,
}

impl Verifier {
    /// A verifier over `idps`, whose keys are fetched on `background` and kept fresh there.
    pub fn new(
        idps: Vec<(Arc<Issuer>, Settings)>,
        clock: Clock,
        background: tokio::runtime::Handle,
        metrics: &Metrics,
    ) -> Self {
        let provider = |(issuer, settings): (Arc<Issuer>, Settings)| Provider {
            keys: Keys::new(
                Arc::clone(&issuer),
                settings.algorithms.clone(),
                clock.clone(),
                background.clone(),
                metrics.idp(&issuer.settings().name),
            ),
            issuer,
            settings,
        };
        Self {
            providers: idps.into_iter().map(provider).collect(),
            cache: Cache::new(),
            refused: Arc::default(),
            clock,
            background,
        }
    }

    /// The register of refused tokens, which is asked on every verification.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }

    /// Verifies an access token: signature, `iss`, `aud`, `exp`, `nbf`, `iat`, `typ`, `crit`, and that it was not revoked, on
    /// every call; the costly part is remembered per token until its `exp`, or until its key leaves the provider's key set.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, token: &AccessToken) -> Result<Arc<Verified>, Error> {
        self.verify_held(token, Held::default()).await
    }

    /// The same for a session's access token, which past its end may be good until [`Held::grace`]: it gets
    /// one only while its provider can't be reached, and nothing else is let through for it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify_held(
        &self,
        token: &AccessToken,
        held: Held,
    ) -> Result<Arc<Verified>, Error> {
        let moment = self.moment(held);
        match self.cache.find(token.expose(), moment, &self.refused) {
            Some(Remembered::Verified(verified)) => Ok(verified),
            Some(Remembered::Refused(finding)) => Err(finding.into()),
            // Boxed, so that the common case does not carry the rare one's state.
            None => Box::pin(self.verify_anew(token, held)).await,
        }
    }

    fn moment(&self, held: Held) -> Moment {
        Moment {
            now: self.clock.now(),
            grace: held.grace,
            obtained: held.obtained,
        }
    }

    /// Verifies an ID token as OpenID Connect Core section 3.1.3.7 and 12.2 ask.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify_id_token(
        &self,
        token: &IdToken,
        expected: &Expected<'_>,
    ) -> Result<IdClaims, Error> {
        let token = Compact::read(token.expose())?;
        let provider = self.provider(&token)?;
        if *provider.issuer.settings().name != *expected.idp {
            return Err(Error::Invalid("iss is another provider"));
        }
        provider.signed(&token).await?;
        let client_id = &provider.issuer.settings().client_id;
        let skew = provider.settings.clock_skew;
        let now = self.clock.now();
        id_token::check(&token.header, token.claims, client_id, expected, skew, now)
    }

    /// Verifies a logout token as OpenID Connect Back-Channel Logout section 2.6 asks, but for its coming twice: that is for
    /// who acts on it to find in [`Verifier::refused`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify_logout_token(&self, token: &str) -> Result<LogoutToken, Error> {
        let token = Compact::read(token)?;
        let provider = self.provider(&token)?;
        provider.signed(&token).await?;
        let issuer::Settings {
            name, client_id, ..
        } = provider.issuer.settings();
        let (skew, now) = (provider.settings.clock_skew, self.clock.now());
        let (header, claims) = (&token.header, &token.claims);
        let checked = logout_token::check(name, client_id, header, claims, skew, now);
        checked.inspect_err(|error| {
            // Signed by the provider: somebody should know that its logouts have no effect.
            tracing::warn!(idp = %name, %error, "a logout token of the provider is not accepted");
        })
    }

    /// Waits, for a bounded time, until a provider's first keys are there: to be asked before a code is spent on tokens that
    /// could not be checked.
    ///
    /// # Errors
    /// When they can't be had, or there is no such provider.
    pub async fn ready(&self, idp: &str) -> Result<(), Error> {
        let mut providers = self.providers.iter();
        let provider = providers.find(|provider| *provider.issuer.settings().name == *idp);
        let provider = provider.ok_or(Error::Invalid("no such provider"))?;
        provider.keys.ready().await
    }

    /// Keeps the key sets fresh; runs until the process ends.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for provider in &self.providers {
            tasks.spawn_on(Arc::clone(&provider.keys).keep_fresh(), &self.background);
        }
        while tasks.join_next().await.is_some() {}
    }

    /// The providers whose keys could not be fetched when that was tried last. What is known of them goes on being used.
    pub fn without_fresh_keys(&self) -> Vec<Arc<str>> {
        let failing = self.providers.iter().filter(|p| p.keys.is_failing());
        failing
            .map(|p| Arc::clone(&p.issuer.settings().name))
            .collect()
    }

    /// The same for one that is to be revoked, whether or not it was before. Nothing is remembered of it.
    ///
    /// # Errors
    /// See [`Error`]; never that it was revoked, nor that this can't be known.
    pub async fn examine(&self, token: &AccessToken) -> Result<Verified, Error> {
        let checked = self.check(token, Held::default()).await?;
        Ok(checked.verified)
    }

    /// The provider that a token of whatever kind says it is from (`iss`). Nothing of it is checked.
    pub fn claimed_provider(&self, token: &str) -> Option<&Arc<Issuer>> {
        let claims = compact::unchecked_claims(token)?;
        let issuer = claims.get("iss")?.as_str()?;
        let mut issuers = self.providers.iter().map(|provider| &provider.issuer);
        issuers.find(|known| *known.settings().issuer == *issuer)
    }

    /// Everything but whether it was revoked.
    async fn check(&self, token: &AccessToken, held: Held) -> Result<Checked, Error> {
        let compact = Compact::read(token.expose())?;
        let provider = self.provider(&compact)?;
        let key = provider.signed(&compact).await?;
        let moment = self.moment(held);
        let name = &provider.issuer.settings().name;
        let (settings, header) = (&provider.settings, &compact.header);
        let (verified, window) =
            claims::access_token(name, settings, header, compact.claims, moment)?;
        Ok(Checked {
            verified,
            window,
            key,
            moment,
            skew: settings.clock_skew,
        })
    }

    async fn verify_anew(&self, token: &AccessToken, held: Held) -> Result<Arc<Verified>, Error> {
        let Checked {
            verified,
            window,
            key,
            moment,
            skew,
        } = self.check(token, held).await?;
        let (text, claims) = (token.expose(), &verified.claims);
        let marks = Marks::of(&verified.idp, text, &verified.subject, claims, skew);
        let (cleared, edition) = (Cleared::default(), self.refused.edition());
        let finding = self.refused.look_up(&marks, moment.obtained, moment.now);
        if finding == Finding::Clear {
            cleared.under(edition);
        }
        let watch = Watch::over(marks.clone(), &self.refused, &self.clock);
        let verified = Arc::new(Verified {
            watch: Some(watch),
            ..verified
        });
        self.cache.insert(Entry {
            token: token.clone(),
            verified: Arc::clone(&verified),
            window,
            key,
            marks,
            cleared,
        });
        match finding {
            Finding::Clear | Finding::ClearForSession => Ok(verified),
            Finding::Refused | Finding::Unknown => Err(finding.into()),
        }
    }

    /// The provider that a token says it is from. Its signature is then checked with that provider's keys only.
    fn provider(&self, token: &Compact<'_>) -> Result<&Provider, Error> {
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        let issuer = issuer.ok_or(Error::Invalid("iss is missing or not text"))?;
        self.providers
            .iter()
            .find(|provider| *provider.issuer.settings().issuer == *issuer)
            .ok_or(Error::Invalid("iss is not a configured provider"))
    }
}

impl From<Finding> for Error {
    /// Of what does not pass.
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Unknown => Self::RevocationsUnknown,
            Finding::Refused | Finding::Clear | Finding::ClearForSession => Self::Revoked,
        }
    }
}

impl Provider {
    /// Checks the signature; the key that made it.
    async fn signed(&self, token: &Compact<'_>) -> Result<Arc<jwk::Key>, Error> {
        if !self.settings.algorithms.contains(&token.header.algorithm) {
            return Err(Error::Invalid("alg is not allowed"));
        }
        self.keys.verify(token).await
    }
}
