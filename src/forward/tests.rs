//! Real sockets on both sides: what an upstream is told, and what a client gets back.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::authorize::authorize;
use crate::clock::Timestamp;
use crate::ending::Ending;
use crate::inbound::Hearing;
use crate::route::{Access, OnSessionEnd, Route};
use crate::session::Live;
use crate::token::AccessToken;
use crate::verify::Verified;

mod bodies;
mod heads;
mod http2;
mod tunnels;

/// A gateway that knows one upstream and one caller.
struct Front {
    address: SocketAddr,
}

struct Setup {
    targets: Vec<SocketAddr>,
    identity: Option<Identity>,
    authorization: Authorization,
    trusted: bool,
    tls: bool,
    h2: bool,
    request_timeout: Duration,
    on_session_end: OnSessionEnd,
}

impl Setup {
    fn towards(upstream: SocketAddr) -> Self {
        Self {
            targets: vec![upstream],
            identity: None,
            authorization: Authorization::None,
            trusted: false,
            tls: true,
            h2: false,
            request_timeout: Duration::from_secs(10),
            on_session_end: OnSessionEnd::Close,
        }
    }

    fn of(self, identity: Identity) -> Self {
        Self {
            identity: Some(identity),
            ..self
        }
    }

    async fn start(self) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forwarder = Arc::new(self.forwarder());
        let route = Arc::new(self.route());
        tokio::spawn(async move {
            loop {
                let (stream, addr) = listener.accept().await.unwrap();
                let peer = Peer {
                    addr,
                    local_port: 443,
                    tls: self.tls,
                    server_name: None,
                };
                let (forwarder, route) = (Arc::clone(&forwarder), Arc::clone(&route));
                let identity = self.identity.clone();
                let service = service_fn(move |request| {
                    let (forwarder, route) = (Arc::clone(&forwarder), Arc::clone(&route));
                    let (peer, identity) = (peer.clone(), identity.clone());
                    async move {
                        Ok::<_, Infallible>(
                            serve(&forwarder, &route, identity, &peer, request).await,
                        )
                    }
                });
                let io = TokioIo::new(stream);
                if self.h2 {
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let server = hyper::server::conn::http2::Builder::new(executor);
                    tokio::spawn(server.serve_connection(io, service));
                } else {
                    let server = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(server.serve_connection(io, service).with_upgrades());
                }
            }
        });
        Front { address }
    }

    fn route(&self) -> Route {
        Route {
            name: "/{*rest}".into(),
            host: None,
            path: "/{*rest}".into(),
            upstream: "app".into(),
            access: match self.identity {
                Some(_) => Access::Any,
                None => Access::Public,
            },
            rules: Vec::new(),
            slide: true,
            csrf_header: false,
            on_session_end: self.on_session_end,
        }
    }

    fn forwarder(&self) -> Forwarder {
        let upstream = Upstream {
            name: "app".into(),
            targets: self.targets.iter().map(origin).collect(),
            connect: connect::Settings {
                connect_timeout: Duration::from_secs(2),
                response_timeout: self.request_timeout,
                idle_timeout: Duration::from_secs(30),
                tls: Arc::new(
                    rustls::ClientConfig::builder()
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth(),
                ),
                server_name: None,
            },
            authorization: self.authorization,
        };
        let trusted = if self.trusted {
            vec!["127.0.0.0/8", "10.0.0.0/8"]
        } else {
            vec![]
        };
        let settings = Settings {
            identity: [
                ("x-forwarded-user", "{sub}"),
                ("x-forwarded-email", "{email}"),
                ("x-forwarded-groups", "{groups}"),
                ("x-team", "team {org.team}"),
            ]
            .map(|(name, template)| (HeaderName::from_static(name), template.to_owned()))
            .into(),
            strip_incoming: vec![HeaderName::from_static("x-internal")],
            trusted_proxies: trusted
                .into_iter()
                .map(|net| net.parse().unwrap())
                .collect(),
            cookie: "__Host-tidegate".to_owned(),
            drain: Duration::from_millis(300),
        };
        let upstreams = HashMap::from([(Arc::clone(&upstream.name), Arc::new(upstream))]);
        Forwarder::new(Arc::new(settings), &upstreams, &Arc::new(Metrics::new([])))
    }
}

fn origin(address: &SocketAddr) -> connect::Origin {
    connect::Origin {
        scheme: connect::Scheme::Http,
        host: address.ip().to_string().into(),
        port: address.port(),
    }
}

