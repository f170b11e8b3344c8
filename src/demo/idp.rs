//! A development identity provider: OpenID Connect over loopback http, as strict as Keycloak with rotation on, scriptable.
//!
//! `tidegate demo` shows it to people; the integration tests run against it.

mod authorize;
mod client;
mod device;
mod faults;
mod grants;
mod journal;
mod keys;
mod ledger;
mod logout;
mod manage;
mod mint;
mod people;
mod sign_in;
mod token;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

pub use self::client::Client;
pub use self::faults::{Fault, Faults};
pub use self::journal::{Event, Issued, Journal, Kind};
pub use self::keys::Algorithm;
pub use self::ledger::{Family, Presence, Step};
pub use self::people::{PEOPLE, Person};

use self::grants::{Authorized, Grants, Sso};
use self::keys::Keys;
use self::ledger::UnderWay;
use super::http::{Answer, Body, Port, Server, Service, json, reply, style};
use crate::clock::{Clock, Timestamp};

/// The cookie of a browser's session here.
const COOKIE: &str = "idp_session";
/// The scopes that may be asked for.
const SCOPES: [&str; 7] = [
    "openid",
    "profile",
    "email",
    "groups",
    "offline_access",
    "api.read",
    "api.write",
];

/// How a development identity provider is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time, shared with the gateway so that both can be moved.
    pub clock: Clock,
    /// What signs.
    pub algorithm: Algorithm,
    /// `typ` of access tokens: `at+jwt` (RFC 9068), or `JWT` as Keycloak has it.
    pub access_token_typ: &'static str,
    /// How long access tokens live.
    pub access_token_ttl: Duration,
    /// How long refresh tokens live.
    pub refresh_token_ttl: Duration,
    /// Whether each refresh spends its refresh token.
    pub rotates: bool,
    /// Who may send people here.
    pub clients: Vec<Client>,
    /// PEM roots to verify the clients' own servers with, for back-channel logout; the platform's where missing.
    pub trust: Option<PathBuf>,
    /// Whether the journal keeps every token and code that is given out: not where there are a hundred thousand.
    pub keeps_tokens: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::System,
            algorithm: Algorithm::default(),
            access_token_typ: "at+jwt",
            access_token_ttl: Duration::from_mins(5),
            refresh_token_ttl: Duration::from_hours(24),
            rotates: true,
            clients: Vec::new(),
            trust: None,
            keeps_tokens: true,
        }
    }
}

/// Why it could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port can't be had.
    #[error("the development identity provider can't listen")]
    Listen(#[source] std::io::Error),
    /// No keys could be made.
    #[error("the development identity provider can't make its keys")]
    Keys,
}

/// A running development identity provider; the last clone that goes ends it.
#[derive(Clone, Debug)]
pub struct Idp {
    provider: Arc<Provider>,
    server: Arc<Server>,
}

/// What answers its requests.
#[derive(Debug)]
struct Provider {
    issuer: String,
    options: Options,
    clients: Mutex<Vec<Client>>,
    keys: Mutex<Keys>,
    grants: Mutex<Grants>,
    journal: Mutex<Journal>,
    events: broadcast::Sender<Event>,
    faults: Faults,
    refreshes: UnderWay,
    /// Access tokens that are given out before this moment end then.
    common_end: Mutex<Option<Timestamp>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idp {
    /// Starts one on the current runtime.
    ///
    /// # Errors
    /// When the port or the keys can't be had.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let port = super::http::reserve(0).map_err(Error::Listen)?;
        Self::start_on(port, options).await
    }

