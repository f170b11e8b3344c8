//! Real sockets on both sides: what an upstream sees of the pool.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

mod tls;

type Any = UnsyncBoxBody<Bytes, std::io::Error>;

/// An upstream that is written by hand, one connection at a time.
struct Upstream {
    listener: TcpListener,
    accepted: AtomicUsize,
}

struct Conversation {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Upstream {
    async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            accepted: AtomicUsize::new(0),
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            scheme: Scheme::Http,
            host: "127.0.0.1".into(),
            port: self.listener.local_addr().unwrap().port(),
        }
    }

    fn pool<B: Outgoing>(&self) -> Pool<B> {
        Pool::new(self.origin(), settings())
    }

    async fn accept(&self) -> Conversation {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Conversation {
            stream,
            heard: Vec::new(),
        }
    }
}

impl Conversation {
    /// Reads until `mark` was heard, and takes everything up to it.
    async fn hear(&mut self, mark: &str) -> String {
        loop {
            let found = self
                .heard
                .windows(mark.len())
                .position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.heard.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.heard, rest)).unwrap();
            }
            let mut buf = [0; 4096];
            let n = self.stream.read(&mut buf).await.unwrap();
            assert_ne!(n, 0, "the client hung up before {mark:?}");
            self.heard.extend_from_slice(&buf[..n]);
        }
    }

    async fn request(&mut self) -> String {
        self.hear("\r\n\r\n").await
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Whether the client closes now: an error counts, another byte does not.
    async fn is_hung_up(&mut self) -> bool {
        let mut buf = [0; 1];
        let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut buf));
        !matches!(read.await.expect("the connection stays open"), Ok(n) if n > 0)
    }
}

fn settings() -> Settings {
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Settings {
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
        tls: Arc::new(tls),
        server_name: None,
    }
}

fn get<B: Default>(path: &str) -> Request<B> {
    Request::get(path)
        .header("host", "x")
        .body(B::default())
        .unwrap()
}

fn post<B>(body: B) -> Request<B> {
    Request::post("/").header("host", "x").body(body).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn text<B: Outgoing>(response: Response<Body<B>>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A body that is fed from outside.
fn fed() -> (
    tokio::sync::mpsc::UnboundedSender<Result<http_body::Frame<Bytes>, std::io::Error>>,
    Any,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, StreamBody::new(stream).boxed_unsync())
}

fn data(text: &'static str) -> http_body::Frame<Bytes> {
    http_body::Frame::data(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let serve = async {
        let mut peer = upstream.accept().await;
        for path in ["/a", "/b", "/c", "/d"] {
            assert!(peer.request().await.starts_with(&format!("GET {path} ")));
            // The head and the body at once, in two parts, chunked in parts, and without a body.
            match path {
                "/a" => peer.say(OK).await,
                "/b" => {
                    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
                        .await;
                    tokio::task::yield_now().await;
                    peer.say("k").await;
                }
                "/c" => {
                    peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                        .await;
                    tokio::task::yield_now().await;
                    peer.say("0\r\n\r\n").await;
                }
                _ => peer.say("HTTP/1.1 204 No Content\r\n\r\n").await,
            }
        }
        peer
    };
    let ask = async {
        for path in ["/a", "/b", "/c"] {
            assert_eq!(text(pool.send(get(path)).await.unwrap()).await, "ok");
            assert_eq!(pool.inner.idle.len(), 1, "after {path}");
        }
        assert_eq!(text(pool.send(get("/d")).await.unwrap()).await, "");
    };
    let _peer = tokio::join!(serve, ask);
    assert_eq!(upstream.accepted.load(Ordering::Relaxed), 1);
    assert_eq!(pool.inner.idle.len(), 1);
}

/// hyper's server does not ask again once a body says that it is at its end.
#[tokio::test]
async fn a_connection_comes_back_when_the_body_is_read_no_further_than_its_length() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let (mut peer, mut response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                .await;
            peer
        },
        async { pool.send(get("/")).await.unwrap() }
    );
    assert_eq!(pool.inner.idle.len(), 0);
    peer.say("ok").await;
    response.body_mut().frame().await.unwrap().unwrap();
    assert!(http_body::Body::is_end_stream(response.body()));
    assert_eq!(pool.inner.idle.len(), 1);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let (peer, _) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(OK).await;
            peer
        },
        async { text(pool.send(get("/")).await.unwrap()).await }
    );
    assert_eq!(pool.inner.idle.len(), 1);
    drop(peer);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ((), answer) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            assert!(peer.request().await.starts_with("POST / "));
            assert_eq!(peer.hear("body").await, "body");
            peer.say(OK).await;
        },
        async {
            let request = post(Full::from("body"));
            text(pool.send(request).await.unwrap()).await
        }
    );
    assert_eq!(answer, "ok");
    assert_eq!(upstream.accepted.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_sent_again() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(OK).await;
            peer.request().await;
        },
        async {
            text(pool.send(get("/")).await.unwrap()).await;
            let failed = pool.try_send(get("/")).await.unwrap_err();
            assert!(
                matches!(failed.error, Error::Broken(_)),
                "{:?}",
                failed.error
            );
            assert!(!failed.error.nothing_was_sent());
            assert!(failed.request.is_none());
        }
    );
    let more = tokio::time::timeout(Duration::from_millis(50), upstream.accept());
    assert!(more.await.is_err(), "it was tried again");
}

