//! Who takes too long is closed; who is only slow to be answered is not. Time stands still until everyone waits.

use http_body_util::Empty;
use hyper_util::rt::TokioExecutor;
use tokio::io::{DuplexStream, duplex, split};
use tokio::time::{Instant, sleep};

use super::frames::{DATA, END_STREAM, NONE, Raw, request};
use super::*;
use crate::listener::connection::Common;
use crate::listener::pulse::Speaks;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n";
const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) fn connect(speaks: Speaks) -> (DuplexStream, Arc<Site>) {
    let (client, site, _) = connect_to(speaks);
    (client, site)
}

pub(super) fn connect_to(speaks: Speaks) -> (DuplexStream, Arc<Site>, Arc<Common<Site>>) {
    let (client, server) = duplex(16 * 1024);
    let site = Arc::<Site>::default();
    let common = Arc::new(Common::new(Arc::clone(&site), None, Limits::default()));
    let serving = Arc::clone(&common);
    let peer = Peer {
        addr: loopback(),
        local_port: 443,
        tls: true,
        server_name: None,
    };
    tokio::spawn(async move {
        match speaks {
            Speaks::Http1 => serving.http1(server, peer).await,
            Speaks::Http2 => serving.http2(server, peer).await,
        }
    });
    (client, site, common)
}

async fn send(stream: &mut DuplexStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

async fn answer(stream: &mut DuplexStream, end: &str) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(stream.read_u8().await.unwrap());
    }
}

