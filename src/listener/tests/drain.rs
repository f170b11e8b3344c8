//! Draining: what has begun is finished, what has not is closed, and nothing new is taken.

use tempfile::TempDir;

use super::frames::{END_STREAM, HEADERS, NONE, PREFACE, SETTINGS, frame};
use super::time::connect_to;
use super::*;
use crate::listener::pulse::Speaks;
use crate::tls;

async fn over(serving: JoinHandle<()>) {
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_begun_request_is_finished_and_its_connection_closed() {
    let served = plain();
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    served.site.waiting.notified().await;
    served.drain.cancel();
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!served.serving.is_finished());
    served.site.go.notify_one();
    let text = rest_of(&mut stream).await;
    assert_eq!(statuses(&text), [200]);
    assert!(text.contains("connection: close"), "{text}");
    over(served.serving).await;
}

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let served = plain();
    let mut fresh = served.connect().await;
    let mut used = served.connect().await;
    used.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut used, "0 bytes").await;
    served.drain.cancel();
    assert_eq!(rest_of(&mut fresh).await, "");
    assert_eq!(rest_of(&mut used).await, "");
    over(served.serving).await;
}

#[tokio::test]
async fn a_peer_that_has_not_even_shaken_hands_holds_nothing_up() {
    let dir = TempDir::new().unwrap();
    let certificate = tls::Certificate::for_localhost(dir.path()).unwrap();
    let config = tls::server_config(vec![certificate], tls::MinVersion::Tls12).unwrap();
    let mut served = serve(Protocol::Https(config), Limits::default());
    let _silent = served.connect().await;
    // What came later and was answered shows that the silent one has been accepted.
    let mut loud = served.connect().await;
    loud.write_all(b"no handshake at all").await.unwrap();
    let _ = loud.read_to_end(&mut Vec::new()).await;
    // The handshake's deadline is as long as this patience: only the drain can end it sooner.
    served.drain.cancel();
    let ended = timeout(PATIENCE / 2, &mut served.serving).await;
    ended.unwrap().unwrap();
}

/// The deadline of a head is as long as this patience: only the drain can end it sooner.
#[tokio::test]
async fn half_a_head_holds_nothing_up() {
    let mut served = plain();
    let mut fresh = served.connect().await;
    fresh.write_all(b"GET / HT").await.unwrap();
    let mut used = served.connect().await;
    used.write_all(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET / HTTP/1.1\r\nHo",
    )
    .await
    .unwrap();
    until(&mut used, "2 bytes").await;
    served.drain.cancel();
    let ended = timeout(PATIENCE / 10, &mut served.serving).await;
    ended.unwrap().unwrap();
    let _ = fresh.read_to_end(&mut Vec::new()).await;
}

/// Whoever was answered may keep its side of the connection open for as long as it likes.
#[tokio::test]
async fn who_does_not_hang_up_holds_nothing_up() {
    let mut served = plain();
    let mut silent = Vec::new();
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let mut stream = served.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        until(&mut stream, "2 bytes").await;
        silent.push(stream);
    }
    served.drain.cancel();
    let ended = timeout(PATIENCE / 20, &mut served.serving).await;
    ended.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn http2_without_streams_has_a_second_or_two_to_take_its_leave() {
    for bytes in [
        b"".to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &frame(SETTINGS, NONE, 0, &[])].concat(),
        [
            PREFACE,
            &frame(SETTINGS, NONE, 0, &[]),
            &frame(HEADERS, END_STREAM, 1, &[0]),
        ]
        .concat(),
    ] {
        let (mut stream, _site, common) = connect_to(Speaks::Http2);
        stream.write_all(&bytes).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        common.draining.begin();
        let start = tokio::time::Instant::now();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let after = start.elapsed();
        assert!(after <= Duration::from_secs(3), "{bytes:?}: {after:?}");
    }
}

#[tokio::test]
async fn with_nothing_to_do_it_ends() {
    let served = plain();
    served.drain.cancel();
    over(served.serving).await;
}

#[tokio::test]
async fn a_drain_that_came_first_is_seen() {
    let bound = Bound::bind(&Settings {
        address: loopback(),
        protocol: Protocol::Http,
    })
    .unwrap();
    let drain = CancellationToken::new();
    drain.cancel();
    let serving = tokio::spawn(bound.serve_with(Arc::<Site>::default(), drain, Limits::default()));
    over(serving).await;
}

#[tokio::test]
async fn tunnels_are_not_waited_for() {
    let served = plain();
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let text = until(&mut stream, "\r\n\r\n").await;
    assert_eq!(statuses(&text), [101]);
    served.drain.cancel();
    over(served.serving).await;
    assert_eq!(rest_of(&mut stream).await, "hello");
    stream.write_all(b"goodbye").await.unwrap();
    stream.shutdown().await.unwrap();
    timeout(PATIENCE, served.site.read.notified())
        .await
        .unwrap();
    assert_eq!(*served.site.tunnelled.lock().unwrap(), ["goodbye"]);
}
