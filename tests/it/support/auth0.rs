//! An Auth0 tenant after its public documentation, as strict as that says; no live tenant was asked. What it knows is
//! seen and changed by tests as by an administrator in the dashboard.

mod authorize;
mod books;
mod given;
mod logout;
mod management;
mod mint;
mod revoke;
mod rotation;
mod token;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::demo::http::{self as web, Answer, Body, Server, Service};

use super::scene::{Scene, Setup};
use super::{HOUR, MINUTE};
pub use books::Asked;
use books::Books;
use given::Given;
use rotation::Origin;

/// The gateway's application.
pub const CLIENT_ID: &str = "8XVCgateway";
/// Its secret.
pub const CLIENT_SECRET: &str = "auth0-s3cr:et+&%";
/// The application that may use the Management API.
pub const M2M_ID: &str = "m2m";
/// Its secret.
pub const M2M_SECRET: &str = "m2m-s3cret";
/// The registered API.
pub const API: &str = "https://api.example.com";

/// What an administrator of the tenant has set.
#[derive(Clone, Debug)]
pub struct Options {
    pub clock: Clock,
    pub applications: Vec<Application>,
    /// Identifiers of the APIs besides the tenant's own.
    pub apis: Vec<String>,
    /// How long access tokens for APIs live; a day where nobody says otherwise.
    pub token_lifetime: Duration,
    /// Refresh token rotation, and its overlap; `None` where tokens do not rotate.
    pub rotation: Option<Duration>,
    /// Refresh tokens end so long after their first.
    pub absolute_lifetime: Duration,
    /// Refresh tokens end when nobody has used them for so long.
    pub idle_lifetime: Duration,
    /// How many refresh tokens a user has for one application; beyond that the oldest goes.
    pub most_tokens: usize,
    /// Tenant settings: "Refresh Token Revocation Deletes Grant".
    pub revocation_deletes_grant: bool,
    /// "RP-Initiated Logout End Session Endpoint Discovery".
    pub publishes_oidc_logout: bool,
    /// Whether discovery names `/oauth/revoke`.
    pub publishes_revocation: bool,
}

/// A registered application.
#[derive(Clone, Debug)]
pub struct Application {
    pub client_id: String,
    /// Shown in the body (`Post`), which is what new applications are registered with.
    pub client_secret: String,
    pub callbacks: Vec<String>,
    pub logout_urls: Vec<String>,
    /// Where it hears of a session's end.
    pub backchannel_logout: Option<String>,
    /// What it may do at the Management API.
    pub api_scopes: Vec<String>,
}

/// The people, as `auth0|NAME`.
pub const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

/// A running tenant.
pub struct Auth0 {
    server: Server,
    tenant: Arc<Tenant>,
}

/// What answers.
struct Tenant {
    issuer: String,
    options: Mutex<Options>,
    books: Mutex<Books>,
    trouble: Mutex<Trouble>,
}

/// What is wrong with the Management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// 503.
    ApiDown,
    /// 429, and not before then.
    ApiBusy {
        until: u64,
    },
}

impl Auth0 {
    /// A tenant whose application is a gateway at `origin`.
    pub fn start(clock: Clock, origin: &str) -> Self {
        let gateway = Application {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            callbacks: vec![format!("{origin}/oauth2/callback")],
            logout_urls: vec![format!("{origin}/oauth2/signed_out")],
            backchannel_logout: Some(format!("{origin}/oauth2/backchannel_logout")),
            api_scopes: Vec::new(),
        };
        let scopes = [
            "read:grants",
            "delete:grants",
            "read:device_credentials",
            "delete:device_credentials",
        ];
        let m2m = Application {
            client_id: M2M_ID.to_owned(),
            client_secret: M2M_SECRET.to_owned(),
            callbacks: Vec::new(),
            logout_urls: Vec::new(),
            backchannel_logout: None,
            api_scopes: scopes.map(str::to_owned).to_vec(),
        };
        let options = Options {
            clock,
            applications: vec![gateway, m2m],
            apis: vec![API.to_owned()],
            token_lifetime: 5 * MINUTE,
            rotation: Some(Duration::ZERO),
            absolute_lifetime: 30 * 24 * HOUR,
            idle_lifetime: 15 * 24 * HOUR,
            most_tokens: 200,
            revocation_deletes_grant: false,
            publishes_oidc_logout: true,
            publishes_revocation: true,
        };
        let port = web::reserve(0).unwrap();
        let tenant = Arc::new(Tenant {
            issuer: format!("http://localhost:{}/", port.number()),
            options: Mutex::new(options),
            books: Mutex::default(),
            trouble: Mutex::new(Trouble::None),
        });
        let server = Server::start(port, &tenant);
        Self { server, tenant }
    }