async fn serve(
    forwarder: &Forwarder,
    route: &Arc<Route>,
    identity: Option<Identity>,
    peer: &Peer,
    request: Request<hyper::body::Incoming>,
) -> Response<Body> {
    let (request, answered) = Inbound::of(request, &Hearing::default());
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers()["host"].to_str().unwrap(),
    };
    let (host, port) = host
        .split_once(':')
        .map_or((host, None), |(h, p)| (h, p.parse().ok()));
    let target = Target {
        host: host.to_ascii_lowercase().into(),
        port,
        path: request.uri().path().into(),
        query: request.uri().query().map(Into::into),
    };
    let permit = authorize(route, request.method(), request.headers(), identity).unwrap();
    let id = RequestId::of(request.headers());
    match forwarder.send(permit, &target, peer, &id, request).await {
        Ok(response) => {
            answered.tell(&response);
            response
        }
        Err(error) => {
            let status = match error {
                Error::Unreachable { .. } | Error::Nonsense { .. } => 502,
                Error::TooLong { .. } => 504,
                Error::RequestBody => 400,
                Error::RequestTooSlow => 408,
                Error::Upgrade => 501,
                Error::Ended(_) => 401,
            };
            let mut response = Response::new(whole(error.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    }
}

/// A caller with a bearer token.
fn bearer() -> Identity {
    let claims = json!({
        "sub": "alice", "email": "alice@example.com", "org": { "team": "blue" },
    });
    Identity {
        verified: Verified::for_tests(
            "alice",
            Timestamp::MAX,
            &[],
            &["admins", "staff"],
            claims.as_object().unwrap().clone(),
        ),
        session: None,
    }
}

/// A caller with a session.
fn in_session() -> Identity {
    let id_claims = json!({ "sub": "alice", "email": "from-the-id-token@example.com" });
    Identity {
        verified: Verified::for_tests(
            "alice",
            Timestamp::MAX,
            &[],
            &[],
            json!({ "sub": "alice" }).as_object().unwrap().clone(),
        ),
        session: Some(Arc::new(Live {
            idp: "main".into(),
            subject: "alice".into(),
            access_token: AccessToken::new("the-access-token"),
            obtained: Timestamp::default(),
            access_expires: Timestamp::MAX,
            grace: None,
            claims: Arc::new(id_claims.as_object().unwrap().clone()),
            generation: 1,
            rendered: OnceLock::new(),
            ending: Ending::new([0; 32], &Arc::default()),
        })),
    }
}

/// One side of a connection, written by hand.
struct Talk {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Talk {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    async fn accept(listener: &TcpListener) -> Self {
        Self::new(listener.accept().await.unwrap().0)
    }

    async fn to(front: &Front) -> Self {
        Self::new(TcpStream::connect(front.address).await.unwrap())
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads until `mark` was heard, and takes everything up to it.
    async fn hear(&mut self, mark: &str) -> String {
        loop {
            let mut windows = self.heard.windows(mark.len());
            if let Some(at) = windows.position(|window| window == mark.as_bytes()) {
                let rest = self.heard.split_off(at + mark.len());
                let said = std::mem::replace(&mut self.heard, rest);
                return String::from_utf8_lossy(&said).into_owned();
            }
            let mut buf = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut buf));
            let n = read.await.expect("silence").unwrap();
            let so_far = String::from_utf8_lossy(&self.heard);
            assert_ne!(n, 0, "hung up before {mark:?}, after {so_far:?}");
            self.heard.extend_from_slice(&buf[..n]);
        }
    }

    async fn head(&mut self) -> Head {
        Head(self.hear("\r\n\r\n").await)
    }

    async fn is_hung_up(&mut self) -> bool {
        let mut buf = [0; 1];
        let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut buf));
        !matches!(read.await.expect("the connection stays open"), Ok(n) if n > 0)
    }
}

/// A request's or response's head as it was on the wire.
#[derive(Debug)]
struct Head(String);

impl Head {
    fn first_line(&self) -> &str {
        self.0.lines().next().unwrap()
    }

    fn status(&self) -> &str {
        self.first_line().split(' ').nth(1).unwrap()
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.fields()
            .filter_map(|(found, value)| (found == name).then_some(value))
            .collect()
    }

    /// The value of a header that must not be there twice.
    fn only(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times", all.len());
        all.first().copied()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a request head through a gateway and answers what the upstream saw of it.
async fn seen_by_upstream(setup: impl FnOnce(Setup) -> Setup, request: &str) -> Head {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = setup(Setup::towards(upstream.local_addr().unwrap()))
        .start()
        .await;
    let mut client = Talk::to(&front).await;
    client.say(request.replace('\n', "\r\n")).await;
    let mut server = Talk::accept(&upstream).await;
    let head = server.head().await;
    server.say(OK).await;
    assert_eq!(client.head().await.status(), "200");
    head
}

/// Lets an upstream answer and gives what the client saw of it, up to `mark`.
async fn seen_by_client(request: &str, answer: &str, mark: &str) -> Head {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = Setup::towards(upstream.local_addr().unwrap()).start().await;
    let mut client = Talk::to(&front).await;
    client.say(request.replace('\n', "\r\n")).await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server.say(answer.replace('\n', "\r\n")).await;
    Head(client.hear(mark).await)
}
