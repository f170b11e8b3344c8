//! A whole scene: identity provider, application, gateway, and one clock for all of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate::clock::Clock;
use tidegate::demo::idp::{Client as Registered, Idp, Kind, Options, Person};
use url::Url;

use super::browser::Browser;
use super::client::Client;
use super::gateway::{Child, Gateway, free_port, logs};
use super::pki::pki;
use super::upstream::Upstream;
use super::wire::Speaks;

/// What a user would write, with `$GATEWAY`, `$IDP` and `$UPSTREAM` for ports and `$DIR` for the scene's directory.
pub const STANDARD: &str = r#"
version = 1
[server]
external_url   = "https://localhost:$GATEWAY"
shutdown_grace = "10s"
[[listeners]]
address  = "127.0.0.1:$GATEWAY"
protocol = "https"
[tls]
certificates = [{ cert = "$DIR/tls.crt", key = { file = "$DIR/tls.key" } }]
[idp.main]
label         = "Development"
issuer        = "http://localhost:$IDP"
client_id     = "gateway"
client_secret = { file = "$DIR/client_secret" }
scopes        = ["openid", "profile", "email"]
[idp.main.access_token]
audience = ["apps"]
[session]
store            = "memory"
idle_timeout     = "30m"
absolute_timeout = "12h"
encryption_keys  = [{ file = "$DIR/session_key" }]
[upstreams.app]
targets = ["http://127.0.0.1:$UPSTREAM"]
[[routes]]
path     = "/public/{*rest}"
upstream = "app"
auth     = "none"
[[routes]]
path     = "/api/{*rest}"
upstream = "app"
auth     = "any"
[[routes]]
path     = "/bearer/{*rest}"
upstream = "app"
auth     = "bearer"
[[routes]]
path     = "/admin/{*rest}"
upstream = "app"
auth     = "session"
rules    = [{ groups = ["admins"] }]
[[routes]]
path     = "/quiet/{*rest}"
upstream = "app"
auth     = "session"
slide    = false
[[routes]]
path     = "/{*rest}"
upstream = "app"
auth     = "session"
[telemetry]
access_log = { path = "off" }
"#;

/// The secret of the client `gateway`: characters that have to be encoded, as real ones have.
pub const CLIENT_SECRET: &str = "s3cr:et+&%=ümlaut";

/// 32 bytes.
const SESSION_KEY: &str = "azdIcTJadDlYdzRSdjhOYzNKYjZMbTFQZDVTZjBHeXU=";

/// A scene before it starts.
pub struct Setup {
    /// The configuration; placeholders are filled in at the start.
    pub toml: String,
    /// The provider's own options; the client `gateway` is added to them.
    pub idp: Options,
    /// The registered client `gateway`.
    pub client: Registered,
}

impl Setup {
    /// Replaces a piece of the configuration, which must be there.
    pub fn replace(&mut self, from: &str, to: &str) -> &mut Self {
        assert!(self.toml.contains(from), "not in the configuration: {from}");
        self.toml = self.toml.replace(from, to);
        self
    }

    /// Has sessions kept on disk, so that they outlive the gateway.
    pub fn on_disk(&mut self) -> &mut Self {
        self.replace("\"memory\"", "\"disk\"");
        let store = "[store.disk]\npath = \"$DIR/sessions.redb\"\n";
        self.toml.push_str(store);
        self
    }
}

/// A running scene. Everything ends when it is dropped.
pub struct Scene {
    pub clock: Clock,
    pub idp: Idp,
    pub upstream: Upstream,
    gateway: Option<Gateway>,
    toml: String,
    url: Url,
    dir: TempDir,
}