    /// With a slash at its end.
    pub fn issuer(&self) -> &str {
        &self.tenant.issuer
    }

    /// Puts it in the development provider's place in a scene's configuration; `more` goes into its section.
    pub fn configure(&self, setup: &mut Setup, more: &str) {
        let section = format!(
            "preset        = \"auth0\"\nissuer        = \"{}\"\n{more}",
            self.issuer()
        );
        setup
            .replace("issuer        = \"http://localhost:$IDP\"", &section)
            .replace("\"Development\"", "\"Auth0\"")
            .replace("\"gateway\"", &format!("\"{CLIENT_ID}\""))
            .replace(
                "{ file = \"$DIR/client_secret\" }",
                &format!("{CLIENT_SECRET:?}"),
            )
            .replace("scopes        = [\"openid\", \"profile\", \"email\"]\n", "")
            .replace("[\"apps\"]", &format!("[\"{API}\"]"));
    }

    /// A scene with a gateway in front of a tenant. `more` goes into the provider's section.
    pub async fn scene(more: &str, change: impl FnOnce(&mut Setup, &mut Options)) -> (Scene, Self) {
        let mut tenant = None;
        let mut scene = Scene::without_gateway(|setup| {
            let back = &setup.client.redirect_uris[0];
            let origin = back.strip_suffix("/oauth2/callback").unwrap();
            let auth0 = Self::start(setup.idp.clock.clone(), origin);
            auth0.configure(setup, more);
            auth0.set(|options| change(setup, options));
            tenant = Some(auth0);
        })
        .await;
        scene.start_gateway();
        (scene, tenant.unwrap())
    }

    /// Changes the tenant's settings.
    pub fn set(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.tenant.options.lock().unwrap());
    }

    /// Nobody answers at its port.
    pub fn go_down(&self) {
        self.server.close();
    }

    /// It answers again.
    pub fn come_up(&self) {
        self.server.open();
    }

    /// The Management API answers 503.
    pub fn api_goes_down(&self) {
        *self.tenant.trouble.lock().unwrap() = Trouble::ApiDown;
    }

    /// The Management API answers 429 until this time of the machine's clock, in Unix seconds.
    pub fn api_is_busy_until(&self, until: u64) {
        *self.tenant.trouble.lock().unwrap() = Trouble::ApiBusy { until };
    }

    /// The Management API works again.
    pub fn api_works(&self) {
        *self.tenant.trouble.lock().unwrap() = Trouble::None;
    }

    /// "Revoke" beside all of a person's devices.
    pub fn unlink_devices_of(&self, person: &str) {
        self.tenant.books().unlink(&user_id(person));
    }

    /// "Revoke" beside all of the applications that a person has let in.
    pub fn revoke_grants_of(&self, person: &str) {
        self.tenant.books().drop_grants(&user_id(person));
    }

    /// What the application of the Management API may do from now on; tokens keep what they were issued with. Tells what
    /// it could do before.
    pub fn change_api_scopes(&self, scopes: &[&str]) -> Vec<String> {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut options = self.tenant.options.lock().unwrap();
        let mut all = options.applications.iter_mut();
        let m2m = all.find(|application| application.client_id == M2M_ID);
        std::mem::replace(&mut m2m.unwrap().api_scopes, scopes)
    }

    /// All tokens of the Management API are no longer known.
    pub fn forget_api_tokens(&self) {
        self.tenant.books().api_tokens.clear();
    }

    /// A person signs in to the same application on a device that no gateway here knows of: its refresh token.
    pub fn sign_in_elsewhere(&self, person: &str) -> String {
        let scopes = ["openid", "offline_access"].map(str::to_owned);
        let origin = Origin {
            user: &user_id(person),
            client: CLIENT_ID,
            audience: API,
            scopes: &scopes,
            rotates: true,
        };
        let now = self.tenant.options().clock.now();
        self.tenant.begin_family(&origin, now).unwrap()
    }

    /// How many grants a person has given.
    pub fn grants_of(&self, person: &str) -> usize {
        let user = user_id(person);
        let books = self.tenant.books();
        books
            .grants
            .iter()
            .filter(|grant| grant.user == user)
            .count()
    }

    /// How many devices of a person have a refresh token that works.
    pub fn devices_of(&self, person: &str) -> usize {
        let user = user_id(person);
        let books = self.tenant.books();
        let theirs = books.families.iter().filter(|family| family.user == user);
        theirs.filter(|family| family.is_alive()).count()
    }

    /// The refresh token that was given out last.
    pub fn newest_refresh_token(&self) -> String {
        self.tenant.books().newest_refresh_token.clone().unwrap()
    }

    /// Uses a refresh token as the gateway would: status and answer.
    pub async fn refresh(&self, token: &str) -> (u16, Value) {
        let given = Given::of(&json!({
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": token,
        }));
        let answer = self.tenant.token(&given, None);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Everything that was asked over the wire, the oldest first.
    pub fn journal(&self) -> Vec<Asked> {
        self.tenant.books().journal.clone()
    }

    /// What was asked at a path.
    pub fn asked_at(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.journal();
        asked.retain(|asked| asked.path() == path);
        asked
    }

    /// Every token that it ever gave out.
    pub fn issued(&self) -> Vec<String> {
        self.tenant.books().issued.clone()
    }
}

