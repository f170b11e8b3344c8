//! Over real sockets, with a small site in the gateway's place.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::watch::Limits;
use super::*;
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::target::{self, Target};

mod drain;
mod flood;
mod frames;
mod http1;
mod http2;
mod redirect;
mod time;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Limits that a test can wait for.
fn hasty() -> Limits {
    Limits {
        handshake: Duration::from_millis(150),
        head: Duration::from_millis(150),
        tick: Duration::from_millis(100),
        idle: Duration::from_millis(300),
        goodbye: Duration::from_millis(100),
        parting: Duration::from_millis(50),
    }
}

/// Answers by path, and remembers what it was asked.
#[derive(Debug, Default)]
struct Site {
    seen: Mutex<Vec<String>>,
    /// Lets `/wait` answer.
    go: Notify,
    /// What came through the tunnel of `/upgrade` after the site had shut its side.
    tunnelled: Arc<Mutex<Vec<String>>>,
    read: Arc<Notify>,
    /// `/wait` was asked for.
    waiting: Notify,
}

impl Site {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A body of known length, or one that never comes.
type Answer = Either<Full<Bytes>, Endless>;

#[derive(Debug)]
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    response
}

impl Handler for Site {
    type Body = Answer;

    async fn handle(&self, peer: &Peer, request: Request<Inbound>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        self.seen
            .lock()
            .unwrap()
            .push(format!("{} {path}", head.method));
        if let Err(error) = Target::read(&head, peer) {
            let status = match error {
                target::Error::Bad(_) => StatusCode::BAD_REQUEST,
                target::Error::TooLong => StatusCode::URI_TOO_LONG,
                target::Error::Misdirected => StatusCode::MISDIRECTED_REQUEST,
                target::Error::Method => StatusCode::METHOD_NOT_ALLOWED,
            };
            let mut response = say(status, error.to_string());
            response.extensions_mut().insert(target::Unsound);
            return response;
        }
        match &*path {
            "/peer" => say(StatusCode::OK, format!("{peer:?}")),
            "/wait" => {
                self.waiting.notify_one();
                self.go.notified().await;
                say(StatusCode::OK, "waited")
            }
            "/refuse" => say(StatusCode::UNAUTHORIZED, "not you"),
            "/big" => say(StatusCode::OK, vec![b'x'; 64 << 20]),
            "/endless" => Response::new(Either::Right(Endless)),
            "/upgrade" => {
                let upgrade = hyper::upgrade::on(Request::from_parts(head, body));
                let (tunnelled, read) = (Arc::clone(&self.tunnelled), Arc::clone(&self.read));
                tokio::spawn(async move {
                    let mut tunnel = TokioIo::new(upgrade.await.unwrap());
                    tunnel.write_all(b"hello").await.unwrap();
                    tunnel.shutdown().await.unwrap();
                    let mut text = String::new();
                    tunnel.read_to_string(&mut text).await.unwrap();
                    tunnelled.lock().unwrap().push(text);
                    read.notify_one();
                });
                let mut response = say(StatusCode::SWITCHING_PROTOCOLS, "");
                let websocket = HeaderValue::from_static("websocket");
                response.headers_mut().insert("upgrade", websocket);
                response
            }
            _ => match body.collect().await {
                Ok(body) => say(StatusCode::OK, format!("{} bytes", body.to_bytes().len())),
                Err(_) => say(StatusCode::BAD_REQUEST, "the body broke off"),
            },
        }
    }
}

/// A listener at work.
struct Served {
    address: SocketAddr,
    site: Arc<Site>,
    drain: CancellationToken,
    serving: JoinHandle<()>,
}

fn serve_on(address: SocketAddr, protocol: Protocol, limits: Limits) -> Served {
    let bound = Bound::bind(&Settings { address, protocol }).unwrap();
    let address = bound.address();
    let site = Arc::<Site>::default();
    let drain = CancellationToken::new();
    let serving = tokio::spawn(bound.serve_with(Arc::clone(&site), drain.clone(), limits));
    Served {
        address,
        site,
        drain,
        serving,
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn serve(protocol: Protocol, limits: Limits) -> Served {
    serve_on(loopback(), protocol, limits)
}

fn plain() -> Served {
    serve(Protocol::Http, Limits::default())
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the connection is closed.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        rest_of(&mut stream).await
    }
}

/// What comes until the connection is closed.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap_or_else(|_| panic!("still open after {:?}", String::from_utf8_lossy(&bytes)))
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What comes until `end` does.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, async {
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(stream.read_u8().await.unwrap());
        }
    })
    .await
    .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The statuses of all responses in `text`.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.")
        .skip(1)
        .map(|response| response[2..5].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_port_is_ours_alone_and_shared_by_handles() {
    let settings = Settings {
        address: loopback(),
        protocol: Protocol::Http,
    };
    let bound = Bound::bind(&settings).unwrap();
    let again = Settings {
        address: bound.address(),
        protocol: Protocol::Http,
    };
    assert_eq!(
        Bound::bind(&again).unwrap_err().kind(),
        io::ErrorKind::AddrInUse
    );
    let other = bound.try_clone().unwrap();
    assert_eq!(other.address(), bound.address());
    drop(bound);
    assert!(Bound::bind(&again).is_err());
    drop(other);
    assert!(Bound::bind(&again).is_ok());
}

#[tokio::test]
async fn all_handles_accept() {
    let settings = Settings {
        address: loopback(),
        protocol: Protocol::Http,
    };
    let bound = Bound::bind(&settings).unwrap();
    let address = bound.address();
    let drain = CancellationToken::new();
    let site = Arc::<Site>::default();
    let serving: Vec<_> = [bound.try_clone().unwrap(), bound]
        .into_iter()
        .map(|b| tokio::spawn(b.serve_with(Arc::clone(&site), drain.clone(), Limits::default())))
        .collect();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(statuses(&rest_of(&mut stream).await), [200]);
    }
    drain.cancel();
    for task in serving {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn both_families_are_taken_and_seen_as_what_they_are() {
    let served = serve_on(
        (Ipv6Addr::UNSPECIFIED, 0).into(),
        Protocol::Http,
        Limits::default(),
    );
    let port = served.address.port();
    for (address, seen) in [
        (
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            "addr: 127.0.0.1:",
        ),
        (
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            "addr: [::1]:",
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let text = rest_of(&mut stream).await;
        assert!(text.contains(seen), "{text}");
        assert!(text.contains(&format!("local_port: {port}")), "{text}");
        assert!(text.contains("tls: false, server_name: None"), "{text}");
    }
}