#[tokio::test]
async fn nothing_listens() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    drop(upstream);
    let failed = pool.try_send(post(Full::from("body"))).await.unwrap_err();
    assert!(matches!(failed.error, Error::Connect { .. }));
    assert!(failed.error.nothing_was_sent());
    assert_eq!(
        failed
            .request
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes(),
        "body"
    );
}

#[tokio::test]
async fn connecting_takes_too_long() {
    let upstream = Upstream::start().await;
    let origin = Origin {
        scheme: Scheme::Https,
        ..upstream.origin()
    };
    let connect_timeout = Duration::from_millis(50);
    // Accepted by the system, but nobody ever answers in TLS.
    let pool = Pool::<Full<Bytes>>::new(
        origin,
        Settings {
            connect_timeout,
            ..settings()
        },
    );
    let error = pool.send(get("/")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }));
    assert!(error.nothing_was_sent());
}

#[tokio::test]
async fn the_second_address_is_tried() {
    let upstream = Upstream::start().await;
    let origin = Origin {
        // On this machine ::1 comes first, or is not there at all; nothing listens on it in either case.
        host: "localhost".into(),
        ..upstream.origin()
    };
    let pool: Pool = Pool::new(origin, settings());
    let ((), answer) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(OK).await;
        },
        async { text(pool.send(get("/")).await.unwrap()).await }
    );
    assert_eq!(answer, "ok");
}

#[tokio::test]
async fn no_response_in_time() {
    let upstream = Upstream::start().await;
    let response_timeout = Duration::from_millis(50);
    let pool: Pool = Pool::new(
        upstream.origin(),
        Settings {
            response_timeout,
            ..settings()
        },
    );
    let (mut peer, error) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer
        },
        async { pool.send(get("/")).await.unwrap_err() }
    );
    assert!(matches!(error, Error::ResponseTimeout));
    assert!(!error.nothing_was_sent());
    assert!(peer.is_hung_up().await);
}

#[tokio::test]
async fn a_long_upload_is_not_a_late_response() {
    let upstream = Upstream::start().await;
    let response_timeout = Duration::from_millis(200);
    let pool: Pool<Any> = Pool::new(
        upstream.origin(),
        Settings {
            response_timeout,
            ..settings()
        },
    );
    let (feed, body) = fed();
    let began = Instant::now();
    let (_, error, ()) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer
        },
        async { pool.send(post(body)).await.unwrap_err() },
        async {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(60)).await;
                feed.send(Ok(data("more"))).unwrap();
            }
        }
    );
    assert!(matches!(error, Error::ResponseTimeout));
    assert!(began.elapsed() >= Duration::from_millis(8 * 60 + 200));
}

#[tokio::test]
async fn a_dropped_request_and_a_dropped_body_close_their_connection() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let mut peer = {
        let mut sending = Box::pin(pool.send(get("/")));
        tokio::select! {
            _ = &mut sending => panic!("answered by nobody"),
            peer = async {
                let mut peer = upstream.accept().await;
                peer.request().await;
                peer
            } => peer,
        }
    };
    assert!(peer.is_hung_up().await);

    let (mut peer, mut response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
                .await;
            peer
        },
        async { pool.send(get("/")).await.unwrap() }
    );
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert!(peer.is_hung_up().await);
    assert_eq!(pool.inner.idle.len(), 0);
}