/// After how many seconds the connection was closed, and what came before.
async fn closed(stream: &mut DuplexStream, since: Instant) -> (u64, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (since.elapsed().as_secs(), text)
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_from_its_first_byte() {
    let (mut stream, _) = connect(Speaks::Http1);
    sleep(Duration::from_secs(20)).await;
    let start = Instant::now();
    send(&mut stream, b"G").await;
    assert_eq!(closed(&mut stream, start).await, (10, String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_has_no_longer() {
    let (stream, site) = connect(Speaks::Http1);
    let start = Instant::now();
    let (mut read, mut write) = split(stream);
    let trickle = async {
        for byte in HEAD.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    tokio::select! {
        read = read.read_to_end(&mut bytes) => { read.unwrap(); }
        () = trickle => {}
    }
    assert_eq!((start.elapsed().as_secs(), &*bytes), (10, &b""[..]));
    assert!(site.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_ten_seconds() {
    let (mut stream, site) = connect(Speaks::Http1);
    for _ in 0..5 {
        send(&mut stream, HEAD).await;
        sleep(Duration::from_secs(8)).await;
        send(&mut stream, b"\r\n").await;
        answer(&mut stream, "0 bytes").await;
    }
    let start = Instant::now();
    send(&mut stream, HEAD).await;
    assert_eq!(closed(&mut stream, start).await, (10, String::new()));
    assert_eq!(site.seen().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_75_seconds_at_least_and_100_at_most() {
    let (mut stream, _) = connect(Speaks::Http1);
    let (after, _) = closed(&mut stream, Instant::now()).await;
    assert_eq!(after, 75);
    for early in [1, 10, 24, 26, 49, 51, 74] {
        let (mut stream, _) = connect(Speaks::Http1);
        sleep(Duration::from_secs(early)).await;
        send(&mut stream, WHOLE).await;
        answer(&mut stream, "0 bytes").await;
        let (after, _) = closed(&mut stream, Instant::now()).await;
        assert!((75..=100).contains(&after), "{early}: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_asking_stays() {
    let (mut stream, _) = connect(Speaks::Http1);
    for _ in 0..100 {
        send(&mut stream, WHOLE).await;
        answer(&mut stream, "0 bytes").await;
        sleep(Duration::from_secs(70)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_its_answer_stays() {
    let (mut stream, site) = connect(Speaks::Http1);
    send(&mut stream, b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    sleep(Duration::from_hours(1)).await;
    site.go.notify_one();
    answer(&mut stream, "waited").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_a_stream_stays() {
    let (mut stream, _) = connect(Speaks::Http1);
    send(&mut stream, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answer(&mut stream, "\r\n\r\n").await;
    assert!(
        timeout(Duration::from_hours(1), stream.read_u8())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_sends_its_body_slowly_stays() {
    let (mut stream, _) = connect(Speaks::Http1);
    let head = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n";
    send(&mut stream, head).await;
    for _ in 0..50 {
        sleep(Duration::from_secs(29)).await;
        send(&mut stream, &[b'x'; 8000]).await;
    }
    answer(&mut stream, "400000 bytes").await;
}

const BODY: &[u8] = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_body_of_which_nothing_comes_is_given_up_after_30_seconds() {
    let (mut stream, _) = connect(Speaks::Http1);
    send(&mut stream, BODY).await;
    sleep(Duration::from_secs(20)).await;
    send(&mut stream, b"5\r\nhello\r\n").await;
    let start = Instant::now();
    answer(&mut stream, "broke off").await;
    assert_eq!(start.elapsed().as_secs(), 30);
    let (after, _) = closed(&mut stream, start).await;
    assert!(after <= 37, "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_after_a_minute() {
    for (bytes, every) in [(1, 1), (100, 1), (2000, 20), (4000, 29)] {
        let (stream, _) = connect(Speaks::Http1);
        let (mut read, mut write) = split(stream);
        write.write_all(BODY).await.unwrap();
        let start = Instant::now();
        let trickle = async {
            let chunk = format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
            while write.write_all(chunk.as_bytes()).await.is_ok() {
                sleep(Duration::from_secs(every)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut text = vec![0; 12];
        tokio::select! {
            read = read.read_exact(&mut text) => { read.unwrap(); }
            () = trickle => {}
        }
        assert_eq!(text, b"HTTP/1.1 400");
        let after = start.elapsed().as_secs();
        assert!((60..=90).contains(&after), "{bytes} every {every}: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_one_stream_is_its_own() {
    let (stream, site) = connect(Speaks::Http2);
    let mut raw = Raw::open(stream).await;
    raw.send(&request(1, NONE, "POST", "/body")).await;
    raw.send(&request(3, END_STREAM, "GET", "/wait")).await;
    let start = Instant::now();
    let told = raw.until(|frame| frame.stream == 1 && frame.kind == DATA);
    assert!(
        told.await
            .last()
            .unwrap()
            .payload
            .starts_with(b"the body broke off")
    );
    assert_eq!(start.elapsed().as_secs(), 30);
    site.go.notify_one();
    let told = raw.until(|frame| frame.stream == 3 && frame.kind == DATA);
    assert_eq!(told.await.last().unwrap().payload, b"waited");
}

/// What nobody reads is not its sender's fault.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_asked_for_has_all_the_time() {
    let (mut stream, site) = connect(Speaks::Http1);
    let head = b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    send(&mut stream, head).await;
    sleep(Duration::from_hours(1)).await;
    site.go.notify_one();
    answer(&mut stream, "waited").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_nothing_is_cut_off_after_75_seconds() {
    let (mut stream, _) = connect(Speaks::Http1);
    send(&mut stream, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    sleep(Duration::from_secs(74)).await;
    stream.read_u8().await.unwrap();
    sleep(Duration::from_secs(101)).await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_slowly_is_served() {
    let (mut stream, _) = connect(Speaks::Http1);
    let head = b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    send(&mut stream, head).await;
    let mut buffer = vec![0; 8 * 1024];
    for _ in 0..100 {
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        sleep(Duration::from_secs(20)).await;
    }
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.len() > 63 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_preface_has_ten_seconds() {
    let (mut stream, _) = connect(Speaks::Http2);
    let mut bytes = Vec::new();
    let start = Instant::now();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!((10..=15).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn http2_without_streams_is_closed_like_any_idle_connection() {
    let (stream, _) = connect(Speaks::Http2);
    let start = Instant::now();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    sleep(Duration::from_mins(1)).await;
    let request = || {
        Request::get("https://localhost/")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let response = sender.send_request(request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    connection.await.unwrap().unwrap();
    let after = start.elapsed().as_secs();
    assert!((60 + 75..=60 + 105).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn http2_with_a_stream_stays() {
    let (stream, site) = connect(Speaks::Http2);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/wait")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    sleep(Duration::from_hours(1)).await;
    site.go.notify_one();
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_sending_after_the_answer_is_heard_out_for_six_seconds() {
    let (mut stream, site) = connect(Speaks::Http1);
    let head = b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    send(&mut stream, head).await;
    answer(&mut stream, "not you").await;
    let start = Instant::now();
    while stream.write_all(&[b'x'; 1024]).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 6);
    assert_eq!(site.seen(), ["POST /refuse"]);
}
