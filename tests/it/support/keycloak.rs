//! A real Keycloak: started from the prepared database that `./test` leaves, watched through its admin API.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::pki::pki;
use super::redis::free_port;
use super::scene::Setup;
use super::tap::Tap;

const VERSION: &str = "26.7.3";
const REALM: &str = "tidegate";

/// How long a start may take on a busy machine; it takes ten seconds on a quiet one.
const START: Duration = Duration::from_mins(3);

/// The shell's only duty: whatever becomes of the test, the end of our pipe to it ends the whole process group, and
/// `kc.sh` stays java's parent.
const GUARD: &str =
    r#"exec 3<&0; ( cat <&3 >/dev/null; kill -KILL 0 ) & exec "$0" "$@" </dev/null 3<&-"#;

/// A Keycloak with the realm of `tests/keycloak/realm.json`, ended with this value.
///
/// Browsers reach it as `localhost`, the gateway as `127.0.0.1`: two origins, as in a composed deployment.
pub struct Keycloak {
    port: u16,
    database: TempDir,
    process: Option<Child>,
}

impl Keycloak {
    /// The one that tests share: a start costs as much as all of a test. The last test that holds it ends it.
    pub async fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Keycloak>> = Mutex::const_new(Weak::new());
        let mut running = RUNNING.lock().await;
        if let Some(keycloak) = running.upgrade() {
            return keycloak;
        }
        let keycloak = Arc::new(Self::start().await);
        *running = Arc::downgrade(&keycloak);
        keycloak
    }

    /// Starts one on a free port and waits until it answers.
    pub async fn start() -> Self {
        let port = free_port();
        let mut keycloak = Self {
            port,
            database: copy_of_the_database(),
            process: None,
        };
        keycloak.start_again().await;
        keycloak
    }

    /// Starts it on the same port and database after [`Self::stop`].
    pub async fn start_again(&mut self) {
        let directory = target().join("keycloak");
        fs::create_dir_all(&directory).unwrap();
        let log = directory.join(format!("{}.log", self.port));
        self.process = Some(self.spawn(&File::create(&log).unwrap()));
        let begun = Instant::now();
        while self.discovery().await.is_none() {
            let ended = self
                .process
                .as_mut()
                .is_none_or(|p| p.try_wait().unwrap().is_some());
            assert!(!ended, "Keycloak ended: see {}", log.display());
            assert!(
                begun.elapsed() < START,
                "Keycloak is slow: see {}",
                log.display()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn spawn(&self, log: &File) -> Child {
        let database = self.database.path().join("keycloakdb");
        // It trusts the gateways' certificates, for back-channel logout.
        let root = self.database.path().join("root.pem");
        fs::write(&root, &pki().root).unwrap();
        Command::new("sh")
            .arg("-c")
            .arg(GUARD)
            .arg(home().join("bin/kc.sh"))
            .args(["start", "--optimized", "--cache=local", "--http-enabled=true"])
            .args(["--http-host=127.0.0.1", "--hostname-backchannel-dynamic=true"])
            .arg(format!("--http-port={}", self.port))
            .arg(format!("--hostname=http://localhost:{}", self.port))
            .arg(format!("--truststore-paths={}", root.display()))
            .arg(format!(
                "--db-url=jdbc:h2:file:{};NON_KEYWORDS=VALUE",
                database.display()
            ))
            .env(
                "JAVA_OPTS",
                "-Xms64m -Xmx512m -XX:MaxMetaspaceSize=256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            )
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    /// Stops it in good order: what it knows is in its database.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let group = process.id();
        signal("-TERM", group);
        let _ = process.wait();
        while signal("-0", group) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The issuer, as browsers and tokens name it.
    pub fn issuer(&self) -> String {
        format!("http://localhost:{}/realms/{REALM}", self.port)
    }

    /// The realm, as the gateway reaches it: `discovery_url`.
    pub fn back_channel(&self) -> String {
        format!("http://127.0.0.1:{}/realms/{REALM}", self.port)
    }

    /// Puts it in the development provider's place in a scene's configuration.
    pub fn configure(&self, setup: &mut Setup, client: &str) {
        let reached = format!(
            "issuer        = \"{}\"\ndiscovery_url = \"{}\"",
            self.issuer(),
            self.back_channel()
        );
        setup
            .replace("issuer        = \"http://localhost:$IDP\"", &reached)
            .replace("\"gateway\"", &format!("\"{client}\""))
            .replace("{ file = \"$DIR/client_secret\" }", "\"gateway-secret\"")
            .replace("[session]", "[session]\nrefresh_before = \"1s\"");
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same through something that listens in.
    pub fn configure_through(&self, setup: &mut Setup, client: &str, tap: &Tap) {
        self.configure(setup, client);
        let through = format!("http://127.0.0.1:{}/realms/{REALM}", tap.port());
        setup.replace(&self.back_channel(), &through);
    }

    /// Uses a refresh token as the gateway would: status and answer.
    pub async fn refresh(&self, client: &str, token: &str) -> (u16, Value) {
        let path = format!("/realms/{REALM}/protocol/openid-connect/token");
        let form = format!(
            "grant_type=refresh_token&client_id={client}&client_secret=gateway-secret&refresh_token={token}"
        );
        let answer = self.send(Method::POST, &path, None, &form).await;
        answer.expect("Keycloak runs")
    }

    /// Whether an access token still stands at Keycloak, whatever its signature says.
    pub async fn knows(&self, token: &str) -> bool {
        let path = format!("/realms/{REALM}/protocol/openid-connect/userinfo");
        let answer = self.send(Method::GET, &path, Some(token), "").await;
        answer.expect("Keycloak runs").0 == 200
    }

    /// How many offline sessions a user has for a client.
    pub async fn offline_sessions_of(&self, user: &str, client: &str) -> usize {
        let path = format!("/admin/realms/{REALM}/clients?clientId={client}");
        let clients = self.admin(Method::GET, &path).await;
        let client = clients[0]["id"].as_str().unwrap().to_owned();
        let path = format!(
            "/admin/realms/{REALM}/users/{}/offline-sessions/{client}",
            self.id_of(user).await
        );
        let sessions = self.admin(Method::GET, &path).await;
        sessions.as_array().unwrap().len()
    }

    /// How many events of one kind (`LOGIN`, `REFRESH_TOKEN`, `LOGOUT`...) Keycloak has recorded of a user.
    pub async fn events(&self, kind: &str, user: &str) -> usize {
        let id = self.id_of(user).await;
        let path = format!("/admin/realms/{REALM}/events?max=1000&type={kind}&user={id}");
        self.admin(Method::GET, &path)
            .await
            .as_array()
            .unwrap()
            .len()
    }

    /// How many sessions a user has at Keycloak.
    pub async fn sessions_of(&self, user: &str) -> usize {
        let path = format!(
            "/admin/realms/{REALM}/users/{}/sessions",
            self.id_of(user).await
        );
        self.admin(Method::GET, &path)
            .await
            .as_array()
            .unwrap()
            .len()
    }

    /// What an administrator's "sign out" does to all sessions of a user.
    pub async fn sign_out(&self, user: &str) {
        let path = format!(
            "/admin/realms/{REALM}/users/{}/logout",
            self.id_of(user).await
        );
        self.admin(Method::POST, &path).await;
    }

    /// What an administrator's "sign out" does to one of the sessions of a user, the newest one.
    pub async fn sign_out_newest(&self, user: &str) {
        let user = self.id_of(user).await;
        let path = format!("/admin/realms/{REALM}/users/{user}/sessions");
        let sessions = self.admin(Method::GET, &path).await;
        let sessions = sessions.as_array().unwrap().iter();
        let newest = sessions.max_by_key(|session| session["start"].as_u64());
        let newest = newest.unwrap()["id"].as_str().unwrap();
        let path = format!("/admin/realms/{REALM}/sessions/{newest}");
        self.admin(Method::DELETE, &path).await;
    }

    /// Registers a client like `gateway` that is told of logouts at this address, with these attributes.
    pub async fn register(
        &self,
        client: &str,
        backchannel_logout: &str,
        attributes: &[(&str, &str)],
    ) {
        let path = format!("/admin/realms/{REALM}/clients");
        let like = self
            .admin(Method::GET, &format!("{path}?clientId=gateway"))
            .await;
        let mut new = like[0].clone();
        new.as_object_mut().unwrap().remove("id");
        for mapper in new["protocolMappers"].as_array_mut().unwrap() {
            mapper.as_object_mut().unwrap().remove("id");
        }
        new["clientId"] = json!(client);
        new["secret"] = json!("gateway-secret");
        new["frontchannelLogout"] = json!(false);
        new["attributes"]["backchannel.logout.url"] = json!(backchannel_logout);
        for (name, value) in attributes {
            new["attributes"][*name] = json!(value);
        }
        self.admin_with(Method::POST, &path, &new.to_string()).await;
    }

    /// Adds a user, whose password is the name.
    pub async fn enrol(&self, user: &str) {
        let new = json!({
            "username": user,
            "enabled": true,
            "email": format!("{user}@example.com"),
            "emailVerified": true,
            "firstName": user,
            "lastName": "Example",
            "credentials": [{ "type": "password", "value": user, "temporary": false }],
        });
        let path = format!("/admin/realms/{REALM}/users");
        self.admin_with(Method::POST, &path, &new.to_string()).await;
    }

    async fn id_of(&self, user: &str) -> String {
        let path = format!("/admin/realms/{REALM}/users?exact=true&username={user}");
        let users = self.admin(Method::GET, &path).await;
        users[0]["id"].as_str().unwrap().to_owned()
    }

    async fn discovery(&self) -> Option<Value> {
        let path = format!("/realms/{REALM}/.well-known/openid-configuration");
        let (status, answer) = self.send(Method::GET, &path, None, "").await?;
        (status == 200).then_some(answer)
    }

    async fn admin(&self, method: Method, path: &str) -> Value {
        self.admin_with(method, path, "").await
    }

    async fn admin_with(&self, method: Method, path: &str, body: &str) -> Value {
        let token = self.admin_token().await;
        let (status, answer) = self
            .send(method, path, Some(&token), body)
            .await
            .expect("Keycloak runs");
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    async fn admin_token(&self) -> String {
        let path = "/realms/master/protocol/openid-connect/token";
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let (_, answer) = self
            .send(Method::POST, path, None, form)
            .await
            .expect("Keycloak runs");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// One request on a connection of its own; nothing where nobody listens.
    async fn send(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: &str,
    ) -> Option<(u16, Value)> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", format!("localhost:{}", self.port))
            .header("Content-Type", content_type(body));
        if let Some(token) = bearer {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let body = Full::new(bytes::Bytes::from(body.to_owned()));
        let response = sender
            .send_request(request.body(body).unwrap())
            .await
            .ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        driver.abort();
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }
}

fn content_type(body: &str) -> &'static str {
    if body.starts_with('{') {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    }
}

/// Whether the process group existed to be signalled: the shell may end before java has.
fn signal(signal: &str, group: u32) -> bool {
    Command::new("kill")
        .args([signal, "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

fn home() -> PathBuf {
    target().join(format!("tools/keycloak-{VERSION}"))
}

fn copy_of_the_database() -> TempDir {
    let prepared = home().join("prepared");
    let realm = fs::read(prepared.join("realm.json")).unwrap_or_default();
    assert!(
        realm == include_bytes!("../../keycloak/realm.json"),
        "Keycloak is not prepared for this realm: run ./test --setup keycloak"
    );
    let copy = tempfile::Builder::new()
        .prefix("keycloak")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    fs::copy(
        prepared.join("keycloakdb.mv.db"),
        copy.path().join("keycloakdb.mv.db"),
    )
    .unwrap();
    copy
}