#[tokio::test]
async fn old_connections_go_without_traffic() {
    let upstream = Upstream::start().await;
    let idle_timeout = Duration::from_millis(100);
    let pool: Pool = Pool::new(
        upstream.origin(),
        Settings {
            idle_timeout,
            ..settings()
        },
    );
    let (mut peer, _) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say(OK).await;
            peer
        },
        async { text(pool.send(get("/")).await.unwrap()).await }
    );
    assert_eq!(pool.inner.idle.len(), 1);
    assert!(peer.is_hung_up().await);
    assert_eq!(pool.inner.idle.len(), 0);
}

#[tokio::test]
async fn a_closing_or_an_old_upstream_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let upstream = Upstream::start().await;
        let pool: Pool = upstream.pool();
        let (_peer, ok) = tokio::join!(
            async {
                let mut peer = upstream.accept().await;
                peer.request().await;
                peer.say(answer).await;
                peer
            },
            async { text(pool.send(get("/")).await.unwrap()).await }
        );
        assert_eq!(ok, "ok");
        assert_eq!(pool.inner.idle.len(), 0, "{answer}");
    }
}

#[tokio::test]
async fn informational_responses_are_passed_over() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let (_, response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
                .await;
            tokio::task::yield_now().await;
            peer.say("HTTP/1.1 102 Processing\r\n\r\n").await;
            peer.say(OK).await;
            peer
        },
        async { pool.send(get("/")).await.unwrap() }
    );
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "ok");
    assert_eq!(pool.inner.idle.len(), 1);
}

/// The response begins before the request's body has ended, and the two go on side by side.
#[tokio::test]
async fn both_directions_stream_at_once() {
    let upstream = Upstream::start().await;
    let pool: Pool<Any> = upstream.pool();
    let (feed, body) = fed();
    feed.send(Ok(data("one"))).unwrap();
    let (mut peer, mut response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.hear("one\r\n").await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
                .await;
            peer
        },
        async { pool.send(post(body)).await.unwrap() }
    );
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "a");
    feed.send(Ok(data("two"))).unwrap();
    drop(feed);
    let ((), rest) = tokio::join!(
        async {
            peer.hear("two\r\n0\r\n\r\n").await;
            peer.say("1\r\nb\r\n0\r\n\r\n").await;
        },
        async { response.into_body().collect().await.unwrap().to_bytes() }
    );
    assert_eq!(rest, "b");
    assert_eq!(pool.inner.idle.len(), 1);
}

/// An upstream that answers without reading the request: its answer comes through, the connection is not used again.
#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let upstream = Upstream::start().await;
    let pool: Pool<Any> = upstream.pool();
    let (feed, body) = fed();
    feed.send(Ok(data("one"))).unwrap();
    let (mut peer, answer) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
                .await;
            peer
        },
        async { text(pool.send(post(body)).await.unwrap()).await }
    );
    assert_eq!(answer, "no");
    assert_eq!(pool.inner.idle.len(), 0);
    peer.hear("one\r\n").await;
    assert!(peer.is_hung_up().await);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let upstream = Upstream::start().await;
    let pool: Pool<Any> = upstream.pool();
    let (feed, body) = fed();
    feed.send(Ok(data("one"))).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    feed.send(Ok(http_body::Frame::trailers(trailers))).unwrap();
    drop(feed);
    let mut request = post(body);
    request
        .headers_mut()
        .insert("trailer", "x-sum".parse().unwrap());
    let (_, response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.hear("0\r\nx-sum: 1\r\n\r\n").await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-more: 2\r\n\r\n")
                .await;
            peer
        },
        async { pool.send(request).await.unwrap() }
    );
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-more"], "2");
    assert_eq!(pool.inner.idle.len(), 1);
}

#[tokio::test]
async fn an_upgraded_connection_is_handed_over() {
    let upstream = Upstream::start().await;
    let pool: Pool<Empty<Bytes>> = upstream.pool();
    let mut request = get("/");
    request
        .headers_mut()
        .insert("upgrade", "websocket".parse().unwrap());
    request
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    let (mut peer, response) = tokio::join!(
        async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nearly").await;
            peer
        },
        async { pool.send(request).await.unwrap() }
    );
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    let mut early = [0; 5];
    upgraded.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    upgraded.write_all(b"hello").await.unwrap();
    assert_eq!(peer.hear("hello").await, "hello");
    drop(upgraded);
    assert!(peer.is_hung_up().await);
}