/// As `sub` has it.
pub fn user_id(person: &str) -> String {
    format!("auth0|{person}")
}

impl Tenant {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn options(&self) -> Options {
        self.options.lock().unwrap().clone()
    }

    fn application(&self, client_id: &str) -> Option<Application> {
        let options = self.options.lock().unwrap();
        let mut all = options.applications.iter();
        all.find(|application| application.client_id == client_id)
            .cloned()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    fn discovery(&self) -> Response<Body> {
        let options = self.options();
        let mut document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": self.at("authorize"),
            "token_endpoint": self.at("oauth/token"),
            "device_authorization_endpoint": self.at("oauth/device/code"),
            "userinfo_endpoint": self.at("userinfo"),
            "mfa_challenge_endpoint": self.at("mfa/challenge"),
            "jwks_uri": self.at(".well-known/jwks.json"),
            "registration_endpoint": self.at("oidc/register"),
            "scopes_supported": ["openid", "profile", "offline_access", "email"],
            "response_types_supported": ["code", "token", "id_token"],
            "code_challenge_methods_supported": ["S256", "plain"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["public"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
            "request_uri_parameter_supported": false,
            "request_parameter_supported": false,
        });
        if options.publishes_revocation {
            document["revocation_endpoint"] = json!(self.at("oauth/revoke"));
        }
        if options.publishes_oidc_logout {
            document["end_session_endpoint"] = json!(self.at("oidc/logout"));
            document["backchannel_logout_supported"] = json!(true);
            document["backchannel_logout_session_supported"] = json!(true);
        }
        web::json(StatusCode::OK, &document)
    }

    fn dispatch(&self, given: &Given) -> Response<Body> {
        match (&given.method, given.path.as_str()) {
            (&Method::GET, "/.well-known/openid-configuration") => self.discovery(),
            (&Method::GET, "/.well-known/jwks.json") => web::json(StatusCode::OK, &mint::jwks()),
            (&Method::GET, "/authorize") => self.authorize(given),
            (&Method::GET, "/u/login") => self.login_page(given),
            (&Method::POST, "/u/login") => self.log_in(given),
            (&Method::POST, "/oauth/token") => self.token(given, given.basic().as_ref()),
            (&Method::POST, "/oauth/revoke") => self.revoke(given),
            (&Method::GET, "/userinfo") => self.userinfo(given),
            (&Method::GET, "/v2/logout") => self.v2_logout(given),
            (&Method::GET | &Method::POST, "/oidc/logout") => self.oidc_logout(given),
            (&Method::POST, "/oidc/logout/confirm") => self.confirmed_logout(given),
            (_, path) if path.starts_with("/api/v2/") => self.management(given),
            _ => web::reply(StatusCode::NOT_FOUND, "text/plain", "Not found"),
        }
    }
}

impl Service for Tenant {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let given = Given::read(request).await?;
        let answer = self.dispatch(&given);
        self.books().journal.push(Asked {
            method: given.method.to_string(),
            target: given.target.clone(),
            media_type: given.media_type.clone(),
            body: given.body.clone(),
            status: answer.status().as_u16(),
        });
        Some(answer)
    }
}

/// A page of the tenant's own.
fn page(status: StatusCode, html: &str) -> Response<Body> {
    web::reply(status, "text/html; charset=utf-8", html.to_owned())
}

/// 302, as Auth0 has it.
fn found(location: &str) -> Response<Body> {
    let mut response = web::see_other(location);
    *response.status_mut() = StatusCode::FOUND;
    response
}

/// `{ error, error_description }`
fn oauth_error(status: u16, error: &str, why: &str) -> Response<Body> {
    let body = json!({ "error": error, "error_description": why });
    web::json(StatusCode::from_u16(status).unwrap(), &body)
}
