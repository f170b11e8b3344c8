//! Makes tokens: access tokens (RFC 9068), ID tokens (OpenID Connect Core section 2), logout tokens.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::grants::{Authorized, FamilyId};
use super::journal::Kind;
use super::keys::{Algorithm, random_text};
use super::people::Person;
use super::{Provider, lock};

/// `{"name": value, …}` as claims.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// What an answer of the token endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A sign-in.
    Login,
    /// A refresh.
    Refresh,
}

impl Provider {
    /// A JWS (RFC 7515) signed by the active key, whatever header and payload say.
    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        header: &Value,
        payload: &Value,
    ) -> Result<String, Unspecified> {
        let pair = lock(&self.keys).active().ok_or(Unspecified)?;
        let mut header = header.clone();
        if let Some(header) = header.as_object_mut() {
            let kid = || json!(pair.kid(algorithm));
            header.entry("kid").or_insert_with(kid);
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(payload));
        let signature = pair.sign(algorithm, input.as_bytes())?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token of ours, if one of the published keys signed it. Whether it has ended is not looked at.
    pub(super) fn read_own(&self, token: &str) -> Option<Map<String, Value>> {
        let (input, signature) = token.rsplit_once('.')?;
        let (_, payload) = input.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !lock(&self.keys).signed(input, &signature) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// The claims of an access token.
    pub(super) fn access_claims(
        &self,
        person: &Person,
        authorized: &Authorized,
        jti: &str,
    ) -> Map<String, Value> {
        let now = self.options.clock.now();
        let audience = self
            .client(&authorized.client)
            .map(|client| client.audience)
            .unwrap_or_default();
        object(json!({
            "iss": self.issuer,
            "sub": person.subject,
            "aud": audience,
            "client_id": authorized.client,
            "azp": authorized.client,
            "iat": now.as_secs(),
            "exp": (now + self.access_token_life()).as_secs(),
            "auth_time": authorized.sso.authenticated.as_secs(),
            "jti": jti,
            "sid": authorized.sso.sid,
            "acr": authorized.sso.acr,
            "scope": authorized.scopes.join(" "),
            "groups": person.groups,
            "email": person.email(),
            "preferred_username": person.name,
            "name": person.full_name,
        }))
    }

    /// How long an access token lives that is given out now.
    pub(super) fn access_token_life(&self) -> Duration {
        let now = self.options.clock.now();
        let end = lock(&self.common_end).filter(|end| *end > now);
        end.map_or(self.options.access_token_ttl, |end| end.since(now))
    }

    pub(super) fn access_header(&self) -> Value {
        json!({ "alg": self.options.algorithm.name(), "typ": self.options.access_token_typ })
    }

    /// An access token, entered in the books.
    pub(super) fn access_token(
        &self,
        person: &Person,
        authorized: &Authorized,
        family: Option<FamilyId>,
    ) -> Result<String, Unspecified> {
        let jti = random_text(16)?;
        let claims = Value::Object(self.access_claims(person, authorized, &jti));
        let token = self.sign(self.options.algorithm, &self.access_header(), &claims)?;
        lock(&self.grants).add_access(jti, family);
        self.issue(Kind::Access, &token);
        Ok(token)
    }

    /// An ID token. After a refresh it has no `nonce`, as at Keycloak.
    pub(super) fn id_token(
        &self,
        person: &Person,
        authorized: &Authorized,
        access_token: &str,
        occasion: Occasion,
    ) -> Result<String, Unspecified> {
        let now = self.options.clock.now();
        let mut claims = object(json!({
            "iss": self.issuer,
            "sub": person.subject,
            "aud": authorized.client,
            "azp": authorized.client,
            "iat": now.as_secs(),
            "exp": (now + self.options.access_token_ttl).as_secs(),
            "auth_time": authorized.sso.authenticated.as_secs(),
            "sid": authorized.sso.sid,
            "acr": authorized.sso.acr,
            "at_hash": left_half_of_hash(access_token),
            "groups": person.groups,
            "email": person.email(),
            "preferred_username": person.name,
            "name": person.full_name,
            // As Entra ID has it, for the account to be signed out of.
            "login_hint": person.name,
        }));
        if let (Occasion::Login, Some(nonce)) = (occasion, &authorized.nonce) {
            claims.insert("nonce".into(), json!(nonce));
        }
        self.spoil_id_token(&mut claims);
        let header = json!({ "alg": self.options.algorithm.name(), "typ": "JWT" });
        let token = self.sign(self.options.algorithm, &header, &Value::Object(claims))?;
        self.issue(Kind::Id, &token);
        Ok(token)
    }

    fn spoil_id_token(&self, claims: &mut Map<String, Value>) {
        let faults = [
            (Fault::WrongNonce, "nonce", json!("another-nonce")),
            (Fault::WrongIssuer, "iss", json!("https://other.example")),
            (Fault::WrongAudience, "aud", json!("another-client")),
        ];
        for (fault, claim, wrong) in faults {
            if self.faults.shows(&fault) {
                claims.insert(claim.into(), wrong);
            }
        }
    }

    /// A logout token (OpenID Connect Back-Channel Logout section 2.4).
    pub(super) fn logout_token(
        &self,
        client: &str,
        subject: &str,
        sid: &str,
    ) -> Result<String, Unspecified> {
        let now = self.options.clock.now().as_secs();
        let claims = json!({
            "iss": self.issuer,
            "aud": client,
            "sub": subject,
            "sid": sid,
            "iat": now,
            "exp": now + 120,
            "jti": random_text(16)?,
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let header = json!({ "alg": self.options.algorithm.name(), "typ": "logout+jwt" });
        self.sign(self.options.algorithm, &header, &claims)
    }
}

/// `at_hash` for the two algorithms here, both of which hash with SHA-256 (OpenID Connect Core section 3.1.3.6).
fn left_half_of_hash(access_token: &str) -> String {
    let hash = digest(&SHA256, access_token.as_bytes());
    let (left, _) = hash.as_ref().split_at(16);
    URL_SAFE_NO_PAD.encode(left)
}