/// An upstream that answers with the request's path several times over, in frames that come one by one.
async fn repeater() -> Origin {
    let upstream = Upstream::start().await;
    let origin = upstream.origin();
    tokio::spawn(async move {
        loop {
            let (stream, _) = upstream.listener.accept().await.unwrap();
            let repeat = |request: Request<hyper::body::Incoming>| async move {
                let (feed, body) = fed();
                tokio::spawn(async move {
                    let path = Bytes::from(request.uri().path().to_owned());
                    for _ in 0..path.len() {
                        let _ = feed.send(Ok(http_body::Frame::data(path.clone())));
                        tokio::task::yield_now().await;
                    }
                });
                Ok::<_, Infallible>(Response::new(body))
            };
            let service = hyper::service::service_fn(repeat);
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    origin
}

/// Many requests at once: everyone gets the whole answer to his own question, and nobody waits for ever.
async fn crowd() {
    let pool: Pool = Pool::new(repeater().await, settings());
    let mut asking = tokio::task::JoinSet::new();
    for asker in 0..20 {
        let pool = pool.clone();
        asking.spawn(async move {
            for turn in 0..50 {
                let path = format!("/{asker}/{turn}");
                let mut sending = Box::pin(pool.send(get(&path)));
                // Some give up halfway.
                if turn % 7 == 3 {
                    let _ = futures_util::poll!(&mut sending);
                    continue;
                }
                let answer = text(sending.await.unwrap()).await;
                assert_eq!(answer, path.repeat(path.len()));
            }
        });
    }
    let all = async { while asking.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_mins(1), all)
        .await
        .expect("a wake-up was lost");
    assert!(pool.inner.idle.len() <= 20);
}

#[tokio::test]
async fn a_crowd_on_one_thread() {
    crowd().await;
}

/// As on the background runtime: a wake-up may come from any thread at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_several_threads() {
    crowd().await;
}

/// Counts how often a future is polled.
async fn counted(count: Arc<AtomicUsize>, future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        count.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await;
}

/// No task is woken for nothing: once to write the request, once to read the answer. Nor is the task that used the connection
/// before.
#[tokio::test]
async fn a_request_on_an_idle_connection_takes_two_polls() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let serving = tokio::spawn(async move {
        let mut peer = upstream.accept().await;
        loop {
            peer.request().await;
            peer.say(OK).await;
        }
    });
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let count = Arc::new(AtomicUsize::new(0));
        let (go, mut going) = tokio::sync::mpsc::unbounded_channel();
        let pool = pool.clone();
        let ask = async move {
            while going.recv().await.is_some() {
                assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "ok");
            }
        };
        tokio::spawn(counted(Arc::clone(&count), ask));
        tasks.push((go, count));
    }
    let settled = || tokio::time::sleep(Duration::from_millis(20));
    for turn in [0, 0, 1, 0, 1, 1, 0] {
        settled().await;
        let before: Vec<_> = tasks
            .iter()
            .map(|(_, n)| n.load(Ordering::Relaxed))
            .collect();
        tasks[turn].0.send(()).unwrap();
        settled().await;
        let polls = |at: usize| tasks[at].1.load(Ordering::Relaxed) - before[at];
        // The first of all had to connect.
        if before != [1, 1] {
            assert_eq!(polls(turn), 2, "by the task that asked");
        }
        assert_eq!(polls(1 - turn), 0, "by the other task");
    }
    assert_eq!(pool.inner.idle.len(), 1);
    serving.abort();
}

/// One poll for each frame that comes, and not a second one for having taken it.
#[tokio::test]
async fn a_frame_takes_one_poll() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let count = Arc::new(AtomicUsize::new(0));
    let asking = pool.clone();
    let ask = async move {
        assert_eq!(text(asking.send(get("/")).await.unwrap()).await, "okokokok");
    };
    let asked = tokio::spawn(counted(Arc::clone(&count), ask));
    let mut peer = upstream.accept().await;
    peer.request().await;
    peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = count.load(Ordering::Relaxed);
        peer.say("2\r\nok\r\n").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(count.load(Ordering::Relaxed) - before, 1);
    }
    peer.say("0\r\n\r\n").await;
    asked.await.unwrap();
    assert_eq!(pool.inner.idle.len(), 1);
}

/// Idle connections of clients hold the space of a request's future too (hyper makes it once per connection).
#[tokio::test]
async fn waiting_for_a_response_takes_little_memory() {
    let upstream = Upstream::start().await;
    let pool: Pool = upstream.pool();
    let size = std::mem::size_of_val(&pool.send(get("/")));
    assert!(size <= 1024, "{size} bytes");
}
