//! TLS and what is agreed on in it.

use http::Version;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::*;
use super::*;
use crate::tls;

/// A listener with a certificate for localhost, and what a client that trusts it needs.
struct Secured {
    served: Served,
    client: rustls::ClientConfig,
    _dir: TempDir,
}

fn secured(limits: Limits) -> Secured {
    let dir = TempDir::new().unwrap();
    let certificate = tls::Certificate::for_localhost(dir.path()).unwrap();
    let config = tls::server_config(vec![certificate], tls::MinVersion::Tls12).unwrap();
    let client = tls::client_config(Some(&dir.path().join("localhost.crt"))).unwrap();
    Secured {
        served: serve(Protocol::Https(config), limits),
        client: rustls::ClientConfig::clone(&client),
        _dir: dir,
    }
}

impl Secured {
    async fn shake(&self, alpn: &[&str], name: &'static str) -> TlsStream<TcpStream> {
        let mut client = self.client.clone();
        client.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(client))
            .connect(
                ServerName::try_from(name).unwrap(),
                self.served.connect().await,
            )
            .await
            .unwrap()
    }

    async fn http2(&self) -> SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.shake(&["h2"], "localhost").await);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    uri: &str,
    headers: &[(&'static str, &'static str)],
) -> (StatusCode, String) {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = uri.parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    for (name, value) in headers {
        request
            .headers_mut()
            .append(*name, HeaderValue::from_static(value));
    }
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    let status = response.status();
    assert!(!response.headers().contains_key("connection"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_agreed_on_is_spoken() {
    let secured = secured(Limits::default());
    let (status, text) = ask(&mut secured.http2().await, "https://localhost/peer", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("tls: true, server_name: Some(\"localhost\")"),
        "{text}"
    );
    for alpn in [&["http/1.1"][..], &[]] {
        let mut stream = secured.shake(alpn, "localhost").await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(statuses(&text), [200]);
    }
}

#[tokio::test]
async fn a_preface_is_not_guessed_at() {
    let secured = secured(hasty());
    let mut stream = secured.shake(&["http/1.1"], "localhost").await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert!(secured.served.site.seen().is_empty());
    let mut stream = secured.shake(&["h2"], "localhost").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert!(!bytes.windows(6).any(|six| six == b"HTTP/1"));
    assert!(secured.served.site.seen().is_empty());
}

#[tokio::test]
async fn hosts_that_disagree_are_refused() {
    let secured = secured(Limits::default());
    let mut sender = secured.http2().await;
    for (uri, headers, status) in [
        ("https://localhost/", &[][..], 200),
        (
            "https://LOCALHOST:8443/",
            &[("host", "localhost:8443")],
            200,
        ),
        ("https://localhost/", &[("host", "other.test")], 400),
        (
            "https://localhost/",
            &[("host", "localhost"), ("host", "localhost")],
            400,
        ),
        ("https://localhost/", &[("content_length", "5")], 400),
        ("https://localhost/%00", &[], 400),
        ("https://u@localhost/", &[], 400),
        ("https://other.test/", &[], 421),
        ("https://other.test/", &[("host", "other.test")], 421),
    ] {
        let (answered, text) = ask(&mut sender, uri, headers).await;
        assert_eq!(answered, status, "{uri} {headers:?}: {text}");
    }
}

#[tokio::test]
async fn an_address_has_no_server_name() {
    let secured = secured(Limits::default());
    let mut stream = secured.shake(&[], "127.0.0.1").await;
    stream
        .write_all(b"GET /peer HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("tls: true, server_name: None"), "{text}");
}

#[tokio::test]
async fn a_handshake_that_stops_is_cut_off() {
    let secured = secured(hasty());
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = secured.served.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(rest_of(&mut stream).await, "");
    }
    let text = secured
        .served
        .exchange("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .len();
    assert!(text < 16, "an alert at most");
}

#[tokio::test]
async fn a_drain_finishes_streams() {
    let secured = secured(Limits::default());
    let mut sender = secured.http2().await;
    let answer = tokio::spawn(async move { ask(&mut sender, "https://localhost/wait", &[]).await });
    secured.served.site.waiting.notified().await;
    secured.served.drain.cancel();
    tokio::task::yield_now().await;
    secured.served.site.go.notify_one();
    assert_eq!(answer.await.unwrap(), (StatusCode::OK, "waited".to_owned()));
    timeout(PATIENCE, secured.served.serving)
        .await
        .unwrap()
        .unwrap();
}

/// The stream is not reset while the client still sends: many take that for an error, and the answer for lost.
#[tokio::test]
async fn a_refusal_waits_for_the_rest_of_the_body() {
    let secured = secured(Limits::default());
    let mut raw = Raw::open(secured.shake(&["h2"], "localhost").await).await;
    raw.send(&request(1, NONE, "POST", "/refuse")).await;
    let ended = |frame: &Frame| frame.stream == 1 && frame.flags & END_STREAM != 0;
    let frames = raw.until(ended).await;
    assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
    for piece in 0..20 {
        let last = if piece == 19 { END_STREAM } else { NONE };
        raw.send(&frame(DATA, last, 1, &[b'x'; 10_000])).await;
    }
    raw.send(&frame(PING, NONE, 0, b"are you?")).await;
    let frames = raw.until(|frame| frame.kind == PING).await;
    assert!(
        frames.iter().all(|frame| frame.kind != RST_STREAM),
        "{frames:?}"
    );
    assert!(
        frames.iter().all(|frame| frame.kind != GOAWAY),
        "{frames:?}"
    );
}

/// Beyond that it is: nobody sends for ever into nothing.
#[tokio::test]
async fn a_body_that_does_not_end_is_not_heard_out_for_ever() {
    let secured = secured(Limits::default());
    let mut raw = Raw::open(secured.shake(&["h2"], "localhost").await).await;
    raw.send(&request(1, NONE, "POST", "/refuse")).await;
    let start = Instant::now();
    let frames = timeout(PATIENCE, raw.until(|frame| frame.kind == RST_STREAM)).await;
    assert_eq!(frames.unwrap().last().unwrap().payload, [0; 4]);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(secured.served.site.seen(), ["POST /refuse"]);
}
