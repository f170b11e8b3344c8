//! What passes as a token and what does not, against a real provider over sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test may fail by panicking, and is a long table at times"
)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Error, Expected, IdClaims, Settings, Verified, Verifier};
use crate::clock::Clock;
use crate::issuer;
use crate::issuer::tests::server::{Reply, Server};
use crate::telemetry::Metrics;
use crate::token::{AccessToken, IdToken};
use mint::{Draft, ED, OTHER_RSA, P256, P384, RSA, encode};

mod access_tokens;
mod fetching;
mod id_tokens;
mod key_sets;
mod logout_tokens;
mod mint;
mod properties;
mod remembered;

const SECOND: Duration = Duration::from_secs(1);

/// A provider with keys that a test may change, and a verifier of its tokens.
struct Scene {
    server: Server,
    /// What the key set's endpoint answers; none is a 503.
    jwks: Arc<Mutex<Option<Value>>>,
    verifier: Arc<Verifier>,
    clock: Clock,
}

impl Scene {
    async fn new() -> Self {
        Self::with(all_keys(), settings()).await
    }

    async fn with(keys: Value, settings: Settings) -> Self {
        let jwks = Arc::new(Mutex::new(Some(keys)));
        let answer = Arc::clone(&jwks);
        let server = Server::provider(move |seen| match &*answer.lock().unwrap() {
            Some(keys) if seen.path == "/jwks" => Reply::Json(200, keys.clone()),
            _ => Reply::Text(503, String::new(), String::new()),
        })
        .await;
        let clock = Clock::shifted();
        let issuer = issuer::tests::server::issuer(server.settings(), clock.clone());
        let here = tokio::runtime::Handle::current();
        let verifier = Verifier::new(
            vec![(Arc::new(issuer), settings)],
            clock.clone(),
            here,
            &Metrics::new([]),
        );
        Self {
            server,
            jwks,
            verifier: Arc::new(verifier),
            clock,
        }
    }

    fn publish(&self, keys: Value) {
        *self.jwks.lock().unwrap() = Some(keys);
    }

    /// Sets the clock an hour back, as someone might who repairs it.
    fn clock_back(&self) {
        let Clock::Shifted(shift) = &self.clock else {
            panic!("the scene's clock can be shifted");
        };
        shift.fetch_sub(3_600_000, Ordering::Relaxed);
    }

    fn fail(&self) {
        *self.jwks.lock().unwrap() = None;
    }

    fn fetches(&self) -> usize {
        self.server.count("/jwks")
    }

    /// Seconds since the epoch, `offset` from now.
    fn time(&self, offset: i64) -> i64 {
        i64::try_from(self.clock.now().as_secs()).unwrap() + offset
    }

    /// A good access token, as Keycloak makes them.
    fn draft(&self) -> Draft {
        Draft {
            header: json!({ "alg": "RS256", "kid": "rsa", "typ": "JWT" }),
            claims: json!({
                "iss": self.server.origin,
                "sub": "ana",
                "aud": ["apps", "account"],
                "iat": self.time(-10),
                "exp": self.time(300),
                "azp": "gateway",
            }),
        }
    }

    async fn verify(&self, token: &str) -> Result<Arc<Verified>, Error> {
        self.verifier.verify(&AccessToken::new(token)).await
    }

    async fn verify_id(&self, token: &str, expected: &Expected<'_>) -> Result<IdClaims, Error> {
        let token = IdToken::new(token);
        self.verifier.verify_id_token(&token, expected).await
    }
}

fn settings() -> Settings {
    use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
    Settings {
        audience: Some(vec!["apps".to_owned(), "other".to_owned()]),
        algorithms: vec![RS256, PS256, ES256, ES384, EdDSA],
        typ: vec!["at+jwt".to_owned(), "jwt".to_owned()],
        clock_skew: 30 * SECOND,
        groups_claim: "groups".to_owned(),
    }
}

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

/// A key set as odd as they come.
fn all_keys() -> Value {
    let small: Vec<u8> = (0..128).map(|byte| byte | 0x81).collect();
    set(&[
        json!("not a key"),
        json!({ "kty": "unheard-of", "kid": "unheard-of" }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": encode([1; 32]), "y": encode([1; 32]) }),
        json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": encode(RSA.public_bytes()) }),
        json!({ "kty": "RSA", "kid": "small", "alg": "RS256", "n": encode(small), "e": "AQAB" }),
        RSA.jwk(json!({ "kid": "enc", "use": "enc", "alg": "RSA-OAEP" })),
        RSA.jwk(json!({ "kid": "leaked", "d": "AQAB" })),
        RSA.jwk(json!({ "kid": "rsa", "use": "sig", "alg": "RS256", "x5c": ["ignored"] })),
        OTHER_RSA.jwk(json!({ "kid": "rsa-any", "key_ops": ["verify"] })),
        P256.jwk(json!({ "kid": "ec", "use": "sig", "alg": "ES256" })),
        P384.jwk(json!({ "kid": "ec384" })),
        ED.jwk(json!({ "kid": "ed", "alg": "EdDSA" })),
    ])
}

/// The reason for a refusal; empty for none.
fn reason<T>(result: Result<T, Error>) -> String {
    result.err().map_or_else(String::new, |error| match error {
        Error::Invalid(reason) => reason.to_owned(),
        Error::Revoked => "revoked".to_owned(),
        Error::RevocationsUnknown => "revocations unknown".to_owned(),
        Error::KeysUnavailable(_) => "keys unavailable".to_owned(),
    })
}
