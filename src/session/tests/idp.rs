//! A small identity provider over real sockets that does as it is told, and keeps a journal: rotation with reuse
//! detection, revocation, and every way of going wrong.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Timestamp};
use crate::token::{AccessToken, Grant, IdToken, RefreshToken};

/// What the provider does with the next refresh.
#[derive(Clone, Debug)]
pub(super) enum Script {
    /// Rotates and answers.
    Answer,
    /// The same after a while.
    Delay(Duration),
    /// The same once the test lets it go; the token is spent at once.
    Hold,
    /// Rotates, and breaks the connection instead of answering.
    RotateAndReset,
    /// Breaks the connection without doing anything.
    Reset,
    /// The same once the test lets it go.
    HoldAndReset,
    /// Answers this, having done nothing.
    Say(u16, &'static str),
    /// `429` with `Retry-After`.
    Busy(u64),
    /// Rotates, and answers with these fields changed; null takes one away.
    Change(Value),
    /// Rotates; the ID token is of somebody else, of another session, or badly signed.
    IdToken(Value),
    ForgedIdToken,
    /// The same once the test lets it go.
    HoldIdToken(Value),
}

/// What the provider was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Refresh(String),
    Revoke(String),
}

#[derive(Default)]
struct Book {
    script: VecDeque<Script>,
    otherwise: Option<Script>,
    revocation: Option<(u16, &'static str)>,
    keys_are_down: bool,
    expires_in: u64,
    /// Refresh token to its family.
    families: HashMap<String, u64>,
    spent: HashMap<String, Timestamp>,
    leeway: Duration,
    dead: HashSet<u64>,
    /// What was ever issued and not revoked or spent.
    living: HashSet<String>,
    issued: u64,
    reuses: usize,
    journal: Vec<Call>,
    under_way: usize,
    peak: usize,
    sids: HashMap<u64, String>,
}

pub(super) struct Idp {
    pub(super) address: SocketAddr,
    book: Mutex<Book>,
    key: EcdsaKeyPair,
    clock: Clock,
    gate: Semaphore,
}

impl Idp {
    pub(super) async fn start(clock: Clock) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            book: Mutex::new(Book {
                expires_in: 300,
                ..Book::default()
            }),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            clock,
            gate: Semaphore::new(0),
        });
        let serving = Arc::clone(&idp);
        tokio::spawn(async move { serving.serve(listener).await });
        idp
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let idp = Arc::clone(&self);
            let service = service_fn(move |request| {
                let idp = Arc::clone(&idp);
                async move { idp.answer(request).await }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next refreshes go like this, in order.
    pub(super) fn next(&self, script: impl IntoIterator<Item = Script>) {
        self.book().script.extend(script);
    }

    /// All further refreshes go like this.
    pub(super) fn always(&self, script: Script) {
        self.book().otherwise = Some(script);
    }

    /// What revocations are answered; `None`: as RFC 7009 has it.
    pub(super) fn revocations(&self, answer: Option<(u16, &'static str)>) {
        self.book().revocation = answer;
    }

    pub(super) fn keys_are_down(&self, down: bool) {
        self.book().keys_are_down = down;
    }

    pub(super) fn tokens_live(&self, seconds: u64) {
        self.book().expires_in = seconds;
    }

    /// Lets refreshes go that are held.
    pub(super) fn release(&self, held: usize) {
        self.gate.add_permits(held);
    }

    pub(super) fn refreshes(&self) -> usize {
        let book = self.book();
        book.journal
            .iter()
            .filter(|call| matches!(call, Call::Refresh(_)))
            .count()
    }

    pub(super) fn journal(&self) -> Vec<Call> {
        self.book().journal.clone()
    }

    pub(super) fn was_revoked(&self, token: &str) -> bool {
        self.book()
            .journal
            .contains(&Call::Revoke(token.to_owned()))
    }

    /// Refresh tokens that were used twice: what a real provider takes for theft.
    /// From now on a spent refresh token is taken once more within this time.
    pub(super) fn forgives_for(&self, leeway: Duration) {
        self.book().leeway = leeway;
    }

    pub(super) fn leeway(&self) -> Duration {
        self.book().leeway
    }

    pub(super) fn reuses(&self) -> usize {
        self.book().reuses
    }

    /// Refreshes under way at the same time, at most.
    pub(super) fn peak(&self) -> usize {
        self.book().peak
    }

    /// Refresh tokens that would still work.
    pub(super) fn living(&self) -> HashSet<String> {
        self.book().living.clone()
    }

    /// The tokens of a login.
    pub(super) fn login(&self, sid: Option<&str>) -> Grant {
        let mut book = self.book();
        let family = book.issued + 1;
        if let Some(sid) = sid {
            book.sids.insert(family, sid.to_owned());
        }
        let answer = self.issue(&mut book, family, &json!({}), true);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let expires_in = Duration::from_secs(book.expires_in);
        Grant {
            access_token: AccessToken::new(text("access_token")),
            access_expires: Some(self.clock.now() + expires_in),
            refresh_token: Some(RefreshToken::new(text("refresh_token"))),
            refresh_expires: None,
            id_token: Some(IdToken::new(text("id_token"))),
        }
    }

    fn issue(&self, book: &mut Book, family: u64, claims: &Value, signed_well: bool) -> Value {
        book.issued += 1;
        let refresh_token = format!("refresh-token-{}-of-{family}", book.issued);
        book.families.insert(refresh_token.clone(), family);
        book.living.insert(refresh_token.clone());
        let now = self.clock.now().as_secs();
        let mut id_claims = json!({
            "iss": self.issuer(), "aud": "gateway", "sub": "alice", "iat": now, "exp": now + 300,
            "auth_time": now, "generation": book.issued,
        });
        if let Some(sid) = book.sids.get(&family) {
            id_claims["sid"] = json!(sid);
        }
        for (name, value) in claims.as_object().unwrap() {
            id_claims[name] = value.clone();
        }
        id_claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        json!({
            "access_token": format!("access-token-{}-of-{family}", book.issued),
            "token_type": "Bearer",
            "expires_in": book.expires_in,
            "refresh_token": refresh_token,
            "id_token": self.sign(&id_claims, signed_well),
        })
    }

    fn sign(&self, claims: &Value, well: bool) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "kid": "the-key", "typ": "JWT"});
        let signed = format!("{}.{}", part(&header), part(claims));
        let message = if well {
            signed.clone()
        } else {
            "other".to_owned()
        };
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes());
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(signature.unwrap().as_ref())
        )
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Reset> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
        match path.as_str() {
            "/.well-known/openid-configuration" => Ok(reply(200, &self.discovery())),
            "/jwks" => Ok(self.jwks()),
            "/token" => self.token(&form).await,
            "/revoke" => Ok(self.revoke(&form["token"])),
            _ => Ok(reply(404, &json!({}))),
        }
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.issuer());
        json!({
            "issuer": self.issuer(),
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "jwks_uri": at("jwks"),
            "revocation_endpoint": at("revoke"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
        })
    }

    fn jwks(&self) -> Response<Full<Bytes>> {
        if self.book().keys_are_down {
            return reply(503, &json!({}));
        }
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "the-key", "x": text(x), "y": text(y),
        });
        reply(200, &json!({ "keys": [key] }))
    }

    async fn token(&self, form: &HashMap<String, String>) -> Result<Response<Full<Bytes>>, Reset> {
        let token = form["refresh_token"].clone();
        let script = {
            let mut book = self.book();
            book.journal.push(Call::Refresh(token.clone()));
            book.under_way += 1;
            book.peak = book.peak.max(book.under_way);
            let script = book.script.pop_front();
            script.or(book.otherwise.clone()).unwrap_or(Script::Answer)
        };
        let answer = self.follow(&token, script).await;
        self.book().under_way -= 1;
        answer
    }

    async fn follow(&self, token: &str, script: Script) -> Result<Response<Full<Bytes>>, Reset> {
        match script {
            Script::Answer => Ok(self.rotate(token, &json!({}), &json!({}), true)),
            Script::Delay(pause) => {
                tokio::time::sleep(pause).await;
                Ok(self.rotate(token, &json!({}), &json!({}), true))
            }
            Script::Hold => {
                let answer = self.rotate(token, &json!({}), &json!({}), true);
                self.gate.acquire().await.unwrap().forget();
                Ok(answer)
            }
            Script::RotateAndReset => {
                self.rotate(token, &json!({}), &json!({}), true);
                Err(Reset)
            }
            Script::Reset => Err(Reset),
            Script::HoldAndReset => {
                self.gate.acquire().await.unwrap().forget();
                Err(Reset)
            }
            Script::Say(status, body) => Ok(raw(status, body)),
            Script::Busy(seconds) => {
                let mut answer = raw(429, "{}");
                let value = http::HeaderValue::from(seconds);
                answer
                    .headers_mut()
                    .insert(http::header::RETRY_AFTER, value);
                Ok(answer)
            }
            Script::Change(fields) => Ok(self.rotate(token, &fields, &json!({}), true)),
            Script::IdToken(claims) => Ok(self.rotate(token, &json!({}), &claims, true)),
            Script::HoldIdToken(claims) => {
                self.gate.acquire().await.unwrap().forget();
                Ok(self.rotate(token, &json!({}), &claims, true))
            }
            Script::ForgedIdToken => Ok(self.rotate(token, &json!({}), &json!({}), false)),
        }
    }

    fn rotate(
        &self,
        token: &str,
        fields: &Value,
        claims: &Value,
        signed_well: bool,
    ) -> Response<Full<Bytes>> {
        let mut book = self.book();
        let Some(&family) = book.families.get(token) else {
            return raw(400, r#"{"error":"invalid_grant"}"#);
        };
        let keeps = fields.get("refresh_token").is_some_and(Value::is_null);
        let now = self.clock.now();
        let spent = book.spent.get(token).copied();
        if spent.is_some_and(|at| now >= at + book.leeway) {
            book.reuses += 1;
            book.dead.insert(family);
        }
        if book.dead.contains(&family) {
            let Book {
                living, families, ..
            } = &mut *book;
            living.retain(|token| families[token] != family);
            return raw(
                400,
                r#"{"error":"invalid_grant","error_description":"reuse"}"#,
            );
        }
        if !keeps {
            book.spent.entry(token.to_owned()).or_insert(now);
            book.living.remove(token);
        }
        let mut answer = self.issue(&mut book, family, claims, signed_well);
        if keeps {
            let unsent = answer["refresh_token"].as_str().unwrap().to_owned();
            book.living.remove(&unsent);
        }
        for (name, value) in fields.as_object().unwrap() {
            answer[name] = value.clone();
        }
        answer
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        reply(200, &answer)
    }

    /// As Keycloak does it: a refresh token takes its whole family with it, whichever of the family it is.
    fn revoke(&self, token: &str) -> Response<Full<Bytes>> {
        let mut book = self.book();
        book.journal.push(Call::Revoke(token.to_owned()));
        if let Some((status, body)) = book.revocation {
            return raw(status, body);
        }
        if let Some(&family) = book.families.get(token) {
            book.dead.insert(family);
            let Book {
                living, families, ..
            } = &mut *book;
            living.retain(|token| families[token] != family);
        }
        raw(200, "")
    }
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    raw(status, &body.to_string())
}

fn raw(status: u16, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let kind = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let kind = http::HeaderValue::from_static(kind);
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Breaks the connection.
#[derive(Debug)]
pub(super) struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset by the script")
    }
}

impl std::error::Error for Reset {}

impl From<Infallible> for Reset {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