impl Scene {
    /// The standard scene.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The standard scene, changed.
    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut scene = Self::without_gateway(change).await;
        scene.start_gateway();
        scene
    }

    /// A scene whose gateway is yet to be started.
    pub async fn without_gateway(change: impl FnOnce(&mut Setup)) -> Self {
        let clock = Clock::shifted();
        let port = free_port();
        let origin = format!("https://localhost:{port}");
        let mut setup = Setup {
            toml: STANDARD.to_owned(),
            idp: Options {
                clock: clock.clone(),
                ..Options::default()
            },
            client: Registered::new("gateway", CLIENT_SECRET).for_gateway(&origin),
        };
        change(&mut setup);
        let dir = tempfile::tempdir().unwrap();
        pki().write_to(dir.path());
        fs::write(dir.path().join("client_secret"), CLIENT_SECRET).unwrap();
        fs::write(dir.path().join("session_key"), SESSION_KEY).unwrap();
        setup.idp.trust = Some(dir.path().join("root.pem"));
        setup.idp.clients.push(setup.client);
        let idp = Idp::start(setup.idp).await.unwrap();
        let upstream = Upstream::start();
        let toml = setup
            .toml
            .replace("$GATEWAY", &port.to_string())
            .replace("$IDP", &idp.port().to_string())
            .replace("$UPSTREAM", &upstream.port().to_string())
            .replace("$DIR", dir.path().to_str().unwrap());
        Self {
            clock,
            idp,
            upstream,
            gateway: None,
            toml,
            url: Url::parse(&origin).unwrap(),
            dir,
        }
    }

    /// Starts the gateway; after [`Scene::stop_gateway`] on the same port with the same configuration.
    pub fn start_gateway(&mut self) {
        self.gateway = Some(Gateway::start(&self.toml, &self.clock));
    }

    /// Drains and stops the gateway.
    pub async fn stop_gateway(&mut self) {
        self.gateway.take().expect("it does not run").stop().await;
    }

    /// Starts the real program with the scene's configuration instead. It has the machine's clock: give the provider
    /// the same by `setup.idp.clock = Clock::System`.
    pub async fn spawn_gateway(&self) -> Child {
        let file = self.dir.path().join("gateway.toml");
        fs::write(&file, &self.toml).unwrap();
        Child::run(&file, self.url.port().unwrap()).await
    }

    /// The configuration as the gateway gets it.
    pub fn toml(&self) -> &str {
        &self.toml
    }

    /// Where the gateway is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where the gateway's administrator asks, if that is an address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().and_then(Gateway::admin_address)
    }

    /// Where the scene's files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file there.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Someone's browser.
    pub fn browser(&self) -> Browser {
        Browser::new(self.url.clone(), self.clock.clone())
    }

    /// An API client over HTTP/2.
    pub fn client(&self) -> Client {
        Client::new(self.url.clone(), Speaks::H2)
    }

    /// An API client over HTTP/1.1.
    pub fn client_h1(&self) -> Client {
        Client::new(self.url.clone(), Speaks::H1)
    }

    /// A good access token of someone, for an API client.
    pub fn bearer(&self, person: &str) -> String {
        self.bearer_with(person, &["openid", "profile"])
    }

    /// The same with these scopes.
    pub fn bearer_with(&self, person: &str, scopes: &[&str]) -> String {
        let person = Person::named(person).expect("nobody of that name");
        self.idp.bearer(person, "gateway", scopes).unwrap()
    }

    /// Fails if any token that the provider ever gave out is in something that the browser received, or in a log line.
    /// A code is no token: it passes through the browser by design, but no log may have it either.
    pub fn assert_no_token_leaked(&self, browser: &Browser) {
        let received = browser.received();
        let logs = logs();
        for issued in self.idp.journal().issued {
            let kind = issued.kind;
            assert!(
                !logs.contains(&issued.text),
                "a log line has a {kind:?} token"
            );
            // What browsers must never see of a JWT is any part of it that proves something: payload or signature.
            let seen = issued.text.split('.').skip(1).chain([issued.text.as_str()]);
            let seen = seen
                .filter(|_| kind != Kind::Code)
                .find(|part| received.contains(*part));
            assert!(
                seen.is_none(),
                "the browser received part of a {kind:?} token"
            );
        }
        let secrets = [CLIENT_SECRET, SESSION_KEY];
        for secret in secrets {
            assert!(!logs.contains(secret), "a log line has a secret");
        }
        let cookie = browser.session_cookie().map(|cookie| cookie.value);
        if let Some(value) = cookie.filter(|value| !value.is_empty()) {
            assert!(!logs.contains(&value), "a log line has the session cookie");
        }
    }
}