    /// Starts one on the current runtime, on a port that was taken before.
    ///
    /// # Errors
    /// When the keys can't be had.
    pub async fn start_on(port: Port, options: Options) -> Result<Self, Error> {
        let keys = tokio::task::spawn_blocking(Keys::new)
            .await
            .map_err(|_| Error::Keys)?
            .map_err(|_| Error::Keys)?;
        let provider = Arc::new(Provider {
            issuer: format!("http://localhost:{}", port.number()),
            clients: Mutex::new(options.clients.clone()),
            options,
            keys: Mutex::new(keys),
            grants: Mutex::default(),
            journal: Mutex::default(),
            events: broadcast::Sender::new(1024),
            faults: Faults::default(),
            refreshes: UnderWay::default(),
            common_end: Mutex::default(),
        });
        let server = Server::start(port, &provider);
        Ok(Self {
            provider,
            server: Arc::new(server),
        })
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Adds a client, or replaces the one of the same id.
    pub fn register(&self, client: Client) {
        let mut clients = lock(&self.provider.clients);
        clients.retain(|known| known.id != client.id);
        clients.push(client);
    }

    /// Everything that happened so far.
    pub fn journal(&self) -> Journal {
        lock(&self.provider.journal).clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.provider.events.subscribe()
    }

    /// How many refreshes were under way at the same time, at most.
    pub fn refreshes_at_once(&self) -> usize {
        self.provider.refreshes.most()
    }

    /// What became of every family of tokens, or of those of one browser session.
    pub fn families(&self, sid: Option<&str>) -> Vec<Family> {
        lock(&self.provider.grants).families(sid)
    }

    /// The claims of a token that one of the published keys signed, ended or not.
    pub fn read(&self, token: &str) -> Option<Map<String, Value>> {
        self.provider.read_own(token)
    }

    /// Access tokens that are given out before `end` end then, all together; later ones live as long as ever.
    pub fn end_access_tokens_at(&self, end: Timestamp) {
        *lock(&self.provider.common_end) = Some(end);
    }

    /// A browser's session of someone, made without a page.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign_in_unseen(&self, person: &Person) -> Result<Presence, Error> {
        let Authorized { sso, .. } = self.as_if_signed_in(person, "", &[])?;
        let cookie = keys::random_text(32).map_err(|_| Error::Keys)?;
        let sid = sso.sid.clone();
        lock(&self.provider.grants).sso.insert(cookie.clone(), sso);
        Ok(Presence { cookie, sid })
    }

    /// What is wrong with it.
    pub fn faults(&self) -> &Faults {
        &self.provider.faults
    }

    /// Connections are refused from now on.
    pub fn go_down(&self) {
        self.server.close();
        self.provider.note(Event::Reachable(false));
    }

    /// Connections are accepted again.
    pub fn come_up(&self) {
        self.server.open();
        self.provider.note(Event::Reachable(true));
    }

    /// New keys sign from this moment on; the old ones stay published.
    ///
    /// # Errors
    /// When no keys can be made.
    pub fn rotate_keys(&self) -> Result<(), Error> {
        let rotated = lock(&self.provider.keys).rotate();
        rotated.map_err(|_| Error::Keys)?;
        self.provider.note(Event::KeysRotated);
        Ok(())
    }

    /// Only the newest keys stay published.
    pub fn drop_old_keys(&self) {
        lock(&self.provider.keys).drop_old();
    }

    /// Publishes keys that nobody can use beside the good ones.
    pub fn publish_odd_keys(&self) {
        lock(&self.provider.keys).publish_odd();
    }

    /// The key set as published.
    pub fn jwks(&self) -> Value {
        lock(&self.provider.keys).jwks()
    }

    /// Ends all sessions of a person, as an administrator would; clients are told.
    pub async fn end_sessions_of(&self, person: &Person) {
        let sids = lock(&self.provider.grants).sids_of(person.subject);
        for sid in sids {
            self.provider.end(&sid).await;
        }
    }

    /// The newest spent refresh token of a family that still lives.
    pub fn spent_refresh_token(&self, person: &Person, client: &str) -> Option<String> {
        lock(&self.provider.grants).newest_spent(person.subject, client)
    }

    /// Sends a refresh token as a thief would who has the client's secret too. Whether it worked.
    pub fn replay(&self, client: &str, refresh_token: &str) -> bool {
        self.provider.swap(refresh_token, client).is_ok()
    }

    /// An access token of someone, made for `client` without a sign-in.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn bearer(&self, person: &Person, client: &str, scopes: &[&str]) -> Result<String, Error> {
        let authorized = self.as_if_signed_in(person, client, scopes)?;
        let token = self
            .provider
            .access_token(authorized.sso.person, &authorized, None);
        token.map_err(|_| Error::Keys)
    }

    /// A token with the header and claims of a good access token of someone, changed by `change` and then signed with
    /// the real key: for tests of what must be refused though its signature is good.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn forge(
        &self,
        person: &Person,
        client: &str,
        change: impl FnOnce(&mut Map<String, Value>, &mut Map<String, Value>),
    ) -> Result<String, Error> {
        let authorized = self.as_if_signed_in(person, client, &["openid"])?;
        let jti = keys::random_text(16).map_err(|_| Error::Keys)?;
        let mut claims = self.provider.access_claims(person, &authorized, &jti);
        let mut header = Map::new();
        header.extend(
            self.provider
                .access_header()
                .as_object()
                .cloned()
                .unwrap_or_default(),
        );
        change(&mut header, &mut claims);
        let (header, claims) = (Value::Object(header), Value::Object(claims));
        self.sign(self.provider.options.algorithm, &header, &claims)
    }

    /// A JWS with exactly this header (a `kid` is added where it has none) and payload.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        header: &Value,
        payload: &Value,
    ) -> Result<String, Error> {
        let signed = self.provider.sign(algorithm, header, payload);
        signed.map_err(|_| Error::Keys)
    }

    fn as_if_signed_in(
        &self,
        person: &Person,
        client: &str,
        scopes: &[&str],
    ) -> Result<Authorized, Error> {
        Ok(Authorized {
            client: client.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            nonce: None,
            sso: Sso {
                sid: keys::random_text(16).map_err(|_| Error::Keys)?,
                person: Person::named(person.name).ok_or(Error::Keys)?,
                authenticated: self.provider.options.clock.now(),
                acr: "silver",
            },
        })
    }
}

