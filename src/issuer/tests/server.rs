//! A provider of the tests' own: real sockets, one request a connection, and any answer that a test can think of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::clock::Clock;
use crate::issuer::{ClientAuth, Issuer, RevocationFormat, Settings};
use crate::token::Secret;

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// As it came, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// What a test answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// Status, further header lines, body.
    Text(u16, String, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// A reset in place of an answer.
    Reset,
    /// Nothing, for ever.
    Hang,
    /// These bytes, then nothing, for ever.
    Stall(Vec<u8>),
    /// A good head, and a body without end.
    Endless,
}

/// A server on loopback that lives as long as this.
pub(crate) struct Server {
    pub(crate) origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Arc<Script>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let (see, answer) = (Arc::clone(&seen), Arc::clone(&script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&see), Arc::clone(&answer)));
            }
        });
        Self {
            origin,
            seen,
            script,
            task,
        }
    }

    /// A provider whose discovery is right; the script answers everything else.
    pub(crate) async fn provider(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let server = Self::start(|_| Reply::Hang).await;
        let origin = server.origin.clone();
        server.answer(move |seen| {
            if seen.path == "/.well-known/openid-configuration" {
                return Reply::Json(200, document(&origin));
            }
            script(seen)
        });
        server
    }

    pub(crate) fn answer(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests came for this path.
    pub(crate) fn count(&self, path: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.path == path).count()
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(&self.origin)
    }

    pub(crate) fn issuer(&self) -> Issuer {
        issuer(self.settings(), Clock::System)
    }
}

pub(crate) fn settings(issuer: &str) -> Settings {
    Settings {
        name: "main".into(),
        label: "Main".into(),
        issuer: issuer.into(),
        discovery_url: None,
        client_id: "gateway".into(),
        client_secret: Some(Secret::new("test-secret")),
        client_auth: ClientAuth::SecretBasic,
        scopes: vec!["openid".to_owned(), "profile".to_owned()],
        authorize_params: Vec::new(),
        max_answer_bytes: 1024 * 1024,
        call_timeout: Duration::from_secs(5),
        reuse_leeway: Duration::ZERO,
        preset: None,
        revocation: RevocationFormat::Form,
        revocation_endpoint: None,
        management: None,
    }
}

pub(crate) fn issuer(settings: Settings, clock: Clock) -> Issuer {
    Issuer::new(settings, tls(), clock)
}

/// A TLS client that trusts nobody; the tests' servers speak plain HTTP.
fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

/// A discovery document with every endpoint at `origin`.
pub(crate) fn document(origin: &str) -> Value {
    json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "jwks_uri": format!("{origin}/jwks"),
        "userinfo_endpoint": format!("{origin}/userinfo"),
        "revocation_endpoint": format!("{origin}/revoke"),
        "end_session_endpoint": format!("{origin}/logout"),
        "authorization_response_iss_parameter_supported": true,
    })
}

pub(crate) fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Arc<Script>>>,
) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    seen.lock().unwrap().push(request.clone());
    let script = Arc::clone(&script.lock().unwrap());
    match script(&request) {
        Reply::Json(status, value) => {
            let kind = "content-type: application/json\r\n";
            write(&mut stream, &answer(status, kind, &value.to_string())).await;
        }
        Reply::Text(status, headers, body) => {
            write(&mut stream, &answer(status, &headers, &body)).await;
        }
        Reply::Raw(bytes) => write(&mut stream, &bytes).await,
        Reply::Reset => stream.set_zero_linger().unwrap(),
        Reply::Hang => std::future::pending().await,
        Reply::Stall(bytes) => {
            write(&mut stream, &bytes).await;
            std::future::pending::<()>().await;
        }
        Reply::Endless => {
            let head =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            write(&mut stream, head).await;
            while stream.write_all(&[b' '; 8192]).await.is_ok() {}
        }
    }
}

fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The peer may be gone already, which is its right.
async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head_end..].to_vec()).unwrap();
    Some(Seen {
        method,
        path,
        head,
        body,
    })
}
