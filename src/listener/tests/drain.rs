//! Draining: what has begun is finished, what has not is closed, and nothing new is taken.

use tempfile::TempDir;

use super::*;
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