impl Service for Provider {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        *lock(&self.journal)
            .requests
            .entry(path.clone())
            .or_default() += 1;
        if self.faults.shows(&Fault::Hang) {
            std::future::pending::<()>().await;
        }
        let late = |fault: &Fault| {
            if let Fault::Slow(by) = fault {
                Some(*by)
            } else {
                None
            }
        };
        if let Some(by) = self.faults.find(late) {
            tokio::time::sleep(by).await;
        }
        if self.faults.shows(&Fault::Down) {
            return Some(reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", ""));
        }
        self.dispatch(&path, request).await
    }
}

impl Provider {
    async fn dispatch(self: &Arc<Self>, path: &str, request: Request<Incoming>) -> Answer {
        let method = request.method().clone();
        Some(match (method, path) {
            (Method::GET, "/.well-known/openid-configuration") => self.discovery(),
            (Method::GET, "/jwks") => self.key_set(),
            (Method::GET, "/style.css") => style(),
            (Method::GET, "/") => welcome(),
            (Method::GET | Method::POST, "/authorize") => self.authorize(request).await,
            (Method::POST, "/login" | "/step_up" | "/cancel") => self.pressed(request).await,
            (Method::POST, "/par") => self.push(request).await,
            (Method::POST, "/token") => return self.token(request).await,
            (Method::GET | Method::POST, "/userinfo") => self.userinfo(request.headers()),
            (Method::POST, "/introspect") => self.introspect(request).await,
            (Method::POST, "/revoke") => self.revoke(request).await,
            (Method::GET | Method::POST, "/end_session") => self.end_session(request).await,
            (Method::POST, "/end_session/confirm") => self.confirm_end(request).await,
            (Method::POST, "/device_authorization") => self.device_authorization(request).await,
            (Method::GET | Method::POST, "/device") => self.device(request).await,
            _ => authorize::message(StatusCode::NOT_FOUND, "Not here", "There is no such page."),
        })
    }

    /// OpenID Connect Discovery section 3.
    fn discovery(&self) -> Response<Body> {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let auth = ["client_secret_basic", "client_secret_post", "none"];
        let wrong = self.faults.shows(&Fault::WrongDiscovery);
        let issuer = if wrong {
            "https://other.example"
        } else {
            &self.issuer
        };
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": at("/authorize"),
            "pushed_authorization_request_endpoint": at("/par"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "userinfo_endpoint": at("/userinfo"),
            "introspection_endpoint": at("/introspect"),
            "revocation_endpoint": at("/revoke"),
            "end_session_endpoint": at("/end_session"),
            "device_authorization_endpoint": at("/device_authorization"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code"],
            "subject_types_supported": ["public"],
            "scopes_supported": SCOPES,
            "acr_values_supported": ["bronze", "silver", "gold"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": auth,
            "revocation_endpoint_auth_methods_supported": auth,
            "introspection_endpoint_auth_methods_supported": auth,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
        });
        let optional = [
            (Fault::NoRevocation, "revocation_endpoint"),
            (Fault::NoEndSession, "end_session_endpoint"),
        ];
        for (fault, endpoint) in optional {
            if let (true, Some(document)) = (self.faults.shows(&fault), document.as_object_mut()) {
                document.remove(endpoint);
            }
        }
        json(StatusCode::OK, &document)
    }

    fn key_set(&self) -> Response<Body> {
        if self.faults.shows(&Fault::KeysError) {
            return reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "");
        }
        let set = lock(&self.keys).jwks().to_string();
        reply(StatusCode::OK, "application/jwk-set+json", set)
    }

    fn clients(&self) -> Vec<Client> {
        lock(&self.clients).clone()
    }

    fn client(&self, id: &str) -> Option<Client> {
        let clients = lock(&self.clients);
        clients.iter().find(|client| client.id == id).cloned()
    }

    fn note(&self, event: Event) {
        lock(&self.journal).note(event.clone());
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn issue(&self, kind: Kind, text: &str) {
        if !self.options.keeps_tokens {
            return;
        }
        let text = text.to_owned();
        lock(&self.journal).issued.push(Issued { kind, text });
    }
}

fn welcome() -> Response<Body> {
    authorize::message(
        StatusCode::OK,
        "Development identity provider",
        "It signs people in for the gateway. It has no passwords and is not for anything else.",
    )
}
